"""Cuts move pixels, masks and cameras alike, to a thousandth of a pixel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from lca_lightning.augmentation.backdrop import color_behind
from lca_lightning.augmentation.configuration import ReframingConfig
from lca_lightning.augmentation.reframing import (
    Frames,
    draw_frames,
    keep_cut_people_cut,
    reframe,
    reframe_intrinsics,
    resample,
)
from lca_lightning.errors import ConfigError
from lca_lightning.geometry.cameras import project_points
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from tests.unit.augmentation.scenes import HEIGHT, WIDTH, make_batch

STILL = Frames(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))
OFTEN = ReframingConfig(probability=0.9, crop_probability=0.9, smallest_crop=0.5)


def some_frames(seed: int = 0, pictures: int = 2) -> Frames:
    return draw_frames(OFTEN, f"{seed}/0/0", [0], "targets", pictures, crops=True)


def moved(pixels_N2: torch.Tensor, frames: Frames, picture: int, size: tuple[int, int]) -> torch.Tensor:
    """Where pixels go by the frames' definition, in double precision."""
    sides = torch.tensor([size[1], size[0]], dtype=torch.float64)
    scale, offset = frames.scale_BN2[0, picture].double(), frames.offset_BN2[0, picture].double()
    return pixels_N2 * scale + offset * sides


def test_projected_joints_move_with_the_pixels(rig: AnnyRig) -> None:
    batch, frames = make_batch(rig), some_frames()
    white = torch.ones(1, 2, 3)
    cut = reframe(batch, STILL, STILL, frames, white, white)
    for frame in range(2):
        pose = RigPose(batch.driving.rotations_BTJ3[:, frame], batch.driving.translation_BT3[:, frame])
        joints = rig.posed_joints(batch.identity_BI, pose)[0].double()
        w2c = batch.targets.w2c_BT44[0, frame].double()
        before, _ = project_points(joints, w2c, batch.targets.K_BT33[0, frame].double())
        after, _ = project_points(joints, w2c, cut.targets.K_BT33[0, frame].double())
        assert (after - moved(before, frames, frame, (HEIGHT, WIDTH))).abs().max() < 1e-3
        assert (after - before).abs().max() > 1


@pytest.mark.parametrize("seed", range(4))
def test_a_blob_lands_where_the_new_intrinsics_say(seed: int) -> None:
    size, frames = (120, 90), some_frames(seed)
    y, x = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(90) + 0.5, indexing="ij")
    K = torch.tensor([[80.0, 0, 47.0], [0, 85.0, 58.0], [0, 0, 1.0]]).expand(1, 2, 3, 3)
    after = reframe_intrinsics(K, frames, size)
    for picture in range(2):
        # a point that the new picture shows well inside
        centre = torch.tensor([0.45, 0.55]) * torch.tensor([90.0, 120.0])
        old = (centre - frames.offset_BN2[0, picture] * torch.tensor([90.0, 120.0])) / frames.scale_BN2[
            0, picture
        ]
        blob = torch.exp(-((x - old[0]) ** 2 + (y - old[1]) ** 2) / (2 * 3.0**2))
        shown = resample(blob.expand(1, 2, 1, 120, 90), frames)[0, picture, 0]
        ray = torch.linalg.solve(K[0, picture], torch.tensor([*old.tolist(), 1.0]))
        expected = (after[0, picture] @ ray)[:2]
        found = torch.stack([(shown * axis).sum() / shown.sum() for axis in (x, y)])
        assert (found - expected).abs().max() < 0.02
        torch.testing.assert_close(expected, centre, atol=1e-3, rtol=0)


def test_resampling_equals_a_plain_crop_and_resize() -> None:
    image = torch.rand(1, 1, 3, 40, 32)
    # rows 10 to 30 and columns 8 to 24, enlarged to the whole picture
    frames = Frames(torch.full((1, 1, 2), 2.0), torch.tensor([[[-2 * 8 / 32, -2 * 10 / 40]]]))
    plain = functional.interpolate(
        image[0, :, :, 9:31, 7:25], scale_factor=2, mode="bilinear", align_corners=False
    )[..., 2:-2, 2:-2]
    torch.testing.assert_close(resample(image, frames)[0], plain, atol=1e-5, rtol=0)
    still = Frames(torch.ones(1, 1, 2), torch.zeros(1, 1, 2))
    torch.testing.assert_close(resample(image, still), image, atol=2e-5, rtol=0)


def test_outside_is_backdrop_grey_or_dark_and_never_person(rig: AnnyRig) -> None:
    shrunk = Frames(torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 0.25))
    for lit in (False, True):
        batch = make_batch(rig, lit=lit)
        references = replace(
            batch.references,
            body_BV3HW=batch.references.body_mattes_BV1HW * batch.references.body_BV3HW
            + (1 - batch.references.body_mattes_BV1HW) * torch.tensor([0.2, 0.4, 0.6])[:, None, None],
        )
        batch = replace(batch, references=references)
        colors = color_behind(references.body_BV3HW, references.body_mattes_BV1HW)
        torch.testing.assert_close(colors, torch.tensor([0.2, 0.4, 0.6]).expand(1, 2, 3), atol=0.02, rtol=0)
        cut = reframe(batch, shrunk, shrunk, shrunk, colors, torch.ones(1, 2, 3))
        assert (cut.references.body_BV3HW[0, :, :, 0, 0] == colors[0]).all()
        assert (cut.references.face_BV3hw[0, :, :, 0, 0] == 1).all()
        assert (cut.targets.images_BT3HW[..., 0, 0] == (0.0 if lit else 0.5)).all()
        for mask in (cut.targets.masks_BT1HW, cut.references.body_mattes_BV1HW):
            assert mask is not None and (mask[..., 0, 0] == 0).all() and mask.max() > 0.9
        if cut.lighting is not None and batch.lighting is not None:
            assert (cut.lighting.linear_images_BT3HW[..., 0, 0] == 0).all()
            assert cut.lighting.normals_BT3HW is not None and cut.lighting.albedo_BT3HW is not None
            lengths = cut.lighting.normals_BT3HW.norm(dim=2)
            assert (lengths[..., 0, 0] == 0).all()
            middle = lengths[..., HEIGHT // 2, WIDTH // 2]
            torch.testing.assert_close(middle, torch.ones_like(middle))
            exact = resample(batch.lighting.linear_images_BT3HW, shrunk)
            assert torch.equal(cut.lighting.linear_images_BT3HW, exact)


def test_people_whom_the_picture_cuts_off_never_end_in_mid_picture() -> None:
    frames = draw_frames(OFTEN, "3/0/0", [0], "targets", 200, crops=True)
    free = keep_cut_people_cut(frames, torch.zeros(1, 200, 1, HEIGHT, WIDTH))
    assert torch.equal(free.scale_BN2, frames.scale_BN2) and torch.equal(free.offset_BN2, frames.offset_BN2)
    for sides in (("bottom",), ("left", "bottom"), ("left", "right"), ("top", "bottom", "left", "right")):
        mask = torch.zeros(1, 200, 1, HEIGHT, WIDTH)
        mask[..., 10:20, 8:16] = 1
        places = {"top": (0, 8), "bottom": (-1, 8), "left": (10, 0), "right": (10, -1)}
        for side in sides:
            mask[(..., *places[side])] = 1
        kept = keep_cut_people_cut(frames, mask)
        near = -kept.offset_BN2 / kept.scale_BN2  # old places of the new picture's sides
        far = (1 - kept.offset_BN2) / kept.scale_BN2
        outside = {"left": near[..., 0] < -1e-5, "top": near[..., 1] < -1e-5}
        outside |= {"right": far[..., 0] > 1 + 1e-5, "bottom": far[..., 1] > 1 + 1e-5}
        for side, shows in outside.items():
            assert shows.any() != (side in sides), (sides, side)
        assert torch.equal(kept.scale_BN2[..., 0], kept.scale_BN2[..., 1])  # pixels stay square
        assert torch.equal(kept.scale_BN2, frames.scale_BN2) == (
            len(sides) < 2 or sides == ("left", "bottom")
        )
    unknown, everywhere = (keep_cut_people_cut(frames, one) for one in (None, torch.ones(1, 200, 1, 8, 6)))
    assert torch.equal(unknown.offset_BN2, everywhere.offset_BN2)


def test_draws_keep_their_probabilities_and_ranges() -> None:
    config = ReframingConfig(probability=0.4, scale=(0.7, 1.5), shift=0.1)
    frames = draw_frames(config, "0/0/0", range(3000), "bodies", 1, crops=True)
    scale, offset = frames.scale_BN2[:, 0, 0], frames.offset_BN2[:, 0]
    changed = scale != 1
    assert 0.37 < changed.float().mean() < 0.43 and not offset[~changed].any()
    assert 0.7 <= scale.min() < 0.72 and 1.48 < scale.max() <= 1.5
    assert 0.47 < (scale[changed] < (0.7 * 1.5) ** 0.5).float().mean() < 0.53  # even in the logarithm
    shift = offset - 0.5 * (1 - scale)[:, None]
    assert 0.097 < shift.abs().max() <= 0.1001
    crops = ReframingConfig(crop_probability=0.5, smallest_crop=0.6)
    frames = draw_frames(crops, "0/0/0", range(2000), "bodies", 1, crops=True)
    old_near = -frames.offset_BN2 / frames.scale_BN2
    old_far = (1 - frames.offset_BN2) / frames.scale_BN2
    assert old_near.min() > -1e-5 and old_far.max() < 1 + 1e-5  # parts of the picture, nothing beside it
    assert 0.6 <= (1 / frames.scale_BN2).min() < 0.61
    assert not draw_frames(crops, "0/0/0", range(50), "faces", 1, crops=False).moves


def test_bad_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="reframing.scale needs two rising numbers between 0.5 and 4"):
        ReframingConfig(scale=(1.2, 0.8))
    with pytest.raises(ConfigError, match=r"reframing.smallest_crop must lie in \[0.1, 1\], got 0"):
        ReframingConfig(smallest_crop=0.0)
    with pytest.raises(ConfigError, match=r"reframing.shift must lie in \[0, 0.5\], got nan"):
        ReframingConfig(shift=float("nan"))
