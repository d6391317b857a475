"""Small sets of frames to score."""

from __future__ import annotations

import torch

from lca_lightning.metrics.protocol import ScoredFrames

SUBJECTS = ("ann", "ann", "ann", "bob", "bob")


def make_scored(row: int = 0, height: int = 48, width: int = 40, **changes: object) -> ScoredFrames:
    """Frame ``row`` of five: smooth pictures with an error that grows with the row, rectangular mask."""
    generator = torch.Generator().manual_seed(row)
    coarse = torch.rand(1, 3, 6, 5, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").clamp(0, 1)
    noise = torch.randn(1, 3, height, width, generator=generator) * 0.02 * (row + 1)
    mask = torch.zeros(1, 1, 1, height, width)
    mask[..., 6 : height - 8 - row, 5 : width - 6 + row] = 0.9
    parts = {
        "predicted_BT3HW": (image + noise).clamp(0, 1)[None],
        "alphas_BT1HW": mask,
        "images_BT3HW": image[None],
        "masks_BT1HW": mask,
        "subjects": (SUBJECTS[row % 5],),
        "frames": ((f"clip/front/{row}",),),
    }
    return ScoredFrames(**{**parts, **changes})  # type: ignore[arg-type]
