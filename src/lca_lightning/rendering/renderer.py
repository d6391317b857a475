"""The one renderer protocol: what goes in, what comes out, and which implementation runs.

Conventions are gsplat's (Ye et al., "gsplat: An Open-Source Library for Gaussian Splatting", 2024): OpenCV
cameras, ``w2c``, pixel centres at +0.5, quaternions ``wxyz`` of any length, EWA splatting (Zwicker et al.,
2001) with a blur of 0.3 px. All three renderers share the constants below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from lca_lightning.errors import DeviceError, NonFiniteError, ShapeError, check_shape

TILE_SIZE = 16  # pixels
SCREEN_BLUR = 0.3  # pixels squared, added to the projected covariance
NEAR_PLANE = 0.01  # metres
FAR_PLANE = 1e10  # metres
ALPHA_CUTOFF = 1.0 / 255.0  # weaker contributions are skipped
ALPHA_LIMIT = 0.999
TRANSMITTANCE_STOP = 1e-4  # a pixel is finished before its transmittance falls to this
EXTENT_SIGMAS = 3.33  # widest extent in standard deviations
FRUSTUM_MARGIN = 0.3  # of the half field of view, beyond which the projection's Jacobian is held
QUATERNION_FLOOR = 1e-12  # a shorter quaternion has no direction and counts as the identity

RendererName = Literal["auto", "gsplat", "cpu", "reference"]
RENDERER_NAMES: tuple[RendererName, ...] = ("auto", "gsplat", "cpu", "reference")


@dataclass(frozen=True)
class Gaussians:
    """One cloud of anisotropic 3D Gaussians.

    Args:
        means_G3: Centres in metres, world frame, ``(G, 3)``.
        quaternions_G4: Rotations ``wxyz``, any length, ``(G, 4)``.
        scales_G3: Standard deviations along the rotated axes, metres, ``(G, 3)``.
        opacities_G: Peak opacities in [0, 1], ``(G,)``.
        colors_GC: Any number of channels, ``(G, C)``.

    Raises:
        ShapeError: Two fields disagree.
    """

    means_G3: Tensor
    quaternions_G4: Tensor
    scales_G3: Tensor
    opacities_G: Tensor
    colors_GC: Tensor

    def __post_init__(self) -> None:
        check_shape("means_G3", self.means_G3, ("G", 3))
        count = self.means_G3.shape[0]
        check_shape("quaternions_G4", self.quaternions_G4, (count, 4))
        check_shape("scales_G3", self.scales_G3, (count, 3))
        check_shape("opacities_G", self.opacities_G, (count,))
        check_shape("colors_GC", self.colors_GC, (count, "C"))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        """Move every field to a device and/or precision."""
        return Gaussians(
            *(getattr(self, field.name).to(device=device, dtype=dtype) for field in fields(self))
        )


@dataclass(frozen=True)
class Rendering:
    """What T cameras see.

    Args:
        color_TCHW: Colour composited over the background, ``(T, C, H, W)``.
        alpha_T1HW: Opacity in [0, 1], ``(T, 1, H, W)``.
        depth_T1HW: Expected depth along the camera's z axis in metres, 0 where alpha is 0, ``(T, 1, H, W)``.
    """

    color_TCHW: Tensor
    alpha_T1HW: Tensor
    depth_T1HW: Tensor


class Renderer(Protocol):
    """Renders one cloud into T cameras, differentiably."""

    def __call__(
        self,
        gaussians: Gaussians,
        w2c_T44: Tensor,
        K_T33: Tensor,
        width: int,
        height: int,
        background_TC: Tensor | None = None,
    ) -> Rendering:
        """Render T pinhole views of one cloud.

        Args:
            gaussians: The cloud; gradients reach all five fields.
            w2c_T44: World-to-camera matrices, OpenCV, metres, ``(T, 4, 4)``; differentiable.
            K_T33: Intrinsics in pixels, ``(T, 3, 3)``; skew is not modelled, and there is no gradient.
            width: Image width in pixels.
            height: Image height in pixels.
            background_TC: Colour behind the cloud, zeros when ``None``, ``(T, C)``; differentiable.

        Returns:
            Colour, alpha and expected depth, in the dtype and on the device of ``means_G3``.

        Raises:
            ShapeError: An argument has the wrong shape; names it.
            NonFiniteError: An argument holds NaN or infinity; names it.
        """
        ...


def check_inputs(
    gaussians: Gaussians,
    w2c_T44: Tensor,
    K_T33: Tensor,
    width: int,
    height: int,
    background_TC: Tensor | None,
) -> None:
    """Refuse cameras of the wrong shape, empty images, mixed devices and any value that is not finite.

    Raises:
        ShapeError: Names the argument, the expected shape and the one it got.
        NonFiniteError: Names the argument and how many of its values are bad.
        DeviceError: The arguments are on different devices.
    """
    if width < 1 or height < 1:
        raise ShapeError(f"The image must be at least 1x1 pixels, got width {width} and height {height}.")
    check_shape("w2c_T44", w2c_T44, ("T", 4, 4))
    cameras = w2c_T44.shape[0]
    check_shape("K_T33", K_T33, (cameras, 3, 3))
    named: dict[str, Tensor] = {field.name: getattr(gaussians, field.name) for field in fields(gaussians)}
    named |= {"w2c_T44": w2c_T44, "K_T33": K_T33}
    if background_TC is not None:
        check_shape("background_TC", background_TC, (cameras, gaussians.colors_GC.shape[1]))
        named["background_TC"] = background_TC
    for name, tensor in named.items():
        if tensor.device != gaussians.means_G3.device:
            raise DeviceError(
                f"{name} is on {tensor.device} but means_G3 is on {gaussians.means_G3.device}; "
                "move all arguments of a renderer to one device."
            )
        check_finite(name, tensor)
    focal_T2 = K_T33.detach()[:, (0, 1), (0, 1)]
    if bool((focal_T2 <= 0).any()):
        raise NonFiniteError("K_T33 must hold positive focal lengths in pixels; others see nothing finite.")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        NonFiniteError: Names the argument and how many of its values are bad.
    """
    # A finite sum means finite terms: one cheap pass. Finite terms may overflow it, so then they are counted.
    values = tensor.detach()
    if values.numel() == 0 or math.isfinite(_sum(values)):
        return
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise NonFiniteError(
            f"{name} holds {bad} NaN or infinite values out of {values.numel()}; "
            "look for a division by zero or a learning rate that is too high upstream."
        )


def _sum(values: Tensor) -> float:
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        return float(values.sum())
    with np.errstate(all="ignore"):  # numpy does not wake torch's threads, which would cost more than the sum
        return float(values.numpy().sum())
