"""The protocol every rig follows; models, data and tools know a rig only through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.errors import check_shape
from lca_lightning.geometry.constants import device_constant
from lca_lightning.geometry.kinematics import Skeleton
from lca_lightning.geometry.rotations import matrix_to_6d, rotation_vector_to_matrix
from lca_lightning.geometry.skinning import skin_points

REGIONS = ("face", "head", "hand", "foot", "upper", "lower")
"""Region label of a vertex or Gaussian is an index into this tuple."""


@dataclass(frozen=True)
class RigPose:
    """Joint rotations and root position of ``B`` frames.

    Args:
        rotations_BJ3: Rotation vectors in radians, each relative to its parent, in axes that are aligned with
            the rig frame in the reference pose; joint 0 holds the root's world orientation.
        translation_B3: World position of the root joint, metres.
    """

    rotations_BJ3: Tensor
    translation_B3: Tensor

    def __post_init__(self) -> None:
        check_shape("rotations_BJ3", self.rotations_BJ3, ("B", "J", 3))
        check_shape("translation_B3", self.translation_B3, (self.rotations_BJ3.shape[0], 3))


class Rig(nn.Module, ABC):
    """A body template with identity, pose and expression. It holds buffers only, never parameters.

    Attributes:
        name: Name stored with data and checkpoints.
        joint_names: ``J`` names, parents before children.
        joint_parents: Parent index per joint, -1 for the root.
        identity_names: ``I`` names of the identity values.
        expression_names: ``E`` names of the expression coefficients.
        driving_joints: Joints whose rotations drive pose-dependent correctives.
        eye_joints: Left and right eye.
        finger_J: Finger each joint belongs to, counted over both hands from 0, or -1.
        template_vertices_V3: Canonical (rest) mesh of the neutral identity, metres.
        faces_F3: Triangles.
        uv_coordinates_U2: Texture coordinates in [0, 1], v upwards.
        uv_faces_F3: Texture coordinate of each triangle corner.
        weights_VJ: Skinning weights, rows sum to 1.
        regions_V: Region label per vertex, see `REGIONS`.
        visible_faces_F: False for triangles inside the head that no camera sees.
    """

    name: str
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    driving_joints: tuple[int, ...]
    eye_joints: tuple[int, int]
    finger_J: tuple[int, ...]
    template_vertices_V3: Tensor
    faces_F3: Tensor
    uv_coordinates_U2: Tensor
    uv_faces_F3: Tensor
    weights_VJ: Tensor
    regions_V: Tensor
    visible_faces_F: Tensor

    @property
    def identity_size(self) -> int:
        """Number of identity values ``I``."""
        return len(self.identity_names)

    @property
    def expression_size(self) -> int:
        """Number of expression coefficients ``E``."""
        return len(self.expression_names)

    @property
    def driving_size(self) -> int:
        """Length ``P`` of the driving vector."""
        return 6 * len(self.driving_joints)

    @property
    def signal_size(self) -> int:
        """Length of driving vector, expression and gaze (8 values) together: what drives correctives."""
        return self.driving_size + self.expression_size + 8

    @abstractmethod
    def neutral_identity(self) -> Tensor:
        """Identity values ``(I,)`` of the template."""

    @abstractmethod
    def identity_bounds(self) -> Tensor:
        """Lowest and highest sensible identity values, ``(I, 2)``."""

    @abstractmethod
    def canonical_vertices(self, identity_BI: Tensor, expression_BE: Tensor | None = None) -> Tensor:
        """Mesh of subjects in the rest pose, metres, ``(B, V, 3)``."""

    @abstractmethod
    def canonical_joints(self, identity_BI: Tensor) -> Tensor:
        """Joint positions of subjects in the rest pose, metres, ``(B, J, 3)``."""

    @abstractmethod
    def skeleton(self, identity_BI: Tensor) -> Skeleton:
        """The subjects' own bones: compute them once, pose them as often as you like."""

    def joint_transforms(self, identity_BI: Tensor, pose: RigPose) -> Tensor:
        """Rest-to-posed transforms for the subjects' own bone lengths, ``(B, J, 4, 4)``.

        Args:
            identity_BI: Identity values; one row serves all frames.
            pose: Pose of ``B`` frames.
        """
        check_shape("pose.rotations_BJ3", pose.rotations_BJ3, ("B", len(self.joint_names), 3))
        skeleton = self.skeleton(identity_BI)
        if len(identity_BI) == 1:  # all frames are of one subject
            return skeleton.transforms(pose.rotations_BJ3[None], pose.translation_B3[None])[0]
        return skeleton.transforms(pose.rotations_BJ3[:, None], pose.translation_B3[:, None])[:, 0]

    def with_gaze(self, rotations_BJ3: Tensor, gaze_B8: Tensor) -> Tensor:
        """Turn the eyes so that each looks along its gaze vector.

        Args:
            rotations_BJ3: Rotation vectors in radians, ``(B, J, 3)``.
            gaze_B8: Left eye's unit vector in the head frame, (0, 0, 1) straight ahead, its validity, then
                the right eye's.

        Returns:
            A copy with the eye joints replaced where the validity exceeds one half, ``(B, J, 3)``.
        """
        turned = rotations_BJ3.clone()
        ahead = rotations_BJ3.new_tensor([0.0, 0.0, 1.0])
        for start, joint in zip((0, 4), self.eye_joints, strict=True):
            direction = functional.normalize(gaze_B8[..., start : start + 3], dim=-1)
            axis = torch.linalg.cross(ahead.expand_as(direction), direction)
            sine = axis.norm(dim=-1, keepdim=True)
            angle = torch.atan2(sine, direction[..., 2:])
            valid = gaze_B8[..., start + 3 : start + 4] > 0.5
            vector = axis / sine.clamp(min=1e-8) * angle
            turned[..., joint, :] = torch.where(valid, vector, turned[..., joint, :])
        return turned

    def posed_joints(self, identity_BI: Tensor, pose: RigPose) -> Tensor:
        """World positions of the joints, metres, ``(B, J, 3)``."""
        transforms = self.joint_transforms(identity_BI, pose)
        joints = self.canonical_joints(identity_BI)
        return (transforms[..., :3, :3] @ joints[..., None]).squeeze(-1) + transforms[..., :3, 3]

    def posed_vertices(
        self, identity_BI: Tensor, pose: RigPose, expression_BE: Tensor | None = None
    ) -> Tensor:
        """World positions of the vertices by linear blend skinning, metres, ``(B, V, 3)``."""
        transforms = self.joint_transforms(identity_BI, pose)
        vertices = self.canonical_vertices(identity_BI, expression_BE)
        return skin_points(vertices.expand(transforms.shape[0], -1, -1), self.weights_VJ, transforms)

    def driving_vector(self, rotations_BJ3: Tensor) -> Tensor:
        """Local rotations of body and hand joints as 6D codes, without the root (LCA section 3.1).

        Args:
            rotations_BJ3: Rotation vectors in radians, ``(..., J, 3)``.

        Returns:
            ``(..., P)``, zero in the reference pose.
        """
        joints = device_constant(self.driving_joints, torch.long, rotations_BJ3.device)
        matrices = rotation_vector_to_matrix(rotations_BJ3[..., joints, :])
        eye = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
        return matrix_to_6d(matrices - eye).flatten(-2)

    def reference_pose(self, batch: int = 1) -> RigPose:
        """All rotations zero and the root where the template's is."""
        root = self.canonical_joints(self.neutral_identity()[None])[:, 0]
        return RigPose(root.new_zeros(batch, len(self.joint_names), 3), root.expand(batch, 3))

    @abstractmethod
    def rest_pose(self, batch: int = 1) -> RigPose:
        """The pose whose joint transforms are the identity for the template."""


def number_fingers(fingers: Sequence[str | None]) -> tuple[int, ...]:
    """Number the fingers that joints belong to in the order they appear; -1 for None."""
    names = list(dict.fromkeys(finger for finger in fingers if finger is not None))
    return tuple(-1 if finger is None else names.index(finger) for finger in fingers)
