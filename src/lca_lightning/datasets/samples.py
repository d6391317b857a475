"""Map-style data sets of typed batches of one row: drawn for training, enumerated for evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as Collection
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data

from lca_lightning.batch import Batch, Driving, Lighting, References, Targets
from lca_lightning.datasets.crops import FrameCrop
from lca_lightning.datasets.cut_pixels import stack_cuts
from lca_lightning.datasets.evaluation import EvaluationItem, shot_name
from lca_lightning.datasets.format import Sequence
from lca_lightning.datasets.frame_store import FrameStore, Shot
from lca_lightning.datasets.plotting import plot_sample
from lca_lightning.datasets.reader import SequenceSource
from lca_lightning.datasets.sampling import draw_view_count
from lca_lightning.geometry.view_directions import view_directions


class SampleBuilder:
    """Turns shots into a batch of one row.

    Args:
        store: Where cuts of frames come from.
        background: Grey value in [0, 1] behind the person in references.
    """

    def __init__(self, store: FrameStore, background: float) -> None:
        self.store, self.background = store, background

    def build(
        self,
        sequence: Sequence,
        targets: tuple[Shot, ...],
        references: tuple[Shot, ...],
        reference_sequence: Sequence | None = None,
    ) -> Batch:
        """Read everything a sample needs.

        Args:
            sequence: Sequence of the targets.
            targets: ``T`` shots.
            references: ``V`` shots.
            reference_sequence: Sequence of the references; the targets' when None.

        Returns:
            A batch with ``B = 1``.
        """
        crops = self.store.get(sequence, targets)
        return Batch(
            references=self._references(reference_sequence or sequence, references),
            driving=self.driving(sequence, [shot.frame for shot in targets]),
            targets=_targets(sequence, targets, crops),
            identity_BI=torch.from_numpy(sequence.signals.identity_I)[None].float(),
            subjects=(sequence.subject,),
            frames=(_names(sequence, targets),),
            lighting=self.lighting(sequence, targets, crops),
            reference_shots=(_names(reference_sequence or sequence, references),),
        )

    def driving(self, sequence: Sequence, frames: list[int]) -> Driving:
        """Pose, expression and gaze of some frames, one row."""
        signals = sequence.signals
        rows = (signals.rotations_TJ3, signals.translation_T3, signals.expression_TE, signals.gaze_T8)
        return Driving(*(torch.from_numpy(np.asarray(row[frames], np.float32))[None] for row in rows))

    def lighting(
        self, sequence: Sequence, targets: tuple[Shot, ...], crops: list[FrameCrop]
    ) -> Lighting | None:
        """Known light of the targets, one row; None here."""
        return None

    def _references(self, sequence: Sequence, shots: tuple[Shot, ...]) -> References:
        return stack_references(self.store.get(sequence, shots), self.store.face_size, self.background)


def _names(sequence: Sequence, shots: tuple[Shot, ...]) -> tuple[str, ...]:
    """``"sequence/camera/frame"`` of each shot."""
    return tuple(shot_name(sequence, shot) for shot in shots)


def _targets(sequence: Sequence, shots: tuple[Shot, ...], crops: list[FrameCrop]) -> Targets:
    w2c_T44 = np.stack([sequence.cameras[shot.camera].w2c_44 for shot in shots])
    height, width = crops[0].mask_HW.shape
    images_T3HW, masks_T1HW = stack_cuts((crop.body_4HW for crop in crops), (height, width))
    return Targets(
        images_BT3HW=images_T3HW[None],
        masks_BT1HW=masks_T1HW[None],
        w2c_BT44=torch.from_numpy(w2c_T44)[None].float(),
        K_BT33=torch.from_numpy(np.stack([crop.K_33 for crop in crops]))[None],
    )


def _directions(sequence: Sequence, shots: tuple[Shot, ...]) -> Tensor:
    """From where each shot looks at the body, ``(V, 3)``."""
    frames = [shot.frame for shot in shots]
    signals = sequence.signals
    w2c_V44 = np.stack([sequence.cameras[shot.camera].w2c_44 for shot in shots])
    poses = (signals.rotations_TJ3[frames, 0], signals.translation_T3[frames])
    parts = (torch.from_numpy(np.asarray(part, np.float32)) for part in (w2c_V44, *poses))
    return view_directions(*parts)


def stack_references(
    crops: Collection[FrameCrop], face_size: tuple[int, int], background: float
) -> References:
    """Make references of one subject from cuts of its photos.

    Args:
        crops: One cut per view, at least one.
        face_size: Height and width of face close-ups in pixels.
        background: Grey value in [0, 1] that replaces what is not the person.

    Returns:
        References with ``B = 1``.
    """
    crops = list(crops)
    height, width = crops[0].mask_HW.shape
    bodies_V3HW, body_mattes_V1HW = stack_cuts((crop.body_4HW for crop in crops), (height, width), background)
    faces_V3hw, face_mattes_V1hw = stack_cuts((crop.face_4hw for crop in crops), face_size, background)
    seen_V = torch.tensor([crop.face_4hw is not None for crop in crops])
    return References(
        body_BV3HW=bodies_V3HW[None],
        face_BV3hw=faces_V3hw[None],
        view_mask_BV=torch.ones(1, len(crops), dtype=torch.bool),
        face_mask_BV=seen_V[None],
        body_mattes_BV1HW=body_mattes_V1HW[None],
        face_mattes_BV1hw=face_mattes_V1hw[None],
    )


class SampleSource(ABC):
    """Where training samples come from: one data set, a mixture of several, or somebody else's.

    It must be picklable and give equal samples for equal arguments in every process.

    Attributes:
        rig: Name of the rig whose values the samples carry.
    """

    rig: str

    @abstractmethod
    def sample(self, number: int, views: int) -> Batch:
        """Sample ``number`` of an endless stream, up to ``views`` reference views: a batch of one row."""


class TrainingSamples(data.Dataset[Batch]):
    """Item ``number`` is a pure function of the seed and the number, see :mod:`.sampling`.

    Args:
        source: Draws and reads a sample.
        seed: Of the run.
        view_counts: Numbers of reference views, one drawn per step.
        samples_per_step: Samples that all processes together take in one step.
        length: Samples in an epoch over all processes; larger numbers are valid too.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        seed: int,
        view_counts: tuple[int, ...],
        samples_per_step: int,
        length: int,
    ) -> None:
        self.source, self.seed, self.view_counts = source, seed, view_counts
        self.samples_per_step, self.length = samples_per_step, length

    def __len__(self) -> int:
        return self.length

    def views(self, number: int) -> int:
        """Reference views of a sample: the same for all samples of a step."""
        return draw_view_count(self.seed, number // self.samples_per_step, self.view_counts)

    def __getitem__(self, number: int) -> Batch:
        return self.source.sample(number, self.views(number))

    def plot(self, sample: Batch) -> Image.Image:
        """A picture of one sample, see :func:`.plot_sample`."""
        return plot_sample(sample, self.source.rig)


class EvaluationSamples(data.Dataset[Batch]):
    """Enumerated items, the same in every run.

    Args:
        dataset: The data set that items refer to.
        items: Which frames to read.
        builder: Reads them.
        views: Reference views asked for; some items may have fewer.
        without_person: Subject and name of frames that are no items because nobody is in their masks.
    """

    def __init__(
        self,
        dataset: SequenceSource,
        items: list[EvaluationItem],
        builder: SampleBuilder,
        views: int | None = None,
        without_person: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.dataset, self.items, self.builder = dataset, items, builder
        self.views, self.without_person = views, without_person

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        item = self.items[index]
        sequence = self.dataset.sequence(item.position)
        source = self.dataset.sequence(item.reference_position)
        batch = self.builder.build(sequence, item.targets, item.references, source)
        directions_BV3 = _directions(source, item.references)[None]  # scores by angle ask for them
        return replace(batch, references=replace(batch.references, directions_BV3=directions_BV3))

    def plot(self, sample: Batch) -> Image.Image:
        """A picture of one sample, see :func:`.plot_sample`."""
        return plot_sample(sample, self.dataset.rig)
