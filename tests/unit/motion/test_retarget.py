"""Reading BVH files and retargeting them, against slow references and known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError, UsageError
from lca_lightning.motion.bvh import BvhClip, load_bvh
from lca_lightning.motion.clip import Motion, load_npz_motion
from lca_lightning.motion.names import map_skeleton
from lca_lightning.motion.retarget import half_twist, load_motion, retarget
from lca_lightning.motion.source import SourceBody, unit
from lca_lightning.motion.target import TargetBody
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from tests.unit.motion.bvh_files import Array, Body, lively_body

LIMBS = ("upper_arm", "lower_arm", "hand", "upper_leg", "lower_leg")


def angle(first: Array, second: Array) -> Array:
    """Degrees between directions."""
    return np.degrees(np.arccos(np.clip((unit(first) * unit(second)).sum(-1), -1, 1)))


def posed(rig: AnnyRig, motion: Motion) -> Array:
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    return rig.posed_joints(rig.neutral_identity()[None], pose).numpy()


def bone(rig: AnnyRig, joints_TJ3: Array, start: str, end: str) -> Array:
    return joints_TJ3[:, rig.joint_names.index(end)] - joints_TJ3[:, rig.joint_names.index(start)]


def limb_errors(rig: AnnyRig, clip: BvhClip, motion: Motion) -> Array:
    """Degrees between every mapped limb of the capture and of the rig, ``(limbs, T)``."""
    source, target, joints = SourceBody(clip), TargetBody(rig), posed(rig, motion)
    ends = {"upper_arm": "lowerarm01", "lower_arm": "wrist", "hand": "finger3-1"}
    ends |= {"upper_leg": "lowerleg01", "lower_leg": "foot"}
    errors = []
    for name in LIMBS:
        for side in "LR":
            part = f"{name}.{side}"
            captured = source.vector(source.parts.limbs[part], source.end_points(part))
            end = rig.joint_names.index(f"{ends[name]}.{side}")
            errors.append(angle(captured, joints[:, end] - joints[:, target.joint(part)]))
    return np.stack(errors)


SNAKE = """HIERARCHY
ROOT Head { OFFSET 0 0 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT Body { OFFSET 0 0 9 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 0 0 9 } } }
MOTION
Frames: 1
Frame Time: 0.1
0 0 0 0 0 0"""


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations("XYZ"))
def test_forward_kinematics_equals_a_product_of_4x4_matrices(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[str]
) -> None:
    body, generator = Body(2), np.random.default_rng(seed)
    body.local[:] = (
        Rotation.random(body.local[:, :, 0, 0].size, random_state=seed).as_matrix().reshape(body.local.shape)
    )
    body.root += generator.normal(size=body.root.shape)
    clip = load_bvh(body.write(tmp_path_factory.mktemp("bvh") / "a.bvh", order="".join(order)))
    rotations, positions = clip.forward_kinematics()
    frames: dict[str, Array] = {}
    for name, parent, offset, local in zip(
        body.names, body.parents, body.offsets, np.moveaxis(body.local, 1, 0), strict=True
    ):
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3) if name.endswith(" end") else local[1]
        matrix[:3, 3] = body.root[1] if parent < 0 else offset
        frames[name] = frames[body.names[parent]] @ matrix if parent >= 0 else matrix
    for index, joint in enumerate(clip.joints):
        np.testing.assert_allclose(positions[1, index], frames[joint.name][:3, 3], atol=1e-4)
        np.testing.assert_allclose(rotations[1, index], frames[joint.name][:3, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "line 1: not a BVH file"),
        (lambda text: "\x89PNG rubbish", "line 1: not a BVH file"),
        (lambda text: text[: text.index("LeftHand") + 9], "cut off"),
        (lambda text: text.replace("Frames: 3", "Frames: 4"), "frame 4 of 4 is missing"),
        (lambda text: text.rstrip().rsplit(" ", 1)[0], "frame 3 of 3 has 89 values, expected 90"),
        (lambda text: text.replace("Frame Time: 0.02", "Frame Time: soon"), "expected 'Frame Time: seconds'"),
        (lambda text: text.replace("Frames: 3", "Frames: 0"), "holds no frames"),
        (lambda text: text.replace("OFFSET 0.000000 95", "OFFSET x 95"), "not a number"),
        (lambda text: text.replace("CHANNELS 3", "CHANNELS 4", 1), "count and that many channel names"),
        (lambda text: SNAKE, "No left and right legs"),
    ],
)
def test_broken_files_give_one_sentence(tmp_path: Path, change, message: str, rig: AnnyRig) -> None:  # type: ignore[no-untyped-def]
    path = Body(3).write(tmp_path / "a.bvh")
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        load_motion(path, rig)
    assert "\n" not in str(caught.value)


def test_line_numbers_count_from_one(tmp_path: Path) -> None:
    path = Body(3).write(tmp_path / "a.bvh")
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("Frame Time")) + 2
    lines[row] = lines[row].replace("0.0000000", "zero", 1)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"line {row + 1}: frame 2 of 3"):
        load_bvh(path)


def test_nan_frames_hold_the_last_good_one_and_are_counted(tmp_path: Path, rig: AnnyRig) -> None:
    path = lively_body(6).write(tmp_path / "a.bvh")
    lines = path.read_text().splitlines()
    for frame in (0, 3, 4):
        lines[-6 + frame] = "nan " + lines[-6 + frame].split(" ", 1)[1]
    path.write_text("\n".join(lines))
    clip = load_bvh(path)
    assert clip.held_frames == 3
    np.testing.assert_array_equal(clip.values_TC[0], clip.values_TC[1])
    np.testing.assert_array_equal(clip.values_TC[4], clip.values_TC[2])
    assert retarget(clip, rig).held_frames == 3


def skeleton(*chains: str) -> tuple[list[str], list[int]]:
    """Names and parents from chains like ``"Hips>Spine>Neck"``."""
    names: list[str] = []
    parents: list[int] = []
    for chain in chains:
        previous = -1
        for name in chain.split(">"):
            if name not in names:
                names.append(name)
                parents.append(previous)
            previous = names.index(name)
    return names, parents


STYLES = {
    "mixamo": ("mixamorig:{S}Shoulder>mixamorig:{S}Arm>mixamorig:{S}ForeArm>mixamorig:{S}Hand",
               "mixamorig:{S}UpLeg>mixamorig:{S}Leg>mixamorig:{S}Foot>mixamorig:{S}ToeBase"),
    "biovision": ("{S}Collar>{S}Shoulder>{S}Elbow>{S}Wrist", "{S}Hip>{S}Knee>{S}Ankle>{S}Toe"),
    "lafan": ("{S}Shoulder>{S}Arm>{S}ForeArm>{S}Hand", "{S}UpLeg>{S}Leg>{S}Foot>{S}Toe"),
    "unreal": ("clavicle_{s}>upperarm_{s}>lowerarm_{s}>hand_{s}", "thigh_{s}>calf_{s}>foot_{s}>ball_{s}"),
    "smpl": ("{C}_Collar>{C}_Shoulder>{C}_Elbow>{C}_Wrist>{C}_Hand", "{C}_Hip>{C}_Knee>{C}_Ankle>{C}_Foot"),
    "daz": ("{s}Collar>{s}Shldr>{s}ForeArm>{s}Hand", "{s}Thigh>{s}Shin>{s}Foot>{s}Toe"),
    "cmu": ("{s}clavicle>{s}humerus>{s}radius>{s}wrist>{s}hand",
            "{s}hipjoint>{s}femur>{s}tibia>{s}foot>{s}toes"),
    "biped": ("Bip01_{C}_Clavicle>Bip01_{C}_UpperArm>Bip01_{C}_Forearm>Bip01_{C}_Hand",
              "Bip01_{C}_Thigh>Bip01_{C}_Calf>Bip01_{C}_Foot>Bip01_{C}_Toe0"),
    "xsens": ("{S}Shoulder>{S}UpperArm>{S}ForeArm>{S}Hand", "{S}UpperLeg>{S}LowerLeg>{S}Foot>{S}Toe"),
}  # fmt: skip


@pytest.mark.parametrize("style", sorted(STYLES))
def test_common_skeletons_are_understood(style: str) -> None:
    arm, leg = STYLES[style]
    chains = ["Hips>L5>Spine1>Neck>Head"]
    for word, letter in (("Left", "L"), ("Right", "R")):
        marks = {"S": word, "s": letter.lower(), "C": letter}
        chains += ["Hips>L5>Spine1>" + arm.format(**marks), "Hips>" + leg.format(**marks)]
    names, parents = skeleton(*chains)
    parts = map_skeleton(names, parents)
    assert [names[joint] for joint in (parts.hips, *parts.spine, *parts.neck)] == [
        "Hips",
        "L5",
        "Spine1",
        "Neck",
    ]
    assert parts.head is not None and names[parts.head] == "Head"
    for word, letter in (("Left", "L"), ("Right", "R")):
        marks = {"S": word, "s": letter.lower(), "C": letter}
        arms, legs = arm.format(**marks).split(">"), leg.format(**marks).split(">")
        legs = [name for name in legs if not name.endswith("hipjoint")]
        for part, name in zip(("clavicle", "upper_arm", "lower_arm", "hand"), arms, strict=False):
            assert names[parts.limbs[f"{part}.{letter}"]] == name
        for part, name in zip(("upper_leg", "lower_leg", "foot", "toe"), legs, strict=True):
            assert names[parts.limbs[f"{part}.{letter}"]] == name


def test_finger_chains_leave_metacarpals_and_tips_out() -> None:
    names, parents = skeleton(
        "Hips>LeftUpLeg>LeftLeg>LeftFoot", "Hips>RightUpLeg>RightLeg>RightFoot", "Hips>RightArm>RightForeArm",
        "Hips>LeftArm>LeftForeArm>LeftHand>LeftHandIndex>LeftHandIndex1>LeftHandIndex2>LeftHandIndex3",
        "LeftHand>LeftHandMiddle1>LeftHandMiddle2>LeftHandMiddle3>LeftHandMiddle4",
        "LeftHand>LeftFinger5Metacarpal>LeftFinger5Proximal>LeftFinger5Medial>LeftFinger5Distal",
    )  # fmt: skip
    fingers = map_skeleton(names, parents).fingers
    assert [names[i] for i in fingers["index.L"]] == ["LeftHandIndex1", "LeftHandIndex2", "LeftHandIndex3"]
    assert [names[i] for i in fingers["middle.L"]] == [
        "LeftHandMiddle1",
        "LeftHandMiddle2",
        "LeftHandMiddle3",
    ]
    assert [names[i] for i in fingers["pinky.L"]] == [
        "LeftFinger5Proximal", "LeftFinger5Medial", "LeftFinger5Distal",
    ]  # fmt: skip


def test_an_elbow_turned_by_ninety_degrees_turns_the_rigs_forearm(tmp_path: Path, rig: AnnyRig) -> None:
    body = Body(2)
    turns = Rotation.from_euler("y", [[0.0], [-90.0]], degrees=True).as_matrix()
    body.turn("LeftForeArm", turns)
    motion = load_motion(body.write(tmp_path / "a.bvh"), rig)
    joints = posed(rig, motion)
    forearm, upper = (
        bone(rig, joints, "lowerarm01.L", "wrist.L"),
        bone(rig, joints, "upperarm01.L", "lowerarm01.L"),
    )
    assert angle(forearm[0], np.array([1.0, 0, 0])) < 0.1
    assert angle(forearm[1], np.array([0.0, 0, 1])) < 0.1
    assert np.all(angle(upper, np.array([1.0, 0, 0])) < 0.1)
    elbow = rig.joint_names.index("lowerarm01.L")
    first, second = (Rotation.from_rotvec(motion.rotations_TJ3[frame, elbow]) for frame in (0, 1))
    assert np.degrees((first.inv() * second).magnitude()) == pytest.approx(90, abs=0.1)
    others = [i for i in range(len(rig.joint_names)) if i != elbow]
    np.testing.assert_allclose(motion.rotations_TJ3[0, others], motion.rotations_TJ3[1, others], atol=1e-5)


def test_limbs_point_where_the_captures_do(tmp_path: Path, rig: AnnyRig) -> None:
    clip = load_bvh(lively_body().write(tmp_path / "a.bvh"))
    assert SourceBody(clip).rest_frame is not None
    assert limb_errors(rig, clip, retarget(clip, rig)).max() < 0.5


def test_a_file_without_a_rest_pose_gives_nearly_the_same_motion(tmp_path: Path, rig: AnnyRig) -> None:
    body = lively_body()
    plain = load_bvh(body.write(tmp_path / "a.bvh"))
    shuffled = load_bvh(body.reaxed(3).write(tmp_path / "b.bvh"))
    assert SourceBody(shuffled).rest_frame is None
    first, second = retarget(plain, rig), retarget(shuffled, rig)
    assert limb_errors(rig, shuffled, second).max() < 0.5
    for name in ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot"):
        joint = rig.joint_names.index(f"{name}.L")
        turns = [Rotation.from_rotvec(motion.rotations_TJ3[:, joint]) for motion in (first, second)]
        assert np.degrees((turns[0].inv() * turns[1]).magnitude()).max() < 25, name
    for name in ("root", "spine01"):
        joint = rig.joint_names.index(name)
        np.testing.assert_allclose(first.rotations_TJ3[:, joint], second.rotations_TJ3[:, joint], atol=0.05)


def test_units_up_axis_and_channel_order_do_not_matter(tmp_path: Path, rig: AnnyRig) -> None:
    body = lively_body(20)
    expected = load_motion(body.write(tmp_path / "a.bvh"), rig)
    for index, options in enumerate(({"scale": 0.01}, {"scale": 1 / 2.54}, {"z_up": True}, {"order": "YXZ"})):
        motion = load_motion(body.write(tmp_path / f"{index}.bvh", **options), rig)  # type: ignore[arg-type]
        np.testing.assert_allclose(motion.rotations_TJ3, expected.rotations_TJ3, atol=2e-3)
        np.testing.assert_allclose(motion.translation_T3, expected.translation_T3, atol=2e-3)


def test_feet_stand_on_the_floor_and_the_root_travels_by_leg_length(tmp_path: Path, rig: AnnyRig) -> None:
    body = Body(40)
    body.root[:, 2] += np.linspace(0, 100, 40)
    motion = load_motion(body.write(tmp_path / "a.bvh"), rig)
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    vertices = rig.posed_vertices(rig.neutral_identity()[None], pose)
    assert vertices[..., 1].amin(1).abs().max() < 5e-3
    travelled = motion.translation_T3[-1, 2] - motion.translation_T3[0, 2]
    leg = 42 + np.hypot(42, 2)
    assert travelled == pytest.approx(100 * TargetBody(rig).leg_length() / leg, rel=1e-3)


def test_half_twist_halves_a_pure_twist_and_ignores_a_swing() -> None:
    axis = unit(np.array([1.0, 2.0, -1.0]))
    twist = Rotation.from_rotvec(np.radians([[70.0], [-100.0]]) * axis)
    swing = Rotation.from_rotvec(0.8 * np.cross(axis, [0.0, 0.0, 1.0]))
    halves = Rotation.from_matrix(half_twist((swing * twist).as_matrix(), axis)).as_rotvec()
    np.testing.assert_allclose(halves, np.radians([[35.0], [-50.0]]) * axis, atol=1e-6)


def test_the_sample_dance_keeps_its_limbs(samples: Path, rig: AnnyRig) -> None:
    clip = load_bvh(samples / "motion_bvh" / "jesse_dance.bvh")
    motion = retarget(clip, rig)
    errors = limb_errors(rig, clip, motion)
    assert np.median(errors) < 3 and np.quantile(errors, 0.95) < 3
    assert len(motion) == 1007 and motion.fps == pytest.approx(100)
    steps = np.diff(motion.rotations_TJ3[:, 1:], axis=0)
    assert np.quantile(np.linalg.norm(steps, axis=-1), 0.999) < 0.5


def test_npz_motion_round_trip_and_resampling(tmp_path: Path, rig: AnnyRig) -> None:
    motion = load_motion(lively_body(20).write(tmp_path / "a.bvh"), rig)
    motion.save(tmp_path / "a.npz")
    again = load_motion(tmp_path / "a.npz", rig)
    np.testing.assert_array_equal(again.rotations_TJ3, motion.rotations_TJ3)
    assert again.fps == pytest.approx(50)
    half = again.resample(25)
    np.testing.assert_allclose(half.translation_T3, motion.translation_T3[::2], atol=1e-5)
    turned = [
        Rotation.from_rotvec(values.reshape(-1, 3))
        for values in (half.rotations_TJ3, motion.rotations_TJ3[::2])
    ]
    assert (turned[0].inv() * turned[1]).magnitude().max() < 1e-4
    with pytest.raises(UsageError, match="selects none"):
        motion.slice(50, 60)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rotations": np.zeros((2, 104, 3))}, "lacks the array 'translation'"),
        (
            {"rotations": np.zeros((2, 24, 3)), "translation": np.zeros((2, 3))},
            r"must have shape \(2, 104, 3\)",
        ),
        ({"rotations": np.zeros((0, 104, 3)), "translation": np.zeros((0, 3))}, "no frames"),
        ({"rotations": np.array([{}]), "translation": np.zeros((1, 3))}, "plain number arrays"),
        (
            {"rotations": np.full((2, 104, 3), np.nan), "translation": np.zeros((2, 3))},
            "every frame holds NaN",
        ),
    ],
)
def test_bad_npz_motion_gives_one_sentence(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load_npz_motion(tmp_path / "a.npz", 104, 52)


def test_a_file_of_another_kind_is_refused(tmp_path: Path, rig: AnnyRig) -> None:
    with pytest.raises(DataError, match=r"neither \.bvh nor \.npz"):
        load_motion(tmp_path / "a.fbx", rig)
    with pytest.raises(DataError, match="There is no motion file"):
        load_motion(tmp_path / "a.npz", rig)
    with pytest.raises(DataError, match="Cannot read the motion file"):
        load_motion(tmp_path / "a.bvh", rig)


@pytest.mark.parametrize("z_up", [False, True])
def test_a_skeleton_without_telling_names_is_mapped_by_its_shape(
    tmp_path: Path, rig: AnnyRig, z_up: bool
) -> None:
    body = lively_body(20)
    for frame in range(20):  # a first frame that stands
        body.local[frame] = body.local[frame] if frame else np.eye(3)
    named = load_motion(body.write(tmp_path / "a.bvh", z_up=z_up), rig)
    ends = [name.endswith(" end") for name in body.names]
    plain = {name: f"b{index}" for index, name in enumerate(body.names)}
    body.names = [
        f"{plain[name.removesuffix(' end')]} end" if end else plain[name]
        for name, end in zip(body.names, ends, strict=True)
    ]
    clip = load_bvh(body.write(tmp_path / "b.bvh", z_up=z_up))
    parts = SourceBody(clip).parts
    assert clip.joints[parts.limbs["upper_leg.L"]].name == plain["LeftUpLeg"]
    assert clip.joints[parts.limbs["hand.R"]].name == plain["RightHand"]
    motion = retarget(clip, rig)
    for name in ("upperarm01.L", "lowerarm01.R", "upperleg01.L", "lowerleg01.R", "foot.L"):
        joint = rig.joint_names.index(name)
        np.testing.assert_allclose(motion.rotations_TJ3[:, joint], named.rotations_TJ3[:, joint], atol=0.05)
