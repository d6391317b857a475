"""The log line tells the truth: rates against a clock, waiting against a slow loader."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from lca_lightning.batch import Batch
from lca_lightning.training.callbacks import throughput
from lca_lightning.training.callbacks.data_wait import DataWait
from lca_lightning.training.callbacks.throughput import Throughput, log_line, peak_flops, peak_memory_gib
from tests.unit.training.tiny_module import module, quiet_trainer


class Slow(torch.utils.data.IterableDataset):
    """Gives the same batch after a pause, without end."""

    def __init__(self, batch: Batch, pause: float) -> None:
        self.batch, self.pause = batch, pause

    def __iter__(self) -> Iterator[Batch]:
        while True:
            time.sleep(self.pause)
            yield self.batch


class Watch(Callback):
    """Keeps what was logged after each step, and when."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, dict[str, float]]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append((time.perf_counter(), values))


def train(batch: Batch, folder: Path, steps: int, pause: float, **options: Any) -> Watch:
    loader = torch.utils.data.DataLoader(Slow(batch, pause), batch_size=None)
    watch = Watch()
    trainer = quiet_trainer(folder, steps, callbacks=[Throughput(), watch], **options)
    trainer.fit(module(), train_dataloaders=loader)
    return watch


def test_rates_and_waiting_agree_with_the_clock(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pause = 0.25
    watch = train(batch, tmp_path, 6, pause, log_every_n_steps=2, profiler=DataWait())
    (before, _), (after, row) = watch.rows[3], watch.rows[5]
    seconds, frames = after - before, batch.targets.images_BT3HW.shape[1]
    assert row["train/samples_per_second"] == pytest.approx(2 / seconds, rel=0.1)
    assert row["train/images_per_second"] == pytest.approx(2 * frames / seconds, rel=0.1)
    assert row["train/data_wait_share"] == pytest.approx(2 * pause / seconds, abs=0.1)
    assert 0.05 < row["train/peak_memory_gib"] < 64 and "train/mfu" not in row
    out = capsys.readouterr().out
    gflop = float(re.search(r"Training step: ([\d.]+) GFLOP \(.* for 1 subject\(s\), 1 view\(s\)", out)[1])
    assert row["train/tflops"] == pytest.approx(2 * gflop / 1e3 / seconds, rel=0.2)
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    assert [line.split("  ")[0] for line in lines] == ["step 2", "step 4", "step 6"]
    assert f"loss {row['train/loss']:.4f}" in lines[-1] and "MFU -  data " in lines[-1]


def test_under_another_profiler_waiting_is_not_known(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = train(batch, tmp_path, 2, 0.0, log_every_n_steps=1, profiler="simple")
    assert "train/data_wait_share" not in watch.rows[-1][1]
    assert "data -" in capsys.readouterr().out


def test_accumulated_batches_all_count(batch: Batch, tmp_path: Path) -> None:
    watch = train(batch, tmp_path, 3, 0.1, log_every_n_steps=1, accumulate_grad_batches=2)
    seconds = watch.rows[5][0] - watch.rows[3][0]
    assert watch.rows[5][1]["train/samples_per_second"] == pytest.approx(2 / seconds, rel=0.15)


def test_lightning_still_calls_it_so() -> None:
    assert f"[{_TrainingEpochLoop.__name__}].train_dataloader_next" == DataWait.ACTION
    wait = DataWait()
    wait.start("another action")
    wait.stop("another action")
    assert wait.seconds == 0.0
    wait.start(DataWait.ACTION)
    time.sleep(0.02)
    wait.stop(DataWait.ACTION)
    assert 0.02 <= wait.seconds < 0.2 and wait.summary() == ""


def test_line_of_the_log() -> None:
    values = {
        "loss": 0.12345,
        "peak_memory_gib": 61.24,
        "samples_per_second": 3.4,
        "tflops": 412.3,
        "mfu": 0.4171,
        "data_wait_share": 0.031,
    }
    full = "step 100  loss 0.1235  memory 61.2 GiB  3.40 samples/s  412 TFLOP/s  MFU 41.7%  data 3%"
    assert log_line(100, values) == full
    unknown = log_line(7, {"loss": None, "samples_per_second": 2.0})
    assert unknown == "step 7  loss -  memory - GiB  2.00 samples/s  - TFLOP/s  MFU -  data -"


def test_no_peak_is_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(torch.device("cpu"), "32-true") is None
    asked: list[Any] = []
    monkeypatch.setattr(throughput, "get_available_flops", lambda *words: asked.append(words) or 7)
    device = torch.device("cuda:0")
    assert [peak_flops(device, name) for name in ("bf16-mixed", "16-mixed", "32-true")] == [7, 7, 7]
    assert [dtype for _, dtype in asked] == [torch.bfloat16, torch.float16, torch.float32]


def test_memory_is_what_the_system_counts() -> None:
    held = peak_memory_gib(torch.device("cpu"))
    block = torch.ones(2**26)  # 256 MiB, touched
    grown = peak_memory_gib(torch.device("cpu"))
    assert held <= grown and 0.1 < grown < 64
    status = Path("/proc/self/status")
    if status.is_file():
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**20
        assert grown == pytest.approx(peak, rel=0.02)
    del block
