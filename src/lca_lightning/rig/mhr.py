"""The Momentum Human Rig (MHR, Meta 2025), the paper's rig, from its TorchScript asset.

MHR's model parameters mix pose and proportions; here they are kept apart. The identity holds the shape
coefficients and every parameter that sets lengths or sizes of bones, the pose holds rotations about the axes
of the rig frame in which the subject stands when all pose parameters are zero. The canonical mesh is MHR's
own rest mesh: shape moves it, bone lengths do not, they are part of the joint transforms. That makes linear
blend skinning here equal to MHR's; its non-linear pose correctives are left out, our model learns its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.errors import check_shape
from lca_lightning.geometry.kinematics import Skeleton, ancestor_steps, compose_maps
from lca_lightning.geometry.rotations import (
    matrix_to_rotation_vector,
    quaternion_to_matrix,
    rotation_vector_to_matrix,
)
from lca_lightning.rig.mhr_asset import METRES, MHRAsset, load_program, read_mhr_asset
from lca_lightning.rig.mhr_parts import finger_of, label_regions, triangle_grid, visible_faces
from lca_lightning.rig.rig import Rig, RigPose, number_fingers

SHAPE_BOUND = 3.0  # standard deviations (ours)


class MHRRig(Rig):
    """MHR: 18,439 vertices, 127 joints, 119 identity values and 72 expression coefficients.

    Sizes are those of the asset.

    Args:
        asset_path: ``mhr_model.pt``; see ``docs/rigs.md``.

    Attributes:
        asset_path: Where the asset is.
        parameter_names: MHR's model parameters, in the order ``from_model_parameters`` takes them.
        shape_size: Number of shape coefficients, the first identity values.
        length_parameters: Which model parameters are the other identity values.

    Raises:
        ConfigError: The file is something else.
    """

    name = "mhr"
    _shapes: Tensor
    _expressions: Tensor
    _transform_J7M: Tensor
    _lengths_J7K: Tensor
    _above_J: Tensor
    _offsets_J3: Tensor
    _prerotations_J33: Tensor
    _bind_J33: Tensor
    _joints_J3: Tensor
    _limits_M2: Tensor
    _ancestors: Tensor

    def __init__(self, asset_path: str | Path) -> None:
        super().__init__()
        self.asset_path = Path(asset_path)
        asset = read_mhr_asset(asset_path)
        self.joint_names, self.joint_parents = asset.joint_names, asset.joint_parents
        turned = (asset.transform_J7M[:, 3:6] != 0).any(1)  # (J, M)
        self._root_path = _path_to(int(turned.any(1).nonzero()[0]), asset.joint_parents)
        self.length_parameters = _length_parameters(asset, self._root_path)
        self.shape_size = len(asset.shapes_SV3)
        self.parameter_names = asset.parameter_names
        lengths = tuple(asset.parameter_names[index] for index in self.length_parameters)
        self.identity_names = tuple(f"shape_{index:02d}" for index in range(self.shape_size)) + lengths
        self.expression_names = tuple(
            f"expression_{index:02d}" for index in range(len(asset.expressions_EV3))
        )
        turned[:, list(self.length_parameters)] = False
        self.driving_joints = tuple(
            joint
            for joint, name in enumerate(asset.joint_names)
            if turned[joint].any() and joint not in self._root_path and not name.endswith("_proc")
        )
        self.eye_joints = (asset.joint_names.index("l_eye"), asset.joint_names.index("r_eye"))
        self.finger_J = number_fingers([finger_of(name) for name in asset.joint_names])
        self._register(asset)

    def _register(self, asset: MHRAsset) -> None:
        bind = asset.inverse_bind_J44[:, :3, :3]
        joints = -torch.linalg.solve(bind, asset.inverse_bind_J44[:, :3, 3])
        uv, uv_faces = asset.uv_U2, asset.uv_faces_F3
        if uv is None or uv_faces is None:
            uv, uv_faces = triangle_grid(len(asset.faces_F3))
        buffers = {
            "template_vertices_V3": asset.base_V3, "faces_F3": asset.faces_F3, "weights_VJ": asset.weights_VJ,
            "uv_coordinates_U2": uv.float(), "uv_faces_F3": uv_faces.long(),
            "regions_V": label_regions(asset), "visible_faces_F": visible_faces(asset),
            "_shapes": asset.shapes_SV3.flatten(1), "_expressions": asset.expressions_EV3.flatten(1),
            "_transform_J7M": asset.transform_J7M,
            "_lengths_J7K": asset.transform_J7M[..., list(self.length_parameters)],
            "_above_J": torch.tensor(asset.joint_parents).clamp(min=0), "_offsets_J3": asset.offsets_J3,
            "_prerotations_J33": quaternion_to_matrix(asset.prerotations_J4), "_bind_J33": bind,
            "_joints_J3": joints, "_limits_M2": asset.limits_M2,
            "_ancestors": ancestor_steps(asset.joint_parents),
        }  # fmt: skip
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def neutral_identity(self) -> Tensor:
        """MHR's mean shape with the bone lengths of its rest mesh: zeros, ``(I,)``."""
        return self.template_vertices_V3.new_zeros(self.identity_size)

    def identity_bounds(self) -> Tensor:
        """Three standard deviations of shape, the asset's limits of bone lengths (often 0); ``(I, 2)``."""
        shape = self._limits_M2.new_tensor([-SHAPE_BOUND, SHAPE_BOUND]).repeat(self.shape_size, 1)
        lengths = self._limits_M2[list(self.length_parameters)].clamp(-1.0, 1.0)
        return torch.cat([shape, lengths])

    def canonical_vertices(self, identity_BI: Tensor, expression_BE: Tensor | None = None) -> Tensor:
        """Mesh of subjects in the rest pose with the template's bone lengths.

        Args:
            identity_BI: Identity values, ``(B, I)``.
            expression_BE: Expression coefficients, ``(B, E)``, neutral when None.

        Returns:
            Vertices in metres, ``(B, V, 3)``.

        Raises:
            ShapeError: The identity or expression has another size.
        """
        check_shape("identity_BI", identity_BI, ("B", self.identity_size))
        offsets = identity_BI[:, : self.shape_size] @ self._shapes
        if expression_BE is not None:
            check_shape("expression_BE", expression_BE, ("B", self.expression_size))
            offsets = offsets + expression_BE @ self._expressions
        return self.template_vertices_V3 + offsets.unflatten(-1, (-1, 3))

    def canonical_joints(self, identity_BI: Tensor) -> Tensor:
        """Joint positions in the rest pose, the same for all subjects, metres, ``(B, J, 3)``."""
        check_shape("identity_BI", identity_BI, ("B", self.identity_size))
        return self._joints_J3.expand(len(identity_BI), -1, -1)

    def skeleton(self, identity_BI: Tensor) -> Skeleton:
        """The subjects' own bones: lengths and sizes of the identity, pose parameters zero."""
        check_shape("identity_BI", identity_BI, ("B", self.identity_size))
        lengths_BK = identity_BI[:, self.shape_size :]
        maps = self._joint_maps(torch.einsum("jck,bk->bjc", self._lengths_J7K, lengths_BK))
        positions = maps[..., 3]
        return Skeleton(
            self.canonical_joints(identity_BI),
            positions - positions[:, self._above_J],
            maps[..., :3] @ self._bind_J33,
            self._ancestors,
        )

    def rest_pose(self, batch: int = 1) -> RigPose:
        """MHR's bind pose, which is that of zero parameters."""
        pose = self.reference_pose(batch)
        return RigPose(pose.rotations_BJ3.clone(), pose.translation_B3.clone())

    def from_model_parameters(
        self, shape_BS: Tensor, model_parameters_BM: Tensor, expression_BE: Tensor | None = None
    ) -> tuple[Tensor, RigPose, Tensor]:
        """Convert MHR's own parameters, such as SAM-3D-Body's output.

        The root's orientation and position go to joint 0, which MHR itself leaves at the origin; all other
        joints stand where MHR puts them. SAM-3D-Body's stored meshes have y and z negated.

        Args:
            shape_BS: Shape coefficients, ``(B, 45)``.
            model_parameters_BM: Pose and bone lengths as MHR takes them, ``(B, 204)``.
            expression_BE: Expression coefficients, ``(B, 72)``, zero when None.

        Returns:
            Identity ``(B, I)``, pose and expression ``(B, E)`` for the other methods.

        Raises:
            ShapeError: A size is wrong.
        """
        frames = shape_BS.shape[0]
        check_shape("shape_BS", shape_BS, ("B", self.shape_size))
        check_shape("model_parameters_BM", model_parameters_BM, (frames, self._transform_J7M.shape[2]))
        lengths = model_parameters_BM[:, list(self.length_parameters)]
        posed = self._joint_maps(torch.einsum("jcm,bm->bjc", self._transform_J7M, model_parameters_BM))
        straight = self._joint_maps(torch.einsum("jck,bk->bjc", self._lengths_J7K, lengths))
        turns = _directions(posed) @ _directions(straight).transpose(-1, -2)  # rest to posed, in the world
        root = self._root_path[-1]
        turns = turns[:, [root if joint in self._root_path else joint for joint in range(turns.shape[1])]]
        local = torch.cat([turns[:, :1], (turns[:, self._above_J].transpose(-1, -2) @ turns)[:, 1:]], 1)
        arm = straight[:, root, :, 3] - straight[:, 0, :, 3]
        translation = posed[:, root, :, 3] - (turns[:, root] @ arm[..., None]).squeeze(-1)
        if expression_BE is None:
            expression_BE = shape_BS.new_zeros(frames, self.expression_size)
        pose = RigPose(matrix_to_rotation_vector(local), translation)
        return torch.cat([shape_BS, lengths], 1), pose, expression_BE

    def asset_forward(
        self, shape_BS: Tensor, model_parameters_BM: Tensor, expression_BE: Tensor, correctives: bool = True
    ) -> tuple[Tensor, Tensor]:
        """What the asset itself computes; it is opened anew, which takes seconds and 700 MB.

        Args:
            shape_BS: Shape coefficients, ``(B, 45)``.
            model_parameters_BM: Pose and bone lengths, ``(B, 204)``.
            expression_BE: Expression coefficients, ``(B, 72)``.
            correctives: Whether MHR's non-linear pose correctives are added.

        Returns:
            Vertices in metres, ``(B, V, 3)``, and joint states ``(B, J, 8)``: position in metres, quaternion
            xyzw, scale.
        """
        program = load_program(self.asset_path, shape_BS.device)
        with torch.no_grad():
            vertices, states = program(shape_BS, model_parameters_BM, expression_BE, correctives)
        return vertices * METRES, torch.cat([states[..., :3] * METRES, states[..., 3:]], -1)

    def _joint_maps(self, moves_BJ7: Tensor) -> Tensor:
        """MHR's forward kinematics: from each joint's frame to the world, metres, ``(B, J, 3, 4)``."""
        size = torch.exp2(moves_BJ7[..., 6, None, None])
        linear = size * self._prerotations_J33 @ _euler_xyz(moves_BJ7[..., 3:6])
        local = torch.cat([linear, (self._offsets_J3 + moves_BJ7[..., :3])[..., None]], -1)
        return compose_maps(local, self._ancestors)


def _euler_xyz(angles_3: Tensor) -> Tensor:
    """Rotation about x, then y, then z of the fixed frame, ``(..., 3, 3)``."""
    x, y, z = (
        rotation_vector_to_matrix(functional.pad(angles_3[..., axis : axis + 1], (axis, 2 - axis)))
        for axis in range(3)
    )
    return z @ y @ x


def _directions(maps_BJ34: Tensor) -> Tensor:
    """Rotation part of scaled rotations."""
    return functional.normalize(maps_BJ34[..., :3], dim=-2)


def _path_to(joint: int, parents: tuple[int, ...]) -> tuple[int, ...]:
    """Joints from joint 0 down to ``joint``."""
    path = [joint]
    while parents[path[0]] >= 0:
        path.insert(0, parents[path[0]])
    return tuple(path)


def _length_parameters(asset: MHRAsset, root_path: tuple[int, ...]) -> tuple[int, ...]:
    """Model parameters that move joints in their parents' frames or scale them, and all called ``scale``."""
    moving = (asset.transform_J7M[:, [0, 1, 2, 6]] != 0).any(1)
    moving[list(root_path)] &= asset.transform_J7M[list(root_path), 6] != 0  # where the body stands is pose
    return tuple(
        index
        for index, name in enumerate(asset.parameter_names)
        if moving[:, index].any() or name.startswith("scale_")
    )
