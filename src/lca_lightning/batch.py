"""What flows from data to model: typed, frozen, self-validating, and nothing else.

Shape letters: ``B`` subjects, ``V`` reference views, ``T`` target frames, ``J`` joints, ``E`` expression
coefficients, ``I`` identity values, ``H W`` pixels of body images and targets, ``h w`` of face close-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.errors import check_shape

Part = TypeVar("Part", bound="_TensorRecord")


class _TensorRecord:
    """Moves every tensor of a frozen dataclass, including those of nested records."""

    def _map(self: Part, function: Any) -> Part:
        changes: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif is_dataclass(value):
                changes[field.name] = value._map(function)  # type: ignore[union-attr]
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self: Part, device: torch.device | str, non_blocking: bool = False) -> Part:
        """Return the same record with every tensor on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Part, device: Any = None) -> Part:
        """Return the same record in page-locked memory, for asynchronous copies to CUDA."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class References(_TensorRecord):
    """The photos an avatar is made from.

    Args:
        body_BV3HW: Full-body images, float sRGB in [0, 1], background already replaced.
        face_BV3hw: Face close-ups, float sRGB in [0, 1]; zeros where ``face_mask_BV`` is False.
        view_mask_BV: True for a real view, False for padding.
        face_mask_BV: True where the view shows a face.
        body_mattes_BV1HW: How much of each pixel is the person, in [0, 1], where the data knows it; what is
            not is a constant colour. Augmentation needs them, the model does not.
        face_mattes_BV1hw: The same for the close-ups.
        directions_BV3: Unit vector from the root joint to each view's camera in the body's own axes (+z in
            front of the person), where the data knows it; NaN where it knows no pose. Only evaluation asks.
    """

    body_BV3HW: Tensor
    face_BV3hw: Tensor
    view_mask_BV: Tensor
    face_mask_BV: Tensor
    body_mattes_BV1HW: Tensor | None = None
    face_mattes_BV1hw: Tensor | None = None
    directions_BV3: Tensor | None = None

    def __post_init__(self) -> None:
        check_shape("references.body_BV3HW", self.body_BV3HW, ("B", "V", 3, "H", "W"))
        subjects, views = self.body_BV3HW.shape[:2]
        check_shape("references.face_BV3hw", self.face_BV3hw, (subjects, views, 3, "h", "w"))
        check_shape("references.view_mask_BV", self.view_mask_BV, (subjects, views))
        check_shape("references.face_mask_BV", self.face_mask_BV, (subjects, views))
        for name, images in (("body_mattes_BV1HW", self.body_BV3HW), ("face_mattes_BV1hw", self.face_BV3hw)):
            if getattr(self, name) is not None:
                shape = (subjects, views, 1, *images.shape[-2:])
                check_shape(f"references.{name}", getattr(self, name), shape)
        if self.directions_BV3 is not None:
            check_shape("references.directions_BV3", self.directions_BV3, (subjects, views, 3))

    def pad_views(self, count: int) -> References:
        """Append padding views so that ``count`` views stand in each row."""
        missing = count - self.body_BV3HW.shape[1]
        if not missing:
            return self
        images = (0, 0, 0, 0, 0, 0, 0, missing)
        return References(
            functional.pad(self.body_BV3HW, images),
            functional.pad(self.face_BV3hw, images),
            functional.pad(self.view_mask_BV, (0, missing)),
            functional.pad(self.face_mask_BV, (0, missing)),
            _padded(self.body_mattes_BV1HW, images),
            _padded(self.face_mattes_BV1hw, images),
            _padded(self.directions_BV3, (0, 0, 0, missing)),
        )


@dataclass(frozen=True)
class Driving(_TensorRecord):
    """What moves the avatar in each target frame.

    Args:
        rotations_BTJ3: Rotation vectors of the rig's joints, radians; joint 0 is the root's orientation.
        translation_BT3: World position of the root joint, metres.
        expression_BTE: Expression coefficients of the rig, zeros where unknown.
        gaze_BT8: Left eye's unit vector in the head frame and its validity, then the right eye's.
    """

    rotations_BTJ3: Tensor
    translation_BT3: Tensor
    expression_BTE: Tensor
    gaze_BT8: Tensor

    def __post_init__(self) -> None:
        check_shape("driving.rotations_BTJ3", self.rotations_BTJ3, ("B", "T", "J", 3))
        subjects, frames = self.rotations_BTJ3.shape[:2]
        check_shape("driving.translation_BT3", self.translation_BT3, (subjects, frames, 3))
        check_shape("driving.expression_BTE", self.expression_BTE, (subjects, frames, "E"))
        check_shape("driving.gaze_BT8", self.gaze_BT8, (subjects, frames, 8))


@dataclass(frozen=True)
class Targets(_TensorRecord):
    """The frames the avatar must reproduce.

    Args:
        images_BT3HW: Float sRGB in [0, 1].
        masks_BT1HW: Person mask in [0, 1].
        w2c_BT44: World to camera, metres, OpenCV axes.
        K_BT33: Intrinsics in pixels, pixel centres at +0.5.
    """

    images_BT3HW: Tensor
    masks_BT1HW: Tensor
    w2c_BT44: Tensor
    K_BT33: Tensor

    def __post_init__(self) -> None:
        check_shape("targets.images_BT3HW", self.images_BT3HW, ("B", "T", 3, "H", "W"))
        subjects, frames, _, height, width = self.images_BT3HW.shape
        check_shape("targets.masks_BT1HW", self.masks_BT1HW, (subjects, frames, 1, height, width))
        check_shape("targets.w2c_BT44", self.w2c_BT44, (subjects, frames, 4, 4))
        check_shape("targets.K_BT33", self.K_BT33, (subjects, frames, 3, 3))


@dataclass(frozen=True)
class Lighting(_TensorRecord):
    """Known light of each target frame of a light stage (LCA section 3.4).

    Args:
        positions_BTL3: World positions of the lamps, metres.
        intensities_BTL3: Linear RGB irradiance at ``reference_distance_B``; 0 where a lamp is off or is
            padding.
        reference_distance_B: Metres; irradiance falls with the square of the distance.
        fully_lit_BT: True for frames under even light.
        linear_images_BT3HW: Linear RGB of the targets, not clipped at 1.
        albedo_BT3HW: True linear albedo, where the data has it.
        normals_BT3HW: True unit normals in world axes, 0 outside the person, where the data has them.
    """

    positions_BTL3: Tensor
    intensities_BTL3: Tensor
    reference_distance_B: Tensor
    fully_lit_BT: Tensor
    linear_images_BT3HW: Tensor
    albedo_BT3HW: Tensor | None = None
    normals_BT3HW: Tensor | None = None

    def __post_init__(self) -> None:
        check_shape("lighting.positions_BTL3", self.positions_BTL3, ("B", "T", "L", 3))
        subjects, frames, lamps = self.positions_BTL3.shape[:3]
        check_shape("lighting.intensities_BTL3", self.intensities_BTL3, (subjects, frames, lamps, 3))
        check_shape("lighting.reference_distance_B", self.reference_distance_B, (subjects,))
        check_shape("lighting.fully_lit_BT", self.fully_lit_BT, (subjects, frames))
        check_shape("lighting.linear_images_BT3HW", self.linear_images_BT3HW, (subjects, frames, 3, "H", "W"))
        for name in ("albedo_BT3HW", "normals_BT3HW"):
            if getattr(self, name) is not None:
                check_shape(f"lighting.{name}", getattr(self, name), tuple(self.linear_images_BT3HW.shape))

    def pad_lamps(self, count: int) -> Lighting:
        """Append lamps that are off, so that ``count`` lamps stand in each row."""
        missing = (0, 0, 0, count - self.positions_BTL3.shape[2])
        return replace(
            self,
            positions_BTL3=functional.pad(self.positions_BTL3, missing),
            intensities_BTL3=functional.pad(self.intensities_BTL3, missing),
        )


@dataclass(frozen=True)
class Batch(_TensorRecord):
    """References, driving signals and targets of ``B`` subjects.

    Args:
        references: Photos of each subject.
        driving: Pose, expression and gaze of each target frame.
        targets: Images to reproduce.
        identity_BI: The rig's identity values of each subject.
        subjects: Subject name per row.
        frames: ``"sequence/camera/frame"`` per row and target.
        lighting: Light of the targets where all rows come from a light stage, else None.
        reference_shots: ``"sequence/camera/frame"`` per row and real view; None where the data does not say.
    """

    references: References
    driving: Driving
    targets: Targets
    identity_BI: Tensor
    subjects: tuple[str, ...]
    frames: tuple[tuple[str, ...], ...]
    lighting: Lighting | None = None
    reference_shots: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        subjects = self.size
        check_shape("identity_BI", self.identity_BI, (subjects, "I"))
        check_shape("references.body_BV3HW", self.references.body_BV3HW, (subjects, "V", 3, "H", "W"))
        check_shape(
            "driving.rotations_BTJ3", self.driving.rotations_BTJ3, (*self.targets.w2c_BT44.shape[:2], "J", 3)
        )
        if self.lighting is not None:
            shape = tuple(self.targets.images_BT3HW.shape)
            check_shape("lighting.linear_images_BT3HW", self.lighting.linear_images_BT3HW, shape)

    @property
    def size(self) -> int:
        """Number of subjects ``B``."""
        return len(self.subjects)

    @staticmethod
    def collate(samples: Sequence[Batch]) -> Batch:
        """Join samples along ``B``; rows with fewer views are padded with masked views.

        Args:
            samples: Batches whose target counts and image sizes agree.

        Returns:
            One batch with the rows in order; it knows the lighting where every sample does, and true albedo
            and normals likewise.
        """
        if len(samples) == 1:
            return samples[0]  # nothing to copy
        views = max(sample.references.body_BV3HW.shape[1] for sample in samples)
        references = [sample.references.pad_views(views) for sample in samples]
        shots = [names for sample in samples for names in sample.reference_shots or ()]
        return Batch(
            _join(references),
            _join([sample.driving for sample in samples]),
            _join([sample.targets for sample in samples]),
            torch.cat([sample.identity_BI for sample in samples]),
            tuple(name for sample in samples for name in sample.subjects),
            tuple(names for sample in samples for names in sample.frames),
            _join_lighting([sample.lighting for sample in samples]),
            None if any(sample.reference_shots is None for sample in samples) else tuple(shots),
        )


def _padded(tensor: Tensor | None, amounts: tuple[int, ...]) -> Tensor | None:
    return None if tensor is None else functional.pad(tensor, amounts)


def _join(records: Sequence[Any]) -> Any:
    """Concatenate every tensor field of equal records along their first dimension; None if one lacks it."""
    kind = type(records[0])
    columns = [[getattr(record, field.name) for record in records] for field in fields(kind)]
    return kind(*(None if any(part is None for part in column) else torch.cat(column) for column in columns))


def _join_lighting(lightings: Sequence[Lighting | None]) -> Lighting | None:
    known = [lighting for lighting in lightings if lighting is not None]
    if len(known) < len(lightings):
        return None
    lamps = max(lighting.positions_BTL3.shape[2] for lighting in known)
    return _join([lighting.pad_lamps(lamps) for lighting in known])
