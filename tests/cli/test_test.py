"""`lca test` from end to end: several sets, numbers of references and protocols; its numbers made again."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lca_data_modules import StudioDataModule
from lca_lightning.rig.anny import AnnyRig
from tests import tiny_capture
from tests.cli.commands import lca
from tests.tiny_capture import write_capture

SIZES: dict[str, Any] = {"image_size": [64, 48], "face_size": [32, 32]}


@pytest.fixture(scope="module")
def gaps_root(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """Two test subjects; the mask of the second one's third picture of each camera is empty."""
    root = tmp_path_factory.mktemp("gaps")
    people = {"ann": "train", "bob": "test"}
    write_capture(root, rig, people, 3, "studio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_capture, "draw", _forgetful(tiny_capture.draw))
        return write_capture(root, rig, {"cat": "test"}, 3, "studio")


def _forgetful(draw: Any) -> Any:
    calls = iter(range(1000))

    def drawn(*arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        image, mask = draw(*arguments)
        return image, mask * (next(calls) % tiny_capture.FRAMES != 2)

    return drawn


@pytest.fixture(scope="module")
def report(pretrained: Path, wild_root: Path, gaps_root: Path, tmp_path_factory: Any) -> Iterator[Path]:
    """Folder of a test of two sets with one and two references under two protocols."""
    out = tmp_path_factory.mktemp("report")
    sources = {
        "videos": {
            "class_path": "InTheWildDataModule",
            "init_args": {"root": str(wild_root), "test_targets": 2},
        },
        "stage": {"class_path": "StudioDataModule", "init_args": {"root": str(gaps_root)}},
    }
    options = {"sources": sources, "same_people": False, **SIZES}
    recipe = {"data": {"class_path": "MixtureDataModule", "init_args": options}}
    (out / "mixture.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--ckpt_path", str(pretrained / "last.ckpt"), "--config", str(out / "mixture.yaml")]
    assert lca("test", *words, "--protocol=masked,composite", "--views=1,2", f"--run_dir={out}") == 0
    yield out / "test"


@pytest.fixture(scope="module")
def rows(report: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((report / "metrics.csv").open()))


def test_sets_references_tasks_and_protocols_are_told_apart(report: Path, rows: list[dict[str, str]]) -> None:
    values = json.loads((report / "metrics.json").read_text())
    found = {(r["set"], r["views"], r["task"], r["protocol"]): r for r in values["results"]}
    tasks = {"videos": "self_reenactment", "stage": "novel_view"}
    assert set(found) == {
        (name, views, task, protocol)
        for name, own in tasks.items()
        for views in (1, 2)
        for task in ("all", own)
        for protocol in ("masked", "composite")
    }
    for (name, views, _, protocol), result in found.items():
        of_set = [r for r in rows if (r["set"], r["views"]) == (name, str(views)) and r[f"{protocol}/psnr"]]
        people = {r["subject"] for r in of_set}
        means = [
            np.mean([float(r[f"{protocol}/psnr"]) for r in of_set if r["subject"] == who]) for who in people
        ]
        assert result["scores"]["psnr"] == pytest.approx(np.mean(means), abs=1e-6)
        assert (result["frames"], result["subjects"]) == (len(of_set), len(people))
    assert values["step"] == 4 and re.fullmatch("[0-9a-f]{64}", values["checkpoint_sha256"])
    cost = values["cost"]
    assert cost["gaussians"] == 128 and set(cost["create_seconds_by_views"]) == {"1", "2"}
    assert cost["frame_ms"] == pytest.approx(cost["decode_ms"] + cost["skin_ms"] + cost["raster_ms"])


def test_targets_are_the_same_for_every_number_of_references(rows: list[dict[str, str]]) -> None:
    frames = [{(r["set"], r["subject"], r["frame"]) for r in rows if r["views"] == views} for views in "12"]
    assert frames[0] == frames[1] and 2 * len(frames[0]) == len(rows)


def test_a_frame_without_mask_is_reported_and_not_scored(report: Path, rows: list[dict[str, str]]) -> None:
    empty = [row for row in rows if not row["masked/psnr"]]
    assert {(row["subject"], row["frame"]) for row in empty} == {("stage/cat", "stage/cat_take/cam1/000002")}
    assert all(value == "" for name, value in empty[0].items() if "/" in name)
    values = json.loads((report / "metrics.json").read_text())
    counts = {(r["set"], r["frames_without_mask"]) for r in values["results"]}
    assert counts == {("videos", 0), ("stage", 1), ("stage", 0)}  # the last of the task: its own is unknown
    assert any("1 of" in note and "empty mask" in note for note in values["notes"])
    assert "stage/cat_take/cam1/000002</li>" in (report / "report.html").read_text()


def test_the_page_shows_frames_of_every_set_and_protocol(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", text)
    sections = re.findall(r"<section><h3>(\w+): .*?</section>", text, flags=re.S)
    assert sections.count("best") == 2 * 2 * 2 and sections.count("worst") >= 4
    pictures = re.findall(r"alt='([^']*)' src='data:image/png;base64,([^']+)'", text)
    assert [label for label, _ in pictures[:5]] == [
        "reference 1",
        "truth",
        "prediction",
        "error × 3",
        "masks",
    ]
    truth, prediction, error = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), np.float32)
        for _, content in pictures[1:4]
    )
    assert truth.shape == (64, 48, 3) and truth.std() > 10
    expected = (np.abs(truth - prediction).mean(-1) * 3).clip(0, 255)
    assert np.abs(error[..., 0] - expected).max() <= 5


def test_a_row_is_made_again_from_the_predicted_pictures(
    pretrained: Path, gaps_root: Path, tmp_path: Path
) -> None:
    """PNG files of `lca predict`, and the true pictures from the data: no part of the metrics is used."""
    words = ["--ckpt_path", str(pretrained / "last.ckpt"), "--data", "StudioDataModule"]
    words += [f"--data.init_args.root={gaps_root}", "--data.init_args.test_views=2"]
    for verb in ("test", "predict"):
        assert lca(verb, *words, f"--run_dir={tmp_path}") == 0
    values = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert {(r["set"], r["views"]) for r in values["results"]} == {("studio", 2)}
    data = StudioDataModule(str(gaps_root), test_views=2, test_targets=2, **SIZES)
    batch = data.evaluation_sets("test")["test"][0]
    table = {row["frame"]: row for row in csv.DictReader((tmp_path / "test" / "metrics.csv").open())}
    for t, name in enumerate(batch.frames[0]):
        predicted = np.asarray(Image.open(tmp_path / "predictions" / f"{name}.png"), float) / 255
        true = batch.targets.images_BT3HW[0, t].permute(1, 2, 0).double().numpy()
        mask = batch.targets.masks_BT1HW[0, t, 0].numpy() > 0.5
        error = (predicted - true)[mask]
        assert float(table[name]["masked/psnr"]) == pytest.approx(
            -10 * math.log10((error**2).mean()), abs=0.02
        )
        assert float(table[name]["masked/l1"]) == pytest.approx(np.abs(error).mean(), abs=5e-4)


def test_wrong_requests_are_one_sentence(
    pretrained: Path, wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["test", "--ckpt_path", str(pretrained / "last.ckpt"), f"--run_dir={tmp_path / 'run'}"]
    shutil.copytree(wild_root, tmp_path / "other_rig")
    header = json.loads((wild_root / "dataset.json").read_text())
    (tmp_path / "other_rig" / "dataset.json").write_text(json.dumps({**header, "rig": "mhr"}))
    requests = {
        ("--protocol=masked,blurred",): (2, ["no protocol 'blurred'", "masked, composite, lhm"]),
        ("--views=1,64",): (1, ["--views asks for 64", "max_views"]),
        ("--views=0",): (2, ["--views takes positive numbers"]),
        (f"--data.init_args.root={tmp_path / 'nowhere'}",): (1, ["nowhere"]),
        (f"--data.init_args.root={tmp_path / 'other_rig'}",): (1, ["for the rig 'mhr'", "'anny'"]),
    }
    for words, (status, parts) in requests.items():
        assert lca(*source, *words) == status, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("lca: ") and all(part in error for part in parts), error
    assert not (tmp_path / "run").exists()


def test_a_set_with_nothing_to_test_and_one_without_masks_are_errors(
    pretrained: Path, rig: AnnyRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["test", "--ckpt_path", str(pretrained / "last.ckpt"), f"--run_dir={tmp_path / 'run'}"]
    nobody = write_capture(tmp_path / "nobody", rig, {"ann": "train"}, 1, "wild")
    assert lca(*source, f"--data.init_args.root={nobody}") == 1
    assert "no sequence of split test" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        draw = tiny_capture.draw
        patch.setattr(tiny_capture, "draw", lambda *a: (draw(*a)[0], 0 * draw(*a)[1]))
        blank = write_capture(tmp_path / "blank", rig, {"bob": "test"}, 1, "wild")
    assert lca(*source, f"--data.init_args.root={blank}") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "shows a person in its mask" in error and "check-data" in error
    assert not (tmp_path / "run" / "test").exists()


def test_fewer_frames_than_references_are_told(
    pretrained: Path, rig: AnnyRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_capture(tmp_path / "four_frames", rig, {"bob": "test"}, 2, "studio")
    words = ["--ckpt_path", str(pretrained / "last.ckpt"), "--data=StudioDataModule", "--views=8"]
    words += [f"--data.init_args.root={root}", f"--run_dir={tmp_path}"]
    assert lca("test", *words) == 0
    told = "1 of 1 subjects have fewer usable reference frames"
    assert told in capsys.readouterr().out and told in (tmp_path / "test" / "report.html").read_text()


def test_validation_needs_no_perceptual_score(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca("validate", "--ckpt_path", str(pretrained / "last.ckpt")) == 0
    out = capsys.readouterr().out
    assert "val/psnr" in out and "lpips" not in out
