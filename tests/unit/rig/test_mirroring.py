"""A mirrored pose makes the mirrored body; the only difference allowed is the template's own asymmetry."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lca_lightning.errors import ConfigError
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, look_at, project_points
from lca_lightning.rendering.mesh import rasterise_mesh
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.mhr import MHRRig
from lca_lightning.rig.mirroring import (
    RigMirror,
    mirror_gaze,
    mirrored_name,
    mirrored_positions,
    reflect_cameras,
    reflect_intrinsics,
    reflect_points,
    reflect_rotation_vectors,
)
from lca_lightning.rig.rig import Rig, RigPose
from tests.mhr_stand_in import save_stand_in

# Metres. Anny's mesh is symmetric to the bit, its joints are up to 2.1 mm off, its 52 expressions up to 9% of
# what they move; posed, expressive people differ from their mirror images by at most 2 mm (measured).
ANNY_TOLERANCE = 3e-3


@pytest.fixture(scope="module")
def mirror(rig: AnnyRig) -> RigMirror:
    return RigMirror(rig)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> MHRRig:
    return MHRRig(save_stand_in(tmp_path_factory.mktemp("mhr") / "stand_in.pt"))


def random_people(rig: Rig, count: int = 3) -> tuple[torch.Tensor, RigPose, torch.Tensor]:
    """Identity, pose and expression in which left and right differ."""
    generator = torch.Generator().manual_seed(0)
    bounds = rig.identity_bounds()
    spread = torch.rand(count, rig.identity_size, generator=generator) - 0.5
    identity = rig.neutral_identity() + 0.3 * spread * (bounds[:, 1] - bounds[:, 0])
    joints = len(rig.joint_names)
    rotations = 0.4 * torch.randn(count, joints, 3, generator=generator)
    pose = RigPose(rotations, torch.randn(count, 3, generator=generator))
    return identity, pose, 0.7 * torch.rand(count, rig.expression_size, generator=generator)


def distances(mirror: RigMirror, made: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """From mirrored people's vertices to the mirror images of the original's."""
    return (made - reflect_points(original)[:, torch.from_numpy(mirror.vertex_V)]).norm(dim=-1)


def test_names_of_several_rigs_change_sides() -> None:
    pairs = {
        "finger2-1.L": "finger2-1.R", "l-hand-scale": "r-hand-scale", "eyeBlinkLeft": "eyeBlinkRight",
        "jawRight": "jawLeft", "l_wrist_twist": "r_wrist_twist", "scale_l_hands": "scale_r_hands",
        "left_knee": "right_knee", "LeftArm": "RightArm", "hand_L": "hand_R",
        "eyeLookInLeft": "eyeLookInRight",
    }  # fmt: skip
    for left, right in pairs.items():
        assert mirrored_name(left) == right and mirrored_name(right) == left
    for middle in ("spine03", "jawOpen", "lowerleg", "pelvis", "scale_uparms", "c_head", "measure-calf-circ"):
        assert mirrored_name(middle) == middle


def test_a_missing_side_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="The joint 'foot.L' has no counterpart 'foot.R'"):
        mirrored_positions(("root", "foot.L"), "joint")


def test_anny_is_paired_completely(mirror: RigMirror, rig: AnnyRig) -> None:
    assert mirror.asymmetry < 1e-6
    assert sorted(mirror.vertex_V.tolist()) == list(range(len(mirror.vertex_V)))
    assert mirror.residuals["identity"] < 1e-3 and mirror.residuals["expression"] < 0.1
    swapped = {rig.joint_names[here]: rig.joint_names[there] for here, there in enumerate(mirror.joints)}
    assert swapped["eye.L"] == "eye.R" and swapped["toe5-3.R"] == "toe5-3.L" and swapped["head"] == "head"
    assert sum(here != there for here, there in swapped.items()) == 94
    regions = rig.regions_V
    assert (regions[torch.from_numpy(mirror.vertex_V)] == regions).float().mean() > 0.995


def test_mirrored_people_are_the_mirror_images_of_people(mirror: RigMirror, rig: AnnyRig) -> None:
    identity, pose, expression = random_people(rig)
    other = (mirror.identity(identity), mirror.pose(pose), mirror.expression(expression))
    original, made = rig.posed_vertices(identity, pose, expression), rig.posed_vertices(*other)
    assert distances(mirror, made, original).max() < ANNY_TOLERANCE
    joints = reflect_points(rig.posed_joints(identity, pose))[:, list(mirror.joints)]
    assert (rig.posed_joints(*other[:2]) - joints).norm(dim=-1).max() < ANNY_TOLERANCE
    # each of the three matters: leaving one out shows
    kept = (identity, pose, expression)
    for index, least in enumerate((4e-3, 0.2, 4e-3)):
        mixed = tuple(kept[i] if i == index else part for i, part in enumerate(other))
        wrong = rig.posed_vertices(*mixed)  # type: ignore[arg-type]
        assert distances(mirror, wrong, original).max() > least, index


def test_gaze_turns_the_mirrored_eyes(mirror: RigMirror, rig: AnnyRig) -> None:
    identity, pose, _ = random_people(rig, 1)
    gaze = torch.tensor([[0.3, -0.1, 0.9, 1.0, -0.2, 0.2, 0.9, 1.0]])
    turned = RigPose(rig.with_gaze(pose.rotations_BJ3, gaze), pose.translation_B3)
    other = mirror.pose(pose)
    other_turned = RigPose(rig.with_gaze(other.rotations_BJ3, mirror_gaze(gaze)), other.translation_B3)
    torch.testing.assert_close(mirror.pose(turned).rotations_BJ3, other_turned.rotations_BJ3)
    one_eye = torch.tensor([[0.3, -0.1, 0.9, 1.0, 0.0, 0.0, 1.0, 0.0]])
    assert mirror_gaze(one_eye).tolist()[0][3::4] == [0.0, 1.0]  # validity goes with the eye


def test_twice_is_the_identity(mirror: RigMirror, rig: AnnyRig) -> None:
    identity, pose, expression = random_people(rig)
    assert torch.equal(mirror.identity(mirror.identity(identity)), identity)
    assert torch.equal(mirror.expression(mirror.expression(expression)), expression)
    twice = mirror.pose(mirror.pose(pose))
    assert torch.equal(twice.rotations_BJ3, pose.rotations_BJ3)
    assert torch.equal(twice.translation_B3, pose.translation_B3)


def test_the_mirrored_rig_renders_the_flipped_picture(mirror: RigMirror, rig: AnnyRig) -> None:
    identity, pose, expression = random_people(rig, 1)
    pose = RigPose(0.5 * pose.rotations_BJ3, pose.translation_B3)
    width, height = 150, 200
    K = intrinsics_from_field_of_view(0.8, width, height)
    K[0, 2] += 7.3
    K[0, 1] = 1.5  # skew too
    eye = pose.translation_B3[0] + torch.tensor([1.1, 0.6, 2.4])
    w2c = look_at(eye, pose.translation_B3[0])

    def picture(vertices_V3: torch.Tensor, w2c_44: torch.Tensor, K_33: torch.Tensor) -> torch.Tensor:
        """Region labels of what is seen, -1 where nothing is."""
        pixels, depth = project_points(vertices_V3, w2c_44, K_33)
        faces = rig.faces_F3
        index = rasterise_mesh(pixels.double().numpy(), depth.double().numpy(), faces.numpy(), height, width)
        seen = torch.from_numpy(index).long()
        # sides as labels, so that a mirror that leaves left and right in place cannot pass
        side = 10 * (rig.template_vertices_V3[faces].mean(1)[:, 0] > 0).long()
        labels = rig.regions_V[faces][:, 0] + side
        return torch.where(seen >= 0, labels[seen.clamp(min=0)], -1)

    first = picture(rig.posed_vertices(identity, pose, expression)[0], w2c, K)
    other = (mirror.identity(identity), mirror.pose(pose), mirror.expression(expression))
    second = picture(rig.posed_vertices(*other)[0], reflect_cameras(w2c), reflect_intrinsics(K, width))
    flipped = first.flip(-1)
    swapped = torch.where(flipped < 0, flipped, (flipped + 10) % 20)  # a left hand is a right hand now
    assert (first >= 0).float().mean() > 0.05 and (first != swapped).float().mean() > 0.05
    both = (second >= 0) & (swapped >= 0)
    union = ((second >= 0) | (swapped >= 0)).sum()
    assert both.sum() / union > 0.985
    # what differs are outlines of fingers, a pixel wide
    assert (second[both] == swapped[both]).float().mean() > 0.96
    assert (second[both] == flipped[both]).float().mean() < 0.1


def test_cameras_and_intrinsics_see_mirrored_points_at_flipped_pixels() -> None:
    points = torch.randn(50, 3, dtype=torch.float64)
    w2c = look_at(torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3)).double()
    K = torch.tensor([[500.0, 3.0, 310.0], [0.0, 480.0, 255.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pixels, depth = project_points(points, w2c, K)
    mirrored = project_points(reflect_points(points), reflect_cameras(w2c), reflect_intrinsics(K, 640))
    torch.testing.assert_close(mirrored[1], depth)
    torch.testing.assert_close(mirrored[0], torch.stack([640 - pixels[:, 0], pixels[:, 1]], 1))
    assert torch.linalg.det(reflect_cameras(w2c)[:3, :3]) == pytest.approx(1.0)


def test_mhr_poses_and_bone_lengths_are_mirrored(stand_in: MHRRig) -> None:
    # Its shapes and expressions are random, so they cannot be mirrored; bones can.
    with pytest.raises(ConfigError, match="values of the rig 'mhr' cannot be mirrored"):
        RigMirror(stand_in)
    joints = mirrored_positions(stand_in.joint_names, "joint")
    lengths = mirrored_positions(stand_in.identity_names, "identity")
    identity, pose, _ = random_people(stand_in)
    identity = torch.cat(
        [
            torch.zeros(3, stand_in.shape_size),
            0.1 * torch.randn(3, len(stand_in.length_parameters), generator=torch.Generator().manual_seed(2)),
        ],
        1,
    )
    other = RigPose(
        reflect_rotation_vectors(pose.rotations_BJ3[:, list(joints)]), reflect_points(pose.translation_B3)
    )
    made = stand_in.posed_joints(identity[:, list(lengths)], other)
    wanted = reflect_points(stand_in.posed_joints(identity, pose))[:, list(joints)]
    assert (made - wanted).norm(dim=-1).max() < 2e-3


def numbered_rig(rig: AnnyRig, mix: torch.Tensor) -> SimpleNamespace:
    """Anny with nameless expressions that are mixtures of its own."""
    return SimpleNamespace(
        name="numbered",
        joint_names=rig.joint_names,
        identity_names=("scale",),
        expression_names=tuple(f"expression_{index:02d}" for index in range(len(mix))),
        template_vertices_V3=rig.template_vertices_V3,
        neutral_identity=lambda: torch.zeros(1),
        canonical_vertices=lambda identity, expression=None: rig.canonical_vertices(
            rig.neutral_identity().expand(len(identity), -1),
            None if expression is None else expression @ mix,
        ),
    )


def test_nameless_expressions_are_mirrored_by_what_they_do(rig: AnnyRig, mirror: RigMirror) -> None:
    names = (
        "jawOpen",
        "jawLeft",
        "jawRight",
        "mouthSmileLeft",
        "mouthSmileRight",
        "browDownLeft",
        "browDownRight",
    )
    chosen = torch.eye(rig.expression_size)[[rig.expression_names.index(name) for name in names]]
    mix = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1)))[0] @ chosen
    numbered = RigMirror(numbered_rig(rig, mix))  # type: ignore[arg-type]
    values = torch.rand(4, 7)
    torch.testing.assert_close(
        numbered.expression(values) @ mix, mirror.expression(values @ mix), atol=0.05, rtol=0
    )
    torch.testing.assert_close(numbered.expression(numbered.expression(values)), values, atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="expression values of the rig 'numbered' cannot be mirrored: .*%"):
        RigMirror(numbered_rig(rig, chosen[[3, 6]]))  # type: ignore[arg-type]
