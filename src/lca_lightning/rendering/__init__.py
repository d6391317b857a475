"""Differentiable Gaussian splatting behind one protocol: gsplat on CUDA, tile kernels on CPU, a reference."""

from __future__ import annotations

from lca_lightning.rendering.renderer import Gaussians, Renderer, Rendering
from lca_lightning.rendering.selection import choose_renderer

__all__ = ["Gaussians", "Renderer", "Rendering", "choose_renderer"]
