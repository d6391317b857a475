"""The compiled CPU renderer."""

from __future__ import annotations

from lca_lightning.rendering.cpu.autograd import CPURenderer

__all__ = ["CPURenderer"]
