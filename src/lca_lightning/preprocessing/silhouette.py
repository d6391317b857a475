"""The fitted body against the masks: no vertex outside, no contour point far from the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.masks import mask_box
from lca_lightning.preprocessing.observations import to_tensor
from lca_lightning.rig.rig import Rig

GRID = 192
CONTOUR_POINTS = 64
# Distances in shares of the stature: one standard deviation, and what counts as touching the contour. A
# tolerance of 1% made every body 2 cm too thin.
SPREAD, TOUCHING = 0.005, 0.002


@dataclass(frozen=True)
class SilhouetteImage:
    """One mask, prepared: how far outside it each place of a small grid lies, and points on its contour.

    Attributes:
        camera: Camera index.
        frame: Frame index.
        origin_2: Pixel of the grid's left top corner.
        extent: Side of the square grid in pixels.
        distance_GG: Distance to the mask in pixels, 0 inside, ``(GRID, GRID)``.
        contour_N2: Pixels on the contour, ``(CONTOUR_POINTS, 2)``.
        stature: Apparent stature in pixels.
    """

    camera: int
    frame: int
    origin_2: FloatArray
    extent: float
    distance_GG: FloatArray
    contour_N2: FloatArray
    stature: float


def prepare_silhouette(
    mask_HW: NDArray[np.uint8],
    camera: int,
    frame: int,
    stature: float,
    maps: tuple[FloatArray, FloatArray] | None = None,
) -> SilhouetteImage | None:
    """Prepare one mask; None when it is empty or mostly cut off by the picture's edge.

    Args:
        mask_HW: Probability 0..255, ``(H, W)``.
        camera: Camera index.
        frame: Frame index.
        stature: Apparent stature in pixels.
        maps: ``cv2.remap`` look-ups that undistort pictures of this camera.
    """
    if maps is not None:
        mask_HW = np.asarray(cv2.remap(mask_HW, maps[0], maps[1], cv2.INTER_LINEAR), np.uint8)
    box = mask_box(mask_HW)
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) < 400:
        return None
    extent = 1.5 * max(box[2] - box[0], box[3] - box[1])
    center = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    origin = center - extent / 2
    scale = GRID / extent
    matrix = np.array(
        [
            [scale, 0, -origin[0] * scale + 0.5 * scale - 0.5],
            [0, scale, -origin[1] * scale + 0.5 * scale - 0.5],
        ]
    )
    small = cv2.warpAffine(
        mask_HW, matrix, (GRID, GRID), flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    distance = cv2.distanceTransform((small <= 127).astype(np.uint8), cv2.DIST_L2, 5) / scale
    contour = _contour_points(mask_HW, stature)
    if contour is None:
        return None
    return SilhouetteImage(camera, frame, origin, extent, distance, contour, stature)


def _contour_points(mask_HW: NDArray[np.uint8], stature: float) -> FloatArray | None:
    """Evenly spread contour points that do not lie on the picture's edge."""
    contours, _ = cv2.findContours((mask_HW > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    points = np.concatenate(
        [contour[:, 0] for contour in contours if len(contour) > 0.05 * stature] or [contours[0][:, 0]]
    )
    height, width = mask_HW.shape
    free = (points > 2).all(1) & (points[:, 0] < width - 3) & (points[:, 1] < height - 3)
    points = points[free]
    if len(points) < CONTOUR_POINTS:
        return None
    return points[np.linspace(0, len(points) - 1, CONTOUR_POINTS).astype(int)] + 0.5


class SilhouettePenalty:
    """Compares projected surface points with prepared masks, a random few at a time.

    Args:
        rig: Gives the surface points.
        images: Prepared masks of any cameras and frames.
        batch: Masks per evaluation.
        points: Surface points.
        seed: Of the choice of masks.
    """

    def __init__(
        self, rig: Rig, images: list[SilhouetteImage], batch: int = 32, points: int = 2500, seed: int = 0
    ) -> None:
        self.vertices_S = spread_vertices(rig, points)
        self._images, self._batch = images, min(batch, len(images))
        self._generator = torch.Generator().manual_seed(seed)
        self._distance = torch.stack([to_tensor(image.distance_GG) for image in images])
        self._contour = torch.stack([to_tensor(image.contour_N2) for image in images])
        self._origin = torch.stack([to_tensor(image.origin_2) for image in images])
        self._extent = torch.tensor([image.extent for image in images])
        self._stature = torch.tensor([image.stature for image in images])
        self.camera = torch.tensor([image.camera for image in images])
        self.frame = torch.tensor([image.frame for image in images])

    def draw(self) -> Tensor:
        """Indices of the masks to compare with now, ``(N,)``."""
        return torch.randperm(len(self._images), generator=self._generator)[: self._batch]

    def __call__(self, pixels_NS2: Tensor, chosen_N: Tensor) -> Tensor:
        """Penalty of projected surface points, mean over the chosen masks.

        Args:
            pixels_NS2: Projected surface points of each chosen mask's camera and frame, ``(N, S, 2)``.
            chosen_N: What ``draw`` returned.
        """
        stature, extent = self._stature[chosen_N, None], self._extent[chosen_N, None, None]
        grid = 2 * (pixels_NS2 - self._origin[chosen_N, None]) / extent - 1
        outside = functional.grid_sample(
            self._distance[chosen_N, None],
            grid[:, None].clamp(-3, 3),
            padding_mode="border",
            align_corners=False,
        )[:, 0, 0]
        outside = (outside / (SPREAD * stature)) ** 2
        reach = torch.cdist(self._contour[chosen_N], pixels_NS2).amin(2)
        uncovered = (functional.relu(reach / stature - TOUCHING) / SPREAD) ** 2
        return 15.0 * _saturate(outside).mean() + 15.0 * _saturate(uncovered).mean()


def _saturate(squared: Tensor) -> Tensor:
    return squared / (1 + squared / 16.0)


def spread_vertices(rig: Rig, count: int) -> Tensor:
    """Indices of visible vertices spread evenly over the body by farthest-point sampling, ``(count,)``."""
    visible = rig.faces_F3[rig.visible_faces_F].unique()
    points = rig.template_vertices_V3[visible]
    distance = torch.full((len(points),), torch.inf)
    chosen = [0]
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).pow(2).sum(1))
        chosen.append(int(distance.argmax()))
    return visible[torch.tensor(chosen)]
