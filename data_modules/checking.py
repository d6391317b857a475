"""The test that every data module must pass, ours and other people's."""

from __future__ import annotations

import logging
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import islice
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from lca_data_modules.base import NothingToEvaluateError
from lca_lightning.batch import Batch
from lca_lightning.datasets.plotting import posed_joints
from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import project_points
from lca_lightning.rig import load_rig

_BATCHES = 3  # looked at by most rules
_JOINTS_INSIDE = 0.6  # share of projected joints on the person
_REACH = 0.04  # of the picture's height: how far outside the mask a joint may be


def check_data_module(module: pl.LightningDataModule) -> None:
    """Run the test that every data module must pass.

    Args:
        module: Fresh, with options that make small batches quickly; at least two training batches an epoch.

    Raises:
        DataError: One sentence for each rule that failed, see `failed_rules`.
    """
    failed = failed_rules(module)
    if failed:
        raise DataError(f"{type(module).__name__} fails {len(failed)} of its rules: {' '.join(failed)}")


def failed_rules(module: pl.LightningDataModule) -> list[str]:
    """Rules that a data module breaks, one sentence each; empty for a good one.

    Batches are valid and need no gradients; the same in every run, after a resume in mid-epoch, with 0 and 2
    loading processes; processes of a run get different samples with equally many views; nobody is trained on
    and evaluated; the rig projects into the masks; batches collate; the data set survives pickling.

    Args:
        module: As for `check_data_module`.
    """
    try:
        module.setup("fit")
        batches = _take(module)
    except Exception as error:  # other people's code: its failure is the finding
        return [f"Training batches cannot be made ({type(error).__name__}: {error})."]
    if not batches:
        return ["There is no training batch."]
    failed: list[str] = []
    for rule in _RULES:
        try:
            failed += rule(module, batches)
        except Exception as error:
            name = rule.__name__.strip("_").replace("_", " ")
            failed.append(f"The rule '{name}' cannot be tried ({type(error).__name__}: {error}).")
    return failed


def _batches_are_valid(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    for batch in batches:
        if not isinstance(batch, Batch):
            yield f"A training batch is a {type(batch).__name__}, not an lca_lightning.batch.Batch."
            return
        for name, tensor in _tensors(batch):
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                yield f"{name} has type {tensor.dtype}, not float32."
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                yield f"{name} holds NaN or infinite values."
            if tensor.requires_grad:
                yield f"{name} requires gradients; data must not."
            unit = any(word in name for word in ("body_", "face_BV3hw", "targets.images", "targets.masks"))
            if (
                unit
                and tensor.is_floating_point()
                and not 0 <= float(tensor.min()) <= float(tensor.max()) <= 1
            ):
                yield f"{name} must lie in [0, 1]."
        if not bool(batch.references.view_mask_BV.any(1).all()):
            yield f"A row of subject {batch.subjects[0]!r} has no reference view."


def _the_same_in_every_run(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    if not _equal(_take(module), batches):
        yield "A second look at the training data gives other batches; draw from seed and number only."


def _resuming_continues(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lca-check-") as folder:
        straight = _run(module, folder, 3, None)
        resumed = _run(module, folder, 3, f"{folder}/step=1.ckpt")
    if resumed != straight[1:]:
        yield "A run resumed after its first step sees other batches than the straight run."


def _processes_share_the_work(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    parts = [_of_process(module, rank, 2) for rank in range(2)]
    for first, second in zip(*parts, strict=False):
        views = [batch.references.body_BV3HW.shape[1] for batch in (first, second)]
        if views[0] != views[1]:
            yield f"Two processes of a run have {views[0]} and {views[1]} views in a step; draw them by step."
            break
    if parts[0] and _equal(parts[0], parts[1]):
        yield "Two processes of a run get the same samples; use module.trainer.global_rank and world_size."


def _nobody_leaks(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    if hasattr(module, "training_subjects") and hasattr(module, "evaluation_subjects"):
        both = set(module.training_subjects()) & set(module.evaluation_subjects())
        if both:
            yield f"Subject {min(both)!r} is in the training split and in one for evaluation."
    trained = {name for batch in batches for names in batch.frames for name in names}
    for stage in ("validate", "test"):
        for name in trained & _evaluated_frames(module, stage):
            yield f"Frame {name} is a target in training and in `{stage}`."
            break


def _evaluation_repeats(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    for loader in _loaders(module, "validate"):
        if not _equal(list(islice(loader, 2)), list(islice(loader, 2))):
            yield "Validation gives other batches at the second look; enumerate them."


def _the_rig_projects_into_the_masks(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    if not hasattr(module, "rig"):
        yield "The module has no attribute `rig`, the name of the rig whose values it serves."
        return
    rig = load_rig(module.rig)
    joints = batches[0].driving.rotations_BTJ3.shape[2]
    if joints != len(rig.joint_names) or batches[0].identity_BI.shape[1] != rig.identity_size:
        yield (
            f"Batches have {joints} joints and {batches[0].identity_BI.shape[1]} identity values; the rig "
            f"{module.rig!r} has {len(rig.joint_names)} and {rig.identity_size}."
        )
        return
    for batch in batches:
        for row, names in enumerate(batch.frames):
            driving, targets = batch.driving, batch.targets
            joints_TJ3 = posed_joints(
                rig, batch.identity_BI[row], driving.rotations_BTJ3[row], driving.translation_BT3[row]
            )
            pixels_TJ2, depth_TJ = project_points(joints_TJ3, targets.w2c_BT44[row], targets.K_BT33[row])
            for frame, name in enumerate(names):
                share = _inside(pixels_TJ2[frame], depth_TJ[frame], targets.masks_BT1HW[row, frame, 0])
                if share < _JOINTS_INSIDE:
                    yield f"Only {share:.0%} of the rig's joints project onto the person in frame {name}."
                    return


def _inside(pixels_J2: Tensor, depth_J: Tensor, mask_HW: Tensor) -> float:
    """Share of joints in front of the camera and inside the picture that lie on the mask or close to it."""
    height, width = mask_HW.shape
    reach = max(1, round(_REACH * height))
    near_HW = functional.max_pool2d(mask_HW[None, None], 2 * reach + 1, 1, reach)[0, 0] >= 0.5
    columns, rows = pixels_J2.floor().long().unbind(-1)
    seen = (depth_J > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    if not bool(seen.any()):
        return 0.0
    return float(near_HW[rows[seen], columns[seen]].float().mean())


def _batches_collate(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    joined = Batch.collate(batches)
    if joined.size != sum(batch.size for batch in batches):
        yield "Joined batches have lost rows."
    if len({batch.targets.images_BT3HW.shape[1:] for batch in batches}) > 1:
        yield "Training batches differ in the number or size of targets."


def _loading_processes_agree(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    if "num_workers" not in module.hparams:
        yield "The module has no option num_workers."
        return
    before = module.hparams["num_workers"]
    try:
        found = []
        for workers in (0, 2):
            module.hparams["num_workers"] = workers
            found.append(_take(module))
    finally:
        module.hparams["num_workers"] = before
    if not _equal(*found):
        yield "Two loading processes give other batches than none; samples must not depend on the process."


def _the_data_set_survives_pickling(module: pl.LightningDataModule, batches: list[Batch]) -> Iterator[str]:
    samples = _training_loader(module).dataset
    copy = pickle.loads(pickle.dumps(samples))  # our own bytes, never a file
    if not _equal([copy[0]], [samples[0]]):
        yield "A pickled copy of the training data gives another first sample."


_RULES: tuple[Callable[[pl.LightningDataModule, list[Batch]], Iterator[str]], ...] = (
    _batches_are_valid,
    _the_same_in_every_run,
    _resuming_continues,
    _processes_share_the_work,
    _nobody_leaks,
    _evaluation_repeats,
    _the_rig_projects_into_the_masks,
    _batches_collate,
    _loading_processes_agree,
    _the_data_set_survives_pickling,
)


class _Recorder(pl.LightningModule):
    """Remembers what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[tuple[str, ...], ...]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Note the frames."""
        self.seen.append(batch.frames)
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Something to step."""
        return torch.optim.SGD(self.parameters(), 0.1)


def _run(module: pl.LightningDataModule, folder: str, steps: int, checkpoint: str | None) -> list[Any]:
    model, trainer_of_module = _Recorder(), module.trainer
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = {log: log.level for log in logs}
    for log in logs:
        log.setLevel(logging.ERROR)
    save = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, limit_val_batches=0, logger=False, callbacks=[save],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Lightning says about so small a run
            trainer.fit(model, datamodule=module, ckpt_path=checkpoint, weights_only=True)
    finally:
        module.trainer = trainer_of_module
        for log, level in levels.items():
            log.setLevel(level)
    return model.seen


def _of_process(module: pl.LightningDataModule, rank: int, world_size: int) -> list[Batch]:
    """Training batches of one of several processes."""
    progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=0)))
    before = module.trainer
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank, world_size=world_size, fit_loop=SimpleNamespace(epoch_loop=progress)
    )
    try:
        return _take(module)
    finally:
        module.trainer = before


def _training_loader(module: pl.LightningDataModule) -> Any:
    return module.train_dataloader()


def _take(module: pl.LightningDataModule) -> list[Batch]:
    return list(islice(_training_loader(module), _BATCHES))


def _loaders(module: pl.LightningDataModule, stage: str) -> list[DataLoader]:
    """Loaders of a stage; none where there is nothing to do. Data that cannot be read is a finding."""
    try:
        module.setup(stage)
        found: Any = module.val_dataloader() if stage == "validate" else module.test_dataloader()
    except (NothingToEvaluateError, pl.utilities.exceptions.MisconfigurationException):
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _evaluated_frames(module: pl.LightningDataModule, stage: str) -> set[str]:
    return {
        name
        for loader in _loaders(module, stage)
        for batch in islice(loader, 8)
        for names in batch.frames
        for name in names
    }


def _tensors(record: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch with its dotted name."""
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            yield f"{prefix}{field.name}", value
        elif is_dataclass(value):
            yield from _tensors(value, f"{prefix}{field.name}.")


def _equal(first: list[Batch], second: list[Batch]) -> bool:
    if len(first) != len(second):
        return False
    return all(_equal_batches(a, b) for a, b in zip(first, second, strict=True))


def _equal_batches(first: Batch, second: Batch) -> bool:
    left, right = dict(_tensors(first)), dict(_tensors(second))
    same = first.frames == second.frames and first.subjects == second.subjects
    return same and left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
