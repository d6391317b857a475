"""Rig values, boxes and lights of every frame of a sequence, ``signals.safetensors`` of layout version 1."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lca_lightning.errors import DataError


@dataclass(frozen=True)
class StageLights:
    """Lamps of a light stage and which of them burn in each frame (LCA section 3.4).

    Args:
        positions_L3: World positions in metres.
        intensities_TL3: Linear RGB irradiance that each lamp gives at ``reference_distance`` to a surface
            facing it; 0 where it is off. It falls with the square of the distance.
        fully_lit_T: True for frames under even light, which show a person as a photo would.
        reference_distance: Metres.
    """

    positions_L3: np.ndarray
    intensities_TL3: np.ndarray
    fully_lit_T: np.ndarray
    reference_distance: float = 1.0

    def check(self, sequence: str, frames: int) -> None:
        """Refuse lights that disagree with the sequence.

        Raises:
            DataError: Names the sequence and the array.
        """
        count = len(self.positions_L3)
        _check_array(sequence, "lights/positions", np.asarray(self.positions_L3), (count, 3))
        _check_array(sequence, "lights/intensities", np.asarray(self.intensities_TL3), (frames, count, 3))
        _check_array(sequence, "lights/fully_lit", np.asarray(self.fully_lit_T), (frames,))
        finite = np.isfinite(self.positions_L3).all() and np.isfinite(self.intensities_TL3).all()
        if not finite or np.min(self.intensities_TL3, initial=0.0) < 0 or not self.reference_distance > 0:
            raise DataError(
                f"The lights of sequence {sequence} need finite positions, intensities of at least 0 and a "
                "positive reference distance."
            )


_PER_CAMERA: dict[str, tuple[int, ...]] = {"face_boxes": (4,), "person_boxes": (4,), "sharpness": ()}


@dataclass(frozen=True)
class Signals:
    """Per-frame rig values of a sequence; ``T`` frames, ``J`` joints.

    Args:
        identity_I: The rig's identity values of the subject.
        rotations_TJ3: Rotation vectors of the rig, radians; joint 0 is the root's world orientation.
        translation_T3: World position of the root joint, metres.
        expression_TE: The rig's expression coefficients, zeros where unknown.
        gaze_T8: Left eye's unit vector in the head frame, its validity, then the right eye's.
        frame_valid_T: False for frames that must not be used (badly fitted, no person).
        face_boxes: Per camera ``(T, 4)`` left, top, right, bottom in pixels; NaN where no face is seen.
        person_boxes: The same for the person's mask; :class:`SequenceWriter` fills it in.
        sharpness: Per camera ``(T,)``, how sharp the person is; :class:`SequenceWriter` fills it in.
        lights: Lamps of a light stage, or None for any other capture.
    """

    identity_I: np.ndarray
    rotations_TJ3: np.ndarray
    translation_T3: np.ndarray
    expression_TE: np.ndarray
    gaze_T8: np.ndarray
    frame_valid_T: np.ndarray
    face_boxes: dict[str, np.ndarray] = field(default_factory=dict)
    person_boxes: dict[str, np.ndarray] = field(default_factory=dict)
    sharpness: dict[str, np.ndarray] = field(default_factory=dict)
    lights: StageLights | None = None

    def check(self, sequence: str, frames: int, cameras: list[str]) -> None:
        """Refuse signals that disagree with the sequence or hold NaN in valid frames.

        Raises:
            DataError: Names the sequence and the array.
        """
        shapes: dict[str, tuple[int | None, ...]] = {
            "identity_I": (None,),
            "rotations_TJ3": (frames, None, 3),
            "translation_T3": (frames, 3),
            "expression_TE": (frames, None),
            "gaze_T8": (frames, 8),
            "frame_valid_T": (frames,),
        }
        arrays = {name: np.asarray(getattr(self, name)) for name in shapes}
        for label, row in _PER_CAMERA.items():
            values = getattr(self, label)
            unknown = sorted(set(values) - set(cameras))
            if unknown:
                raise DataError(f"Sequence {sequence} has {label} of the unknown camera {unknown[0]}.")
            arrays.update({f"{label}/{name}": np.asarray(value) for name, value in values.items()})
            shapes.update({f"{label}/{name}": (frames, *row) for name in values})
        for name, shape in shapes.items():
            _check_array(sequence, name, arrays[name], shape)
        if self.lights is not None:
            self.lights.check(sequence, frames)
        valid = arrays["frame_valid_T"].astype(bool)
        for name in ("rotations_TJ3", "translation_T3", "expression_TE", "gaze_T8"):
            if not np.isfinite(arrays[name][valid]).all():
                raise DataError(f"Sequence {sequence} has NaN or infinite {name} in frames marked as valid.")
        if not np.isfinite(arrays["identity_I"]).all():
            raise DataError(f"Sequence {sequence} has a NaN or infinite identity_I.")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays for ``signals.safetensors``."""
        arrays = {
            "identity": self.identity_I,
            "rotations": self.rotations_TJ3,
            "translation": self.translation_T3,
            "expression": self.expression_TE,
            "gaze": self.gaze_T8,
        }
        for label in _PER_CAMERA:
            arrays.update({f"{label}/{name}": values for name, values in getattr(self, label).items()})
        flags = {"frame_valid": self.frame_valid_T}
        if self.lights is not None:
            arrays["lights/positions"] = self.lights.positions_L3
            arrays["lights/intensities"] = self.lights.intensities_TL3
            arrays["lights/reference_distance"] = np.array([self.lights.reference_distance])
            flags["lights/fully_lit"] = self.lights.fully_lit_T
        floats = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
        return {**floats, **{name: np.ascontiguousarray(flag, dtype=bool) for name, flag in flags.items()}}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Signals:
        """The inverse of :meth:`to_arrays`; raises ``KeyError`` for a missing array."""
        per_camera = {
            label: {
                name.split("/", 1)[1]: array for name, array in arrays.items() if name.startswith(f"{label}/")
            }
            for label in _PER_CAMERA
        }
        lights = None
        if "lights/positions" in arrays:
            lights = StageLights(
                arrays["lights/positions"],
                arrays["lights/intensities"],
                arrays["lights/fully_lit"],
                float(arrays["lights/reference_distance"][0]),
            )
        return Signals(
            identity_I=arrays["identity"],
            rotations_TJ3=arrays["rotations"],
            translation_T3=arrays["translation"],
            expression_TE=arrays["expression"],
            gaze_T8=arrays["gaze"],
            frame_valid_T=arrays["frame_valid"],
            **per_camera,
            lights=lights,
        )


def _check_array(sequence: str, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    matches = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{name} of sequence {sequence} must have shape ({wanted}), got {array.shape}.")
