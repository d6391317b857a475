"""Training samples of one data set: clips are opened when they are drawn, never before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from lca_lightning.batch import Batch
from lca_lightning.datasets.captures import HoldOut
from lca_lightning.datasets.format import Sequence
from lca_lightning.datasets.order import SampleOrder
from lca_lightning.datasets.policies import ReferencePolicy, TargetPolicy, draw_shots
from lca_lightning.datasets.reader import SequenceSource
from lca_lightning.datasets.samples import SampleBuilder, SampleSource
from lca_lightning.datasets.sampling import Draw, Take
from lca_lightning.datasets.takes import make_take
from lca_lightning.errors import DataError

_KEPT_TAKES = 256  # in memory; a take of a long clip is a few kilobytes ...
_KEPT_TAKE_BYTES = 64 * 2**20  # ... but one of a long capture in a dome is megabytes


@dataclass(frozen=True)
class Clip:
    """A sequence and what may be drawn from it."""

    sequence: Sequence
    take: Take


@dataclass(frozen=True)
class DrawRule:
    """How a training sample is drawn.

    Args:
        targets: Target frames of a sample.
        references: How references are chosen.
        policy: How targets are chosen.
        one_camera: Every camera is a clip of its own.
        lit_references: In a light stage: references are fully lit.
        partially_lit: In a light stage: share of partially lit targets; None draws from all frames alike.
    """

    targets: int
    references: ReferencePolicy = ReferencePolicy()
    policy: TargetPolicy = TargetPolicy()
    one_camera: bool = False
    lit_references: bool = False
    partially_lit: float | None = None


class ClipSource(SampleSource):
    """Draws samples from sequences of one data set.

    Nothing is opened at the start: clips are columns of numbers, so a million sequences cost a few megabytes.
    A clip without enough usable frames gives way to the next one, in the same way in every process.

    Args:
        dataset: The data set.
        positions: Of the sequences to train on.
        hold_out: Cameras and frames kept from training.
        builder: Reads the frames.
        rule: How a sample is drawn.
        seed: Of the run.
        window_groups: In a pack: sequences are shuffled within runs of this many chunks; None shuffles all.
    """

    def __init__(
        self,
        dataset: SequenceSource,
        positions: np.ndarray,
        hold_out: HoldOut,
        builder: SampleBuilder,
        rule: DrawRule,
        *,
        seed: int,
        window_groups: int | None = None,
    ) -> None:
        self.dataset, self.hold_out, self.builder = dataset, hold_out, builder
        self.rule, self.seed, self.rig = rule, seed, dataset.rig
        cameras_N = np.ones(len(positions), int)
        if rule.one_camera:
            chosen = hold_out.only_cameras
            cameras_N = dataset.index.cameras_N[positions] if chosen is None else cameras_N * len(chosen)
        self.positions_K = np.repeat(positions, cameras_N)
        starts_N = np.cumsum(cameras_N) - cameras_N
        self.cameras_K = np.arange(len(self.positions_K)) - np.repeat(starts_N, cameras_N)
        groups_K = dataset.index.groups_N[self.positions_K]
        packed = len(groups_K) > 0 and groups_K.max() > groups_K.min()
        self.order = SampleOrder(groups_K, seed, window_groups if packed else None)
        self._takes: OrderedDict[int, Take | None] = OrderedDict()
        self._take_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process remembers no takes."""
        return {**self.__dict__, "_takes": OrderedDict(), "_take_bytes": 0}

    def sample(self, number: int, views: int) -> Batch:
        """The batch of one row of a sample."""
        clip, draw = self.draw(number, views)
        return self.builder.build(clip.sequence, draw.targets, draw.references)

    def draw(self, number: int, views: int) -> tuple[Clip, Draw]:
        """The clip and the shots of a sample, without reading any picture.

        Raises:
            DataError: No clip gives a sample.
        """
        place = self.order.position(number)
        if self.order.window_groups is not None:
            self.dataset.prefetch(self.order.upcoming(number))
        for _ in range(len(self.positions_K)):
            take = self._take(place)
            if take is not None:
                draw = draw_shots(
                    self.seed,
                    number,
                    take,
                    views,
                    self.rule.targets,
                    self.rule.references,
                    self.rule.policy,
                    self.rule.partially_lit,
                )
                return Clip(self.dataset.sequence(int(self.positions_K[place])), take), draw
            place = (place + 1) % len(self.positions_K)
        raise DataError(
            f"{self.dataset.root} has no sequence of split 'train' with two usable frames; add data."
        )

    def _take(self, place: int) -> Take | None:
        """What may be drawn from a clip; None where that is no sample."""
        if place in self._takes:
            self._takes.move_to_end(place)
            return self._takes[place]
        sequence = self.dataset.sequence(int(self.positions_K[place]))
        cameras, frames = self.hold_out.cameras(sequence)[0], self.hold_out.frames(sequence)[0]
        group = [cameras[self.cameras_K[place]]] if self.rule.one_camera else cameras
        take = make_take(sequence, group, frames, lit_references=self.rule.lit_references)
        self._takes[place] = take if take is not None and _gives_samples(take) else None
        self._take_bytes += _size(self._takes[place])
        while len(self._takes) > 1 and (
            len(self._takes) > _KEPT_TAKES or self._take_bytes > _KEPT_TAKE_BYTES
        ):
            self._take_bytes -= _size(self._takes.popitem(last=False)[1])
        return self._takes[place]


def _size(take: Take | None) -> int:
    """Bytes of a take's columns."""
    columns = vars(take).values() if take is not None else ()
    return sum(column.nbytes for column in columns if isinstance(column, np.ndarray))


def _gives_samples(take: Take) -> bool:
    """Whether there is a reference and another frame: of that camera, or of another one."""
    references = sum(len(take.reference_frames(camera)) for camera in range(len(take.cameras)))
    return references > 0 and (len(take.cameras) > 1 or int(take.usable_CT.sum()) > 1)
