"""Reference photos of a subject, cut as in training, with what is known of camera and pose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lca_lightning.avatar.create import PhotoFormat, PreparedPhotos
from lca_lightning.batch import References
from lca_lightning.datasets import format as layout
from lca_lightning.datasets.crops import FrameCrop, crop_frame
from lca_lightning.datasets.evaluation import fixed_references
from lca_lightning.datasets.format import mask_box
from lca_lightning.datasets.frame_store import FrameStore, Shot
from lca_lightning.datasets.policies import ReferencePolicy
from lca_lightning.datasets.reader import SequenceSource, open_dataset
from lca_lightning.datasets.samples import stack_references
from lca_lightning.datasets.takes import make_take
from lca_lightning.errors import DataError
from lca_lightning.rig.rig import RigPose

_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class ReferenceSet:
    """Photos of one subject.

    Args:
        subject: Name of the subject.
        sequence: Where they come from.
        labels: A few words for each photo.
        references: ``V`` photos, ``B = 1``.
        identity_I: The rig's identity values, where known.
        pose: Pose in each photo (``V`` frames), where known.
        w2c_V44: Camera of each photo, where known.
        K_V33: Intrinsics of each cut, pixels, where known.
    """

    subject: str
    sequence: str
    labels: tuple[str, ...]
    references: References
    identity_I: Tensor | None = None
    pose: RigPose | None = None
    w2c_V44: Tensor | None = None
    K_V33: Tensor | None = None


def open_for_rig(root: str | Path, rig: str) -> SequenceSource:
    """Open a data set for a model.

    Args:
        root: Folder, pack or address.
        rig: Name of the model's rig.

    Returns:
        The data set.

    Raises:
        DataError: There is none, or it is of another rig.
    """
    dataset = open_dataset(root)
    if dataset.rig != rig:
        raise DataError(
            f"{root} carries values of the rig {dataset.rig!r}, the checkpoint was trained on {rig!r}; "
            "use data of the same rig."
        )
    return dataset


def choose_sequences(
    dataset: SequenceSource, split: str, sequence: str | None, count: int | None = None
) -> list[int]:
    """Positions of sequences: one by its id, or some of a split, spread over it.

    Args:
        dataset: The data set.
        split: ``train``, ``val`` or ``test``.
        sequence: An id of any split, or None.
        count: How many; None for all.

    Returns:
        Positions, at least one.

    Raises:
        DataError: No such sequence, or none in the split.
    """
    if sequence is not None:
        found = np.flatnonzero(dataset.index.ids_N == sequence)
        if not len(found):
            known = ", ".join(str(name) for name in dataset.index.ids_N[:5])
            raise DataError(f"{dataset.root} has no sequence {sequence!r}; it has {known} and others.")
        return [int(found[0])]
    positions = dataset.positions(split)
    if not len(positions):
        raise DataError(f"{dataset.root} has no sequence of split {split!r}; choose another by --split.")
    if count is not None and count < len(positions):
        positions = positions[np.linspace(0, len(positions) - 1, count).round().astype(int)]
    return [int(position) for position in positions]


def read_reference_sets(
    dataset: SequenceSource, position: int, photo_format: PhotoFormat, views: int, count: int = 1
) -> list[ReferenceSet]:
    """Reference sets of one sequence, chosen as in evaluation, each from its own stretch of the clip.

    Args:
        dataset: The data set.
        position: Of the sequence.
        photo_format: How the model saw photos in training.
        views: Photos of a set; fewer where a stretch has fewer.
        count: Sets wanted; fewer where the clip is shorter.

    Returns:
        Sets, the same at every call; none where no frame is usable.
    """
    sequence = dataset.sequence(position)
    cameras = list(sequence.cameras)
    if dataset.kind == "wild":
        cameras = cameras[:1]  # every camera is a clip of its own
    stretches = np.array_split(np.arange(sequence.frame_count), min(count, sequence.frame_count))
    sets = []
    for frames in stretches:
        allowed_T = np.zeros(sequence.frame_count, bool)
        allowed_T[frames] = True
        take = make_take(sequence, cameras, allowed_T, lit_references=dataset.kind == "light_stage")
        shots = fixed_references(take, views, ReferencePolicy()) if take is not None else ()
        if shots:
            sets.append(_read(sequence, shots, photo_format))
    return sets


def _read(sequence: layout.Sequence, shots: Sequence[Shot], photo_format: PhotoFormat) -> ReferenceSet:
    store = FrameStore(photo_format.image_size, photo_format.face_size, _CACHE_BYTES)
    crops = store.get(sequence, shots)
    frames, signals = [shot.frame for shot in shots], sequence.signals
    rotations, translation = signals.rotations_TJ3[frames], signals.translation_T3[frames]
    w2c = np.stack([sequence.cameras[shot.camera].w2c_44 for shot in shots])
    return ReferenceSet(
        sequence.subject,
        sequence.id,
        tuple(f"{shot.camera} frame {shot.frame}" for shot in shots),
        stack_references(crops, photo_format.face_size, photo_format.background),
        torch.from_numpy(np.array(signals.identity_I, np.float32)),
        RigPose(torch.from_numpy(np.array(rotations, np.float32)), _floats(translation)),
        _floats(w2c),
        _floats(np.stack([crop.K_33 for crop in crops])),
    )


def photo_reference_set(
    prepared: PreparedPhotos, labels: Sequence[str], photo_format: PhotoFormat
) -> ReferenceSet:
    """Somebody's own photos as a reference set.

    Args:
        prepared: What ``AvatarCreator.prepare`` found in them.
        labels: A few words for each.
        photo_format: How the model saw photos in training.

    Returns:
        The set; camera and pose are known where the fit gives them.
    """
    crops = list(_cut_photos(prepared, photo_format))
    known = prepared.poses is not None and bool(prepared.cameras) and prepared.identity_I is not None
    pose = None
    if prepared.poses is not None:
        pose = RigPose(_floats(prepared.poses.rotations_TJ3), _floats(prepared.poses.translation_T3))
    return ReferenceSet(
        "photos",
        "photos",
        tuple(labels),
        stack_references(crops, photo_format.face_size, photo_format.background),
        prepared.identity_I,
        pose if known else None,
        torch.stack([camera.w2c_44.float() for camera in prepared.cameras]) if known else None,
        _floats(np.stack([crop.K_33 for crop in crops])) if known else None,
    )


def _cut_photos(prepared: PreparedPhotos, photo_format: PhotoFormat) -> Iterator[FrameCrop]:
    sizes = (photo_format.image_size, photo_format.face_size)
    for number, photo in enumerate(prepared.photos):
        box = mask_box(photo.mask_HW)
        if not np.isfinite(box).all():
            raise DataError(f"There is no person in photo {number + 1}.")
        K_33 = prepared.cameras[number].K_33.double().numpy() if prepared.cameras else np.eye(3)
        yield crop_frame(photo.image_HW3, photo.mask_HW, K_33, box, photo.face_box_4, *sizes)


def _floats(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))
