"""PLY files: the bytes a viewer expects, and the same picture after reading back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.errors import DataError
from lca_lightning.export.ply import read_ply, write_ply
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.rendering.renderer import Gaussians
from lca_lightning.rendering.selection import choose_renderer


def cloud(count: int = 200) -> Gaussians:
    generator = torch.Generator().manual_seed(4)
    return Gaussians(
        torch.randn(count, 3, generator=generator) * 0.3, torch.randn(count, 4, generator=generator),
        torch.rand(count, 3, generator=generator) * 0.1 + 0.01, torch.rand(count, generator=generator),
        torch.rand(count, 3, generator=generator),
    )  # fmt: skip


def test_the_layout_is_the_one_viewers_read(tmp_path: Path) -> None:
    gaussians = cloud(3)
    content = write_ply(gaussians, tmp_path / "a.ply").read_bytes()
    head, body = content.split(b"end_header\n")
    names = [line.split()[-1].decode() for line in head.split(b"\n") if line.startswith(b"property float")]
    assert names == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    )
    row = np.frombuffer(body, "<f4").reshape(3, 17)[1]
    quaternion = (gaussians.quaternions_G4[1] / gaussians.quaternions_G4[1].norm()).numpy()
    opacity = float(gaussians.opacities_G[1])
    np.testing.assert_allclose(row[:3], gaussians.means_G3[1], rtol=1e-6)
    np.testing.assert_array_equal(row[3:6], 0)
    np.testing.assert_allclose(
        0.5 + row[6:9] * math.sqrt(1 / (4 * math.pi)), gaussians.colors_GC[1], atol=1e-6
    )
    assert row[9] == pytest.approx(math.log(opacity / (1 - opacity)), rel=1e-5)
    np.testing.assert_allclose(np.exp(row[10:13]), gaussians.scales_G3[1], rtol=1e-5)
    np.testing.assert_allclose(row[13:], quaternion, atol=1e-6)


def test_reading_back_gives_the_same_picture(tmp_path: Path) -> None:
    gaussians = cloud()
    again = read_ply(write_ply(gaussians, tmp_path / "a.ply"))
    renderer = choose_renderer("cpu")
    w2c = orbit_cameras(2, torch.zeros(3), 2.5)
    K = intrinsics_from_field_of_view(0.6, 48, 40).expand(2, 3, 3)
    first, second = (renderer(each, w2c, K, 48, 40) for each in (gaussians, again))
    assert float(first.alpha_T1HW.max()) > 0.5
    torch.testing.assert_close(first.color_TCHW, second.color_TCHW, atol=1e-4, rtol=0)
    torch.testing.assert_close(first.alpha_T1HW, second.alpha_T1HW, atol=1e-4, rtol=0)


def test_opacities_of_zero_and_one_stay_finite(tmp_path: Path) -> None:
    gaussians = cloud(2)
    gaussians.opacities_G.copy_(torch.tensor([0.0, 1.0]))
    again = read_ply(write_ply(gaussians, tmp_path / "a.ply"))
    torch.testing.assert_close(again.opacities_G, gaussians.opacities_G, atol=1e-6, rtol=0)


def test_bad_files_and_folders(tmp_path: Path) -> None:
    path = write_ply(cloud(4), tmp_path / "a.ply")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="cut off"):
        read_ply(path)
    path.write_text("ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(DataError, match="not a Gaussian splatting PLY"):
        read_ply(path)
    with pytest.raises(DataError, match="Cannot read"):
        read_ply(tmp_path / "none.ply")
    with pytest.raises(DataError, match="Cannot write"):
        write_ply(cloud(4), path / "b.ply")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ply"]
