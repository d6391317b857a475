"""SMPL, SMPL-H and SMPL-X from the model file that the user supplies: linear blend skinning in numpy.

The formulation follows Loper et al. 2015 (SMPL), Romero et al. 2017 (hands, SMPL-H) and Pavlakos et al. 2019
(SMPL-X). No part of a model is in this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError
from lca_lightning.importers.source import SmplBody
from lca_lightning.safe_pickle import read_pickle

FloatArray = NDArray[np.floating]
_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
_FINGERS = tuple(
    f"{finger}{n}" for finger in ("index", "middle", "pinky", "ring", "thumb") for n in (1, 2, 3)
)
_HANDS = tuple(f"{side}_{finger}" for side in ("left", "right") for finger in _FINGERS)
JOINT_NAMES: dict[str, tuple[str, ...]] = {
    "smpl": (*_BODY, "left_hand", "right_hand"),
    "smplh": (*_BODY, *_HANDS),
    "smplx": (*_BODY, "jaw", "left_eye_smplhf", "right_eye_smplhf", *_HANDS),
}
"""Joints of each model in its own order."""
_KIND_OF = {len(names): kind for kind, names in JOINT_NAMES.items()}
# Files of SMPL-X with this many directions hold 300 of shape, then 100 of expression; others ten last.
_FULL_DIRECTIONS, _SHAPE_DIRECTIONS, _EXPRESSIONS = 400, 300, 10


@dataclass(frozen=True)
class BodyModel:
    """A model of the family.

    Attributes:
        kind: ``"smpl"``, ``"smplh"`` or ``"smplx"``.
        template_V3: Mean body in the rest pose, metres.
        shapes_V3S: Shape directions.
        expressions_V3E: Expression directions; E = 0 but for SMPL-X.
        corrections_V3P: Pose-dependent corrections, ``P = 9 (J - 1)``.
        regressor_JV: Joints from the shaped template.
        weights_VJ: Skinning weights.
        parents_J: Parent of each joint, -1 for the root.
        faces_F3: Triangles.
        hand_components_245: Principal components of both hands' poses, ``(2, 45, 45)``, or None.
        hand_means_245: Mean hand poses, ``(2, 45)``; zeros where the model has none.
    """

    kind: str
    template_V3: FloatArray
    shapes_V3S: FloatArray
    expressions_V3E: FloatArray
    corrections_V3P: FloatArray
    regressor_JV: FloatArray
    weights_VJ: FloatArray
    parents_J: tuple[int, ...]
    faces_F3: NDArray[np.int64]
    hand_components_245: FloatArray | None
    hand_means_245: FloatArray

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints."""
        return JOINT_NAMES[self.kind]


def load_body_model(path: Path) -> BodyModel:
    """Read a model file.

    Args:
        path: ``.npz``, ``.pkl`` (arrays only, nothing in it is executed) or ``.safetensors`` with the arrays
            under their usual names.

    Returns:
        The model; which one it is follows from the number of its joints.

    Raises:
        DataError: The file is missing, of another kind, or its arrays do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"The body model {path} does not exist; give the file that its makers let you download."
        )
    values = _read_arrays(path)
    try:
        return _build(values)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"{path} is no SMPL, SMPL-H or SMPL-X model ({type(error).__name__}: {error}); give the file "
            "as its makers publish it."
        ) from error


def _read_arrays(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                # Some entries of published files are pickled objects that nobody needs: those are left out.
                return {name: archive[name] for name in archive.files if name in _WANTED}
        if suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
    except Exception as error:  # numpy, zipfile and safetensors each raise their own kind
        raise DataError(f"The body model {path} cannot be read ({error}); download it again.") from error
    if suffix != ".pkl":
        raise DataError(
            f"The body model {path} is of an unknown kind; give a .npz, .pkl or .safetensors file."
        )
    values = read_pickle(path)
    if not isinstance(values, dict):
        raise DataError(f"The body model {path} holds no named arrays; download it again.")
    return values


_WANTED = (
    "v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f",
    "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr",
)  # fmt: skip


def _build(values: dict[str, Any]) -> BodyModel:
    def array(name: str, *shape: int) -> FloatArray:
        found = np.asarray(values[name], np.float64)
        if shape and found.shape != shape:
            raise ValueError(f"{name} has shape {found.shape} instead of {shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} holds NaN or infinite values")
        return found

    template = array("v_template")
    vertices, joints = len(template), int(np.asarray(values["weights"]).shape[1])
    if joints not in _KIND_OF:
        raise ValueError(f"it has {joints} joints, not {', '.join(str(count) for count in _KIND_OF)}")
    kind = _KIND_OF[joints]
    directions = array("shapedirs")
    if directions.shape[:2] != (vertices, 3):
        raise ValueError(f"shapedirs has shape {directions.shape} for {vertices} vertices")
    count = directions.shape[2]
    if kind == "smplx":
        count = _SHAPE_DIRECTIONS if count == _FULL_DIRECTIONS else count - _EXPRESSIONS
    parents = np.asarray(values["kintree_table"]).astype(np.int64)[0]
    parents = np.where((parents < 0) | (parents >= joints), -1, parents)
    if len(parents) != joints or parents[0] != -1 or (parents[1:] >= np.arange(1, joints)).any():
        raise ValueError("kintree_table is no tree with parents first")
    has_hands = kind != "smpl" and "hands_componentsl" in values
    components = [array(f"hands_components{side}", 45, 45) for side in "lr"] if has_hands else None
    means = (
        [array(f"hands_mean{side}", 45) for side in "lr"]
        if kind != "smpl" and "hands_meanl" in values
        else None
    )
    return BodyModel(
        kind,
        template,
        directions[..., :count],
        directions[..., count:],
        array("posedirs", vertices, 3, 9 * (joints - 1)),
        array("J_regressor", joints, vertices),
        array("weights", vertices, joints),
        tuple(int(parent) for parent in parents),
        np.asarray(values["f"]).astype(np.int64),
        None if components is None else np.stack(components),
        np.zeros((2, 45)) if means is None else np.stack(means),
    )


def pose_model(
    model: BodyModel, betas_N: FloatArray, rotations_TJ3: FloatArray, expression_TE: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Pose a subject.

    Args:
        model: The model.
        betas_N: Shape coefficients; fewer than the model's count as zeros.
        rotations_TJ3: Rotation vectors of all joints relative to their parents, the root's first.
        expression_TE: Expression coefficients or None.

    Returns:
        Vertices ``(T, V, 3)`` and joints ``(T, J, 3)`` in metres; the shape says where the root is.

    Raises:
        DataError: More coefficients than the model has.
    """
    betas = _padded("betas", betas_N, model.shapes_V3S.shape[2])
    base = model.template_V3 + model.shapes_V3S @ betas
    vertices, joints = [], []
    for frame, rotations_J3 in enumerate(np.asarray(rotations_TJ3, np.float64)):
        shaped = base
        if expression_TE is not None and model.expressions_V3E.shape[2]:
            expression = _padded("expression", expression_TE[frame], model.expressions_V3E.shape[2])
            shaped = base + model.expressions_V3E @ expression
        posed, places = _pose_frame(model, shaped, Rotation.from_rotvec(rotations_J3).as_matrix())
        vertices.append(posed)
        joints.append(places)
    return np.stack(vertices), np.stack(joints)


def _padded(what: str, values: FloatArray, size: int) -> FloatArray:
    given = np.asarray(values, np.float64).reshape(-1)
    if given[size:].any():
        raise DataError(
            f"The body has {len(given)} {what} coefficients but the model file has only {size}; use the full "
            "model file."
        )
    return np.concatenate([given[:size], np.zeros(max(size - len(given), 0))])


def _pose_frame(
    model: BodyModel, shaped_V3: FloatArray, rotations_J33: FloatArray
) -> tuple[FloatArray, FloatArray]:
    rest = model.regressor_JV @ shaped_V3
    corrected = shaped_V3 + model.corrections_V3P @ (rotations_J33[1:] - np.eye(3)).reshape(-1)
    world = np.zeros((len(rest), 4, 4))
    for joint, parent in enumerate(model.parents_J):
        local = np.eye(4)
        local[:3, :3] = rotations_J33[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0.0)
        world[joint] = world[parent] @ local if parent >= 0 else local
    places = world[:, :3, 3].copy()
    # From the rest pose: what the rest joint becomes is taken off the translation.
    world[:, :3, 3] -= (world[:, :3, :3] @ rest[..., None])[..., 0]
    blended = (model.weights_VJ @ world[:, :3].reshape(len(rest), 12)).reshape(-1, 3, 4)
    return (blended[..., :3] @ corrected[..., None])[..., 0] + blended[..., 3], places


def body_in_world(model: BodyModel, body: SmplBody) -> tuple[FloatArray, FloatArray]:
    """Vertices and joints of a body whose parameters a data set stores, in the world.

    Args:
        model: The model that the parameters are of.
        body: The parameters.

    Returns:
        Vertices ``(T, V, 3)`` and joints ``(T, J, 3)`` in metres, y up.

    Raises:
        DataError: The parameters are of another model, or hands come as components the file lacks.
    """
    if model.kind != body.model:
        raise DataError(
            f"The body is of {body.model} but the model file holds {model.kind}; "
            f"give the file of {body.model}."
        )
    vertices, joints = pose_model(model, body.betas_N, _all_rotations(model, body), body.expression_TN)
    shift = np.asarray(body.translation_T3, np.float64)[:, None]
    pose = np.asarray(body.world_from_model_44, np.float64)
    turn, offset = np.swapaxes(pose[..., :3, :3], -1, -2), pose[..., None, :3, 3]
    return (
        (vertices * body.scale + shift) @ turn + offset,
        (joints * body.scale + shift) @ turn + offset,
    )


def _all_rotations(model: BodyModel, body: SmplBody) -> FloatArray:
    frames = len(body.orientation_T3)
    rotations = np.zeros((frames, len(model.joint_names), 3))
    rotations[:, 0] = body.orientation_T3
    pose = np.asarray(body.pose_TJ3, np.float64).reshape(frames, -1, 3)
    count = 23 if model.kind == "smpl" else 21
    rotations[:, 1 : 1 + min(pose.shape[1], count)] = pose[:, :count]
    if model.kind == "smpl":
        return rotations
    if model.kind == "smplx" and body.jaw_T3 is not None:
        rotations[:, 22] = body.jaw_T3
    first = len(model.joint_names) - 30
    for side, given in enumerate((body.left_hand_TJ3, body.right_hand_TJ3)):
        hand = _hand_rotations(model, side, given, frames, body.hands_from_mean)
        rotations[:, first + 15 * side : first + 15 * (side + 1)] = hand
    return rotations


def _hand_rotations(
    model: BodyModel, side: int, given: FloatArray | None, frames: int, from_mean: bool
) -> FloatArray:
    """Rotation vectors ``(T, 15, 3)`` of one hand; the model's relaxed hand where nothing is given."""
    if given is None:
        return np.broadcast_to(model.hand_means_245[side].reshape(15, 3), (frames, 15, 3))
    values = np.asarray(given, np.float64)
    if values.ndim == 2 and values.shape[1] != 45:
        if model.hand_components_245 is None:
            raise DataError(
                "The body's hands are principal components, which the model file lacks; give the full one."
            )
        values = values @ model.hand_components_245[side][: values.shape[1]]
    values = values.reshape(frames, 15, 3)
    return values + model.hand_means_245[side].reshape(15, 3) if from_mean else values
