"""Differentiable Gaussian splatting behind one protocol: gsplat on CUDA, compiled tile kernels on CPU, a slow reference."""

from __future__ import annotations

from lca_lightning.rendering.renderer import Gaussians, Renderer, Rendering, choose_renderer

__all__ = ["Gaussians", "Renderer", "Rendering", "choose_renderer"]
