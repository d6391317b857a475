"""Wiring of the module: reproducible steps on any number of processes, gradients everywhere and logged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lca_data_modules import StudioDataModule
from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.batch import Batch
from lca_lightning.losses.reconstruction import LossConfig
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig
from lca_lightning.training.pictures import COLUMNS, Rendered, picture_grid
from tests.unit.augmentation.scenes import EVERYTHING
from tests.unit.training.tiny_module import SIZES, module, quiet_trainer


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


def losses_of(
    subject: LCALightningModule, batch: Batch, rank: int, monkeypatch: pytest.MonkeyPatch
) -> torch.Tensor:
    """The loss a process would compute at step 5, without a trainer around it."""
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=5, global_rank=rank)
    trainer.optimizers = [SimpleNamespace(param_groups=[{"lr": 0.0}])]
    object.__setattr__(subject, "_trainer", trainer)
    monkeypatch.setattr(subject, "log_dict", lambda *_, **__: None)
    subject.model.train()
    return subject.training_step(batch, 5).detach()


def test_two_processes_compute_what_one_does_with_twice_the_batch(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = module(avatar={"identity_dropout": 0.5, "scale_limit_start": 0.05})
    subject.augmentation = Augmentation(EVERYTHING, subject.model.rig)
    both = losses_of(subject, Batch.collate([batch, batch]), 0, monkeypatch)
    apart = [losses_of(subject, batch, rank, monkeypatch) for rank in (0, 1)]
    torch.testing.assert_close(torch.stack(apart).mean(), both, rtol=1e-5, atol=1e-6)
    assert abs(apart[0] - apart[1]) > 1e-3  # the same sample, drawn for differently


def test_gradients_of_all_parts_are_logged_before_clipping(data: StudioDataModule, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []

    class Watch(Callback):
        def on_before_zero_grad(self, trainer: Trainer, pl_module: LCALightningModule, _: object) -> None:
            """Gradients as they were applied."""
            clipped = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
            if clipped:
                logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
                seen.append(logged | {"clipped": float(torch.stack(clipped).norm())})

    options = dict(callbacks=[Watch()], gradient_clip_val=1e-3, log_every_n_steps=1)
    quiet_trainer(tmp_path, 3, **options).fit(module(), datamodule=data)
    norms = {name.rsplit("/")[-1]: value for name, value in seen[-1].items() if "gradient_norm" in name}
    assert set(norms) == {"tokenizer", "encoder", "canonical_decoder", "pose_decoder", "total"}
    parts = torch.tensor([value for name, value in norms.items() if name != "total"])
    assert norms["total"] == pytest.approx(float(parts.norm()), rel=1e-5)
    assert seen[-1]["clipped"] == pytest.approx(1e-3, rel=1e-3) and norms["total"] > 1e-2
    assert seen[-1]["train/skipped_steps"] == 0


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
    subject.augmentation = Augmentation(AugmentationConfig(recolor_probability=1.0), subject.model.rig)
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
