"""Estimators by name."""

from __future__ import annotations

from pathlib import Path

from lca_lightning.errors import ConfigError
from lca_lightning.plugins import find_plugin
from lca_lightning.preprocessing.estimators.protocol import Estimator

GROUP = "lca_lightning.estimators"
SHIPPED = {
    "mediapipe": "lca_lightning.preprocessing.detection:PersonDetector",
    "sapiens2": "lca_lightning.preprocessing.estimators.sapiens2:Sapiens2Estimator",
}
_METHODS = ("check", "load", "people", "body", "hands", "face", "normals", "close")


def find_estimator(name: str) -> type[Estimator]:
    """The class of an estimator.

    Args:
        name: ``mediapipe``, ``sapiens2``, an entry point of the group ``lca_lightning.estimators``, or
            ``module:Class``.

    Raises:
        ConfigError: There is none, or it lacks a method of the protocol.
    """
    found = find_plugin(name, SHIPPED, GROUP, "estimator")
    missing = [method for method in _METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise ConfigError(
            f"The estimator {name!r} lacks {', '.join(missing)}; "
            "lca_lightning.preprocessing.estimators.protocol lists what it needs."
        )
    return found


def check_estimator(name: str, weights: Path | None) -> None:
    """Refuse an estimator that cannot be loaded, without loading it.

    Raises:
        LCAError: It is unknown, or its package or weights are missing.
    """
    find_estimator(name).check(weights)


def load_estimator(name: str, weights: Path | None) -> Estimator:
    """Make an estimator; see :func:`find_estimator` for names."""
    return find_estimator(name).load(weights)
