"""The script that puts a trained model into the package: this checkpoint's scores, no local folders."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.pretrained_models import read_model
from lca_lightning.reports.model_card import BEGIN, END
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.training.checkpoints import make_block

SCRIPT = Path(__file__).parents[2] / "scripts" / "package_model.py"
CONFIG = AvatarModelConfig(
    backbone="random-tiny", width=32, layers=1, heads=2, anchors=64, gaussians_per_anchor=1, decoder_hidden=16
)


@pytest.fixture(scope="module")
def model(rig: AnnyRig) -> AvatarModel:
    torch.manual_seed(0)
    model = AvatarModel(CONFIG, rig, load_backbone("random-tiny"))
    torch.nn.init.normal_(model.canonical_decoder.layers[-1].weight, std=0.05)  # type: ignore[union-attr]
    return model


def scripted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("package_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_packages_a_checkpoint_with_scores_and_renews_the_card(
    model: AvatarModel, tmp_path: Path
) -> None:
    script, run = scripted(), tmp_path / "run"
    block = make_block(
        rig="anny", anchors=64, backbone="random-tiny", model=CONFIG,
        config="data:\n  init_args:\n    root: /home/me/wild\n    image_size: [64, 48]\n",
    )  # fmt: skip
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    (run / "test").mkdir(parents=True)
    torch.save({"state_dict": state, "lca": block, "global_step": 700}, run / "last.ckpt")
    record = {"recipe": "tiny/pretrain", "steps": 700, "git": {"revision": "abc", "dirty": False},
              "data": {"data": {"root": "/home/me/synth/wild", "digest": "2" * 64}}}  # fmt: skip
    (run / "run.json").write_text(json.dumps(record))
    metrics, people = run / "test" / "metrics.json", [f"synthetic-1001-{n:05d}" for n in range(168, 192)]
    rows = [
        f"wild,4,novel_view,{name},a/b/{f},10,{20 + n + f},0.1"
        for n, name in enumerate(people)
        for f in (0, 1)
    ]
    head = "set,views,task,subject,frame,angle,masked/psnr,masked/lpips"
    (run / "test" / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    result = {"set": "wild", "views": 4, "task": "all", "protocol": "masked", "scores": {"psnr": 32.0},
              "frames": 48, "subjects": 24, "frames_without_mask": 0}  # fmt: skip
    metrics.write_text(json.dumps({"checkpoint_sha256": "f" * 64, "results": [result]}))
    card = tmp_path / "CARD.md"
    card.write_text("# Card\n\n" + BEGIN.format(name="tiny")
                    + "\nstale words\n" + END + "\nkept\n")  # fmt: skip
    words = [
        str(run / "last.ckpt"),
        "--metrics",
        str(metrics),
        "--out",
        str(tmp_path / "out"),
        "--card",
        str(card),
    ]
    with pytest.raises(SystemExit, match="measured another checkpoint"):
        script.main(words)
    assert not (tmp_path / "out").exists()
    digest = script.hashlib.sha256((run / "last.ckpt").read_bytes()).hexdigest()
    metrics.write_text(json.dumps({"checkpoint_sha256": digest, "results": [result]}))
    script.main(words)
    description = json.loads((tmp_path / "out" / "tiny.json").read_text())
    assert "/home" not in json.dumps(description), "no folders of the machine"
    assert description["weights"]["rounding_psnr"] > 50
    assert description["training"]["runs"][0]["data"] == {"synth/wild": {"digest": "2" * 64}}
    sliced = description["slices"][0]
    assert sliced["score"] == "masked/psnr" and sliced["slices"][0]["mean"] == pytest.approx(20.5 + 11.5)
    assert {"skin tone", "build", "legs"} <= {entry["kind"] for entry in sliced["slices"]}
    text = card.read_text()
    assert (
        "stale words" not in text
        and text.endswith("\nkept\n")
        and "| wild | 4 | all | masked | 24 | 32.00 | 48 |" in text
    )
    assert "| skin tone | dark |" in text and "tiny/pretrain" in text
    assert read_model("tiny", tmp_path / "out").backbone


def test_unrounded_weights_are_packaged_too(
    model: AvatarModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block = make_block(rig="anny", anchors=64, backbone="random-tiny", model=CONFIG, config="")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "lca": block}, tmp_path / "last.ckpt")
    (tmp_path / "CARD.md").write_text(f"{BEGIN.format(name='tiny')}\n{END}\n")
    data = {"data": {"root": "synth/wild", "digest": "2" * 64}}
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "tiny/pretrain", "data": data}))
    words = [str(tmp_path / "last.ckpt"), "--float32"]
    scripted().main([*words, "--out", str(tmp_path / "out"), "--card", str(tmp_path / "CARD.md")])
    assert read_model("tiny", tmp_path / "out").description["weights"]["precision"] == "float32"
    assert capsys.readouterr().out.startswith("tiny: ")


def test_nothing_ships_without_knowing_its_data(model: AvatarModel, tmp_path: Path) -> None:
    block = make_block(rig="anny", anchors=64, backbone="random-tiny", model=CONFIG, config="")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "lca": block}, tmp_path / "last.ckpt")
    with pytest.raises(SystemExit, match="--data NAME=ROOT"):
        scripted().main([str(tmp_path / "last.ckpt"), "--out", str(tmp_path / "out")])
