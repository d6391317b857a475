"""Rigs by name."""

from __future__ import annotations

from lca_lightning.errors import ConfigError
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import Rig


def load_rig(name: str = "anny") -> Rig:
    """Build a rig by its name.

    Args:
        name: ``"anny"``.

    Returns:
        The rig with float32 buffers on the CPU.

    Raises:
        ConfigError: No rig has that name.
    """
    if name == "anny":
        return AnnyRig()
    raise ConfigError(f"There is no rig named {name!r}; the known one is 'anny'.")
