"""`lca doctor` reports without failing, as text and as JSON, and refuses devices that are not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lca_lightning.cli import doctor
from lca_lightning.cli.main import main


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
