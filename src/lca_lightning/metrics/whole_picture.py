"""Scores of whole pictures: PSNR, SSIM and LPIPS."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lca_lightning.errors import ShapeError
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.perceptual import pairwise_lpips
from lca_lightning.metrics.protocol import LOWEST_SQUARED_ERROR

BORDER = 5  # pixels: half the window of SSIM
SMALLEST_SIDE = 32  # pixels; the perceptual networks pool smaller pictures away


def picture_scores(predicted_n3HW: Tensor, images_n3HW: Tensor, lpips: LPIPS | None) -> dict[str, Tensor]:
    """PSNR, SSIM (Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5, range 1) and LPIPS.

    Args:
        predicted_n3HW: sRGB in [0, 1], at least 32 pixels a side.
        images_n3HW: The true ones.
        lpips: Network to compare with; None leaves the score out.

    Returns:
        ``psnr``, ``ssim`` and perhaps ``lpips``, each ``(n,)``.

    Raises:
        ShapeError: The pictures are too small.
    """
    height, width = images_n3HW.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        raise ShapeError(
            f"Pictures of {width} x {height} pixels are too small to compare as a whole; this protocol needs "
            f"{SMALLEST_SIDE} pixels a side."
        )
    predicted_n3HW, images_n3HW = predicted_n3HW.float().clamp(0, 1), images_n3HW.float().clamp(0, 1)
    squared = (predicted_n3HW.double() - images_n3HW.double()).square().flatten(1).mean(1)
    scores = {
        "psnr": -10 * squared.clamp_min(LOWEST_SQUARED_ERROR).log10(),
        "ssim": similarity(predicted_n3HW, images_n3HW),
    }
    if lpips is not None:
        scores["lpips"] = pairwise_lpips(lpips, predicted_n3HW, images_n3HW)
    return scores


def similarity(predicted_n3HW: Tensor, images_n3HW: Tensor) -> Tensor:
    """SSIM of each pair at range 1 over windows that lie inside the picture, ``(n,)``.

    Torchmetrics' own mean takes in a mirrored border (as of 1.9; earlier ones did not); leaving it out is the
    published definition, and what scikit-image computes.
    """
    _, values_n3HW = structural_similarity_index_measure(
        predicted_n3HW, images_n3HW, sigma=1.5, reduction="none", data_range=1.0, return_full_image=True
    )
    return values_n3HW[..., BORDER:-BORDER, BORDER:-BORDER].flatten(1).mean(1)
