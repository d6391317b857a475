"""The bar counts the whole run: rate of this command, time left to the end, loss and validation score."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from tqdm import tqdm

from lca_lightning.training.callbacks.progress import Progress
from tests.unit.training.line_module import Line, LineData
from tests.unit.training.tiny_module import quiet_trainer

STEP_SECONDS = 0.05


class Slow(pl.Callback):
    """Makes steps last, and keeps what the bar would print after each.

    Args:
        progress: Whose bar to read.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: list[dict[str, Any]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Take some time."""
        time.sleep(STEP_SECONDS)

    def on_train_batch_end(self, *_: Any) -> None:
        """Read the bar; callbacks run in the order they are given."""
        assert self.progress._training is not None
        self.bars.append(dict(self.progress._training.format_dict))


def fit(folder: Path, steps: int, checkpoint: str | None = None) -> tuple[list[dict[str, Any]], pl.Trainer]:
    """Train with a bar."""
    progress = Progress()
    slow = Slow(progress)
    options: dict[str, Any] = dict(
        enable_progress_bar=True, val_check_interval=1, check_val_every_n_epoch=None
    )
    trainer = quiet_trainer(folder, steps, callbacks=[progress, slow], **options)
    trainer.fit(Line(), LineData(), ckpt_path=checkpoint, weights_only=True)
    return slow.bars, trainer


def test_time_left_is_that_of_the_whole_run_also_after_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, trainer = fit(tmp_path, 4)
    text = capsys.readouterr().err
    last = re.split(r"[\r\n]+", text.strip())[-1]
    assert re.search(r"fit: 100%.*4/4 \[00:0\d<00:00, .*(step/s|s/step), train/loss=.*, val/psnr=1\d\]", last)
    trainer.save_checkpoint(tmp_path / "four.ckpt")
    bars, _ = fit(tmp_path, 12, str(tmp_path / "four.ckpt"))
    assert [bar["n"] for bar in bars] == list(range(5, 13)) and bars[0]["total"] == 12
    middle = bars[3]
    done = (middle["n"] - middle["initial"]) / middle["elapsed"]
    assert middle["initial"] == 4 and 0.0 < done < 1.0 / STEP_SECONDS
    longer = {**middle, "total": 12 + 10_000, "ncols": 120}
    drawn = tqdm.format_meter(**longer)
    hours, minutes, seconds = [0, *map(int, re.search(r"<([\d:]+),", drawn)[1].split(":"))][-3:]  # type: ignore[index]
    left = 3600 * hours + 60 * minutes + seconds
    assert left == pytest.approx((10_000 + 4) / done, abs=1.0)
    assert f"{done:5.2f}step/s" in drawn
    resumed = capsys.readouterr().err
    assert " 4/12 [00:00<?" in resumed and "12/12" in resumed


def test_a_log_file_is_not_filled_with_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, 12)
    text = capsys.readouterr().err
    assert 2 <= text.count("fit:") <= 3 and "validate" not in text  # begin and end


def test_values_are_read_when_the_bar_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = Progress._show_values
    monkeypatch.setattr(
        Progress, "_show_values", lambda self, t: (reads.append(t.global_step), real(self, t))
    )
    fit(tmp_path, 8)
    assert reads == [1, 8]


def test_a_terminal_sees_every_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fit(tmp_path, 16)
    text = capsys.readouterr().err
    assert text.count("validate: ") > 12 and text.count("fit:") > 4
