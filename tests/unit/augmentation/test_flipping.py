"""A flipped batch is the batch of a mirrored world: pictures, cameras, signals and lamps agree as before."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lca_lightning.augmentation.flipping import flip
from lca_lightning.batch import Batch
from lca_lightning.geometry.cameras import project_points
from lca_lightning.metrics.views import nearest_view_angles
from lca_lightning.rendering import choose_renderer
from lca_lightning.rendering.renderer import Gaussians
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.mirroring import RigMirror
from lca_lightning.rig.rig import RigPose
from tests.unit.augmentation.scenes import HEIGHT, WIDTH, make_batch

ALL = torch.tensor([True])


@pytest.fixture(scope="module")
def mirror(rig: AnnyRig) -> RigMirror:
    return RigMirror(rig)


def tensors(record: Any) -> dict[str, Tensor]:
    """Every tensor of a batch by its path."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif is_dataclass(value):
            found |= {f"{field.name}.{name}": tensor for name, tensor in tensors(value).items()}
    return found


def posed(batch: Batch, rig: AnnyRig, frame: int) -> tuple[RigPose, Tensor, Tensor]:
    """Pose with the eyes turned, identity and expression of one frame of the first subject."""
    driving = batch.driving
    rotations = rig.with_gaze(driving.rotations_BTJ3[:1, frame], driving.gaze_BT8[:1, frame])
    pose = RigPose(rotations, driving.translation_BT3[:1, frame])
    return pose, batch.identity_BI[:1], driving.expression_BTE[:1, frame]


def test_twice_is_the_identity(rig: AnnyRig, mirror: RigMirror) -> None:
    batch = make_batch(rig, lit=True)
    once, twice = flip(batch, mirror, ALL), flip(flip(batch, mirror, ALL), mirror, ALL)
    for name, tensor in tensors(batch).items():
        torch.testing.assert_close(tensors(twice)[name], tensor, rtol=0, atol=4e-6, msg=name)
        same = {"references.view_mask_BV", "references.face_mask_BV", "lighting.fully_lit_BT"}
        same |= {"lighting.intensities_BTL3", "lighting.reference_distance_B"}
        symmetric = {name for name in tensors(batch) if "mattes" in name or "masks" in name}
        assert torch.equal(tensors(once)[name], tensor) == (name in same) or name in symmetric, name


def test_joints_project_to_flipped_pixels(rig: AnnyRig, mirror: RigMirror) -> None:
    batch = make_batch(rig, frames=3)
    flipped = flip(batch, mirror, ALL)
    symmetric = torch.tensor(mirror.joints)
    for frame in range(3):
        pose, identity, _ = posed(batch, rig, frame)
        targets, others = batch.targets, flipped.targets
        # the mirror image of the very joints: what the template's asymmetry leaves is measured elsewhere
        mirrored = rig.posed_joints(identity, pose) * torch.tensor([-1.0, 1.0, 1.0])
        pixels, _ = project_points(
            rig.posed_joints(identity, pose).double(),
            targets.w2c_BT44[:, frame].double(),
            targets.K_BT33[:, frame].double(),
        )
        moved, _ = project_points(
            mirrored.double(), others.w2c_BT44[:, frame].double(), others.K_BT33[:, frame].double()
        )
        assert (moved[..., 0] - (WIDTH - pixels[..., 0])).abs().max() < 1e-3
        assert (moved[..., 1] - pixels[..., 1]).abs().max() < 1e-3
        pose, identity, _ = posed(flipped, rig, frame)
        again, _ = project_points(
            rig.posed_joints(identity, pose)[:, symmetric],
            others.w2c_BT44[:, frame],
            others.K_BT33[:, frame],
        )
        assert (again - moved).norm(dim=-1).max() < 0.1  # 2.5 mm at 2.6 m and 41 pixels focal length


def test_the_flipped_rig_renders_the_flipped_picture(rig: AnnyRig, mirror: RigMirror) -> None:
    batch = make_batch(rig, frames=2)
    flipped = flip(batch, mirror, ALL)
    render = choose_renderer("cpu")
    vertices = torch.arange(0, len(rig.template_vertices_V3), 3)
    paint = torch.rand(len(rig.template_vertices_V3), 3, generator=torch.Generator().manual_seed(3))

    def picture(one: Batch, frame: int, colors_V3: Tensor, index: Tensor) -> Tensor:
        pose, identity, expression = posed(one, rig, frame)
        means = rig.posed_vertices(identity, pose, expression)[0, index]
        count = len(means)
        cloud = Gaussians(
            means,
            torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
            torch.full((count, 3), 0.012),
            torch.full((count,), 0.9),
            colors_V3[index],
        )
        K = one.targets.K_BT33[0, frame : frame + 1] * torch.tensor([4.0, 4.0, 1.0])[:, None]
        return render(cloud, one.targets.w2c_BT44[0, frame : frame + 1], K, 4 * WIDTH, 4 * HEIGHT).color_TCHW

    other_vertex = torch.from_numpy(mirror.vertex_V)
    for frame in (0, 1):
        original = picture(batch, frame, paint, vertices)
        # the person's left half is painted like the right half was: paint moves to the other side as well
        repainted = torch.empty_like(paint)
        repainted[other_vertex] = paint
        mirrored = picture(flipped, frame, repainted, other_vertex[vertices])
        assert original.amax() > 0.5 and (original > 0.05).float().mean() > 0.03
        error = (mirrored - original.flip(-1)).abs()
        scale = original.mean()
        assert error.mean() < 0.05 * scale, (error.mean(), scale)
        # flipped pixels with the old pose or the old camera are far away
        wrong_pose = picture(
            replace(flipped, driving=batch.driving), frame, repainted, other_vertex[vertices]
        )
        wrong_camera = picture(
            replace(flipped, targets=batch.targets), frame, repainted, other_vertex[vertices]
        )
        for wrong in (wrong_pose, wrong_camera):
            assert (wrong - original.flip(-1)).abs().mean() > 0.3 * scale


def test_only_chosen_subjects_are_mirrored(rig: AnnyRig, mirror: RigMirror) -> None:
    batch = make_batch(rig, subjects=3)
    mixed = tensors(flip(batch, mirror, torch.tensor([True, False, True])))
    every = tensors(flip(batch, mirror, torch.ones(3, dtype=torch.bool)))
    for name, tensor in tensors(batch).items():
        assert torch.equal(mixed[name][1], tensor[1]) and torch.equal(
            mixed[name][[0, 2]], every[name][[0, 2]]
        )


def test_lamps_shade_the_mirrored_surface_alike(rig: AnnyRig, mirror: RigMirror) -> None:
    batch = make_batch(rig, lit=True)
    flipped = flip(batch, mirror, ALL)

    def cosines(one: Batch) -> Tensor:
        """Of each lamp's direction and each pixel's normal."""
        assert one.lighting is not None and one.lighting.normals_BT3HW is not None
        return torch.einsum("btlc,btchw->btlhw", one.lighting.positions_BTL3, one.lighting.normals_BT3HW)

    torch.testing.assert_close(cosines(flipped), cosines(batch).flip(-1))
    assert batch.lighting is not None and flipped.lighting is not None
    assert torch.equal(flipped.lighting.linear_images_BT3HW, batch.lighting.linear_images_BT3HW.flip(-1))


def test_angles_between_views_stay(rig: AnnyRig, mirror: RigMirror) -> None:
    """Targets and references are seen from the mirrored side."""
    batch = make_batch(rig)
    views = batch.references.body_BV3HW.shape[1]
    directions = torch.nn.functional.normalize(torch.rand(1, views, 3) - 0.5, dim=-1)
    batch = replace(batch, references=replace(batch.references, directions_BV3=directions))
    flipped = flip(batch, mirror, ALL)
    before, after = nearest_view_angles(batch), nearest_view_angles(flipped)
    assert before is not None and after is not None and float(before.max()) > 1
    torch.testing.assert_close(after, before, atol=1e-2, rtol=0)
    assert not torch.equal(flipped.references.directions_BV3, directions)  # type: ignore[arg-type]
