"""A run that stops in mid-epoch and resumes sees the batches of the straight run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lca_data_modules import InTheWildDataModule
from lca_lightning.batch import Batch


class Recorder(pl.LightningModule):
    """Remembers which frames it saw in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, tuple]] = []
        self.validated: list[tuple] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.frames))
        return self.weight * batch.targets.images_BT3HW.mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated.append(batch.frames)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def run(root: Path, folder: Path, max_steps: int, ckpt_path: str | None = None, **options) -> Recorder:
    model = Recorder()
    save = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    data = InTheWildDataModule(
        str(root),
        batch_size=options.pop("batch_size", 2),
        views=(1, 2),
        image_size=(32, 24),
        face_size=(16, 16),
        steps_per_epoch=5,
        num_workers=options.pop("num_workers", 0),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        callbacks=[save],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        **options,
    )
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return model


@pytest.fixture(scope="module")
def straight(wild_root, tmp_path_factory) -> tuple[Path, Recorder]:
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(wild_root, folder, 12)


def test_the_straight_run_never_repeats_a_step(straight):
    _, model = straight
    assert [epoch for epoch, _ in model.seen] == [0] * 5 + [1] * 5 + [2] * 2
    assert len({frames for _, frames in model.seen}) == 12


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize("step", [3, 5, 7, 10])
def test_resuming_continues_exactly(straight, wild_root, tmp_path, step):
    folder, model = straight
    resumed = run(wild_root, tmp_path, 12, ckpt_path=str(folder / f"step={step}.ckpt"))
    assert resumed.seen == model.seen[step:]


def test_workers_do_not_change_the_run(straight, wild_root, tmp_path):
    folder, model = straight
    resumed = run(wild_root, tmp_path, 12, ckpt_path=str(folder / "step=7.ckpt"), num_workers=1)
    assert resumed.seen == model.seen[7:]


def test_accumulated_gradients(wild_root, tmp_path):
    """Five batches an epoch with two a step: the last one of an epoch makes a step of its own."""
    straight = run(wild_root, tmp_path / "a", 6, accumulate_grad_batches=2)
    assert len({frames for _, frames in straight.seen}) == 10
    resumed = run(
        wild_root, tmp_path / "b", 6, ckpt_path=str(tmp_path / "a/step=4.ckpt"), accumulate_grad_batches=2
    )
    assert resumed.seen == straight.seen[7:]


def test_shortened_epochs_continue_the_stream(wild_root, tmp_path, straight):
    model = run(wild_root, tmp_path, 6, limit_train_batches=3)
    assert [frames for _, frames in model.seen] == [frames for _, frames in straight[1].seen[:6]]


def test_validation_is_skipped_where_nothing_is_held_out(studio_root, tmp_path):
    model = run(studio_root, tmp_path, 2)
    assert len(model.seen) == 2 and model.validated == []


@pytest.mark.parametrize("batch_size", [1, 3])
def test_resuming_with_other_steps_neither_repeats_nor_skips(straight, wild_root, tmp_path, batch_size):
    """Six samples were taken at step 3; the stream goes on with the seventh, whatever a step takes now."""
    folder, model = straight
    stream = [row[0].split("/")[0] for _, rows in model.seen for row in rows]
    resumed = run(wild_root, tmp_path, 6, ckpt_path=str(folder / "step=3.ckpt"), batch_size=batch_size)
    found = [row[0].split("/")[0] for _, rows in resumed.seen for row in rows]
    assert len(found) == 3 * batch_size and found == stream[6 : 6 + len(found)]


def test_resuming_with_more_ranks_begins_at_a_whole_step():
    module = InTheWildDataModule("nowhere", batch_size=2)
    module.load_state_dict({"samples": 10, "batches": 5})
    for taken, ranks, step in ((5, 1, 5), (6, 1, 6), (5, 4, 2), (8, 4, 5), (0, 4, 0)):
        progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=taken)))
        module.trainer = SimpleNamespace(
            global_rank=0, world_size=ranks, fit_loop=SimpleNamespace(epoch_loop=progress)
        )
        assert module._first_step() == step
        assert module.state_dict() == {"samples": step * 2 * ranks, "batches": taken}
