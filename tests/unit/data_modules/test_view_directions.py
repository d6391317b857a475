"""References know from where they look at the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lca_data_modules.studio import StudioDataModule
from lca_lightning.datasets.takes import camera_yaws
from lca_lightning.metrics.views import nearest_view_angles


def test_references_carry_directions_and_targets_get_angles(studio_root: Path) -> None:
    """Against the yaws that the choice of references goes by, which another routine computes."""
    data = StudioDataModule(
        str(studio_root), image_size=(32, 24), face_size=(32, 32), num_workers=0, test_views=2,
        test_frame_fraction=0.5,
    )  # fmt: skip
    data.setup("test")
    samples = data.test_dataloader().dataset
    item, batch = samples.items[0], samples[0]  # type: ignore[attr-defined,index]
    sequence = samples.dataset.sequence(item.position)  # type: ignore[attr-defined]
    names = sorted({shot.camera for shot in (*item.references, *item.targets)})
    yaws = {name: row for name, row in zip(names, camera_yaws(sequence, names), strict=True)}
    directions = batch.references.directions_BV3
    assert directions is not None
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(1, len(item.references)))
    got = torch.atan2(directions[0, :, 0], directions[0, :, 2]).numpy()
    references = np.array([yaws[shot.camera][shot.frame] for shot in item.references])
    np.testing.assert_allclose(got, references, atol=1e-5)
    targets = np.array([yaws[shot.camera][shot.frame] for shot in item.targets])
    turn = np.abs((targets[:, None] - references[None] + np.pi) % (2 * np.pi) - np.pi)
    angles = nearest_view_angles(batch)
    assert angles is not None
    np.testing.assert_allclose(angles[0].numpy(), np.rad2deg(turn.min(1)), atol=1e-2)
