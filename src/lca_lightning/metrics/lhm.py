"""The protocol of LHM (Qiu et al. 2025): pictures of width 512 over white."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.perceptual import over_white, shared_lpips
from lca_lightning.metrics.protocol import Protocol, ScoredFrames
from lca_lightning.metrics.whole_picture import picture_scores


class LHMProtocol(Protocol):
    """PSNR, SSIM and LPIPS (SqueezeNet) at one width: the true picture over white, the prediction as it is.

    Unlike in ``composite`` the prediction is not masked, so that what is rendered outside the person counts.
    Pictures keep their aspect; the resize is bilinear, with antialiasing where it shrinks.

    Args:
        lpips: A loaded ``LPIPS("squeeze")`` to share; None loads one, False leaves the score out.
        width: Of the compared pictures, pixels; the height follows.
        **options: Passed on to ``torchmetrics.Metric``.
    """

    name = "lhm"

    def __init__(self, lpips: LPIPS | bool | None = None, width: int = 512, **options: Any) -> None:
        network = shared_lpips(lpips, "squeeze")
        super().__init__(("psnr", "ssim", *(("lpips",) if network else ())), **options)
        self.lpips, self.width = network, width

    def score(self, frames: ScoredFrames) -> dict[str, Tensor]:
        """Scores of each picture row by row, each ``(B * T,)``."""
        mask = frames.masks_BT1HW.flatten(0, 1) > 0.5
        images = self._resized(over_white(frames.images_BT3HW.flatten(0, 1), mask))
        return picture_scores(self._resized(frames.predicted_BT3HW.flatten(0, 1)), images, self.lpips)

    def _resized(self, images_n3HW: Tensor) -> Tensor:
        height, width = images_n3HW.shape[-2:]
        if width == self.width:
            return images_n3HW
        size = (max(height * self.width // width, 1), self.width)  # LHM rounds down
        return functional.interpolate(
            images_n3HW.float(), size, mode="bilinear", antialias=True, align_corners=False
        )
