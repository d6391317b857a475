"""What both data modules share: reading, splits, loaders whose position is the step of the run."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lca_lightning.batch import Batch
from lca_lightning.datasets.captures import HoldOut, evaluation_items, training_clips
from lca_lightning.datasets.format import Dataset
from lca_lightning.datasets.frame_store import FrameStore
from lca_lightning.datasets.loading import (
    EvaluationSampler,
    SeededSampler,
    StepLoader,
    leave_signals_to_the_run,
)
from lca_lightning.datasets.samples import (
    DrawRule,
    EvaluationItem,
    EvaluationSamples,
    SampleBuilder,
    TrainingSamples,
)
from lca_lightning.errors import ConfigError


class CaptureDataModule(pl.LightningDataModule):
    """Serves batches of one data set; subclasses say how a sample is drawn and what is held out.

    Args:
        hold_out: Cameras and frames kept from training.
        rule: How references and targets of a training sample are drawn.
        one_camera: Every camera is a clip of its own.
    """

    def __init__(self, hold_out: HoldOut, rule: DrawRule, one_camera: bool) -> None:
        super().__init__()
        self._hold_out, self._rule, self._one_camera = hold_out, rule, one_camera
        self._dataset: Dataset | None = None

    def _check_options(self) -> None:
        """Refuse values that cannot work before anything is read.

        Raises:
            ConfigError: Names the option.
        """
        options = self.hparams
        for name in (
            "batch_size",
            "targets_per_sample",
            "steps_per_epoch",
            "test_views",
            "test_targets_per_item",
        ):
            if options[name] < 1:
                raise ConfigError(f"data.init_args.{name} must be at least 1, got {options[name]}.")
        for name in ("num_workers", "frame_cache_mb"):
            if options[name] < 0:
                raise ConfigError(f"data.init_args.{name} must not be negative, got {options[name]}.")
        if not options["views"] or min(options["views"]) < 1:
            raise ConfigError(f"data.init_args.views needs positive numbers, got {options['views']}.")
        for name in ("image_size", "face_size"):
            if len(options[name]) != 2 or min(options[name]) < 1:
                raise ConfigError(
                    f"data.init_args.{name} must be [height, width] in pixels, got {options[name]}."
                )
        for name in ("val_targets", "test_targets"):
            if options[name] is not None and options[name] < 1:
                raise ConfigError(f"data.init_args.{name} must be at least 1 or null, got {options[name]}.")

    def setup(self, stage: str | None = None) -> None:
        """Open the data set and check that the stage has something to work on.

        Raises:
            DataError: The root is missing (says how to get data), or the stage has no usable sequence.
        """
        self._dataset = Dataset(self.hparams["root"])
        if stage in ("fit", None):
            training_clips(self._dataset, self._hold_out, one_camera=self._one_camera)
        if stage in ("test", "predict"):
            self._items("test")
        if stage == "validate":
            self._items("val")

    @property
    def dataset(self) -> Dataset:
        """The data set, opened at first use."""
        if self._dataset is None:
            self._dataset = Dataset(self.hparams["root"])
        return self._dataset

    def train_dataloader(self) -> DataLoader:
        """Endless deterministic samples in epochs of ``steps_per_epoch`` steps."""
        options = self.hparams
        rank, world_size = self._place()
        samples_per_step = options["batch_size"] * world_size
        samples = TrainingSamples(
            training_clips(self.dataset, self._hold_out, one_camera=self._one_camera),
            self._builder(),
            self._rule,
            seed=options["seed"],
            view_counts=tuple(options["views"]),
            targets=options["targets_per_sample"],
            samples_per_step=samples_per_step,
            length=samples_per_step * options["steps_per_epoch"],
        )
        sampler = SeededSampler(
            options["steps_per_epoch"], options["batch_size"], rank, world_size, self._batches_taken
        )
        return self._loader(samples, sampler, options["batch_size"])

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """A few fixed targets per sequence of split ``val``, else ``test``, else of what is held out.

        Where cameras and frames are held out, targets are the held-out cameras in the frames of training, so
        that no validated frame is tested. Where there is none of these, validation is skipped.
        """
        held_out = self._hold_out.holds_out or self.dataset.sequences("val") or self.dataset.sequences("test")
        return self._evaluation_loader(self._items("val")) if held_out else []

    def test_dataloader(self) -> DataLoader:
        """Fixed references and targets of the held-out subjects, or of what training sequences hold out."""
        return self._evaluation_loader(self._items("test"))

    def predict_dataloader(self) -> DataLoader:
        """The same as for the test."""
        return self.test_dataloader()

    def _items(self, stage: str) -> list[EvaluationItem]:
        options = self.hparams
        return evaluation_items(
            self.dataset,
            ("test",) if stage == "test" else ("val", "test"),
            self._hold_out,
            views=options["test_views"],
            limit=options[f"{stage}_targets"],
            targets_per_item=options["test_targets_per_item"],
            one_camera=self._one_camera,
            other_subject=stage == "test" and options["reference_from_other_subject"],
            validation=stage == "val",
        )

    def _evaluation_loader(self, items: list[EvaluationItem]) -> DataLoader:
        samples = EvaluationSamples(items, self._builder())
        return self._loader(samples, EvaluationSampler(len(items), *self._place()), batch_size=1)

    def _builder(self) -> SampleBuilder:
        options = self.hparams
        # every loading process has a cache of its own: together they keep to the bound
        cache_bytes = options["frame_cache_mb"] * 2**20 // max(1, options["num_workers"])
        sizes = (tuple(options["image_size"]), tuple(options["face_size"]))
        return SampleBuilder(FrameStore(*sizes, cache_bytes), options["background"])

    def _loader(
        self,
        samples: TrainingSamples | EvaluationSamples,
        sampler: SeededSampler | EvaluationSampler,
        batch_size: int,
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

    def _batches_taken(self) -> int:
        """Training batches that this run has finished, restored by a resume; exact under accumulation too."""
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
