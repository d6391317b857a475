"""Models with the topology of the SMPL family made from our own rig: nothing of the real ones is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_lightning.importers.smpl_family import JOINT_NAMES
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose

_FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
_JOINT_OF = {
    "pelvis": "root", "hip": "upperleg01", "spine1": "spine05", "knee": "lowerleg01", "spine2": "spine03",
    "ankle": "foot", "spine3": "spine02", "foot": "toe2-1", "neck": "neck01", "collar": "clavicle",
    "head": "head", "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "hand": "finger3-1",
    "jaw": "head", "eye": "eye",
}  # fmt: skip
_SHIFT = np.array([0.0, -0.3, 0.05])
_PARENT = {
    "left_hip": "pelvis", "right_hip": "pelvis", "spine1": "pelvis", "left_knee": "left_hip",
    "right_knee": "right_hip", "spine2": "spine1", "left_ankle": "left_knee", "right_ankle": "right_knee",
    "spine3": "spine2", "left_foot": "left_ankle", "right_foot": "right_ankle", "neck": "spine3",
    "left_collar": "spine3", "right_collar": "spine3", "head": "neck", "left_shoulder": "left_collar",
    "right_shoulder": "right_collar", "left_elbow": "left_shoulder", "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow", "right_wrist": "right_elbow", "left_hand": "left_wrist",
    "right_hand": "right_wrist", "jaw": "head", "left_eye_smplhf": "head", "right_eye_smplhf": "head",
}  # fmt: skip


def rig_joint(rig: AnnyRig, name: str) -> int:
    """Our joint that a joint of the family stands for."""
    side = ".L" if name.startswith("left") else ".R" if name.startswith("right") else ""
    part = name.replace("left_", "").replace("right_", "").replace("_smplhf", "")
    if part[:-1] in _FINGERS:
        return rig.joint_names.index(f"finger{_FINGERS[part[:-1]]}-{part[-1]}{side}")
    found = _JOINT_OF[part]
    return rig.joint_names.index(found + (side if found + side in rig.joint_names else ""))


def _parents(names: tuple[str, ...]) -> list[int]:
    result = []
    for name in names:
        side, part = name.split("_")[0], name.split("_")[-1]
        if part[:-1] in _FINGERS:
            result.append(
                names.index(f"{side}_wrist" if part[-1] == "1" else f"{side}_{part[:-1]}{int(part[-1]) - 1}")
            )
        else:
            result.append(names.index(_PARENT[name]) if name in _PARENT else -1)
    return result


def stand_in_arrays(rig: AnnyRig, kind: str, seed: int = 0) -> dict[str, Any]:
    """Arrays of a model file; the template is our neutral body in our reference pose (arms aside)."""
    names = JOINT_NAMES[kind]
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        identity, pose = rig.neutral_identity()[None], rig.reference_pose()
        pose = RigPose(pose.rotations_BJ3, torch.zeros(1, 3))
        template = rig.posed_vertices(identity, pose)[0].double().numpy()
        joints = rig.posed_joints(identity, pose)[0].double().numpy()
        bodies = {
            name: rig.posed_vertices(identity + step * torch.eye(rig.identity_size)[index], pose)[0].numpy()
            for name, index, step in (("weight", 3, 0.2), ("height", 4, 0.2))
        }
    # The real models' pelvis is not at their origin either, which tells turning about one from the other.
    template, joints = template + _SHIFT, joints + _SHIFT
    bodies = {name: body + _SHIFT for name, body in bodies.items()}
    used = [rig_joint(rig, name) for name in names]
    weights = _merge_weights(rig, names, used)
    regressor = np.stack([_regress(template, joints[joint]) for joint in used])
    vertices = len(template)
    shapes = np.stack([bodies[name] - template for name in bodies], -1)
    if kind == "smplx":  # ten directions of expression come last
        shapes = np.concatenate([shapes, generator.normal(size=(vertices, 3, 10)) * 1e-4], -1)
    parents = np.array(_parents(names))
    values = {
        "v_template": template, "shapedirs": shapes, "J_regressor": regressor, "weights": weights,
        "posedirs": generator.normal(size=(vertices, 3, 9 * (len(names) - 1))) * 1e-4,
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(len(names))]),
        "f": rig.faces_F3.numpy().astype(np.uint32),
    }  # fmt: skip
    if kind != "smpl":
        for side in "lr":
            values[f"hands_components{side}"] = np.linalg.qr(generator.normal(size=(45, 45)))[0]
            values[f"hands_mean{side}"] = generator.normal(size=45) * 0.1
    return values


def _merge_weights(rig: AnnyRig, names: tuple[str, ...], used: list[int]) -> np.ndarray:
    """Our skinning weights, each joint's share given to its nearest ancestor that the model has."""
    column = {joint: index for index, joint in reversed(list(enumerate(used)))}
    merged = np.zeros((len(rig.weights_VJ), len(names)))
    for joint in range(len(rig.joint_names)):
        ancestor = joint
        while ancestor not in column:
            ancestor = rig.joint_parents[ancestor]
        merged[:, column[ancestor]] += rig.weights_VJ[:, joint].double().numpy()
    return merged / merged.sum(1, keepdims=True)


def _regress(template_V3: np.ndarray, joint_3: np.ndarray) -> np.ndarray:
    """Weights of sum 1 over nearby vertices whose mean is the joint."""
    near = np.argsort(np.linalg.norm(template_V3 - joint_3, axis=1))[:60]
    system = np.concatenate([template_V3[near].T, np.ones((1, 60))])
    row = np.zeros(len(template_V3))
    row[near] = np.linalg.lstsq(system, np.append(joint_3, 1.0), rcond=None)[0]
    return row


def save_stand_in(rig: AnnyRig, kind: str, path: Path) -> Path:
    """Write a model file as ``.npz``."""
    np.savez(path, **stand_in_arrays(rig, kind))
    return path
