"""Forward kinematics over a tree of joints, all joints at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_lightning.errors import check_shape
from lca_lightning.geometry.rotations import rotation_vector_to_matrix


@dataclass(frozen=True)
class Skeleton:
    """Subjects' bones, ready for any number of poses: what does not change from frame to frame.

    Args:
        joints_BJ3: Joint positions in the rest pose, metres.
        offsets_BJ3: From each joint's parent to the joint when all rotations are zero, metres; unused for
            the root.
        alignment_BJ33: Turns a bone from its rest orientation to that of zero rotation.
        ancestors_SJ: Output of ``ancestor_steps``.
    """

    joints_BJ3: Tensor
    offsets_BJ3: Tensor
    alignment_BJ33: Tensor
    ancestors_SJ: Tensor

    def transforms(self, rotations_BTJ3: Tensor, translation_BT3: Tensor) -> Tensor:
        """Rest-to-posed transforms of each joint in ``T`` frames.

        Args:
            rotations_BTJ3: Rotation vectors relative to the parent, radians; the root's in the world.
            translation_BT3: World position of the root, metres.

        Returns:
            Rigid transforms in metres, ``(B, T, J, 4, 4)``.

        Raises:
            ShapeError: Another number of joints.
        """
        joints = self.joints_BJ3.shape[1]
        check_shape("rotations_BTJ3", rotations_BTJ3, ("B", "T", joints, 3))
        local = rotation_vector_to_matrix(rotations_BTJ3)
        offsets = self.offsets_BJ3[:, None, 1:].expand(*local.shape[:2], -1, -1)
        offsets = torch.cat([translation_BT3[:, :, None], offsets], dim=2)
        world = compose_maps(torch.cat([local, offsets[..., None]], dim=-1), self.ancestors_SJ)
        linear = world[..., :3] @ self.alignment_BJ33[:, None]
        moved = world[..., 3] - (linear @ self.joints_BJ3[:, None, :, :, None]).squeeze(-1)
        upper = torch.cat([linear, moved[..., None]], dim=-1)
        last = torch.cat([torch.zeros_like(upper[..., :1, :3]), torch.ones_like(upper[..., :1, :1])], dim=-1)
        return torch.cat([upper, last], dim=-2)

    def parents_J(self) -> Tensor:
        """Parent of each joint, ``J`` for the root."""
        joints = self.joints_BJ3.shape[1]
        if not len(self.ancestors_SJ):  # a root alone
            return torch.full((joints,), joints)
        return self.ancestors_SJ[0, :joints]


def compose_maps(local_BJ34: Tensor, ancestors_SJ: Tensor) -> Tensor:
    """World maps of joints from maps to their parents, by pointer jumping: log(depth) products for all.

    Args:
        local_BJ34: Affine maps, ``(..., J, 3, 4)``.
        ancestors_SJ: Output of ``ancestor_steps``.

    Returns:
        Affine maps, ``(..., J, 3, 4)``.
    """
    nothing = torch.eye(3, 4, dtype=local_BJ34.dtype, device=local_BJ34.device)
    maps = torch.cat([local_BJ34, nothing.expand(*local_BJ34.shape[:-3], 1, 3, 4)], dim=-3)
    for ancestors_J in ancestors_SJ:
        above = maps[..., ancestors_J, :, :]
        composed = above[..., :3] @ maps
        maps = torch.cat([composed[..., :3], composed[..., 3:] + above[..., 3:]], dim=-1)
    return maps[..., :-1, :, :]


def ancestor_steps(parents: Sequence[int]) -> Tensor:
    """Ancestors 1, 2, 4, ... bones above each joint, which pointer jumping needs.

    Args:
        parents: Parent of each of ``J`` joints, -1 for the root.

    Returns:
        Indices ``(S, J + 1)``; ``J`` stands for "above the root".
    """
    above = torch.tensor([parent if parent >= 0 else len(parents) for parent in parents] + [len(parents)])
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = depth[parent] + 1 if parent >= 0 else 0
    steps = []
    for _ in range(math.ceil(math.log2(max(depth) + 1))):
        steps.append(above)
        above = above[above]
    return torch.stack(steps) if steps else above.new_zeros(0, len(above))
