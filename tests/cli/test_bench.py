"""``lca bench``: writes the agreed file, teaches in its help, and refuses wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lca_lightning.cli.bench import BENCHMARKS
from lca_lightning.cli.main import main


def test_decode_prints_a_table_and_writes_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "decode.json"
    main(["bench", "decode", "--size", "tiny", "--rounds", "1", "--device", "cpu", "--json", str(path)])
    shown = capsys.readouterr().out
    assert "plain concatenated MLP" in shown and f"Wrote {path}" in shown
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["benchmark"] == "decode" and found["measurements"][0]["ratio"] > 0


def test_help_lists_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--help"])
    shown = capsys.readouterr().out
    for name in BENCHMARKS:
        assert f"  {name} " in shown


@pytest.mark.parametrize(
    "words",
    [
        ["bench"],
        ["bench", "unknown"],
        ["bench", "raster", "--rounds", "0"],
        ["bench", "raster", "--device", "tpu"],
        ["bench", "frame", "--size", "huge"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_device_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "decode", "--device", "cuda"])
    assert stop.value.code == 1
    assert "no CUDA device" in capsys.readouterr().err
