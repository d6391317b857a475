"""Rigs by name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from lca_lightning.errors import ConfigError, MissingAssetError
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import Rig

RIG_NAMES = ("anny", "mhr")
"""Names that `load_rig` knows."""
MHR_VARIABLE = "LCA_MHR"
_MHR_URL = "https://github.com/facebookresearch/MHR/releases/download/v1.0.0/assets.zip"
_log = logging.getLogger(__name__)


def load_rig(name: str = "anny", asset: str | Path | None = None) -> Rig:
    """Build a rig by its name.

    Args:
        name: ``"anny"`` or ``"mhr"``.
        asset: File with the rig's data; only ``mhr`` has one, by default that which ``$LCA_MHR`` names.

    Returns:
        The rig with float32 buffers on the CPU.

    Raises:
        ConfigError: No rig has that name, it takes no asset, or the asset is another file.
        MissingAssetError: The asset is not on this machine; says how to get it.
    """
    if name == "anny":
        if asset is not None:
            raise ConfigError(
                "The rig 'anny' takes no asset; leave out model.avatar.rig_asset or set model.avatar.rig=mhr."
            )
        return AnnyRig()
    if name == "mhr":
        from lca_lightning.rig.mhr import MHRRig

        return MHRRig(find_mhr_asset(asset))
    raise ConfigError(f"There is no rig named {name!r}; the known ones are 'anny' and 'mhr'.")


def find_mhr_asset(asset: str | Path | None = None) -> Path:
    """The file of the MHR rig: the one given, else the one ``$LCA_MHR`` names.

    An avatar or checkpoint may carry a path of the machine it was made on; where that does not exist,
    ``$LCA_MHR`` serves.

    Args:
        asset: Path, or None.

    Returns:
        A path that exists.

    Raises:
        MissingAssetError: Neither exists.
    """
    tried = [str(path) for path in (asset, os.environ.get(MHR_VARIABLE)) if path]
    for path in tried:
        if Path(path).is_file():
            if path != tried[0]:
                _log.warning("The MHR asset %s is not on this machine; using %s instead.", asset, path)
            return Path(path)
    found = f"not at {' nor at '.join(tried)}" if tried else "not named"
    raise MissingAssetError(
        f"The rig 'mhr' needs its asset mhr_model.pt, which is {found}; get it with `curl -LO {_MHR_URL}` "
        f"and `unzip assets.zip`, and give its path as model.avatar.rig_asset or in ${MHR_VARIABLE}."
    )
