"""DNA-Rendering: 60 synchronous cameras, 15 frames a second, in HDF5 files called ``.smc``.

Layout after the set's own reader (DNA-Rendering/DNA-Rendering): pictures in ``NAME.smc``
(``Camera_5mp/0/color/0`` and ``Camera_12mp/48/color/0``, encoded), everything else in ``NAME_annots.smc``
beside it or in a folder ``annotations`` instead of ``main``: ``Camera_Parameter/00/{K,D,RT}``,
``Mask/0/mask/0``, ``SMPLx/{betas,expression,fullpose,transl}``, ``Keypoints_3D/keypoints3d``.

Its traps: pictures decode to BGR; ``RT`` is camera-to-world although it is called an extrinsic; cameras are
numbered ``0`` among pictures and ``00`` among parameters; hands are relative to SMPL-X's mean hand; ``scale``
is not applied by the set's own code, so it is not applied here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.errors import DataError, LCAError, MissingAssetError
from lca_lightning.importers.reading import picture_size
from lca_lightning.importers.source import (
    BrokenTake,
    Importer,
    JointsBody,
    SmplBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.upright import nearest_axis, turned_camera, up_axis_of_bodies, world_turn

_GROUPS = ("Camera_5mp", "Camera_12mp")
_BODY = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
    "right_small_toe", "right_heel",
)  # fmt: skip
_FINGERS = tuple(f"{f}{n}" for f in ("thumb", "index", "middle", "ring", "pinky") for n in (1, 2, 3, 4))
WHOLE_BODY = (
    *_BODY, *(f"face{n}" for n in range(68)),
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hand_root", *_FINGERS)),
)  # fmt: skip
"""COCO-WholeBody's 133 points."""


class DNARenderingImporter(Importer):
    """Reads each ``.smc`` as one take."""

    name = "dna_rendering"
    title = "DNA-Rendering"
    licence = "DNA-Rendering licence, research only"
    terms_url = "https://dna-rendering.github.io"
    access = "application"
    kind = "studio"
    pixel_center = 0.0
    expects = "NAME.smc with NAME_annots.smc beside it or in a folder annotations"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if next(self._files(), None) is None:
            raise self.not_this_set("there is no NAME.smc")

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted(self.source.rglob("*.smc")) if not path.stem.endswith("_annots"))

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a file, in the order of the paths."""
        for path in self._files():
            try:
                yield self._take(path)
            except (LCAError, OSError, KeyError, ValueError) as error:
                yield BrokenTake(path.stem, f"{path.name}: {error}")

    def _take(self, path: Path) -> SourceTake:
        annotations = _annotations(path)
        with _open(path) as pictures, _open(annotations) as known:
            body = known["SMPLx/fullpose"][()] if "SMPLx/fullpose" in known else None
            poses = {
                name: np.linalg.inv(entry["RT"][()]) for name, entry in known["Camera_Parameter"].items()
            }
            up = _up(body, list(poses.values()))
            cameras, details, frames = [], {}, None
            for group in _GROUPS:
                for number in sorted(pictures[group], key=int) if group in pictures else []:
                    lens = known["Camera_Parameter"][f"{int(number):02d}"]
                    stored = pictures[group][number]["color"]
                    width, height = picture_size(_bytes(stored["0"]), f"{path.name} {group}/{number}")
                    pose = turned_camera(poses[f"{int(number):02d}"], up)
                    name = f"cam{int(number):02d}"
                    K, lens_5 = lens["K"][()], np.asarray(lens["D"][()]).reshape(-1)
                    cameras.append(SourceCamera(name, width, height, K, pose, lens_5))
                    details[name] = f"{group}/{number}"
                    frames = len(stored) if frames is None else min(frames, len(stored))
            subject = str(pictures.attrs.get("actor_id", path.stem.split("_")[0]))
            details |= {"file": str(path), "annotations": str(annotations), "up": up}
            details["gender"] = str(pictures.attrs.get("gender", "neutral"))
        if not cameras or not frames:
            raise DataError("it holds no pictures of a camera")
        return SourceTake(
            path.stem, subject, tuple(cameras), frames, 15.0, path.parent, details=dict(details)
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Decoded pictures, RGB, and masks."""
        group = str(take.details[camera.name])
        number = group.split("/")[1]
        with (
            _open(Path(str(take.details["file"]))) as pictures,
            _open(Path(str(take.details["annotations"]))) as known,
        ):
            for index in indices:
                image = _decode(pictures[group]["color"], index, camera.name)[..., ::-1]  # BGR to RGB
                mask = _decode(known["Mask"][number]["mask"], index, f"mask of {camera.name}")
                yield np.ascontiguousarray(image), mask.max(-1)

    def body(self, take: SourceTake, indices: Sequence[int]) -> SmplBody | JointsBody | None:
        """SMPL-X, and the triangulated points for those who have no model file."""
        turn_44 = world_turn(str(take.details["up"]))
        with _open(Path(str(take.details["annotations"]))) as known:
            points = _points(known, turn_44, list(indices))
            if "SMPLx" not in known:
                return points
            values = {
                name: known["SMPLx"][name][()] for name in ("betas", "fullpose", "transl", "expression")
            }
        pose = np.asarray(values["fullpose"], np.float64).reshape(-1, 55, 3)[list(indices)]
        return SmplBody(
            "smplx",
            str(take.details["gender"]),
            np.asarray(values["betas"], np.float64).reshape(-1, values["betas"].shape[-1]).mean(0),
            pose[:, 0],
            pose[:, 1:22],
            np.asarray(values["transl"], np.float64).reshape(-1, 3)[list(indices)],
            left_hand_TJ3=pose[:, 25:40],
            right_hand_TJ3=pose[:, 40:55],
            jaw_T3=pose[:, 22],
            expression_TN=np.asarray(values["expression"], np.float64)[list(indices)],
            world_from_model_44=turn_44,
            hands_from_mean=True,
            instead=points,
        )


def _points(known: Any, turn_44: NDArray[np.float64], indices: list[int]) -> JointsBody | None:
    if "Keypoints_3D/keypoints3d" not in known:
        return None
    points = np.asarray(known["Keypoints_3D/keypoints3d"][()], np.float64)[indices]
    if points.ndim != 3 or points.shape[1] != len(WHOLE_BODY):
        return None
    confidence = points[..., 3].clip(0, 1) if points.shape[2] > 3 else None
    return JointsBody(WHOLE_BODY, points[..., :3] @ turn_44[:3, :3].T, confidence)


def _up(fullpose: NDArray[np.float64] | None, poses: list[NDArray[np.float64]]) -> str:
    if fullpose is not None:
        return up_axis_of_bodies(np.asarray(fullpose).reshape(len(fullpose), -1, 3)[:, 0])
    return nearest_axis(np.mean([-pose[1, :3] for pose in poses], axis=0))


def _annotations(path: Path) -> Path:
    name = f"{path.stem}_annots.smc"
    moved = [part if part != "main" else "annotations" for part in path.parent.parts]
    for folder in (path.parent, Path(*moved), path.parent.parent / "annotations"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"its annotations {name} are missing; download them beside it")


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingAssetError(
            "Files called .smc need h5py, which is not installed: pip install 'lca-lightning[importers]'."
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is missing or cut short; download it again.") from error


def _bytes(stored: Any) -> bytes:
    return np.asarray(stored[()], np.uint8).tobytes()


def _decode(stored: Any, index: int, label: str) -> NDArray[np.uint8]:
    """BGR picture of a frame; frames are keyed by their number as text."""
    if str(index) not in stored:
        raise DataError(f"Frame {index} of {label} is missing; download the file again.")
    image = cv2.imdecode(np.frombuffer(_bytes(stored[str(index)]), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"Frame {index} of {label} is damaged; download the file again.")
    return np.asarray(image, np.uint8)
