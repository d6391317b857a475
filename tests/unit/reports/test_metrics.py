"""Written results of a test: means by hand, files that others read, a page that stands alone."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lca_lightning.reports.metrics_files import write_metrics_csv, write_metrics_json
from lca_lightning.reports.metrics_table import metrics_table
from lca_lightning.reports.results import NOVEL_VIEW, SELF_REENACTMENT, FrameResult, TestResults
from lca_lightning.reports.selection import ShownFrame, chosen_frames
from lca_lightning.reports.test_page import write_test_page


def frame(
    subject: str, number: int, psnr: float, task: str = NOVEL_VIEW, views: int = 4, name: str = "studio"
) -> FrameResult:
    scores = {
        "masked": {"psnr": psnr, "psnr_face": math.nan, "l1": psnr / 100},
        "composite": {"psnr": psnr + 10 if number else psnr - 10, "ssim": psnr / 50},
    }
    return FrameResult(name, views, task, subject, f"take/cam/{number:06d}", math.nan, min(views, 3), scores)


@pytest.fixture
def results() -> TestResults:
    frames = [
        frame("ann", 0, 10.0),
        frame("ann", 1, 20.0),
        frame("ann", 2, 30.0, SELF_REENACTMENT),
        frame("bob", 0, 40.0),
        frame("bob", 1, math.nan),
        frame("<ann>", 0, 15.0, views=1, name="wild"),
    ]
    cost = {"create_seconds": 0.5, "frame_ms": 12.0, "device": "cpu", "views": 4, "measured_subjects": 2}
    return TestResults(
        frames, ("masked", "composite"), "runs/x/last.ckpt", "ab" * 32, 500, cost, ("A remark.",)
    )


def test_means_go_by_subject_and_leave_empty_masks_out(results: TestResults, tmp_path: Path) -> None:
    path = write_metrics_json(results, tmp_path / "metrics.json")
    values = json.loads(path.read_text())
    assert (values["format"], values["version"], values["step"]) == ("lca-metrics", 1, 500)
    found = {(r["set"], r["views"], r["task"], r["protocol"]): r for r in values["results"]}
    assert len(found) == len(values["results"]) == 2 * (3 + 2)
    everything = found["studio", 4, "all", "masked"]
    assert everything["scores"] == pytest.approx({"psnr": (20 + 40) / 2, "l1": 0.3})  # no psnr_face anywhere
    assert (everything["frames"], everything["subjects"], everything["frames_without_mask"]) == (4, 2, 1)
    novel = found["studio", 4, "novel_view", "masked"]
    assert novel["scores"]["psnr"] == pytest.approx((15 + 40) / 2) and novel["frames"] == 3
    assert found["studio", 4, "self_reenactment", "composite"]["scores"]["psnr"] == pytest.approx(40)
    assert found["wild", 1, "all", "masked"]["scores"]["psnr"] == 15
    assert values["cost"]["frame_ms"] == 12.0 and values["notes"][0] == "A remark."
    assert any("1 of 5 frames have an empty mask" in note for note in values["notes"])
    assert any("2 of 2 subjects have fewer" in note and "some from 3" in note for note in values["notes"])


def test_every_frame_has_a_row_and_unknown_values_are_empty(results: TestResults, tmp_path: Path) -> None:
    path = write_metrics_csv(results, tmp_path / "metrics.csv")
    rows = list(csv.DictReader(path.open()))
    assert list(rows[0])[:6] == ["set", "views", "task", "subject", "frame", "angle"]
    assert list(rows[0])[6:] == ["masked/psnr", "masked/l1", "composite/psnr", "composite/ssim"]
    assert len(rows) == 6 and rows[2]["task"] == "self_reenactment"
    assert float(rows[1]["masked/psnr"]) == 20 and float(rows[1]["composite/psnr"]) == 30
    assert rows[4]["masked/psnr"] == rows[4]["composite/ssim"] == rows[0]["angle"] == ""


def test_protocols_are_never_in_one_table(results: TestResults) -> None:
    text = metrics_table(results)
    tables = re.split(r"^## ", text, flags=re.M)[1:]
    assert [part.splitlines()[0] for part in tables] == ["Protocol `masked`", "Protocol `composite`"]
    assert "ssim" not in tables[0] and "l1 ↓" in tables[0] and "l1" not in tables[1] and "ssim ↑" in tables[1]
    assert "| studio | 4 | novel_view | 27.50 | 0.2750 | 3 | 2 | 1 |" in tables[0]
    assert tables[0].count("\n| ") == 1 + 3 + 2


def test_targets_that_differ_between_numbers_of_references_are_told() -> None:
    same = TestResults([frame("ann", 0, 1.0, views=1), frame("ann", 0, 2.0, views=2)], ("masked",))
    other = TestResults([frame("ann", 0, 1.0, views=1), frame("ann", 1, 2.0, views=2)], ("masked",))
    assert same.notes() == [] and "target frames differ" in other.notes()[0]
    assert [summary.views for summary in same.summaries() if summary.task == "all"] == [1, 2]


def test_best_median_and_worst_are_of_each_protocol_and_set(results: TestResults) -> None:
    chosen = [
        (s.protocol, s.result.set, s.rank, s.result.subject, s.result.frame[-1])
        for s in chosen_frames(results)
    ]
    assert chosen == [
        ("masked", "studio", "best", "bob", "0"),
        ("masked", "studio", "median", "ann", "1"),
        ("masked", "studio", "worst", "ann", "0"),
        ("masked", "wild", "best", "<ann>", "0"),
        ("composite", "studio", "best", "ann", "2"),
        ("composite", "studio", "median", "bob", "0"),
        ("composite", "studio", "worst", "ann", "0"),
        ("composite", "wild", "best", "<ann>", "0"),
    ]


def test_the_page_stands_alone_and_shows_what_was_chosen(results: TestResults, tmp_path: Path) -> None:
    red = np.zeros((40, 30, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    shown = [
        ShownFrame(s.rank, s.protocol, s.result, {"truth": red, "prediction": red // 2})
        for s in chosen_frames(results)
    ]
    text = write_test_page(results, shown, tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", text) and "<ann>" not in text and "&lt;ann&gt;" in text
    pictures = re.findall(r"alt='(\w+)' src='data:image/png;base64,([^']+)'", text)
    assert [label for label, _ in pictures] == ["truth", "prediction"] * 8
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[1][1]))))
    assert pixels.shape == (40, 30, 3) and (pixels == [127, 0, 0]).all()
    assert text.count("<table>") == 3 and "create an avatar" in text and "0.500 s" in text
    assert "Frames without a mask" in text and "bob, take/cam/000001" in text
    heads = re.findall(r"<h2>(.*?)</h2>", text)
    assert heads.index("Best, median and worst frames, masked") > heads.index("Cost")
