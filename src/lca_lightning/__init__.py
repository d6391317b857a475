"""Large-scale Codec Avatars in PyTorch Lightning: photos in, an animatable 3D Gaussian avatar out."""

from __future__ import annotations

__version__ = "0.1.0"
