"""What the evaluation protocols have in common: frames in, means by subject out, exact over processes."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lca_lightning.errors import ConfigError, DataError, NonFiniteError, check_shape

Row = tuple[str, str, dict[str, float]]
"""Subject, frame and the frame's scores."""

PROTOCOLS = ("masked", "composite", "lhm")
LOWEST_SQUARED_ERROR = 1e-10  # 100 dB for a perfect image
COUNTS = ("frames", "subjects", "frames_without_mask")
_CLASSES = {
    "masked": ("lca_lightning.metrics.masked", "MaskedProtocol"),
    "composite": ("lca_lightning.metrics.composite", "CompositeProtocol"),
    "lhm": ("lca_lightning.metrics.lhm", "LHMProtocol"),
}


@dataclass(frozen=True)
class ScoredFrames:
    """What every protocol scores.

    Args:
        predicted_BT3HW: Renderings over white, sRGB.
        alphas_BT1HW: Rendered opacity; None for images of unknown opacity.
        images_BT3HW: True images, sRGB.
        masks_BT1HW: True masks in [0, 1], binarised at 0.5 by every protocol.
        subjects: Subject of each row.
        frames: ``"sequence/camera/frame"`` of each row and target.
        regions: Boolean masks ``(B, T, 1, H, W)`` of ``"face"`` and ``"hands"`` in the true images.
        angles_BT: Degrees between target and nearest reference view, NaN where unknown.

    Raises:
        ShapeError: Two parts disagree in size.
    """

    predicted_BT3HW: Tensor
    alphas_BT1HW: Tensor | None
    images_BT3HW: Tensor
    masks_BT1HW: Tensor
    subjects: tuple[str, ...]
    frames: tuple[tuple[str, ...], ...]
    regions: Mapping[str, Tensor] | None = None
    angles_BT: Tensor | None = None

    def __post_init__(self) -> None:
        check_shape("images_BT3HW", self.images_BT3HW, ("B", "T", 3, "H", "W"))
        shape = tuple(self.images_BT3HW.shape)
        single = (*shape[:2], 1, *shape[3:])
        check_shape("predicted_BT3HW", self.predicted_BT3HW, shape)
        check_shape("masks_BT1HW", self.masks_BT1HW, single)
        if self.alphas_BT1HW is not None:
            check_shape("alphas_BT1HW", self.alphas_BT1HW, single)
        for name, region_BT1HW in (self.regions or {}).items():
            check_shape(f"regions[{name!r}]", region_BT1HW, single)
        if self.angles_BT is not None:
            check_shape("angles_BT", self.angles_BT, shape[:2])

    @property
    def names(self) -> list[tuple[str, str]]:
        """Subject and frame of each picture, row by row."""
        return [
            (subject, frame) for subject, row in zip(self.subjects, self.frames, strict=True) for frame in row
        ]


class Protocol(Metric):
    """Scores frames, and averages them by subject and then over subjects.

    A frame is known by a digest of its subject and name: one seen twice (padding that evens out processes)
    counts once. A frame whose mask is empty has NaN scores and counts only as ``frames_without_mask``. A
    score that a frame lacks (no face in sight) is NaN there and left out of that score's means; one that no
    frame has is absent from ``compute()``. The result is the same for any number of processes.

    Args:
        score_names: Scores of a frame, in the order they are stored.
        **options: Passed on to ``torchmetrics.Metric``.

    Attributes:
        name: Of the protocol.
    """

    is_differentiable = False
    full_state_update = False
    name: str
    frame_keys: list[Tensor]
    frame_scores: list[Tensor]

    def __init__(self, score_names: tuple[str, ...], **options: Any) -> None:
        super().__init__(**options)
        self.score_names = score_names
        self._names: list[tuple[str, str]] = []
        self.add_state("frame_keys", default=[], dist_reduce_fx="cat")
        self.add_state("frame_scores", default=[], dist_reduce_fx="cat")
        self.reset()

    def score(self, frames: ScoredFrames) -> dict[str, Tensor]:
        """Scores of each picture row by row, each ``(B * T,)``; what is left out is NaN everywhere."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget every frame."""
        super().reset()
        self._names = []
        # a process without frames must gather tensors of the same type and rank as the others
        self.frame_keys.append(torch.zeros(0, 2, dtype=torch.long, device=self.device))
        self.frame_scores.append(
            torch.zeros(0, len(self.score_names), dtype=torch.double, device=self.device)
        )

    @torch.no_grad()
    def update(self, frames: ScoredFrames) -> None:
        """Score the frames of a batch.

        Raises:
            NonFiniteError: A prediction is not finite; names the frame.
        """
        names = frames.names
        self._refuse_nonfinite(frames, names)
        keys = [[_key(subject), _key(f"{subject}\0{frame}")] for subject, frame in names]
        scores = self.score(frames)
        filled = frames.masks_BT1HW.flatten(0, 1).flatten(1).amax(1) > 0.5
        nothing = torch.full((len(names),), torch.nan, dtype=torch.double, device=filled.device)
        columns = [scores.get(name, nothing).double() for name in self.score_names]
        self.frame_keys.append(torch.tensor(keys, dtype=torch.long, device=filled.device))
        self.frame_scores.append(torch.stack(columns, 1).masked_fill(~filled[:, None], torch.nan))
        self._names += names

    def forward(self, frames: ScoredFrames) -> dict[str, float]:
        """Score a batch and return its own means."""
        before = len(self._names)
        self.update(frames)
        return average_rows(self.rows()[before:])

    def compute(self) -> dict[str, Tensor]:
        """Mean scores over all processes.

        Returns:
            Each score that some frame has, the ``frames`` and ``subjects`` that count, and
            ``frames_without_mask`` left out.

        Raises:
            DataError: Nothing was scored.
        """
        keys, values = _joined(self.frame_keys), _joined(self.frame_scores)
        first = _first_of_each(keys[:, 1])
        subjects, values = keys[first, 0], values[first]
        seen = ~values.isnan().all(1)
        if not bool(seen.any()):
            why = "every mask of it is empty" if len(values) else "the test split is empty"
            raise DataError(f"No frame was evaluated: {why}; check the data with `lca check-data`.")
        means = _means_by_subject(subjects[seen], values[seen])
        scores = dict(zip(self.score_names, means, strict=True))
        return {
            **{name: value for name, value in scores.items() if not bool(value.isnan())},
            "frames": seen.sum(),
            "subjects": torch.tensor(len(subjects[seen].unique())),
            "frames_without_mask": (~seen).sum(),
        }

    def rows(self) -> list[Row]:
        """Subject, frame and scores of each picture of this process since the last reset, in order."""
        values = _joined(self.frame_scores).tolist()
        return [
            (subject, frame, dict(zip(self.score_names, row, strict=True)))
            for (subject, frame), row in zip(self._names, values, strict=True)
        ]

    def _refuse_nonfinite(self, frames: ScoredFrames, names: list[tuple[str, str]]) -> None:
        finite = frames.predicted_BT3HW.flatten(0, 1).flatten(1).isfinite().all(1)
        if not bool(finite.all()):
            subject, frame = names[int((~finite).nonzero()[0])]
            raise NonFiniteError(
                f"The prediction of {subject}, {frame} holds values that are not finite and cannot be "
                "scored; test a checkpoint from before the training broke down."
            )


def build_protocol(name: str, **options: Any) -> Protocol:
    """Make a protocol by name.

    Args:
        name: One of ``PROTOCOLS``.
        **options: Of the protocol's class, such as ``lpips=False``.

    Returns:
        An empty metric.

    Raises:
        ConfigError: The name is unknown.
        MissingAssetError: The trained weights of its perceptual score are not on this machine.
    """
    if name not in _CLASSES:
        raise ConfigError(f"There is no protocol {name!r}; choose from {', '.join(PROTOCOLS)}.")
    module, kind = _CLASSES[name]
    protocol: Protocol = getattr(importlib.import_module(module), kind)(**options)
    return protocol


def average_rows(rows: Iterable[Row]) -> dict[str, float]:
    """Mean scores of rows, by subject and then over subjects, as ``Protocol.compute`` does it.

    Args:
        rows: From ``Protocol.rows`` of all processes; a frame that comes twice counts once.

    Returns:
        Each score that some frame has, and the counts; counts of 0 and no score where no frame counts.
    """
    frames = {(subject, frame): scores for subject, frame, scores in rows}
    seen = {key: row for key, row in sorted(frames.items()) if not all(map(math.isnan, row.values()))}
    subjects = sorted({subject for subject, _ in seen})
    counts = {"frames": len(seen), "subjects": len(subjects), "frames_without_mask": len(frames) - len(seen)}
    if not seen:
        return dict(counts)
    names = list(next(iter(seen.values())))
    values = torch.tensor([[row[name] for name in names] for row in seen.values()], dtype=torch.double)
    index = torch.tensor([subjects.index(subject) for subject, _ in seen])
    means = zip(names, _means_by_subject(index, values).tolist(), strict=True)
    return {**{name: value for name, value in means if not math.isnan(value)}, **counts}


def _means_by_subject(subjects_n: Tensor, values_nS: Tensor) -> Tensor:
    """Mean of each score by subject, then over the subjects that have it; NaN where none has."""
    subjects, index = subjects_n.unique(return_inverse=True)
    known = ~values_nS.isnan()
    empty = values_nS.new_zeros(len(subjects), values_nS.shape[1])
    sums = empty.index_add(0, index, values_nS.nan_to_num(0.0))
    counts = empty.index_add(0, index, known.to(values_nS.dtype))
    return (sums / counts).nanmean(0)


def _key(text: str) -> int:
    """A 63-bit digest: strings cannot be gathered over processes, integers can."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state before, or one tensor after synchronisation."""
    return state if isinstance(state, Tensor) else torch.cat(state)


def _first_of_each(keys_n: Tensor) -> Tensor:
    """Index of the first occurrence of each key."""
    order = torch.argsort(keys_n, stable=True)
    ordered = keys_n[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]
