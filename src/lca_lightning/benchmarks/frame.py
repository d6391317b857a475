"""A full animated frame against the static render of the same posed cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lca_lightning.avatar.avatar import Avatar, Camera, PosedAvatar
from lca_lightning.batch import Driving
from lca_lightning.benchmarks.avatars import filling_cameras, random_avatar, random_motion
from lca_lightning.benchmarks.gsplat_rival import static_gsplat
from lca_lightning.benchmarks.report import Figure, Report, Requirement
from lca_lightning.benchmarks.sizes import BenchOptions, Size
from lca_lightning.benchmarks.timing import Measurement, check_agreement, compare, in_turn, median_time
from lca_lightning.geometry.skinning import skin_points
from lca_lightning.model.attributes import apply_deltas
from lca_lightning.model.posing import pose_gaussians, skin_motion
from lca_lightning.rig.rig import RigPose

FRAMES = 16
PICTURE_TOLERANCE = 1e-5
CLOUD_TOLERANCE = 1e-4  # metres, against skinning in double precision
LIMITS: dict[str, dict[Size, float]] = {"cpu": {"tiny": 1.5, "small": 1.5}, "cuda": {"base": 1.25}}


@dataclass(frozen=True)
class Shot:
    """One frame: what drives it, the camera, and the cloud it gives."""

    driving: Driving
    camera: Camera
    posed: PosedAvatar


def make_shots(avatar: Avatar, size: Size) -> list[Shot]:
    """Frames of a seeded motion with the clouds that the avatar poses for them."""
    motion = random_motion(avatar, FRAMES)
    cameras = filling_cameras(avatar, motion, size)
    drivings = [motion[t].driving(avatar.rig.expression_size).to(avatar.device) for t in range(FRAMES)]
    return [
        Shot(driving, camera, avatar.animate(driving))
        for driving, camera in zip(drivings, cameras, strict=True)
    ]


def signals_of(avatar: Avatar, driving: Driving) -> Tensor:
    """Driving vector, expression and gaze as the pose decoder takes them, ``(1, 1, S)``."""
    vector = avatar.rig.driving_vector(driving.rotations_BTJ3)
    return torch.cat([vector, driving.expression_BTE, driving.gaze_BT8], dim=-1)


def expected_means(avatar: Avatar, driving: Driving) -> Tensor:
    """Centres ``(G, 3)`` by plain blend skinning of the corrected points in double precision, metres."""
    deltas = avatar.pose_decoder(avatar.projected_1AD, signals_of(avatar, driving))
    points = avatar.canonical.base_BG3 + avatar.canonical.offsets_BG3 + deltas.offsets_BTG3[:, 0]
    pose = RigPose(driving.rotations_BTJ3[0], driving.translation_BT3[0])
    transforms = avatar.rig.joint_transforms(avatar.identity_I[None], pose)
    return skin_points(points.double(), avatar.surface.weights_GJ.double(), transforms.double())[0]


def part_times(avatar: Avatar, shots: list[Shot], rounds: int, calls: int) -> list[Figure]:
    """Milliseconds of each part of a frame, each timed on its own."""

    def decode(shot: Shot) -> Any:
        return avatar.pose_decoder(avatar.projected_1AD, signals_of(avatar, shot.driving))

    corrections = [decode(shot) for shot in shots]
    deltas_of = {id(shot): deltas for shot, deltas in zip(shots, corrections, strict=True)}
    attributes_of = {
        id(shot): apply_deltas(avatar.canonical, deltas_of[id(shot)], avatar.limits) for shot in shots
    }

    def skin(shot: Shot) -> Any:
        motion = skin_motion(avatar.rig, avatar.surface.weights_GJ, avatar.identity_I[None], shot.driving)
        return pose_gaussians(attributes_of[id(shot)], motion)

    parts: dict[str, Callable[[Shot], Any]] = {
        "decode": decode,
        "deltas": lambda shot: apply_deltas(avatar.canonical, deltas_of[id(shot)], avatar.limits),
        "skin": skin,
        "raster": lambda shot: shot.posed.render(shot.camera),
    }
    figures = []
    for name, part in parts.items():
        shot = in_turn(shots)
        figures.append(
            Figure(name, median_time(lambda part=part, shot=shot: part(shot()), rounds, calls), "ms")  # type: ignore[misc]
        )
    return figures


def static_rival(shot: Shot) -> Tensor:
    """Picture of a posed cloud by gsplat called directly, over white."""
    cloud, camera = shot.posed.gaussians, shot.camera
    white = cloud.means_G3.new_ones(1, 3)
    return static_gsplat(
        cloud, camera.w2c_44[None], camera.K_33[None], camera.width, camera.height, white
    ).color_TCHW


def against_gsplat(
    name: str, animated: Callable[[], Any], shots: list[Shot], rounds: int, calls: int
) -> Measurement:
    """Time an animated frame against gsplat called directly on the posed cloud."""
    agreement = check_agreement(
        "Our render and direct gsplat",
        [shot.posed.render(shot.camera).color_TCHW for shot in shots],
        [static_rival(shot) for shot in shots],
        PICTURE_TOLERANCE,
    )
    shot = in_turn(shots)
    return compare(name, animated, "static gsplat", lambda: static_rival(shot()), agreement, rounds, calls)


@torch.no_grad()
def measure_frame(options: BenchOptions) -> Report:
    """Compare animate-and-render with rendering alone; pictures and cloud must agree first.

    Args:
        options: ``size`` is ``small`` on the CPU and ``base`` on CUDA by default.

    Returns:
        The comparison and the milliseconds of each part.

    Raises:
        LCAError: The pictures differ, or the posed cloud is not the one that plain skinning gives.
    """
    size = options.size_or("small")
    avatar = random_avatar(size, options.device)
    shots = make_shots(avatar, size)
    check_agreement(
        "Posed cloud and plain skinning in double precision",
        [shot.posed.gaussians.means_G3 for shot in shots],
        [expected_means(avatar, shot.driving) for shot in shots],
        CLOUD_TOLERANCE,
    )
    agreement = check_agreement(
        "Animated frame and static render",
        [avatar.animate(shot.driving).render(shot.camera).color_TCHW for shot in shots],
        [shot.posed.render(shot.camera).color_TCHW for shot in shots],
        PICTURE_TOLERANCE,
    )
    height, width = shots[0].camera.height, shots[0].camera.width
    calls = 10 if options.on_cuda else 1
    name = f"frame {avatar.gaussian_count} at {width}x{height}"
    ours, theirs = in_turn(shots), in_turn(shots)

    def animated() -> Any:
        shot = ours()
        return avatar.animate(shot.driving).render(shot.camera)

    def static() -> Any:
        shot = theirs()
        return shot.posed.render(shot.camera)

    found = compare(name, animated, "static render", static, agreement, options.rounds, calls)
    measurements = [found]
    if options.on_cuda:
        measurements.append(against_gsplat(name, animated, shots, options.rounds, calls))
    report = Report(
        "frame",
        f"{size}: {avatar.gaussian_count} Gaussians, pictures {width} wide x {height} high, a new pose, "
        f"expression and camera every frame, float32, random weights, opacities as trained",
        options.device,
        measurements,
        part_times(avatar, shots, options.rounds, calls),
        notes=["Parts are timed one by one; an animated frame runs them together."],
    )
    limit = LIMITS[options.device.type].get(size)
    if limit is not None:
        ratio = measurements[-1].ratio
        report.requirements = [Requirement("animated / static frame:", ratio, "at most", limit)]
    return report
