"""What one process finds not finite, all skip: no weights part ways and nobody waits for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.errors import NonFiniteError
from tests.unit.training.tiny_module import module, quiet_trainer

STEPS = 7


class PoisonOne(Callback):
    """Spoils batches of one process only: a picture in step 1, a camera from step 3 on."""

    def on_train_batch_start(self, trainer: Trainer, _: Any, batch: Batch, index: int) -> None:
        if trainer.global_rank == 1 and index == 1:
            batch.targets.images_BT3HW[0, 0] = float("nan")
        if trainer.global_rank == 1 and index >= 3:
            batch.targets.w2c_BT44[0, 0] = float("nan")


def train(rank: int, root: str, folder: str, port: int) -> None:
    """One of two processes; leaves its weights and the message it stopped with."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    data = StudioDataModule(root, image_size=(64, 48), face_size=(32, 32), views=(1,), test_views=1)
    subject = module()
    options = dict(devices=2, strategy="ddp", plugins=[LightningEnvironment()], callbacks=[PoisonOne()])
    message = ""
    try:
        quiet_trainer(Path(folder), STEPS, **options).fit(subject, datamodule=data)
    except NonFiniteError as error:
        message = str(error)
    left = {"weights": subject.state_dict(), "skipped": subject.guard.skipped, "message": message}
    torch.save(left, Path(folder) / f"rank{rank}.pt")


@pytest.mark.slow
def test_all_processes_skip_and_stop_together(data: StudioDataModule, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (data.hparams["root"], str(tmp_path), port)
    torch.multiprocessing.spawn(train, arguments, nprocs=2, join=True)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert all(torch.isfinite(value).all() for value in first["weights"].values())
    assert first["skipped"] == second["skipped"] == 4
    assert first["message"] == second["message"] and "stopped at step 5 after 3 steps" in first["message"]
    assert "w2c_T44 holds 16 NaN" in first["message"] and "step0000005_rank1.pt" in first["message"]
    names = sorted(path.name for path in (tmp_path / "nonfinite").iterdir())
    assert names == ["step0000005_rank1.png", "step0000005_rank1.pt"]
