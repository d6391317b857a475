"""Results of SAM-3D-Body as files: read without executing anything, brought to one frame, and checked.

Its positions are MHR's with y and z negated, so they lie along a camera's axes (x right, y down, z away)
about the body's root; ``pred_cam_t`` still has to be added. Its expression and jaw are always zero: they are
no measurement, and nothing here reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy.spatial import cKDTree

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.keypoints308 import SAM_COUNT
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.safe_pickle import read_pickle

SUFFIXES = (".npz", ".pkl", ".pickle")
VERTEX_COUNT, JOINT_COUNT = 18439, 127
# How well keypoints must project onto the stored pixels, and how near the surface they lie (metres).
WORST_PROJECTION, WORST_DEPTH = 2.0, 0.15
_SHAPES: dict[str, tuple[int, ...]] = {
    "pred_vertices": (VERTEX_COUNT, 3),
    "pred_joint_coords": (JOINT_COUNT, 3),
    "pred_keypoints_3d": (SAM_COUNT, 3),
    "pred_keypoints_2d": (SAM_COUNT, 2),
    "pred_cam_t": (3,),
    "bbox": (4,),
}
_PARAMETERS = {"shape_params": (45,), "mhr_model_params": (204,)}


@dataclass(frozen=True)
class BodyFit:
    """One person in one picture, in camera axes (x right, y down, z away), metres from the camera.

    Attributes:
        vertices_V3: MHR's surface, ``(18439, 3)``.
        joints_J3: MHR's joints, ``(127, 3)``.
        keypoints_K3: The 70 named points, ``(70, 3)``.
        keypoints_K2: Their pixels, ``(70, 2)``.
        focal: Focal length in pixels that joins the two.
        center_2: Principal point in pixels.
        box_4: Left, top, right, bottom of the person in pixels.
        shift_3: Where the body's root stands.
        shape_45: MHR's identity values; None when not stored.
        model_204: MHR's pose and scale parameters; None when not stored.
    """

    vertices_V3: FloatArray
    joints_J3: FloatArray
    keypoints_K3: FloatArray
    keypoints_K2: FloatArray
    focal: float
    center_2: FloatArray
    box_4: FloatArray
    shift_3: FloatArray
    shape_45: FloatArray | None
    model_204: FloatArray | None


def read_body_fits(path: Path) -> list[BodyFit]:
    """Everybody in one file.

    Args:
        path: ``.npz`` of one person, or ``.pkl`` of one or a list of several; only arrays are read from it.

    Returns:
        The people, maybe none.

    Raises:
        DataError: The file is broken, holds anything but arrays, lacks a field, or its fields disagree.
    """
    return [_body_fit(person, path) for person in _people(path)]


def _people(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return [{name: arrays[name] for name in arrays.files}]
        except (OSError, ValueError, BadZipFile, EOFError) as error:
            raise DataError(f"{path} cannot be read as arrays ({error}); export it again.") from error
    content = read_pickle(path)
    people = list(content) if isinstance(content, (list, tuple)) else [content]
    if not all(isinstance(person, dict) for person in people):
        raise DataError(f"{path} holds no people: a dictionary of arrays each is expected; export it again.")
    return people


def _body_fit(fields: dict[str, Any], path: Path) -> BodyFit:
    values = {name: _field(fields, name, shape, path) for name, shape in _SHAPES.items()}
    optional = {
        name: _field(fields, name, shape, path) if name in fields else None
        for name, shape in _PARAMETERS.items()
    }
    shift, pixels = values["pred_cam_t"], values["pred_keypoints_2d"]
    keypoints = values["pred_keypoints_3d"] + shift
    focal, center, error = _camera(keypoints, pixels)
    if keypoints[:, 2].min() <= 0 or error > WORST_PROJECTION:
        raise DataError(
            f"{path}: pred_keypoints_3d + pred_cam_t misses pred_keypoints_2d by {error:.0f} pixels; "
            "positions must be as SAM-3D-Body writes them: y and z negated, pred_cam_t not added."
        )
    depth = float(np.median(cKDTree(values["pred_vertices"]).query(values["pred_keypoints_3d"])[0]))
    if depth > WORST_DEPTH:
        raise DataError(
            f"{path}: pred_vertices lies {depth:.2f} m from pred_keypoints_3d; both must have y and z "
            "negated and pred_cam_t not added, as SAM-3D-Body writes them."
        )
    return BodyFit(
        values["pred_vertices"] + shift, values["pred_joint_coords"] + shift, keypoints, pixels, focal,
        center, values["bbox"], shift, optional["shape_params"], optional["mhr_model_params"],
    )  # fmt: skip


def _field(fields: dict[str, Any], name: str, shape: tuple[int, ...], path: Path) -> FloatArray:
    if name not in fields:
        raise DataError(f"{path} lacks {name}; export SAM-3D-Body's whole output for each person.")
    try:
        value = np.asarray(fields[name], np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        got = getattr(fields[name], "shape", type(fields[name]).__name__)
        raise DataError(f"{path}: {name} must have shape {shape}, got {got}.") from error
    if not np.isfinite(value).all():
        raise DataError(f"{path}: {name} holds NaN or infinite values; fit this picture again.")
    return value


def _camera(points_K3: FloatArray, pixels_K2: FloatArray) -> tuple[float, FloatArray, float]:
    """Focal length and principal point by least squares, and the worst error in pixels."""
    count = len(points_K3)
    system = np.zeros((2 * count, 3))
    system[:count, 0], system[:count, 1] = points_K3[:, 0] / points_K3[:, 2], 1.0
    system[count:, 0], system[count:, 2] = points_K3[:, 1] / points_K3[:, 2], 1.0
    wanted = np.concatenate([pixels_K2[:, 0], pixels_K2[:, 1]])
    solution, *_ = np.linalg.lstsq(system, wanted, rcond=None)
    return float(solution[0]), solution[1:], float(np.abs(system @ solution - wanted).max())


def fit_files(folder: Path, clip_id: str) -> dict[int, Path]:
    """Files of one video by frame number, the last number in a file's name.

    Args:
        folder: Has a sub-folder named like the video; or, without any sub-folder, the files of one video.
        clip_id: Name of the clip.

    Raises:
        DataError: No file, one without a number, or two of the same frame.
    """
    inside = folder / clip_id
    if not inside.is_dir() and not any(path.is_dir() for path in folder.iterdir()):
        inside = folder
    if not inside.is_dir():  # never the bodies of another video
        raise DataError(f"no body fits: {folder} has no sub-folder {clip_id} for this video; add it.")
    files: dict[int, Path] = {}
    for path in sorted(inside.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise DataError(f"{path} has no frame number in its name; call it like 000012{path.suffix}.")
        frame = int(numbers[-1])
        if frame in files:
            raise DataError(f"{path} and {files[frame].name} are both of frame {frame}; remove one of them.")
        files[frame] = path
    if not files:
        raise DataError(
            f"no body fits: {inside} holds no .npz or .pkl file; name them by frame number in "
            f"{folder / clip_id}"
        )
    return files


def person_in_box(people: list[BodyFit], box_4: FloatArray | None) -> BodyFit | None:
    """The person whose box overlaps another box most; the only one when there is none to compare with."""
    if not people or box_4 is None:
        return people[0] if len(people) == 1 else None
    overlaps = [_overlap(person.box_4, box_4) for person in people]
    best = int(np.argmax(overlaps))
    return people[best] if overlaps[best] > 0.2 else None


def _overlap(first_4: FloatArray, second_4: FloatArray) -> float:
    low, high = np.maximum(first_4[:2], second_4[:2]), np.minimum(first_4[2:], second_4[2:])
    both = float(np.clip(high - low, 0, None).prod())
    areas = sum(float((box[2:] - box[:2]).prod()) for box in (first_4, second_4))
    return both / max(areas - both, 1e-9)
