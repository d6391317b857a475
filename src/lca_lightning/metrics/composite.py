"""The composite protocol of ExAvatar and NeuMan: whole pictures, both with a white background."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.perceptual import over_white, shared_lpips
from lca_lightning.metrics.protocol import Protocol, ScoredFrames
from lca_lightning.metrics.whole_picture import picture_scores


class CompositeProtocol(Protocol):
    """PSNR, SSIM and LPIPS (AlexNet) of the whole picture, background set to white by the true mask on both.

    The many equal white pixels count, so that its PSNR is higher than the masked one and depends on how large
    the person is in the picture; what is rendered outside the mask is not seen.

    Args:
        lpips: A loaded ``LPIPS("alex")`` to share; None loads one, False leaves the score out.
        **options: Passed on to ``torchmetrics.Metric``.
    """

    name = "composite"

    def __init__(self, lpips: LPIPS | bool | None = None, **options: Any) -> None:
        network = shared_lpips(lpips, "alex")
        super().__init__(("psnr", "ssim", *(("lpips",) if network else ())), **options)
        self.lpips = network

    def score(self, frames: ScoredFrames) -> dict[str, Tensor]:
        """Scores of each picture row by row, each ``(B * T,)``."""
        mask = frames.masks_BT1HW.flatten(0, 1) > 0.5
        predicted, images = (
            over_white(pictures.flatten(0, 1), mask)
            for pictures in (frames.predicted_BT3HW, frames.images_BT3HW)
        )
        return picture_scores(predicted, images, self.lpips)
