"""Which renderer draws: by name, or by the device the tensors are on."""

from __future__ import annotations

from typing import Any

import torch

from lca_lightning.errors import ConfigError
from lca_lightning.rendering.cpu import CPURenderer
from lca_lightning.rendering.gsplat import GsplatRenderer
from lca_lightning.rendering.reference import ReferenceRenderer
from lca_lightning.rendering.renderer import RENDERER_NAMES, Renderer, RendererName


def choose_renderer(
    name: RendererName = "auto", device: torch.device | str | None = None, antialiased: bool = False
) -> Renderer:
    """Pick an implementation by name, or by the device the tensors will be on.

    Args:
        name: ``auto`` takes gsplat on CUDA and the compiled CPU kernels elsewhere.
        device: Where the tensors are; ``None`` means CUDA when there is one.
        antialiased: Scale opacities by what the screen-space blur adds (gsplat's ``antialiased`` mode; Yu et
            al., Mip-Splatting, 2024).

    Returns:
        A renderer; nothing is compiled before its first call.

    Raises:
        ConfigError: The name is unknown.
        DeviceError: gsplat was asked for by name where it cannot run.
    """
    if name not in RENDERER_NAMES:
        raise ConfigError(f"Unknown renderer {name!r}; choose one of {', '.join(RENDERER_NAMES)}.")
    if name == "auto":
        kind = "cuda" if device is None and torch.cuda.is_available() else torch.device(device or "cpu").type
        name = "gsplat" if kind == "cuda" else "cpu"
    renderer: Any
    if name == "gsplat":
        renderer = GsplatRenderer(antialiased=antialiased, device=device)
    elif name == "cpu":
        renderer = CPURenderer(antialiased=antialiased)
    else:
        renderer = ReferenceRenderer(antialiased=antialiased)
    return renderer
