"""Image encoders of the package: what the trained one says of a picture, and life without its file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.errors import CheckpointError
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.model import bundled_encoders
from lca_lightning.model.backbone import load_backbone
from lca_lightning.rendering.mesh import visible_triangles
from lca_lightning.rig.anny import AnnyRig

HEIGHT, WIDTH = 192, 144
COLORS, COVERAGE, HEIGHT_ON_BODY = slice(0, 48), slice(48, 64), 65  # see scripts/train_synthetic_encoder.py


@pytest.fixture(scope="module")
def standing(rig: AnnyRig) -> tuple[torch.Tensor, np.ndarray]:
    """A figure in the rest pose over white, blue above the hips and red below; the height each pixel sees."""
    vertices_V3 = rig.template_vertices_V3.double().numpy()
    middle = torch.from_numpy((vertices_V3.min(0) + vertices_V3.max(0)) / 2).float()
    w2c_44 = orbit_cameras(1, middle, 3.2)[0].double().numpy()
    K_33 = intrinsics_from_field_of_view(0.62, WIDTH, HEIGHT).double().numpy()
    faces_F3 = rig.faces_F3[rig.visible_faces_F].numpy()
    seen_HW = visible_triangles(vertices_V3, faces_F3, w2c_44, K_33, HEIGHT, WIDTH)
    height_HW = np.where(seen_HW >= 0, vertices_V3[faces_F3].mean(1)[seen_HW, 1], np.nan)
    picture_HW3 = np.ones((HEIGHT, WIDTH, 3), np.float32)
    picture_HW3[height_HW >= float(middle[1])] = (0.2, 0.3, 0.8)
    picture_HW3[height_HW < float(middle[1])] = (0.7, 0.2, 0.2)
    return torch.from_numpy(picture_HW3).permute(2, 0, 1)[None], height_HW


def test_tokens_tell_colour_coverage_and_place(standing: tuple[torch.Tensor, np.ndarray]) -> None:
    """A bare figure is none of its training pictures; what it was taught holds all the same."""
    picture, height_HW = standing
    tokens, grid = load_backbone("synthetic-tiny")(picture)
    assert grid == (12, 9) and tokens.shape == (1, 108, 192)
    patches = np.stack(np.split(np.stack(np.split(height_HW, 9, 1)), 12, 1), 0).reshape(108, 16, 16)
    covered = torch.from_numpy(np.isfinite(patches).mean((1, 2))).float()
    told = (tokens[0, :, COVERAGE].mean(-1) + 1) / 2
    assert float((told - covered).abs().mean()) < 0.06
    colors = picture[0].view(3, 12, 4, 4, 9, 4, 4).mean((3, 6)).permute(1, 3, 2, 4, 0).reshape(108, 48)
    assert float((tokens[0, :, COLORS] / 4 + 0.5 - colors).abs().mean()) < 0.06
    heights, counts = np.nan_to_num(patches).sum((1, 2)), np.isfinite(patches).sum((1, 2))
    true = torch.from_numpy(heights / counts.clip(1)).float()
    inside = covered > 0.5
    correlation = torch.corrcoef(torch.stack([tokens[0, inside, HEIGHT_ON_BODY], true[inside]]))[0, 1]
    assert float(correlation) > 0.8


def test_weights_are_small_and_the_same_each_time() -> None:
    path = bundled_encoders.ASSETS / "synthetic-tiny" / "model.safetensors"
    assert path.stat().st_size < 4 * 2**20
    first, second = (load_backbone("synthetic-tiny").network.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_a_missing_or_damaged_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content:
        shutil.copytree(bundled_encoders.ASSETS / "synthetic-tiny", tmp_path / "synthetic-tiny")
        (tmp_path / "synthetic-tiny" / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(bundled_encoders, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError, match="install lca-lightning again") as caught:
        load_backbone("synthetic-tiny")
    assert "\n" not in str(caught.value)
