"""``lca analyze``: pictures and numbers of attention and tokens, and one sentence for what cannot work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lca_lightning
from lca_lightning.avatar.create import PreparedPhotos, ReferencePhoto
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.training.checkpoints import make_block
from tests.cli.commands import lca
from tests.tiny_capture import write_capture

RECIPE = "data:\n  init_args:\n    image_size: [{height}, 48]\n    face_size: [32, 32]\n"


def write_checkpoint(path: Path, rig: AnnyRig, seed: int, height: int = 64, anchors: int = 64) -> Path:
    """An untrained model with attention that is not even."""
    config = AvatarModelConfig(
        backbone="random-tiny", width=32, layers=2, heads=2, anchors=anchors, gaussians_per_anchor=1,
        decoder_hidden=8, adaln_gate_init=0.5, scale_limit_start=0.08, scale_limit_end=0.1,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AvatarModel(config, rig, load_backbone("random-tiny"))
    block = make_block(
        rig="anny", anchors=anchors, backbone="random-tiny", model=config, config=RECIPE.format(height=height)
    )
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "lca": block}, path)
    return path


@pytest.fixture(scope="module")
def checkpoints(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_checkpoint(folder / f"{name}.ckpt", rig, seed) for seed, name in enumerate(("pre", "post"))]


@pytest.fixture(scope="module")
def roots(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    people = dict.fromkeys(("ann", "bob", "cem"), "test")
    return {
        "wild": write_capture(folder / "wild", rig, people, 1, "wild"),
        "studio": write_capture(folder / "studio", rig, {**people, "dan": "val"}, 3, "studio"),
    }


def test_attention_of_a_data_set(
    tmp_path: Path, checkpoints: list[Path], roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", str(checkpoints[0]), "--compare", str(checkpoints[1]), "--out", str(tmp_path)]
    words += ["--root", str(roots["studio"]), "--sets", "2", "--views", "2", "--queries", "nose", "left_hand"]
    assert lca("analyze", "attention", *words) == 0
    text = capsys.readouterr().out
    assert (
        "pre: " in text and "post: " in text and "to the person (evenly" in text and "near the point" in text
    )
    content = json.loads((tmp_path / "attention.json").read_text())
    assert [entry["name"] for entry in content["checkpoints"]] == ["pre", "post"]
    assert len(content["sets"]) == 2 and len(content["sets"][0]["photos"]) == 2
    assert all(entry["largest_relative_error"] < 1e-5 for entry in content["checkpoints"])
    assert Image.open(tmp_path / "attention.png").height > 7 * 220
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attention.json", "attention.png"]


def test_attention_of_own_photos(
    tmp_path: Path, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def prepare(images: Sequence[str], rig: AnnyRig) -> PreparedPhotos:
        looked.append(len(images))
        photos = [np.array(Image.open(path)) for path in images]
        masks = [np.zeros(photo.shape[:2], np.uint8) for photo in photos]
        for mask in masks:
            mask[20:100, 20:60] = 255
        return PreparedPhotos(tuple(map(ReferencePhoto, photos, masks)), rig.neutral_identity())

    monkeypatch.setattr(lca_lightning, "_prepare_photos", prepare)
    Image.new("RGB", (90, 120), (90, 140, 60)).save(tmp_path / "me.png")
    words = ["--ckpt_path", str(checkpoints[0]), "--compare", str(checkpoints[1])]
    words += ["--images", str(tmp_path / "me.png"), "--out", str(tmp_path / "out"), "--head", "1"]
    assert lca("analyze", "attention", *words) == 0
    content = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert content["sets"][0]["photos"] == ["me.png"] and content["head"] == 1
    assert content["checkpoints"][0]["summary"]["nose"]["near"] is None
    assert looked == [1], "the photos are understood once, not for each checkpoint"


def test_tokens(
    tmp_path: Path, checkpoints: list[Path], roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", *map(str, checkpoints), "--names", "before", "after", "--views", "2"]
    words += ["--roots", f"wild={roots['wild']}", str(roots["studio"]), "--split", "test", "val"]
    assert lca("analyze", "tokens", *words, "--out", str(tmp_path)) == 1, "the wild data has no split val"
    assert "no sequence of split 'val'" in capsys.readouterr().err
    assert lca("analyze", "tokens", *words[:-3], "--out", str(tmp_path), "--sets", "1") == 0
    text = capsys.readouterr().out
    assert "before: silhouette" in text and "after: silhouette" in text
    content = json.loads((tmp_path / "tokens.json").read_text())
    domains = [entry["domain"] for entry in content["checkpoints"][0]["subjects"]]
    assert domains == ["wild"] * 3 + ["studio"] * 3
    assert Image.open(tmp_path / "tokens.png").width > 2 * 340


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["attention", "--root", "{studio}", "--ckpt_path", "no.ckpt"], 1, "No checkpoint at no.ckpt"),
        (["attention", "--root", "{studio}", "--queries", "left_hnad"], 2, "did you mean left_hand"),
        (["attention", "--root", "{studio}", "--layer", "9"], 2, "encoder layers 1 to 2, got 9"),
        (["attention", "--root", "{studio}", "--head", "9"], 2, "heads 0 to 1, got 9"),
        (["attention", "--root", "{studio}", "--sequence", "eve"], 1, "no sequence 'eve'"),
        (["attention", "--root", "{studio}", "--views", "0"], 2, "--views must be at least 1, got 0"),
        (["attention", "--root", "nowhere"], 1, "nowhere"),
        (["attention"], 2, "one of the arguments --root --images is required"),
        (["attention", "--root", "{studio}", "--names", "a", "b"], 2, "2 names for 1 checkpoints"),
        (["tokens", "--roots", "a={studio}"], 2, "two data sets or more"),
        (["tokens", "--roots", "a={studio}", "b={studio}", "--subjects", "2"], 1, "a has 2 subjects"),
        ([], 2, "required: attention|tokens"),
    ],
)
def test_what_cannot_work(
    words: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    checkpoints: list[Path],
    roots: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(studio=roots["studio"]) for word in words]
    if words:
        words += [] if "--ckpt_path" in words else ["--ckpt_path", str(checkpoints[0])]
        words += ["--out", str(tmp_path / "out")]
    assert lca("analyze", *words) == status
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and not (tmp_path / "out").exists()


def test_checkpoints_that_do_not_compare(
    tmp_path: Path, checkpoints: list[Path], rig: AnnyRig, roots: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, options, message in (
        ("tall", {"height": 96}, "trained on photos of (96, 48) pixels"),
        ("dense", {"anchors": 96}, "has other anchors than"),
    ):
        other = write_checkpoint(tmp_path / f"{name}.ckpt", rig, 0, **options)  # type: ignore[arg-type]
        words = ["--ckpt_path", str(checkpoints[0]), "--compare", str(other), "--root", str(roots["studio"])]
        assert lca("analyze", "attention", *words, "--out", str(tmp_path / "out")) == 1
        assert message in capsys.readouterr().err


def test_help_shows_the_arguments_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert lca("analyze", "--help") == 0
    shown = capsys.readouterr().out
    assert "--queries" in shown and "--roots" in shown and "Figure 6" in shown
    assert lca("analyze", "attention", "--help") == 0
    assert "back_of_head" in capsys.readouterr().out
