"""Turntables show the measured avatar from all sides, and training does not notice them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import av
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.errors import NonFiniteError
from lca_lightning.geometry.cameras import orbit_cameras
from lca_lightning.training.callbacks import turntables
from lca_lightning.training.callbacks.image_grids import ImageGrids
from lca_lightning.training.callbacks.logged_pictures import log_picture
from lca_lightning.training.callbacks.turntables import (
    Turntables,
    circle_around,
    contact_sheet,
    turn_around,
)
from tests.unit.training.line_module import Line, LineData
from tests.unit.training.tiny_module import module, quiet_trainer


class Losses(pl.Callback):
    """Keeps every loss and the state of the generators after every step."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        """Note them."""
        state = torch.get_rng_state().sum(), np.random.get_state()[1].sum(), hash(random.getstate())
        self.values.append((float(outputs["loss"]), *map(int, state)))


@pytest.fixture
def validated(validated_root: Path) -> StudioDataModule:
    """One subject to learn from, one to validate."""
    sizes = dict(image_size=(64, 48), face_size=(32, 32), views=(1,), test_views=1)
    return StudioDataModule(str(validated_root), val_targets=2, **sizes)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without a model."""
    monkeypatch.setattr(turntables, "turn_around", lambda model, batch, views: torch.rand(views, 3, 8, 6))


def losses(folder: Path, data: StudioDataModule | None, *callbacks: pl.Callback, **options: Any) -> list[Any]:
    """Train four steps with two validations; the line where there are no pictures to learn from."""
    seen = Losses()
    options |= dict(val_check_interval=2, check_val_every_n_epoch=None, callbacks=[*callbacks, seen])
    quiet_trainer(folder, 4, **options).fit(Line() if data is None else module(), data or LineData())
    return seen.values


def test_training_does_not_notice(
    tmp_path: Path, validated: StudioDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = losses(tmp_path / "without", validated)
    real = turn_around

    def careless(*arguments: Any) -> Tensor:
        torch.rand(3), np.random.rand(), random.random()
        return real(*arguments)

    monkeypatch.setattr(turntables, "turn_around", careless)
    assert losses(tmp_path / "with", validated, Turntables(views=4), ImageGrids(1)) == without
    assert len(without) == 4
    assert {p.name for p in (tmp_path / "with" / "turntables").iterdir()} == {"0000002.mp4", "0000004.mp4"}


def test_files_and_pictures_are_what_was_rendered(tmp_path: Path, validated: StudioDataModule) -> None:
    logger = TensorBoardLogger(tmp_path, name="tensorboard", version="")
    shown = Turntables(views=5), ImageGrids(2)
    losses(tmp_path, validated, *shown, logger=[logger, CSVLogger(tmp_path)])
    with av.open(str(tmp_path / "turntables" / "0000004.mp4")) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(pictures) == 5 and pictures[0].shape == (64, 48, 3)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"train/grid", "validation/grid", "validation/turntable"} == set(events.Tags()["images"])
    sheets = events.Images("validation/turntable")
    assert [event.step for event in sheets] == [2, 4]
    assert (sheets[0].width, sheets[0].height) == (4 * 48, 2 * 64)


@pytest.mark.usefixtures("drawn")
def test_the_rhythm_outlives_a_resume(tmp_path: Path) -> None:
    callback = Turntables(every_n_validations=2, views=2)
    losses(tmp_path, None, callback)
    assert [path.name for path in (tmp_path / "turntables").iterdir()] == ["0000004.mp4"]
    assert callback.state_dict() == {"validations": 2}
    again = Turntables(every_n_validations=3, views=2)
    again.load_state_dict(callback.state_dict())
    losses(tmp_path / "resumed", None, again)
    assert [path.name for path in (tmp_path / "resumed" / "turntables").iterdir()] == ["0000002.mp4"]
    losses(tmp_path / "none", None, Turntables(every_n_validations=0))
    assert not (tmp_path / "none" / "turntables").exists()


def test_a_picture_that_fails_does_not_end_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> Tensor:
        raise NonFiniteError("means_G3 holds NaN.")

    monkeypatch.setattr(turntables, "turn_around", fail)
    assert len(losses(tmp_path, None, Turntables())) == 4
    assert "No turntable at step 2: means_G3 holds NaN." in capsys.readouterr().out


def test_the_first_view_is_the_target(batch: Batch) -> None:
    trained = module().eval()
    views_N3HW = turn_around(trained.model, batch, 3)
    with torch.no_grad():
        expected_3HW = trained.model(batch).animated.images_BT3HW[0, 0]
    torch.testing.assert_close(views_N3HW[0], expected_3HW)
    assert (views_N3HW[1] - views_N3HW[0]).abs().max() > 0.05 and not views_N3HW.requires_grad


def test_cameras_keep_height_and_distance() -> None:
    center_3 = torch.tensor([0.3, 0.9, -0.2])
    expected_N44 = orbit_cameras(6, center_3, 2.5, elevation=0.3)
    torch.testing.assert_close(circle_around(expected_N44[0], center_3, 6), expected_N44, atol=1e-5, rtol=0.0)


def test_the_sheet_spreads_its_tiles() -> None:
    images_N3HW = torch.arange(16.0)[:, None, None, None].expand(16, 3, 2, 2) / 16
    sheet_3HW = contact_sheet(images_N3HW)
    assert sheet_3HW.shape == (3, 4, 8)
    assert (sheet_3HW[0, ::2, ::2].flatten() * 16).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert contact_sheet(images_N3HW[:1]).shape == (3, 2, 2)
    assert contact_sheet(images_N3HW[:5]).shape == (3, 4, 8)
    assert contact_sheet(images_N3HW[:5])[:, 2:, 2:].eq(1.0).all()


@pytest.mark.slow
def test_weights_and_biases_get_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    from lightning.pytorch.loggers import WandbLogger

    from lca_lightning.training.callbacks.logged_pictures import log_video

    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    logger = WandbLogger(save_dir=tmp_path, project="test")
    image_3HW = torch.rand(3, 8, 6)
    log_picture([logger], "validation/grid", image_3HW, 7)
    path = tmp_path / "turn.mp4"
    with turntables.VideoWriter(path, 8, 6, 8) as video:
        video.add(np.zeros((8, 6, 3), np.uint8))
    log_video([logger], "validation/turn", path, 7)
    logger.experiment.finish()
    (picture,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/validation/grid_*.png")
    stored_3HW = torch.from_numpy(np.array(Image.open(picture)) / 255.0).permute(2, 0, 1)
    assert (stored_3HW - image_3HW).abs().max() < 0.003
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/videos/validation/turn_*.mp4"))
