"""What every data module shares: options, loaders whose position is the step of the run, augmentation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from PIL import Image
from torch.utils import data
from torch.utils.data import DataLoader

from lca_lightning.batch import Batch
from lca_lightning.datasets.loading import (
    EvaluationSampler,
    SeededSampler,
    StepLoader,
    leave_signals_to_the_run,
)
from lca_lightning.datasets.plotting import plot_sample
from lca_lightning.datasets.samples import SampleSource, TrainingSamples
from lca_lightning.errors import ConfigError, DataError


class NothingToEvaluateError(DataError):
    """A data module is asked to test, and nothing is held out."""


class LCADataModule(pl.LightningDataModule):
    """Serves `Batch`es; subclasses say where samples come from.

    A subclass gives ``rig``, ``training_source`` and ``evaluation_sets``. Its own options are arguments of
    its constructor; it passes the others on as ``**options``.

    Args:
        batch_size: Samples of one process in a step.
        views: Numbers of reference views; each step draws one.
        targets_per_sample: Target frames of a training sample.
        image_size: Height and width of body references and targets in pixels.
        face_size: Height and width of face close-ups in pixels.
        steps_per_epoch: Steps of an epoch; the stream of samples itself has no end.
        num_workers: Loading processes; 0 loads in the main process.
        seed: Decides every draw, together with the step.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        batch_size: int = 1,
        views: tuple[int, ...] = (1, 2, 4),
        targets_per_sample: int = 2,
        image_size: tuple[int, int] = (256, 192),
        face_size: tuple[int, int] = (128, 128),
        steps_per_epoch: int = 1000,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # those of the subclass too
        for name, value in self.hparams.items():
            if is_dataclass(value) and not isinstance(value, type):
                self.hparams[name] = asdict(value)  # checkpoints hold plain values only
        self.evaluation_names: list[str] = []  # of the sets behind the last loaders of an evaluation
        self._samples_before, self._batches_before = 0, 0  # of the run that this one resumes
        self._check_options()

    @property
    @abstractmethod
    def rig(self) -> str:
        """Name of the rig whose values the batches carry."""

    @abstractmethod
    def training_source(self) -> SampleSource:
        """Where training samples come from; a mixture calls it too.

        Raises:
            DataError: There is nothing to train on.
        """

    @abstractmethod
    def evaluation_sets(self, stage: str) -> dict[str, data.Dataset[Batch]]:
        """Fixed samples for validation or test, by name; empty where there is nothing to validate.

        Args:
            stage: ``"val"`` or ``"test"``.

        Raises:
            NothingToEvaluateError: There is nothing to test; a mixture then goes on with its other sources.
        """

    @property
    def kind(self) -> str:
        """Kind of capture, which names the set in reports where there is one only."""
        return "data"

    def choose_test_views(self, views: int, among: tuple[int, ...]) -> None:
        """Test with another number of reference views.

        Args:
            views: Reference views from now on; takes effect when the test is set up.
            among: All numbers that are compared: the targets are the same for each of them.

        Raises:
            ConfigError: The module has no such option.
        """
        if "test_views" not in self.hparams:
            raise ConfigError(f"{type(self).__name__} has no option test_views; leave --views out.")
        self.hparams["test_views"] = views

    def training_subjects(self) -> list[str]:
        """Everybody trained on; a mixture looks for people who are tested elsewhere."""
        return []

    def evaluation_subjects(self) -> list[str]:
        """Everybody in the splits for validation and test."""
        return []

    def share_options(self, options: Mapping[str, Any]) -> None:
        """Take the options of a mixture that this module is a source of, in place of its own."""
        self.hparams.update(options)

    def share_cache(self, modules: int) -> None:
        """Keep to a part of the memory for caches, as one of several sources; nothing where there is none.

        Args:
            modules: Data modules that share it.
        """
        return

    def state_dict(self) -> dict[str, int]:
        """How far the run has come, so that it may go on with other processes or another batch size."""
        samples = self._first_step() * self._samples_per_step()
        return {"samples": samples, "batches": self._batches_taken()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on after the samples of a checkpoint."""
        self._samples_before, self._batches_before = int(state_dict["samples"]), int(state_dict["batches"])

    def train_dataloader(self) -> DataLoader:
        """Endless deterministic samples in epochs of ``steps_per_epoch`` steps."""
        options = self.hparams
        rank, world_size = self._place()
        steps, batch_size = options["steps_per_epoch"], options["batch_size"]
        samples = TrainingSamples(
            self.training_source(),
            seed=options["seed"],
            view_counts=tuple(options["views"]),
            samples_per_step=self._samples_per_step(),
            length=self._samples_per_step() * steps,
        )
        sampler = SeededSampler(steps, batch_size, rank, world_size, self._first_step)
        return self._loader(samples, sampler, batch_size)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Fixed references and a few fixed targets; nothing where there is nothing to validate."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> DataLoader | list[DataLoader]:
        """Fixed references and targets."""
        return self._evaluation_loaders("test")

    def predict_dataloader(self) -> DataLoader | list[DataLoader]:
        """The same as for the test."""
        return self.test_dataloader()

    def plot(self, sample: Batch) -> Image.Image:
        """A picture of a sample or batch of this module, see :func:`.plot_sample`."""
        return plot_sample(sample, self.rig)

    def _check_options(self) -> None:
        """Refuse values that cannot work before anything is read."""
        options = self.hparams
        self._check_positive("batch_size", "targets_per_sample", "steps_per_epoch")
        self._check_not_negative("num_workers", "seed")
        if not options["views"] or min(options["views"]) < 1:
            raise ConfigError(f"data.init_args.views needs positive numbers, got {options['views']}.")
        for name in ("image_size", "face_size"):
            if len(options[name]) != 2 or min(options[name]) < 1:
                raise ConfigError(
                    f"data.init_args.{name} must be [height, width] in pixels, got {options[name]}."
                )

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if self.hparams[name] < 1:
                raise ConfigError(f"data.init_args.{name} must be at least 1, got {self.hparams[name]}.")

    def _check_not_negative(self, *names: str) -> None:
        for name in names:
            if self.hparams[name] < 0:
                raise ConfigError(f"data.init_args.{name} must not be negative, got {self.hparams[name]}.")

    def _evaluation_loaders(self, stage: str) -> DataLoader | list[DataLoader]:
        sets = self.evaluation_sets(stage)
        self.evaluation_names = [self.kind if key == stage else key.removesuffix(f"/{stage}") for key in sets]
        loaders = [
            self._loader(samples, EvaluationSampler(len(samples), *self._place()), 1)  # type: ignore[arg-type]
            for samples in sets.values()
        ]
        return loaders[0] if len(loaders) == 1 else loaders

    def _loader(
        self, samples: data.Dataset[Batch], sampler: SeededSampler | EvaluationSampler, batch_size: int
    ) -> DataLoader:
        workers = self.hparams["num_workers"]
        return StepLoader(
            samples,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=Batch.collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=leave_signals_to_the_run,
        )

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _samples_per_step(self) -> int:
        """Samples that all processes together take in one step."""
        return int(self.hparams["batch_size"]) * self._place()[1]

    def _first_step(self) -> int:
        """Step of the stream of samples that comes next.

        It is the number of batches taken. Where the run was resumed with another number of samples a step, it
        begins at the first whole step after the samples that were taken: none comes twice, and fewer than a
        step are left out.
        """
        taken = self._batches_taken()
        if taken < self._batches_before:  # a fresh run with a module that has been in another
            return taken
        return -(-self._samples_before // self._samples_per_step()) + taken - self._batches_before

    def _batches_taken(self) -> int:
        """Training batches that this run has finished, restored by a resume; exact under accumulation too."""
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]


def as_options(kind: Any, value: Any) -> Any:
    """An options dataclass from itself or from its plain values, as a checkpoint stores them."""
    return kind(**value) if isinstance(value, dict) else value
