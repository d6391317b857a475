"""Changes of whole training batches, on the device they are on: flips, crops, colours, backgrounds."""

from lca_lightning.augmentation.configuration import AugmentationConfig
from lca_lightning.augmentation.pipeline import Augmentation

__all__ = ["Augmentation", "AugmentationConfig"]
