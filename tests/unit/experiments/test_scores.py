"""Scores of a test by subject, from its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_lightning.errors import DataError
from lca_lightning.experiments.scores import frames_between, read_frames, subject_means

ROWS = """\
set,views,task,subject,frame,angle,masked/psnr,composite/psnr
studio,4,novel_view,a,a/c0/0,10,20,11
studio,4,novel_view,a,a/c0/1,95,22,11
studio,4,novel_view,b,b/c0/0,180,30,11
studio,4,novel_view,b,b/c0/1,,,11
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(ROWS)
    return path


def test_means_are_by_subject_and_leave_out_frames_without_a_score(table: Path) -> None:
    frames = read_frames(table, "masked")
    assert subject_means(frames, "psnr") == {"a": 21.0, "b": 30.0}
    assert subject_means(read_frames(table, "composite"), "psnr") == {"a": 11.0, "b": 11.0}


def test_frames_are_chosen_by_angle(table: Path) -> None:
    frames = read_frames(table, "masked")
    far = frames_between(frames, (90.0, 180.0))
    assert far == {"a/c0/1", "b/c0/0"}
    assert subject_means(frames, "psnr", far) == {"a": 22.0, "b": 30.0}


def test_another_protocol_or_score_is_refused(table: Path) -> None:
    with pytest.raises(DataError, match="no score of protocol lhm"):
        read_frames(table, "lhm")
    with pytest.raises(DataError, match="There is no score 'ssim'; the test has psnr"):
        subject_means(read_frames(table, "masked"), "ssim")


def test_an_empty_test_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(ROWS.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="test set is empty"):
        read_frames(path, "masked")
