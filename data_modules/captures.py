"""Data modules over data sets of our own layout: splits, subsets, hold-outs and what is drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils import data

from lca_data_modules.base import LCADataModule, NothingToEvaluateError, as_options
from lca_lightning.batch import Batch
from lca_lightning.datasets.captures import HoldOut
from lca_lightning.datasets.clips import ClipSource, DrawRule
from lca_lightning.datasets.evaluation import EvaluationRule, evaluation_items, frames_without_person
from lca_lightning.datasets.frame_store import FrameStore
from lca_lightning.datasets.policies import ReferencePolicy, TargetPolicy
from lca_lightning.datasets.reader import SequenceSource, open_dataset
from lca_lightning.datasets.samples import EvaluationSamples, SampleBuilder, SampleSource
from lca_lightning.datasets.sampling import spread
from lca_lightning.datasets.splits import (
    assign_splits,
    check_no_leak,
    check_shares,
    check_subset,
    choose_subset,
)
from lca_lightning.errors import ConfigError, DataError

_TRAINING_CACHE = 7 / 8  # of frame_cache_mb; evaluation reads most frames once
_REFERENCES, _TARGETS = ReferencePolicy(), TargetPolicy()


class CaptureDataModule(LCADataModule):
    """Serves batches of one data set of our layout: a folder, a pack, or either in a bucket.

    Args:
        root: Folder, packed folder or address of the data set.
        references: How reference views are chosen.
        targets: How targets are chosen where there are several cameras.
        fraction: Train on this share of the subjects; a smaller share is contained in a larger one.
        subjects: Train on this many subjects, instead of a share; where there are fewer, on all, with a
            warning.
        splits: Shares of the training subjects to keep for ``val`` and ``test``, drawn by name. Stored splits
            stay what they are.
        split_seed: Decides who is in ``splits`` and in ``fraction`` or ``subjects``; not the seed of the run,
            so that one run's training subject is not tested in the next.
        test_frame_fraction: Part at the end of each sequence held out of training, 0 to below 1.
        test_views: Reference views in validation and test.
        test_targets_per_item: Targets per batch in validation and test.
        val_targets: Largest number of targets per sequence in validation; None for all.
        test_targets: Largest number of targets per sequence in the test; None for all.
        val_sequences: Largest number of sequences in validation, spread over the split; None for all.
        background: Grey value in [0, 1] behind the person in references.
        frame_cache_mb: Bound on memory for cut frames of one process of a run, MiB: shared out to its loading
            processes, to training (seven eighths) and evaluation, and in a mixture equally to the sources.
        shuffle_chunks: In a pack, sequences are shuffled within runs of this many chunks, which bounds memory
            and disk; None takes the pack's own number.
        reference_from_other_subject: In the test, take the references of the next subject instead.
        **options: Options of every data module.

    Raises:
        ConfigError: A value is out of range.
    """

    one_camera = False  # every camera is a clip of its own
    lit_references = False  # references are fully lit frames of a light stage

    def __init__(
        self,
        root: str,
        references: ReferencePolicy = _REFERENCES,
        targets: TargetPolicy = _TARGETS,
        fraction: float | None = None,
        subjects: int | None = None,
        splits: dict[str, float] | None = None,
        split_seed: int = 0,
        test_frame_fraction: float = 0.0,
        test_views: int = 4,
        test_targets_per_item: int = 4,
        val_targets: int | None = 8,
        test_targets: int | None = 64,
        val_sequences: int | None = 64,
        background: float = 1.0,
        frame_cache_mb: int = 512,
        shuffle_chunks: int | None = None,
        reference_from_other_subject: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._references = as_options(ReferencePolicy, references)
        self._targets = as_options(TargetPolicy, targets)
        self._hold_out = self.hold_out()
        self._opened: tuple[SequenceSource, np.ndarray] | None = None
        self._compared_views: tuple[int, ...] = ()
        self._cache_sharers, self._warned, self._validates_on_test = 1, False, False

    def hold_out(self) -> HoldOut:
        """Cameras and frames kept from training."""
        return HoldOut(test_frame_fraction=self.hparams["test_frame_fraction"])

    def sample_builder(self, store: FrameStore) -> SampleBuilder:
        """What turns frames into a batch of one row."""
        return SampleBuilder(store, self.hparams["background"])

    def draw_rule(self) -> DrawRule:
        """How a training sample is drawn."""
        return DrawRule(
            self.hparams["targets_per_sample"],
            self._references,
            self._targets,
            one_camera=self.one_camera,
            lit_references=self.lit_references,
        )

    def setup(self, stage: str | None = None) -> None:
        """Open the data set and check that the stage has something to work on.

        Raises:
            DataError: The root is missing (says how to get data), a subject is in two splits, or the stage
                has no usable sequence.
        """
        self._opened = None
        if stage in ("fit", None):
            self._clips().draw(0, 1)
        if stage in ("test", "predict"):
            self._check_evaluation("test")
        if stage == "validate":
            self._check_evaluation("val")

    @property
    def dataset(self) -> SequenceSource:
        """The data set, opened at first use."""
        return self._open()[0]

    @property
    def rig(self) -> str:
        """Name of the rig of the data set."""
        return self.dataset.rig

    @property
    def kind(self) -> str:
        """Kind of the data set, such as ``"studio"``."""
        return self.dataset.kind

    def choose_test_views(self, views: int, among: tuple[int, ...]) -> None:
        """Test with another number of reference views, on targets that are the same for all of ``among``."""
        super().choose_test_views(views, among)
        self._compared_views = tuple(among)
        self._check_positive("test_views")

    def positions(self, split: str) -> np.ndarray:
        """Positions of the sequences of a split, as the options assign them; for ``train`` the subset."""
        dataset, splits_N = self._open()
        positions = np.flatnonzero(splits_N == split)
        if split != "train":
            return positions
        options = self.hparams
        chosen = choose_subset(
            dataset.index.subjects_N[positions],
            fraction=options["fraction"],
            subjects=options["subjects"],
            seed=options["split_seed"],
        )
        return positions[chosen]

    def training_source(self) -> SampleSource:
        """Draws from the training sequences, without what is held out.

        Raises:
            DataError: There is none.
        """
        return self._clips()

    def _clips(self) -> ClipSource:
        positions = self.positions("train")
        if not len(positions):
            raise DataError(f"{self.dataset.root} has no sequence of split 'train'; add data.")
        return ClipSource(
            self.dataset,
            positions,
            self._hold_out,
            self._builder(_TRAINING_CACHE),
            self.draw_rule(),
            seed=self.hparams["seed"],
            window_groups=self.hparams["shuffle_chunks"] or getattr(self.dataset, "window_groups", None),
        )

    def evaluation_sets(self, stage: str) -> dict[str, data.Dataset[Batch]]:
        """Fixed samples of split ``val`` (else ``test``) or ``test``, else of what training holds out.

        Where cameras and frames are held out, validation looks at the held-out cameras in the frames of
        training, so that no validated frame is tested.
        """
        if stage == "val" and not self._hold_out.holds_out and not self._stage_positions("val")[1]:
            return {}
        builder = self._builder(1 - _TRAINING_CACHE)
        positions, rule = self._evaluation(stage)
        empty = frames_without_person(self.dataset, positions, self._hold_out, rule)
        items = evaluation_items(self.dataset, positions, self._hold_out, rule)
        return {stage: EvaluationSamples(self.dataset, items, builder, rule.views, empty)}

    def keeps_out_what(self, other: CaptureDataModule) -> bool:
        """Whether this module, reading the same data, trains on nothing that another holds out."""
        ours, theirs = (
            (hold_out.train_cameras, hold_out.test_cameras, hold_out.test_frame_fraction)
            for hold_out in (self._hold_out, other._hold_out)
        )
        return ours == theirs or not other._hold_out.holds_out

    def training_subjects(self) -> list[str]:
        """Everybody trained on."""
        return self._subjects(self.positions("train"))

    def evaluation_subjects(self) -> list[str]:
        """Everybody in the splits for validation and test."""
        return self._subjects(np.concatenate([self.positions("val"), self.positions("test")]))

    def _subjects(self, positions: np.ndarray) -> list[str]:
        return [str(name) for name in np.unique(self.dataset.index.subjects_N[positions])]

    def _open(self) -> tuple[SequenceSource, np.ndarray]:
        """The data set and the split of each sequence."""
        if self._opened is None:
            options = self.hparams
            dataset = open_dataset(options["root"])
            index, where = dataset.index, str(dataset.root)
            check_no_leak(index.subjects_N, index.splits_N, where)
            splits_N = index.splits_N
            if options["splits"]:
                seed = options["split_seed"]
                splits_N = assign_splits(index.subjects_N, splits_N, options["splits"], seed, where)
            self._opened = dataset, splits_N
            self._warn_of_few(len(np.unique(index.subjects_N[splits_N == "train"])), where)
        return self._opened

    def _warn_of_few(self, count: int, where: str) -> None:
        """Say once that there are fewer subjects than asked for."""
        wanted = self.hparams["subjects"]
        if wanted is not None and wanted > count and not self._warned:
            self._warned = True
            rank_zero_warn(
                f"data.init_args.subjects asks for {wanted} training subjects and {where} has {count}; "
                "all are used."
            )

    def _stage_positions(self, stage: str) -> tuple[np.ndarray, bool]:
        """Sequences to evaluate, and whether they belong to a split that is not trained on."""
        for split in ("test",) if stage == "test" else ("val", "test"):
            positions = self.positions(split)
            if len(positions):
                if split != stage:
                    self._warn_of_choosing()
                return positions, True
        return self.positions("train"), False

    def _warn_of_choosing(self) -> None:
        """Say once that validation sees the test split."""
        if not self._validates_on_test:
            self._validates_on_test = True
            rank_zero_warn(
                f"{self.dataset.root} has no split val, so its test split validates and best.ckpt is "
                "chosen on it: report scores of last.ckpt, or set splits under data.init_args."
            )

    def _check_evaluation(self, stage: str) -> None:
        positions, rule = self._evaluation(stage)
        evaluation_items(self.dataset, positions, self._hold_out, rule)

    def _evaluation(self, stage: str) -> tuple[list[int], EvaluationRule]:
        """Sequences to evaluate, and how."""
        options = self.hparams
        positions, apart = self._stage_positions(stage)
        if not apart and not self._hold_out.holds_out:
            splits = "test" if stage == "test" else "val or test"
            raise NothingToEvaluateError(
                f"{self.dataset.root} has no sequence of split {splits} and nothing else is held out; set "
                "test_frame_fraction (for example 0.2), test_cameras or splits under data.init_args."
            )
        if stage == "val" and options["val_sequences"] is not None:
            positions = positions[spread(len(positions), options["val_sequences"])]
        rule = EvaluationRule(
            views=options["test_views"],
            limit=options[f"{stage}_targets"],
            targets_per_item=options["test_targets_per_item"],
            one_camera=self.one_camera,
            apart=apart,
            other_subject=stage == "test" and options["reference_from_other_subject"],
            early_targets=stage == "val",
            lit_references=self.lit_references,
            policy=self._references,
            also_views=self._compared_views,
        )
        return positions.tolist(), rule

    def share_cache(self, modules: int) -> None:
        """Keep to a part of ``frame_cache_mb``, as one of several sources."""
        self._cache_sharers = modules

    def _builder(self, share: float) -> SampleBuilder:
        options = self.hparams
        # every loading process of every loader has a cache of its own: together they keep to the bound
        sharers = max(1, options["num_workers"]) * self._cache_sharers
        cache_bytes = int(options["frame_cache_mb"] * 2**20 * share) // sharers
        sizes = (tuple(options["image_size"]), tuple(options["face_size"]))
        return self.sample_builder(FrameStore(*sizes, cache_bytes))

    def _check_options(self) -> None:
        super()._check_options()
        options = self.hparams
        self._check_positive("test_views", "test_targets_per_item")
        self._check_not_negative("frame_cache_mb")
        if not 0 <= options["background"] <= 1:
            raise ConfigError(f"data.init_args.background must lie in [0, 1], got {options['background']}.")
        for name in ("val_targets", "test_targets", "val_sequences", "shuffle_chunks"):
            if options[name] is not None and options[name] < 1:
                raise ConfigError(f"data.init_args.{name} must be at least 1 or null, got {options[name]}.")
        check_subset(options["fraction"], options["subjects"])
        check_shares(options["splits"] or {})
