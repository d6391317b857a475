"""`lca demo` from nothing to an avatar, at a size of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lca_lightning.datasets.video import probe_video
from tests.cli.commands import lca

pytest.importorskip("mitsuba")


def test_the_demo_goes_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--subjects", "2", "--frames", "6", "--steps", "1", "--size", "64x48")
    assert lca("demo", "--out", str(tmp_path), *words) == 0
    assert "Written:" in capsys.readouterr().out.splitlines()[-2]
    with Image.open(tmp_path / "contact_sheet.png") as sheet:  # four rows of four pictures
        assert sheet.height > 4 * 320
    assert probe_video(tmp_path / "turntable.mp4").frames == 96
    table = (tmp_path / "metrics.md").read_text()
    assert "## Protocol `masked`" in table and "psnr ↑" in table and table.count(" | 2 | 1 | 0 |") == 2


def test_a_demo_without_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca("demo", "--out", str(tmp_path / "demo"), "--steps", "0") == 2
    assert "--steps must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
