"""A small model with the call, buffer names, units and conventions of MHR's TorchScript asset.

Its skeleton is a part of MHR's own (Apache-2.0, Meta): joint names, lengths, orientations and the weights of
the model parameters were measured from four stored fits, see ``tests/parity/test_mhr_fits.py``. Fingers are
shortened to two joints. Mesh, blend shapes and correctives are made up. The forward pass is written with
quaternions and a loop over joints, unlike the rig under test.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

# name, parent, offset in centimetres, prerotation xyzw
_MIDDLE = [
    ("body_world", "", (0, 0, 0), (0, 0, 0, 1)),
    ("root", "body_world", (0, 92.39872, 0), (0, 0, 0, 1)),
    ("c_spine0", "root", (0, 2.02204, -3.25360), (0.489931, 0.509870, 0.489931, 0.509870)),
    ("c_spine1", "c_spine0", (10.98838, 1.54308, 0), (0, 0, 0, 1)),
    ("c_spine2", "c_spine1", (11.03154, -2.15722, 0), (0, 0, 0, 1)),
    ("c_spine3", "c_spine2", (18.37733, 1.76621, 0), (0, 0, 0, 1)),
    ("c_neck", "c_spine3", (9.17670, 4.76546, 0), (0, 0, 0.165373, 0.986231)),
    ("c_head", "c_neck", (9.92930, 0, 0), (0, 0, -0.145676, 0.989332)),
    ("l_eye", "c_head", (8.8331, 6.9880, 3.2080), (-0.475207, -0.475207, -0.523621, 0.523621)),
    ("r_eye", "c_head", (8.8331, 6.9880, -3.2080), (-0.523621, -0.523621, -0.475207, 0.475207)),
]
# The right side has the left one's offsets negated, except where it hangs on the middle of the body.
_SIDE = [
    ("upleg", "root", (8.20472, -1.84064, 0.53258), None),
    ("lowleg", "upleg", (41.96944, -0.77310, 0), (-0.000138, 0.002078, 0.013162, 0.999911)),
    ("foot", "lowleg", (42.05828, 0, 0), (0, 0, 0, 1)),
    ("clavicle", "c_spine3", (5.31330, 10.28920, 2.82180), None),
    ("uparm", "clavicle", (17.65050, 0, 0), (-0.107322, -0.479823, 0.182484, 0.851441)),
    ("lowarm", "uparm", (25.68030, -0.04630, 0.00030), (0.002379, -0.007680, 0.295853, 0.955200)),
    ("lowarm_twist2_proc", "lowarm", (10.80000, 0, 0), (0, 0, 0, 1)),
    ("wrist_twist", "lowarm", (27.00000, 0, 0), None),
    ("wrist", "wrist_twist", (0, 0, 0), (0, 0, 0, 1)),
    ("index1", "wrist", (8.0, 0.84, -2.4), (0, 0, 0, 1)),
    ("index2", "index1", (3.9, 0, 0), (0, 0, 0, 1)),
    ("middle1", "wrist", (8.3, 0.38, 0), (0, 0, 0, 1)),
    ("middle2", "middle1", (4.4, 0, 0), (0, 0, 0, 1)),
]
_PREROTATIONS = {
    "l_upleg": (-0.515857, 0.493309, -0.444141, 0.541551),
    "r_upleg": (0.541551, 0.444141, 0.493309, 0.515857),
    "l_clavicle": (0.222661, -0.646909, -0.177150, 0.707495),
    "r_clavicle": (0.646909, 0.222661, 0.707495, 0.177150),
    "wrist_twist": (0.837665, -0.031997, 0.036723, 0.544008),
}
_MIRRORED = {"upleg": (-1, 1, 1), "clavicle": (1, 1, -1)}
# joint.channel = weight*parameter + ...; channels are translation, Euler angles and log2 of the scale
_BODY_RULES = """
root.tx = 10*root_tx
root.ty = 10*root_ty
root.tz = 10*root_tz
root.rx = root_rx
root.ry = root_ry
root.rz = root_rz
c_spine0.rx = spine0_rx_flexible + 0.01*spine_twist0
c_spine0.ry = spine0_ry_flexible + 0.22*spine_lean0
c_spine0.rz = spine0_rz_flexible + 0.16*spine_bend0
c_spine1.rx = spine1_rx_flexible + 0.12*spine_twist0 + 0.07*spine_twist1
c_spine1.ry = spine1_ry_flexible + 0.14*spine_lean0 + 0.08*spine_lean1
c_spine1.rz = spine1_rz_flexible + 0.42*spine_bend0 + 0.22*spine_bend1
c_spine2.rx = spine2_rx_flexible + 0.22*spine_twist0 + 0.42*spine_twist1
c_spine2.ry = spine2_ry_flexible + 0.11*spine_lean0 + 0.23*spine_lean1
c_spine2.rz = spine2_rz_flexible + 0.06*spine_bend0 + 0.13*spine_bend1
c_spine3.rx = spine3_rx_flexible + 0.16*spine_twist1
c_spine3.ry = spine3_ry_flexible + 0.22*spine_lean1
c_spine3.rz = spine3_rz_flexible + 0.01*spine_bend1
c_neck.rx = neck_twist
c_neck.ry = neck_lean
c_neck.rz = neck_bend
c_head.rx = head_twist
c_head.ry = head_lean
c_head.rz = head_bend
c_spine1.tx = 2.21*spine_length_flexible + 2.21*scale_spine_length
c_spine2.tx = 2.23*spine_length_flexible + 2.23*scale_spine_length
c_spine3.tx = 3.71*spine_length_flexible + 3.71*scale_spine_length
c_neck.tx = 1.85*spine_length_flexible + 1.85*scale_spine_length
c_head.tx = 10*neck_length_flexible + 10*scale_neck_length
"""
_SIDE_RULES = """
@_clavicle.rx = @_clavicle_rx
@_clavicle.ry = @_clavicle_ry
@_clavicle.rz = @_clavicle_rz
@_uparm.rx = @_uparm_twist
@_uparm.ry = @_uparm_ry
@_uparm.rz = @_uparm_rz
@_lowarm.rz = @_elbow_bend
@_lowarm_twist2_proc.rx = 0.4*@_lowarm_twist
@_wrist_twist.rx = @_lowarm_twist
@_wrist.ry = @_wrist_ry
@_wrist.rz = @_wrist_rz
@_upleg.rx = @_upleg_twist
@_upleg.ry = @_upleg_ry
@_upleg.rz = @_upleg_rz
@_lowleg.rz = @_knee_bend
@_lowleg.ry = scale_knee_knock
@_foot.rx = @_lowleg_twist
@_foot.ry = @_foot_ry_flexible
@_index1.ry = @_index1_ry
@_index1.rz = @_index1_rz
@_index2.rz = @_index2_rz
@_middle1.ry = @_middle1_ry
@_middle1.rz = @_middle1_rz
@_middle2.rz = @_middle2_rz
@_upleg.tx = $10*hip_width_flexible + $10*scale_hip_width
@_upleg.ty = 10*scale_hip_height
@_upleg.tz = 10*scale_hip_depth
@_lowleg.tx = $5*leg_length_flexible + $10*scale_uplegs
@_foot.tx = $5*leg_length_flexible + $10*scale_lowlegs
@_uparm.tx = $8.36*shoulder_width_flexible + $8.36*scale_shoulder_width
@_uparm.ty = $5.44*shoulder_width_flexible + $5.44*scale_shoulder_width
@_uparm.tz = $0.63*shoulder_width_flexible + $0.63*scale_shoulder_width
@_lowarm.tx = $5*arm_length_flexible + $10*scale_uparms
@_wrist_twist.tx = $5*arm_length_flexible + $10*scale_lowarms
@_lowarm_twist2_proc.tx = $2*arm_length_flexible + $4*scale_lowarms
@_wrist.sc = scale_@_hands
@_index1.tx = $10*scale_@_index1_length
"""
_CHANNELS = ["tx", "ty", "tz", "rx", "ry", "rz", "sc"]
SHAPES, EXPRESSIONS = 5, 6


class _Skeleton(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        joints = _joints()
        self.joint_names: list[str] = [joint[0] for joint in joints]
        parents = [self.joint_names.index(joint[1]) if joint[1] else -1 for joint in joints]
        self.register_buffer("joint_parents", torch.tensor(parents, dtype=torch.int32))
        self.register_buffer("joint_translation_offsets", torch.tensor([joint[2] for joint in joints]))
        rotations = torch.tensor([joint[3] for joint in joints])
        self.register_buffer("joint_prerotations", rotations / rotations.norm(dim=1, keepdim=True))

    def forward(self, parameters_BJ7: Tensor) -> Tensor:
        """Joint states in the world: translation, quaternion xyzw, scale."""
        states: list[Tensor] = []
        for joint in range(parameters_BJ7.shape[1]):
            moves = parameters_BJ7[:, joint]
            offset = self.joint_translation_offsets[joint] + moves[:, :3]
            turned = _multiply(
                _about(2, moves[:, 5]), _multiply(_about(1, moves[:, 4]), _about(0, moves[:, 3]))
            )
            turned = _multiply(self.joint_prerotations[joint].expand_as(turned), turned)
            scale = torch.pow(2.0, moves[:, 6:])
            parent = int(self.joint_parents[joint])
            if parent >= 0:
                above = states[parent]
                offset = above[:, :3] + above[:, 7:] * _rotate(above[:, 3:7], offset)
                turned, scale = _multiply(above[:, 3:7], turned), above[:, 7:] * scale
            states.append(torch.cat([offset, turned, scale], 1))
        return torch.stack(states, 1)


class _ParameterTransform(nn.Module):
    def __init__(self, joint_names: list[str]) -> None:
        super().__init__()
        rules = _rules()
        names = [name for rule in rules.values() for name in rule]
        known = [*dict.fromkeys(names)]
        self.parameter_names: list[str] = [n for n in known if not n.startswith("scale_")]
        self.parameter_names += [n for n in known if n.startswith("scale_")]
        matrix = torch.zeros(len(joint_names), 7, len(known) + SHAPES)
        for (joint, channel), weights in rules.items():
            for name, weight in weights.items():
                row = joint_names.index(joint), _CHANNELS.index(channel)
                matrix[row[0], row[1], self.parameter_names.index(name)] = weight
        self.parameter_names += [f"blend_{shape}" for shape in range(SHAPES)]
        self.register_buffer("parameter_transform", matrix.flatten(0, 1))


class _ParameterLimits(nn.Module):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        index = [names.index("scale_uplegs"), names.index("l_elbow_bend"), names.index("leg_length_flexible")]
        self.register_buffer("minmax_parameter_index", torch.tensor(index, dtype=torch.int32))
        self.register_buffer("minmax_min", torch.tensor([-0.5, -0.5, 0.0]))
        self.register_buffer("minmax_max", torch.tensor([0.5, 2.0, 0.0]))


class _Mesh(nn.Module):
    def __init__(self, faces: Tensor, textured: bool) -> None:
        super().__init__()
        self.register_buffer("faces", faces.to(torch.int32))
        if textured:
            self.register_buffer("texcoords", torch.rand(int(faces.max()) + 1, 2))
            self.register_buffer("texcoord_faces", faces.to(torch.int32))


class _BlendShape(nn.Module):
    def __init__(self, base: Tensor | None, vectors: Tensor) -> None:
        super().__init__()
        if base is not None:
            self.register_buffer("base_shape", base)
        self.register_buffer("shape_vectors", vectors)


class _Skinning(nn.Module):
    def __init__(self, states_J8: Tensor, weights_VJ: Tensor) -> None:
        super().__init__()
        scale = 1 / states_J8[:, 7:]
        turned = states_J8[:, 3:7] * torch.tensor([-1.0, -1.0, -1.0, 1.0])
        back = -scale * _rotate(turned, states_J8[:, :3])
        self.register_buffer("inverse_bind_pose", torch.cat([back, turned, scale], 1))
        vertex, joint = weights_VJ.nonzero(as_tuple=True)
        self.register_buffer("vert_indices_flattened", vertex)
        self.register_buffer("skin_indices_flattened", joint.to(torch.int32))
        self.register_buffer("skin_weights_flattened", weights_VJ[vertex, joint])

    def forward(self, states_BJ8: Tensor, rest_BV3: Tensor) -> Tensor:
        bind = self.inverse_bind_pose[self.skin_indices_flattened.long()]
        now = states_BJ8[:, self.skin_indices_flattened.long()]
        points = rest_BV3[:, self.vert_indices_flattened]
        local = bind[:, 7:] * _rotate(bind[:, 3:7].expand(points.shape[0], -1, -1), points) + bind[:, :3]
        moved = now[..., 7:] * _rotate(now[..., 3:7], local) + now[..., :3]
        weighted = self.skin_weights_flattened[:, None] * moved
        return torch.zeros_like(rest_BV3).index_add(1, self.vert_indices_flattened, weighted)


class _Character(nn.Module):
    def __init__(self, textured: bool) -> None:
        super().__init__()
        self.skeleton = _Skeleton()
        names = self.skeleton.joint_names
        self.parameter_transform = _ParameterTransform(names)
        self.parameter_limits = _ParameterLimits(self.parameter_transform.parameter_names)
        states = self.skeleton(torch.zeros(1, len(names), 7))[0]
        vertices, faces, weights = _body(names, self.skeleton.joint_parents.tolist(), states[:, :3])
        self.mesh = _Mesh(faces, textured)
        waves = torch.randn(SHAPES, 3, 3) / 40
        shapes = 2 * torch.sin(torch.einsum("scd,vd->svc", waves, vertices) + torch.rand(SHAPES, 1, 3))
        self.blend_shape = _BlendShape(vertices, shapes)
        self.linear_blend_skinning = _Skinning(states, weights)


class StandIn(nn.Module):
    """MHR's call on a body of 36 joints and some 700 vertices."""

    def __init__(self, stand_in: bool = True, textured: bool = True) -> None:
        super().__init__()
        self.stand_in = stand_in
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.character_torch = _Character(textured)
            base = self.character_torch.blend_shape.base_shape
            eye = self.character_torch.skeleton.joint_names.index("l_eye")
            bind = self.character_torch.linear_blend_skinning.inverse_bind_pose[eye]
            front = base - torch.tensor([0.0, 1.0, 1.0]) * _rotate(
                bind[3:7] * torch.tensor([-1.0, -1, -1, 1]), -bind[:3]
            )
            near = torch.exp(-((front.norm(dim=1) / 7) ** 2))
            self.face_expressions_model = _BlendShape(
                None, torch.randn(EXPRESSIONS, len(base), 3) * near[:, None]
            )
            joints = len(self.character_torch.skeleton.joint_names)
            self.corrective_in = nn.Parameter(torch.randn(3 * joints, 16), requires_grad=False)
            self.corrective_out = nn.Parameter(0.1 * torch.randn(16, 3 * len(base)), requires_grad=False)

    def forward(
        self,
        identity_coeffs: Tensor,
        model_parameters: Tensor,
        face_expr_coeffs: Tensor | None,
        apply_correctives: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Vertices and joint states in centimetres."""
        character = self.character_torch
        empty = torch.zeros(model_parameters.shape[0], identity_coeffs.shape[1])
        padded = torch.cat([model_parameters, empty], 1)
        moves = (padded @ character.parameter_transform.parameter_transform.t()).view(len(padded), -1, 7)
        states = character.skeleton(moves)
        shape = character.blend_shape
        rest = shape.base_shape + torch.einsum("bs,svc->bvc", identity_coeffs, shape.shape_vectors)
        if face_expr_coeffs is not None:
            vectors = self.face_expressions_model.shape_vectors
            rest = rest + torch.einsum("be,evc->bvc", face_expr_coeffs, vectors)
        if apply_correctives:
            bent = torch.relu(torch.sin(moves[..., 3:6]).flatten(1) @ self.corrective_in)
            rest = rest + (bent @ self.corrective_out).view_as(rest)
        return character.linear_blend_skinning(states, rest), states


def save_stand_in(path: Path, stand_in: bool = True, textured: bool = True) -> Path:
    """Write the model as a TorchScript file.

    Args:
        path: File to write.
        stand_in: Whether the file says that it is a stand-in, and so may have other sizes than MHR.
        textured: Whether the mesh has texture coordinates.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(StandIn(stand_in, textured)).save(str(path))
    return path


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    a, b = left[..., :3], right[..., :3]
    vector = left[..., 3:] * b + right[..., 3:] * a + torch.linalg.cross(a, b)
    return torch.cat([vector, left[..., 3:] * right[..., 3:] - (a * b).sum(-1, keepdim=True)], -1)


def _rotate(quaternion: Tensor, point: Tensor) -> Tensor:
    axis = quaternion[..., :3]
    once = 2 * torch.linalg.cross(axis, point)
    return point + quaternion[..., 3:] * once + torch.linalg.cross(axis, once)


def _about(axis: int, angle: Tensor) -> Tensor:
    quaternion = torch.zeros(angle.shape[0], 4)
    quaternion[:, axis] = torch.sin(angle / 2)
    quaternion[:, 3] = torch.cos(angle / 2)
    return quaternion


def _joints() -> list[tuple[str, str, tuple[float, ...], tuple[float, ...]]]:
    """All joints, parents first."""
    joints = [tuple(joint) for joint in _MIDDLE]
    for side, sign in (("l", 1.0), ("r", -1.0)):
        for name, parent, offset, turn in _SIDE:
            flip = (1.0,) * 3 if side == "l" else _MIRRORED.get(name, (sign,) * 3)
            above = parent if parent in ("root", "c_spine3") else f"{side}_{parent}"
            turn = turn or _PREROTATIONS.get(f"{side}_{name}") or _PREROTATIONS[name]
            joints.append(
                (f"{side}_{name}", above, tuple(a * b for a, b in zip(offset, flip, strict=True)), turn)
            )
    return [(n, p, tuple(map(float, o)), tuple(map(float, q))) for n, p, o, q in joints]


def _rules() -> dict[tuple[str, str], dict[str, float]]:
    """Weights of the model parameters by joint and channel."""
    text = _BODY_RULES
    for side, sign in (("r", "-"), ("l", "")):
        text += _SIDE_RULES.replace("@", side).replace("$", sign)
    rules = {}
    for line in text.split("\n"):
        if line:
            target, terms = line.split(" = ")
            found = re.findall(r"(?:(-?[\d.]+)\*)?([a-z]\w+)", terms)
            rules[tuple(target.split("."))] = {name: float(weight or 1) for weight, name in found}
    return rules


def _body(names: list[str], parents: list[int], joints_J3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A tube around each bone and a ball for head and eyes; centimetres."""
    vertices, faces, weights = [], [], []
    count = 0
    moving = [
        joint if parents[joint] <= 0 else parents[joint] for joint in range(len(names))
    ]  # no skin on the world
    for joint, name in enumerate(names):
        if name == "body_world" or name.endswith("_proc"):
            continue
        children = [child for child, parent in enumerate(parents) if parent == joint]
        parts = [_tube(joints_J3, joint, moving[joint], c, names) for c in children if _is_bone(names[c])]
        if not children:
            parts.append(_tip(joints_J3, joint, moving[joint], names))
        if name == "c_head":
            parts.append(_ball(joints_J3[joint] + torch.tensor([0.0, 7.0, 2.5]), 11.0, 14, joint, len(names)))
        for points, triangles, share in parts:
            vertices.append(points)
            faces.append(triangles + count)
            weights.append(share)
            count += len(points)
    return torch.cat(vertices), torch.cat(faces), torch.cat(weights)


def _is_bone(name: str) -> bool:
    return not name.endswith(("_proc", "_eye")) and name != "l_wrist" and name != "r_wrist"


def _radius(name: str) -> float:
    sizes = {
        "root": 11,
        "spine": 11,
        "neck": 6,
        "upleg": 8,
        "lowleg": 5,
        "foot": 4,
        "index": 0.8,
        "middle": 0.8,
    }
    return next((float(size) for part, size in sizes.items() if part in name), 3.5)


def _tube(joints_J3: Tensor, joint: int, parent: int, child: int, names: list[str]) -> tuple[Tensor, ...]:
    start, end = joints_J3[joint], joints_J3[child]
    return _capsule(start, end, _radius(names[joint]), joint, parent, len(names))


def _tip(joints_J3: Tensor, joint: int, parent: int, names: list[str]) -> tuple[Tensor, ...]:
    name, start = names[joint], joints_J3[joint]
    if name.endswith("_eye"):
        return _ball(start, 1.3, 6, joint, len(names))
    along = start - joints_J3[parent]
    if name.endswith("_foot"):
        along = torch.tensor([0.0, -0.3, 1.0])
    length = 15.0 if name.endswith("_foot") else 3.0
    end = start + along / along.norm() * length
    return _capsule(start, end, _radius(name), joint, parent, len(names))


def _capsule(
    start: Tensor, end: Tensor, radius: float, joint: int, parent: int, joints: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Rings of eight points around a bone, closed at both ends; the first third follows the parent too."""
    along = (end - start) / (end - start).norm()
    across = torch.linalg.cross(along, torch.tensor([0.31, 0.52, -0.79]))
    across = across / across.norm()
    other = torch.linalg.cross(along, across)
    angle = torch.arange(8) * torch.pi / 4
    ring = radius * (angle.cos()[:, None] * across + angle.sin()[:, None] * other)
    steps = torch.linspace(0.02, 0.98, 4)
    points = torch.cat([(start + step * (end - start)) + ring for step in steps] + [start[None], end[None]])
    quads = [
        (8 * r + i, 8 * r + (i + 1) % 8, 8 * r + 8 + i, 8 * r + 8 + (i + 1) % 8)
        for r in range(3)
        for i in range(8)
    ]
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (b, d, c))]
    faces += [(32, (i + 1) % 8, i) for i in range(8)] + [(33, 24 + i, 24 + (i + 1) % 8) for i in range(8)]
    weights = torch.zeros(34, joints)
    share = torch.tensor([0.5, 0.15, 0.0, 0.0]).repeat_interleave(8)
    share = torch.cat([share, torch.tensor([0.5, 0.0])])
    weights[:, joint] += 1 - share
    weights[:, parent] += share
    return points, torch.tensor(faces), weights


def _ball(
    centre: Tensor, radius: float, rings: int, joint: int, joints: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A sphere of latitude rings with twice as many points each."""
    turns = 2 * rings
    polar = torch.linspace(0.1, torch.pi - 0.1, rings)[:, None]
    around = torch.arange(turns)[None] * 2 * torch.pi / turns
    sphere = [polar.sin() * around.sin(), polar.cos().expand(-1, turns), polar.sin() * around.cos()]
    points = centre + radius * torch.stack(sphere, -1).reshape(-1, 3)
    faces = []
    for ring in range(rings - 1):
        for turn in range(turns):
            a, b = ring * turns + turn, ring * turns + (turn + 1) % turns
            faces += [(a, a + turns, b), (b, a + turns, b + turns)]
    weights = torch.zeros(len(points), joints)
    weights[:, joint] = 1.0
    return points, torch.tensor(faces), weights
