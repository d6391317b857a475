"""The CUDA renderer: gsplat's own rasteriser behind our protocol (Ye et al., 2024)."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import torch
from torch import Tensor

from lca_lightning.errors import DeviceError, MissingAssetError
from lca_lightning.rendering.renderer import (
    FAR_PLANE,
    NEAR_PLANE,
    QUATERNION_FLOOR,
    SCREEN_BLUR,
    TILE_SIZE,
    Gaussians,
    Rendering,
    check_inputs,
)

# Above this many (camera, Gaussian) pairs memory matters more than the little time that packing costs. Below
# it a person usually fills the view, so there would be little to pack.
PACK_ABOVE_PAIRS = 8_000_000


class GsplatRenderer:
    """Gaussian splatting by ``gsplat.rasterization`` on CUDA, in single precision.

    Args:
        antialiased: gsplat's ``antialiased`` mode instead of ``classic``.
        device: Where the tensors will be; ``None`` means the current CUDA device.

    Raises:
        DeviceError: There is no CUDA device, or another device was named.
        MissingAssetError: gsplat is not installed.
    """

    _ready = False  # one announcement and one toolkit check a process

    def __init__(self, antialiased: bool = False, device: torch.device | str | None = None) -> None:
        if device is not None and torch.device(device).type != "cuda":
            raise DeviceError(
                f"The gsplat renderer runs on CUDA, not on {device}; choose 'cpu' or 'auto' instead."
            )
        if not torch.cuda.is_available():
            raise DeviceError(
                "The gsplat renderer needs a CUDA device and torch sees none here; choose 'cpu' or 'auto'."
            )
        if find_spec("gsplat") is None:
            raise MissingAssetError("The package gsplat is not installed; run: pip install gsplat")
        self.antialiased = antialiased

    def __call__(
        self,
        gaussians: Gaussians,
        w2c_T44: Tensor,
        K_T33: Tensor,
        width: int,
        height: int,
        background_TC: Tensor | None = None,
    ) -> Rendering:
        """Render T views of one cloud; see ``Renderer``."""
        check_inputs(gaussians, w2c_T44, K_T33, width, height, background_TC)
        means_G3 = gaussians.means_G3
        if means_G3.device.type != "cuda":
            raise DeviceError(
                f"The gsplat renderer got tensors on {means_G3.device}; move them or choose 'auto'."
            )
        cameras, channels, dtype = len(w2c_T44), gaussians.colors_GC.shape[1], means_G3.dtype
        if background_TC is None:
            background_TC = means_G3.new_zeros(cameras, channels)
        if cameras * len(means_G3) * channels == 0:
            return _empty(background_TC.to(dtype), width, height)
        self._prepare()
        from gsplat import rasterization

        with torch.autocast("cuda", enabled=False):
            image_THWF, alpha_THW1, _ = rasterization(
                means=means_G3.float(),
                quats=_with_direction(gaussians.quaternions_G4.float()),
                scales=gaussians.scales_G3.float(),
                opacities=gaussians.opacities_G.float(),
                colors=gaussians.colors_GC.float(),
                viewmats=w2c_T44.float(),
                Ks=K_T33.detach().float(),
                width=width,
                height=height,
                near_plane=NEAR_PLANE,
                far_plane=FAR_PLANE,
                eps2d=SCREEN_BLUR,
                tile_size=TILE_SIZE,
                packed=cameras * len(means_G3) > PACK_ABOVE_PAIRS,
                backgrounds=background_TC.float(),
                render_mode="RGB+ED",
                rasterize_mode="antialiased" if self.antialiased else "classic",
            )
        image_TFHW = image_THWF.permute(0, 3, 1, 2).to(dtype)
        return Rendering(image_TFHW[:, :-1], alpha_THW1.permute(0, 3, 1, 2).to(dtype), image_TFHW[:, -1:])

    @classmethod
    def _prepare(cls) -> None:
        """Announce the compilation once and turn a missing toolkit into a sentence."""
        if cls._ready:
            return
        if find_spec("gsplat.csrc") is None:
            print(
                "gsplat: the first CUDA call compiles its kernels for minutes; later runs reuse them.",
                file=sys.stderr,
                flush=True,
            )
        from gsplat.cuda._backend import _C

        if _C is None:
            raise DeviceError(
                "gsplat found no CUDA toolkit to compile its kernels with; install nvcc, or choose 'cpu'."
            )
        cls._ready = True


def _with_direction(quaternions_G4: Tensor) -> Tensor:
    length_G1 = quaternions_G4.detach().norm(dim=-1, keepdim=True)
    return torch.where(
        length_G1 < QUATERNION_FLOOR, quaternions_G4.new_tensor([1.0, 0.0, 0.0, 0.0]), quaternions_G4
    )


def _empty(background_TC: Tensor, width: int, height: int) -> Rendering:
    color_TCHW = background_TC[:, :, None, None].expand(-1, -1, height, width).clone()
    blank_T1HW = background_TC.new_zeros(len(background_TC), 1, height, width)
    return Rendering(color_TCHW, blank_T1HW, blank_T1HW.clone())
