"""Reads the TorchScript asset of the Momentum Human Rig (MHR, Meta 2025, Apache-2.0) into plain tensors.

The asset is a program with its data; loading it runs no code of ours and, until it is called, little of its
own, but it is a program: take it from its publisher. This is the one file the package opens that could hold
code, and only when a user names it. Its buffers are centimetres, quaternions xyzw and, for each joint, seven
parameters: translation, Euler angles xyz, logarithm of the scale to base 2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lca_lightning.errors import ConfigError

METRES = 0.01
SIZES = {"vertices": 18439, "joints": 127, "shape": 45, "parameters": 204, "expression": 72}
_ARGUMENTS = ["identity_coeffs", "model_parameters", "face_expr_coeffs", "apply_correctives"]
_CHARACTER = "character_torch."
_SKELETON = _CHARACTER + "skeleton."
_SKINNING = _CHARACTER + "linear_blend_skinning."


@dataclass(frozen=True)
class MHRAsset:
    """The data of the rig in metres, radians and matrices; shape letters: S shapes, M model parameters.

    Args:
        joint_names, joint_parents: The skeleton, parents first; -1 for the root.
        parameter_names: Of the model parameters.
        transform_J7M: Joint parameters (translation, Euler xyz, log2 of scale) per model parameter.
        offsets_J3: Translation of each joint in its parent's frame without parameters.
        prerotations_J4: Its orientation in that frame without parameters, wxyz.
        inverse_bind_J44: From the rest mesh to each joint's frame.
        base_V3, shapes_SV3, expressions_EV3: Rest mesh and blend shapes.
        weights_VJ: Skinning weights.
        faces_F3: Triangles.
        uv_U2, uv_faces_F3: Texture coordinates and those of each triangle, or None.
        limits_M2: Lowest and highest model parameters; infinite where the asset has none.
    """

    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    parameter_names: tuple[str, ...]
    transform_J7M: Tensor
    offsets_J3: Tensor
    prerotations_J4: Tensor
    inverse_bind_J44: Tensor
    base_V3: Tensor
    shapes_SV3: Tensor
    expressions_EV3: Tensor
    weights_VJ: Tensor
    faces_F3: Tensor
    uv_U2: Tensor | None
    uv_faces_F3: Tensor | None
    limits_M2: Tensor


def read_mhr_asset(path: str | Path) -> MHRAsset:
    """Read the data of the rig; files already read in this process and unchanged since are not read again.

    Args:
        path: ``mhr_model.pt``.

    Returns:
        The data on the CPU, float32; shared, so nobody may change it in place.

    Raises:
        ConfigError: The file is no TorchScript program, or one with another call, other buffers or sizes.
    """
    status = Path(path).stat()
    return _read(Path(path), (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple[int, int]) -> MHRAsset:
    program = load_program(path)
    buffers = program.state_dict()
    try:
        asset = _convert(program, buffers)
    except (KeyError, AttributeError) as error:
        missing = str(error).splitlines()[0].strip("'\"")
        raise _not_the_asset(path, f"it lacks {missing}") from error
    except (RuntimeError, IndexError, ValueError) as error:
        raise _not_the_asset(path, "the sizes of its buffers contradict each other") from error
    if not getattr(program, "stand_in", False):  # a small model for tests declares itself
        _check_sizes(path, asset)
    return asset


def load_program(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """Open the TorchScript program itself, some 700 MB.

    Args:
        path: ``mhr_model.pt``.
        device: Where its buffers go.

    Returns:
        The program in evaluation mode.

    Raises:
        ConfigError: The file is no TorchScript program, or one with another call.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise _not_the_asset(path, "it is no TorchScript program") from error
    arguments = [argument.name for argument in program.forward.schema.arguments[1:]]
    if arguments != _ARGUMENTS:
        raise _not_the_asset(path, f"its call takes ({', '.join(arguments)}), not ({', '.join(_ARGUMENTS)})")
    return program


def _convert(program: Any, buffers: dict[str, Tensor]) -> MHRAsset:
    base = buffers[_CHARACTER + "blend_shape.base_shape"].float() * METRES
    shapes = buffers[_CHARACTER + "blend_shape.shape_vectors"].float() * METRES
    expressions = buffers["face_expressions_model.shape_vectors"].float() * METRES
    names = tuple(program.character_torch.skeleton.joint_names)
    count = len(names)
    transform = buffers[_CHARACTER + "parameter_transform.parameter_transform"].float()
    parameters = transform.shape[1] - len(shapes)  # the last columns belong to the shapes and are empty
    transform = transform[:, :parameters].unflatten(0, (count, 7)).clone()
    transform[:, :3] *= METRES
    for tensor, vertices in ((shapes, len(base)), (expressions, len(base))):
        tensor.reshape(-1, vertices, 3)
    return MHRAsset(
        joint_names=names,
        joint_parents=tuple(int(parent) for parent in buffers[_SKELETON + "joint_parents"]),
        parameter_names=tuple(program.character_torch.parameter_transform.parameter_names)[:parameters],
        transform_J7M=transform,
        offsets_J3=buffers[_SKELETON + "joint_translation_offsets"].float().reshape(count, 3) * METRES,
        prerotations_J4=buffers[_SKELETON + "joint_prerotations"].float().reshape(count, 4)[:, [3, 0, 1, 2]],
        inverse_bind_J44=_similarity(buffers[_SKINNING + "inverse_bind_pose"].reshape(count, 8)),
        base_V3=base,
        shapes_SV3=shapes,
        expressions_EV3=expressions,
        weights_VJ=_weights(buffers, len(base), count),
        faces_F3=buffers[_CHARACTER + "mesh.faces"].long().reshape(-1, 3),
        uv_U2=buffers.get(_CHARACTER + "mesh.texcoords"),
        uv_faces_F3=buffers.get(_CHARACTER + "mesh.texcoord_faces"),
        limits_M2=_limits(buffers, parameters),
    )


def _similarity(states_J8: Tensor) -> Tensor:
    """Matrices of states (translation in centimetres, quaternion xyzw, scale)."""
    from lca_lightning.geometry.rotations import quaternion_to_matrix

    matrices = torch.eye(4).repeat(len(states_J8), 1, 1)
    rotations = quaternion_to_matrix(states_J8[:, [6, 3, 4, 5]].float())
    matrices[:, :3, :3] = states_J8[:, 7, None, None].float() * rotations
    matrices[:, :3, 3] = states_J8[:, :3].float() * METRES
    return matrices


def _weights(buffers: dict[str, Tensor], vertices: int, joints: int) -> Tensor:
    vertex, joint = (buffers[f"{_SKINNING}{name}_indices_flattened"].long() for name in ("vert", "skin"))
    weights = torch.zeros(vertices, joints)
    values = buffers[_SKINNING + "skin_weights_flattened"].float()
    return weights.index_put_((vertex, joint), values, accumulate=True)


def _limits(buffers: dict[str, Tensor], parameters: int) -> Tensor:
    limits = torch.tensor([-torch.inf, torch.inf]).repeat(parameters, 1)
    prefix = _CHARACTER + "parameter_limits.minmax_"
    if prefix + "parameter_index" in buffers:
        index = buffers[prefix + "parameter_index"].long()
        known = index < parameters
        bounds = torch.stack([buffers[prefix + "min"], buffers[prefix + "max"]], 1).float()
        limits[index[known]] = bounds[known]
    return limits


def _check_sizes(path: Path, asset: MHRAsset) -> None:
    sizes = {
        "vertices": len(asset.base_V3),
        "joints": len(asset.joint_names),
        "shape": len(asset.shapes_SV3),
        "parameters": len(asset.parameter_names),
        "expression": len(asset.expressions_EV3),
    }
    wrong = [f"{sizes[name]} {name} instead of {size}" for name, size in SIZES.items() if sizes[name] != size]
    if wrong:
        raise _not_the_asset(path, f"it has {', '.join(wrong)}")


def _not_the_asset(path: str | Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} is not the asset of the rig 'mhr': {reason}; give mhr_model.pt of an MHR 1.0 release as "
        "model.avatar.rig_asset or in $LCA_MHR."
    )
