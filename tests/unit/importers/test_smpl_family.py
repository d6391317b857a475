"""Linear blend skinning of the SMPL family against slow loops, and the readers of model files."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import sparse
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError
from lca_lightning.importers.smpl_family import JOINT_NAMES, body_in_world, load_body_model, pose_model
from lca_lightning.importers.source import SmplBody
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.smpl_stand_in import save_stand_in, stand_in_arrays


def small_arrays(kind: str, vertices: int = 40, seed: int = 1) -> dict[str, np.ndarray]:
    """A made-up model small enough for loops."""
    generator, joints = np.random.default_rng(seed), len(JOINT_NAMES[kind])
    weights = generator.random((vertices, joints)) ** 4
    regressor = generator.random((joints, vertices))
    values = {
        "v_template": generator.normal(size=(vertices, 3)),
        "shapedirs": generator.normal(size=(vertices, 3, 20)),
        "posedirs": generator.normal(size=(vertices, 3, 9 * (joints - 1))) * 0.01,
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([np.maximum(np.arange(joints) - 1, -1) // 2 * 1, np.arange(joints)]),
        "f": np.array([[0, 1, 2]], np.uint32),
    }
    values["kintree_table"][0, 0] = -1
    if kind != "smpl":
        for side in "lr":
            values[f"hands_components{side}"] = generator.normal(size=(45, 45))
            values[f"hands_mean{side}"] = generator.normal(size=45)
    return values


def slow_pose(
    values: dict[str, np.ndarray], betas: np.ndarray, rotations: np.ndarray, expression: np.ndarray | None
) -> np.ndarray:
    """One frame, vertex by vertex and joint by joint, as the papers write it."""
    vertices, joints = values["weights"].shape
    split = 10 if expression is not None else 20
    shaped = values["v_template"].copy()
    for v in range(vertices):
        for k, beta in enumerate(betas):
            shaped[v] += values["shapedirs"][v, :, k] * beta
        for k, value in enumerate(expression if expression is not None else []):
            shaped[v] += values["shapedirs"][v, :, split + k] * value
    rest = [sum(values["J_regressor"][j, v] * shaped[v] for v in range(vertices)) for j in range(joints)]
    turns = [Rotation.from_rotvec(vector).as_matrix() for vector in rotations]
    feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    result = []
    for v in range(vertices):
        point = shaped[v] + np.array([values["posedirs"][v, axis] @ feature for axis in range(3)])
        total = np.zeros(3)
        for j in range(joints):
            moved, joint = point, j
            while joint >= 0:  # turn about each joint up to the root
                moved = turns[joint] @ (moved - rest[joint]) + rest[joint]
                joint = int(values["kintree_table"][0, joint])
            total += values["weights"][v, j] * moved
        result.append(total)
    return np.stack(result)


@pytest.mark.parametrize("kind", ["smpl", "smplh", "smplx"])
def test_posing_equals_the_slow_loop(tmp_path: Path, kind: str) -> None:
    values = small_arrays(kind)
    np.savez(tmp_path / "m.npz", **values)
    model = load_body_model(tmp_path / "m.npz")
    assert model.kind == kind
    generator = np.random.default_rng(2)
    rotations = generator.normal(size=(2, len(JOINT_NAMES[kind]), 3)) * 0.5
    betas = generator.normal(size=7)
    expression = generator.normal(size=(2, 4)) if kind == "smplx" else None
    vertices, joints = pose_model(model, betas, rotations, expression)
    for frame in range(2):
        slow = slow_pose(values, betas, rotations[frame], None if expression is None else expression[frame])
        assert np.abs(vertices[frame] - slow).max() < 1e-9
    assert joints.shape == (2, len(JOINT_NAMES[kind]), 3)
    still, rest = pose_model(model, betas, np.zeros_like(rotations[:1]))
    assert np.allclose(model.regressor_JV @ still[0], rest[0])


def test_hands_as_components_and_from_the_mean(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **small_arrays("smplx"))
    model = load_body_model(tmp_path / "m.npz")
    assert model.hand_components_245 is not None
    generator = np.random.default_rng(3)
    codes = generator.normal(size=(1, 6))
    body = SmplBody(
        "smplx", "neutral", np.zeros(10), generator.normal(size=(1, 3)), generator.normal(size=(1, 21, 3)),
        np.array([[0.1, 0.2, 0.3]]), codes, codes,
    )  # fmt: skip
    full = [(codes @ model.hand_components_245[side][:6]).reshape(1, 15, 3) for side in (0, 1)]
    same = replace(body, left_hand_TJ3=full[0], right_hand_TJ3=full[1])
    assert np.allclose(body_in_world(model, body)[0], body_in_world(model, same)[0])
    means = model.hand_means_245.reshape(2, 1, 15, 3)
    shifted = replace(same, left_hand_TJ3=full[0] + means[0], right_hand_TJ3=full[1] + means[1])
    from_mean = replace(body, hands_from_mean=True)
    assert np.allclose(body_in_world(model, from_mean)[0], body_in_world(model, shifted)[0])
    assert not np.allclose(body_in_world(model, from_mean)[0], body_in_world(model, same)[0])
    similar = np.eye(4)
    similar[:3, :3] = 2 * Rotation.from_rotvec([0, 1, 0]).as_matrix()
    similar[:3, 3] = [1, 2, 3]
    moved = body_in_world(model, replace(body, world_from_model_44=similar))[0]
    assert np.allclose(moved, body_in_world(model, body)[0] @ similar[:3, :3].T + [1, 2, 3])
    each = body_in_world(model, replace(body, world_from_model_44=similar[None]))[0]
    assert np.allclose(each, moved)


def test_all_file_kinds_hold_the_same_model(tmp_path: Path) -> None:
    values = small_arrays("smpl")
    np.savez(tmp_path / "m.npz", **values)
    save_file({name: np.ascontiguousarray(v) for name, v in values.items()}, tmp_path / "m.safetensors")
    pickled = {**values, "J_regressor": sparse.csc_matrix(values["J_regressor"]), "bs_type": "lrotmin"}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(pickled, protocol=2))
    first = load_body_model(tmp_path / "m.npz")
    for name in ("m.safetensors", "m.pkl"):
        again = load_body_model(tmp_path / name)
        assert np.allclose(again.regressor_JV, first.regressor_JV)
        assert (
            np.allclose(again.corrections_V3P, first.corrections_V3P) and again.parents_J == first.parents_J
        )


def test_unusable_model_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_body_model(tmp_path / "none.npz")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="unknown kind"):
        load_body_model(tmp_path / "a.txt")
    (tmp_path / "a.npz").write_bytes(b"PK broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_body_model(tmp_path / "a.npz")
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="not executed"):
        load_body_model(tmp_path / "evil.pkl")
    values = small_arrays("smpl")
    for name, value in (
        ("J_regressor", values["J_regressor"][:3]),
        ("v_template", values["v_template"] * np.nan),
    ):
        np.savez(tmp_path / "b.npz", **{**values, name: value})
        with pytest.raises(DataError, match=f"no SMPL, SMPL-H or SMPL-X model .ValueError: {name}"):
            load_body_model(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **values)
    model = load_body_model(tmp_path / "c.npz")
    with pytest.raises(DataError, match="coefficients but the model file has only 20"):
        pose_model(model, np.ones(30), np.zeros((1, 24, 3)))
    body = SmplBody("smplx", "neutral", np.zeros(1), np.zeros((1, 3)), np.zeros((1, 21, 3)), np.zeros((1, 3)))
    with pytest.raises(DataError, match="give the file of smplx"):
        body_in_world(model, body)


@pytest.mark.parametrize("kind", ["smpl", "smplx"])
def test_stand_in_from_our_rig_stands_like_our_rig(rig: AnnyRig, tmp_path: Path, kind: str) -> None:
    model = load_body_model(save_stand_in(rig, kind, tmp_path / "m.npz"))
    vertices, joints = pose_model(model, np.zeros(2), np.zeros((1, len(JOINT_NAMES[kind]), 3)))
    assert np.allclose(vertices[0], stand_in_arrays(rig, kind)["v_template"])
    assert 1.4 < np.ptp(vertices[0, :, 1]) < 2.0
    assert joints[0, JOINT_NAMES[kind].index("left_wrist"), 0] > 0.3  # the left side is +x
