"""Wiring of the module: reproducible steps, errors that name the loss term, gradients everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.datasets.augment import AugmentationConfig
from lca_lightning.errors import NonFiniteError
from lca_lightning.losses.reconstruction import LossConfig
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.training.evaluation import TestReport
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig
from lca_lightning.training.pictures import COLUMNS, Rendered, picture_grid
from tests.tiny_capture import write_capture

SIZES = {
    "width": 16,
    "heads": 2,
    "layers": 2,
    "anchors": 64,
    "gaussians_per_anchor": 2,
    "decoder_hidden": 8,
    "adaln_gate_init": 0.2,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on matrices this small only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> StudioDataModule:
    root = write_capture(tmp_path_factory.mktemp("studio"), rig, {"ann": "train"}, 2, "studio")
    return StudioDataModule(str(root), image_size=(64, 48), face_size=(32, 32), views=(1,), test_views=1)


@pytest.fixture(scope="module")
def batch(data: StudioDataModule) -> Batch:
    return next(iter(data.train_dataloader()))


def module(**optimizer: float) -> LCALightningModule:
    """A tiny module, the same at every call."""
    seed_everything(0, verbose=False)
    return LCALightningModule(
        AvatarModelConfig(backbone="random-tiny", **SIZES),
        LossConfig(perceptual_weight=0.0),
        OptimizerConfig(warmup_steps=1, **optimizer),
        AugmentationConfig(),
    )


def quiet_trainer(folder: Path, steps: int) -> Trainer:
    """Nothing but the loop."""
    options = dict(
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, logger=False
    )
    return Trainer(max_steps=steps, accelerator="cpu", default_root_dir=folder, **options)


def test_every_trained_parameter_learns(data: StudioDataModule, tmp_path: Path) -> None:
    subject = module(learning_rate=1e-3, weight_decay=0.0)
    before = {name: value.clone() for name, value in subject.named_parameters()}
    quiet_trainer(tmp_path, 6).fit(subject, datamodule=data)
    still = [name for name, value in subject.named_parameters() if torch.equal(before[name], value)]
    assert not still


def test_a_step_draws_from_seed_and_step_alone(batch: Batch) -> None:
    subject = module()
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=7, global_rank=0)
    object.__setattr__(subject, "_trainer", trainer)
    subject.on_train_batch_start(batch, 7)
    first = torch.rand(3)
    torch.rand(100)
    subject.on_train_batch_start(batch, 7)
    assert torch.equal(torch.rand(3), first)
    trainer.global_step = 8
    subject.on_train_batch_start(batch, 8)
    assert not torch.equal(torch.rand(3), first)


def test_a_loss_that_is_no_number_names_its_term(batch: Batch) -> None:
    subject = module()
    terms = {"animated/l1": torch.tensor(1.0), "scale": torch.tensor(float("nan"))}
    with pytest.raises(NonFiniteError, match=r"Loss term scale is not finite at step 0 \(frame ann_take/cam"):
        subject._check_finite({**terms, "total": torch.tensor(float("nan"))}, batch)
    subject._check_finite({"animated/l1": torch.tensor(1.0), "total": torch.tensor(1.0)}, batch)


def test_frozen_networks_stay_out_of_state_and_parameters() -> None:
    subject = LCALightningModule(
        AvatarModelConfig(backbone="random-tiny", **SIZES),
        LossConfig(perceptual_net="alex"),
        OptimizerConfig(),
        AugmentationConfig(),
    )
    names = {*subject.state_dict(), *(name for name, _ in subject.named_parameters())}
    assert not [name for name in names if "backbone" in name or "perceptual" in name or ".rig." in name]
    subject.train()
    assert subject.losses.perceptual is not None
    assert not subject.losses.perceptual.network.training and not subject.model.backbone.network.training


def test_grids_show_the_batch_as_it_was_learned_from(data: StudioDataModule, tmp_path: Path) -> None:
    subject = module()
    subject.augmentation = AugmentationConfig(recolor_probability=1.0)
    given: list[Batch] = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: object, batch: Batch, index: int) -> None:
            given.append(batch)

    trainer = quiet_trainer(tmp_path, 1)
    trainer.callbacks.append(Watch())
    trainer.fit(subject, datamodule=data)
    assert subject.rendered is not None
    shown = subject.rendered[0].targets.images_BT3HW
    assert (shown - given[0].targets.images_BT3HW).abs().max() > 0.05


def rendered(batch: Batch, color: float) -> Rendered:
    """A rendering of one colour everywhere."""
    images = torch.full_like(batch.targets.images_BT3HW, color)
    background = torch.ones(*images.shape[:2], 3)
    return Rendered(images, images, torch.ones_like(batch.targets.masks_BT1HW), background)


def test_picture_grid_shows_known_values(batch: Batch) -> None:
    frames, height, width = batch.targets.images_BT3HW.shape[1], 64, 48
    grid = picture_grid(batch, rendered(batch, 1.0), rows=frames)
    assert grid.shape == (3, frames * height, (len(COLUMNS) + 1) * width)
    mask = batch.targets.masks_BT1HW[0, 0]
    target, animated, error, masks = (grid[:, :height, i * width : (i + 1) * width] for i in (2, 3, 5, 6))
    assert torch.allclose(target, mask * batch.targets.images_BT3HW[0, 0] + 1 - mask)
    assert torch.equal(animated, torch.ones_like(animated))
    assert torch.allclose(error[0], ((1 - target).abs().mean(0) * 3).clamp(0, 1), atol=1e-6)
    assert torch.equal(masks[0], torch.ones(height, width)) and torch.allclose(
        masks[1:], mask.expand(2, -1, -1)
    )


def test_report_keeps_a_frame_seen_twice_once(batch: Batch, tmp_path: Path) -> None:
    report = TestReport(pictures=1)
    frames = batch.targets.images_BT3HW.shape[1]
    scores = torch.arange(2.0 * frames).reshape(frames, 2)
    for repeated in (scores, scores + 100):
        report.add(batch, rendered(batch, 0.5), ("psnr", "l1"), repeated)
    summary = report.write(tmp_path, {"psnr": 1.0, "l1": 2.0, "frames": frames, "subjects": 1}, "x.ckpt")
    assert summary["protocols"] == {"masked": {"psnr": 1.0, "l1": 2.0}} and summary["frames"] == frames
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "subject,frame,psnr,l1" and len(lines) == 1 + len(set(batch.frames[0]))
    assert not report.rows and not report.sheet
