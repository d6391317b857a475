"""Body rigs: (identity, pose, expression) in, joint transforms and a skinned mesh out."""

from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import REGIONS, Rig, RigPose

__all__ = ["REGIONS", "Anchors", "Rig", "RigPose", "load_rig", "sample_anchors"]
