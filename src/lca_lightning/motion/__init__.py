"""Motions of the rig: files in, joint rotations and root positions over time out."""

from lca_lightning.motion.clip import Motion, load_npz_motion
from lca_lightning.motion.retarget import load_motion, retarget

__all__ = ["Motion", "load_motion", "load_npz_motion", "retarget"]
