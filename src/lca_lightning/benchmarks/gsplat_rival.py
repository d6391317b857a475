"""`gsplat.rasterization` called directly, without our checks: the rival on CUDA (Ye et al., 2024)."""

from __future__ import annotations

from torch import Tensor

from lca_lightning.rendering.renderer import (
    FAR_PLANE,
    NEAR_PLANE,
    SCREEN_BLUR,
    TILE_SIZE,
    Gaussians,
    Rendering,
)


def static_gsplat(
    gaussians: Gaussians,
    w2c_T44: Tensor,
    K_T33: Tensor,
    width: int,
    height: int,
    background_TC: Tensor | None = None,
) -> Rendering:
    """Render as a user of gsplat would, with the constants of our renderers.

    Args:
        gaussians: A float32 cloud on CUDA.
        w2c_T44: World-to-camera matrices.
        K_T33: Intrinsics in pixels.
        width: Picture width in pixels.
        height: Picture height in pixels.
        background_TC: Colour behind the cloud.

    Returns:
        Colour, alpha and expected depth.
    """
    from gsplat import rasterization

    image_THWF, alpha_THW1, _ = rasterization(
        means=gaussians.means_G3,
        quats=gaussians.quaternions_G4,
        scales=gaussians.scales_G3,
        opacities=gaussians.opacities_G,
        colors=gaussians.colors_GC,
        viewmats=w2c_T44,
        Ks=K_T33,
        width=width,
        height=height,
        near_plane=NEAR_PLANE,
        far_plane=FAR_PLANE,
        eps2d=SCREEN_BLUR,
        tile_size=TILE_SIZE,
        packed=False,
        backgrounds=background_TC,
        render_mode="RGB+ED",
    )
    image_TFHW = image_THWF.permute(0, 3, 1, 2)
    return Rendering(image_TFHW[:, :-1], alpha_THW1.permute(0, 3, 1, 2), image_TFHW[:, -1:])
