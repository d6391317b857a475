"""Image and geometry tokens, and the packing that leaves padding views and missing faces out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ImagePack:
    """Which images of a padded batch are real, and to which subject each belongs.

    Args:
        rows_n: Positions of the ``n`` real images in the flattened ``(B * V)`` order.
        subjects_n: Subject of each real image.
        groups: Subjects with equally many images: their indices ``(m,)`` and their images ``(m, c)``.
    """

    rows_n: Tensor
    subjects_n: Tensor
    groups: tuple[tuple[Tensor, Tensor], ...]

    @property
    def count(self) -> int:
        """Number of real images."""
        return self.rows_n.numel()

    def select(self, images_BV3HW: Tensor) -> Tensor:
        """Keep the real images, ``(n, 3, H, W)``."""
        return images_BV3HW.flatten(0, 1)[self.rows_n]

    def mean_per_subject(self, tokens_nND: Tensor) -> Tensor:
        """Average tokens over positions and real images, ``(B, D)``; zeros for a subject without images."""
        means = [
            tokens_nND[images_mc].mean(dim=(1, 2))
            if images_mc.shape[1]
            else tokens_nND.new_zeros(len(subjects_m), tokens_nND.shape[-1])
            for subjects_m, images_mc in self.groups
        ]
        return torch.cat(means)[self.group_order()]

    def group_order(self) -> Tensor:
        """Indices that bring rows concatenated group by group back to the order of the subjects."""
        return torch.argsort(torch.cat([subjects for subjects, _ in self.groups]))


def pack_images(mask_BV: Tensor) -> ImagePack:
    """Plan which images are encoded and how subjects with equally many images are processed together.

    Args:
        mask_BV: True where an image is real.

    Returns:
        The plan, its index tensors on the mask's device.
    """
    rows: list[int] = []
    subjects: list[int] = []
    by_count: dict[int, tuple[list[int], list[list[int]]]] = {}
    for subject, mask in enumerate(mask_BV.tolist()):
        views = [subject * len(mask) + view for view, real in enumerate(mask) if real]
        members, images = by_count.setdefault(len(views), ([], []))
        members.append(subject)
        images.append(list(range(len(rows), len(rows) + len(views))))
        rows += views
        subjects += [subject] * len(views)

    def index(values: list[int] | list[list[int]], *shape: int) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=mask_BV.device).view(*shape)

    groups = tuple(
        (index(members, -1), index(images, len(members), count))
        for count, (members, images) in sorted(by_count.items())
    )
    return ImagePack(index(rows, -1), index(subjects, -1), groups)


def fourier_features(points_A3: Tensor, bands: int) -> Tensor:
    """Raw coordinates, then sines and cosines at frequencies ``2^k pi`` (LCA section B.1).

    Args:
        points_A3: Positions in metres, ``(..., 3)``.
        bands: Number of octaves.

    Returns:
        Features ``(..., 3 + 6 * bands)``.
    """
    frequencies = math.pi * 2.0 ** torch.arange(bands, device=points_A3.device, dtype=points_A3.dtype)
    angles = (points_A3[..., None] * frequencies).flatten(-2)
    return torch.cat([points_A3, angles.sin(), angles.cos()], dim=-1)


class Tokenizer(nn.Module):
    """Single linear layers that bring image features and anchor positions to the token width (LCA eq. 1-3).

    Args:
        backbone_width: Width of the frozen image features.
        width: Token width ``D``.
        bands: Fourier bands of anchor positions.
    """

    def __init__(self, backbone_width: int, width: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.image_projection = nn.Linear(backbone_width, width)
        self.geometry_projection = nn.Linear(3 + 6 * bands, width)
        self.body_type = nn.Parameter(torch.randn(width) * 0.02)
        self.face_type = nn.Parameter(torch.randn(width) * 0.02)

    def body(self, features_nNC: Tensor) -> Tensor:
        """Tokens ``(n, N, D)`` of full-body images."""
        return self.image_projection(features_nNC) + self.body_type

    def face(self, features_nNC: Tensor) -> Tensor:
        """Tokens ``(n, N, D)`` of face close-ups; the projection is the body's."""
        return self.image_projection(features_nNC) + self.face_type

    def geometry(self, positions_A3: Tensor) -> Tensor:
        """Tokens ``(A, D)`` of anchor positions in metres."""
        return self.geometry_projection(fourier_features(positions_A3, self.bands))
