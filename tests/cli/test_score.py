"""`lca score` on folders of pictures, right and wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import lca

NAMES = ("ann/front/0", "ann/front/1", "ann/back/0", "bob/front/0")


def save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Predictions that are off by 20 (Ann) and 40 (Bob) of 255 inside the mask, black outside."""
    for index, name in enumerate(NAMES):
        generator = np.random.default_rng(index)
        picture = generator.integers(60, 190, (40, 36, 3))
        mask = np.zeros((40, 36), bool)
        mask[5:30, 4 : 20 + index] = True
        error = 20 if name.startswith("ann") else 40
        save(picture, tmp_path / "gt" / f"{name}.png")
        save(mask * 255, tmp_path / "masks" / f"{name}.png")
        save(np.where(mask[..., None], picture + error, 0), tmp_path / "pred" / f"{name}.png")
    return tmp_path


def score(folder: Path, *words: str, masks: bool = True) -> int:
    masked = ("--masks", str(folder / "masks")) if masks else ()
    words = (*masked, "--out", str(folder / "out"), "--no-lpips", *words)
    return lca("score", "--pred", str(folder / "pred"), "--gt", str(folder / "gt"), *words)


def results(folder: Path) -> dict[str, dict[str, object]]:
    values = json.loads((folder / "out" / "metrics.json").read_text())
    assert (values["format"], values["version"]) == ("lca-metrics", 1)
    assert all(row["set"] == "score" and row["task"] == "all" for row in values["results"])
    return {row["protocol"]: row for row in values["results"]}


def decibels(error: float) -> float:
    return float(-20 * np.log10(error / 255))


def test_three_protocols_by_hand(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(folders, "--protocol", "masked,composite,lhm") == 0
    found = results(folders)
    masked = found["masked"]
    scores = masked["scores"]
    assert (masked["frames"], masked["subjects"], masked["frames_without_mask"]) == (4, 2, 0)
    # by subject, then over subjects: three pictures of Ann count as much as one of Bob
    assert scores["psnr"] == pytest.approx((decibels(20) + decibels(40)) / 2, abs=1e-4)  # type: ignore[index]
    assert scores["l1"] == pytest.approx(30 / 255, abs=1e-6)  # type: ignore[index]
    assert "alpha_iou" not in scores  # type: ignore[operator]  # nobody knows the opacity
    shares = [25 * (16 + index) / (40 * 36) for index in range(4)]
    by_hand = [decibels(20) - 10 * np.log10(share) for share in shares[:3]]
    expected = (np.mean(by_hand) + decibels(40) - 10 * np.log10(shares[3])) / 2
    assert found["composite"]["scores"]["psnr"] == pytest.approx(expected, abs=1e-4)  # type: ignore[index]
    assert found["lhm"]["scores"]["psnr"] < 10  # type: ignore[index]  # black around the person counts there
    rows = list(csv.DictReader((folders / "out" / "metrics.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == sorted(NAMES)
    assert float(rows[3]["masked/psnr"]) == pytest.approx(decibels(40), abs=1e-4)
    assert "masked/psnr_face" not in rows[0]
    shown = capsys.readouterr().out
    assert f"| {(decibels(20) + decibels(40)) / 2:.2f} |" in shown and "Protocol `lhm`" in shown


def test_endings_may_differ_and_opacity_is_used(tmp_path: Path) -> None:
    """A prediction with opacity goes over white, a true picture's opacity is its mask."""
    alpha = np.zeros((40, 40), np.uint8)
    alpha[10:30, 10:30] = 255
    true, predicted = (np.dstack([np.full((40, 40, 3), grey), alpha]) for grey in (100, 110))
    predicted[..., 3] = np.roll(alpha, 10, axis=1)
    save(true, tmp_path / "gt" / "a.png")
    save(predicted, tmp_path / "pred" / "a.PNG")
    assert score(tmp_path, masks=False) == 0
    masked = results(tmp_path)["masked"]
    assert masked["subjects"] == 1
    scores = masked["scores"]
    assert scores["alpha_iou"] == pytest.approx(200 / 600)  # type: ignore[index]
    assert scores["energy_outside"] == pytest.approx(0.5)  # type: ignore[index]
    assert scores["l1"] == pytest.approx((10 + 155) / 2 / 255, abs=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("opaque", [True, False])
def test_pictures_without_a_mask_are_said_to_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opaque: bool
) -> None:
    """Opacity that is full everywhere tells nobody where the person is."""
    alpha = np.full((40, 40, 1), 255)
    alpha[0, 0] = 255 if opaque else 0
    for folder, grey in (("gt", 100), ("pred", 110)):
        save(np.dstack([np.full((40, 40, 3), grey), alpha]), tmp_path / folder / "a.png")
    assert score(tmp_path, masks=False) == 0
    assert ("all of their pixels were scored" in capsys.readouterr().out) == opaque


@pytest.mark.parametrize("mode", ["zero and one", "1", "palette", "16 bits", "opacity"])
def test_every_kind_of_mask_is_understood(folders: Path, mode: str) -> None:
    assert score(folders) == 0
    expected = results(folders)["masked"]["scores"]
    for name in NAMES:
        path = folders / "masks" / f"{name}.png"
        inside = np.asarray(Image.open(path)) > 127
        if mode == "zero and one":
            image = Image.fromarray(inside.astype(np.uint8))
        elif mode == "1":
            image = Image.fromarray(inside)
        elif mode == "palette":
            image = Image.fromarray(inside.astype(np.uint8) * 3, mode="P")
            image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 30, 0, 0])
        elif mode == "16 bits":
            image = Image.fromarray(inside.astype(np.uint16) * 65535)
        else:
            image = Image.fromarray(np.dstack([np.zeros((40, 36, 3), np.uint8), inside * np.uint8(255)]))
        image.save(path)
    assert score(folders) == 0
    assert results(folders)["masked"]["scores"] == expected


def test_empty_masks_are_reported_left_out_and_counted(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(np.zeros((40, 36)), folders / "masks" / f"{NAMES[3]}.png")
    assert score(folders) == 0
    masked = results(folders)["masked"]
    assert (masked["frames"], masked["subjects"], masked["frames_without_mask"]) == (3, 1, 1)
    assert masked["scores"]["psnr"] == pytest.approx(decibels(20), abs=1e-4)  # type: ignore[index]
    assert "1 of 4 pictures have an empty mask and are left out: bob/front/0" in capsys.readouterr().out
    for name in NAMES:
        save(np.zeros((40, 36)), folders / "masks" / f"{name}.png")
    assert score(folders) == 1
    assert "Every one of the 4 masks is empty" in capsys.readouterr().err


def test_missing_counterparts(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "pred" / f"{NAMES[0]}.png").unlink()
    (folders / "masks" / f"{NAMES[3]}.png").unlink()
    assert score(folders) == 1
    message = capsys.readouterr().err
    assert "ann/front/0 has no prediction" in message and "bob/front/0 has no mask" in message
    assert "--allow-missing" in message
    assert score(folders, "--allow-missing") == 0
    assert results(folders)["masked"]["frames"] == 2
    assert "2 names lack a counterpart" in capsys.readouterr().out


def test_sizes_that_differ_are_found_before_anything_is_scored(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(np.zeros((20, 18, 3)), folders / "pred" / f"{NAMES[2]}.png")
    assert score(folders) == 1
    message = capsys.readouterr().err
    assert "back/0.png is 18 x 20" in message and "36 x 40" in message
    assert not (folders / "out").exists()


@pytest.mark.parametrize("spoil", ["text", "truncated"])
def test_unreadable_pictures_are_named(folders: Path, spoil: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folders / "pred" / f"{NAMES[1]}.png"
    path.write_bytes(b"no picture" if spoil == "text" else path.read_bytes()[:900])
    assert score(folders) == 1
    message = capsys.readouterr().err
    assert str(path) in message and "cannot be read as a picture" in message


def test_other_wrong_words(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(folders, "--protocol", "masked,ours") == 2
    assert "There is no protocol 'ours'; --protocol takes masked, composite, lhm" in capsys.readouterr().err
    empty = folders / "empty"
    empty.mkdir()
    words = ("--gt", str(folders / "gt"), "--no-lpips")
    assert lca("score", "--pred", str(empty), *words) == 1
    assert "holds no PNG or JPG file" in capsys.readouterr().err
    assert lca("score", "--pred", str(folders / "nowhere"), *words) == 1
    assert "There is no folder" in capsys.readouterr().err
    save(np.zeros((4, 4)), empty / "other.png")
    assert lca("score", "--pred", str(empty), *words, "--allow-missing") == 1
    assert "names must agree" in capsys.readouterr().err
    twice = folders / "pred" / f"{NAMES[0]}.jpg"
    save(np.zeros((40, 36, 3)), twice)
    assert score(folders) == 1
    assert "have the same name" in capsys.readouterr().err


def test_a_missing_squeezenet_has_a_way_out(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folders))
    words = ("--pred", str(folders / "pred"), "--gt", str(folders / "gt"), "--protocol", "lhm")
    assert lca("score", *words, "--out", str(folders / "out")) == 1
    message = capsys.readouterr().err
    assert "squeezenet1_1" in message and "--no-lpips" in message
