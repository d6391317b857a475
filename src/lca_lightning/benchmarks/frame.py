"""A full animated frame against the static render of the same posed cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lca_lightning.avatar.avatar import Avatar, Camera, PosedAvatar
from lca_lightning.avatar.graphed import GraphedAvatar
from lca_lightning.batch import Driving
from lca_lightning.benchmarks.avatars import random_avatar
from lca_lightning.benchmarks.gsplat_rival import static_gsplat
from lca_lightning.benchmarks.report import Figure, Report, Requirement
from lca_lightning.benchmarks.scenes import filling_cameras, random_motion
from lca_lightning.benchmarks.sizes import BenchOptions, Size
from lca_lightning.benchmarks.timing import Measurement, check_agreement, compare, in_turn, median_time
from lca_lightning.geometry.skinning import skin_points
from lca_lightning.model.attributes import apply_deltas
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import RigPose

FRAMES = 16
PICTURE_TOLERANCE = 1e-5
CLOUD_TOLERANCE = 1e-4  # metres, against skinning in double precision
POSINGS_PER_SECOND = 600.0  # on CUDA at base
LIMITS: dict[str, dict[Size, float]] = {"cpu": {"tiny": 1.5, "small": 1.5}, "cuda": {"base": 1.25}}


@dataclass(frozen=True)
class Shot:
    """One frame: what drives it, the camera, and the cloud it gives."""

    driving: Driving
    camera: Camera
    posed: PosedAvatar


def make_shots(avatar: Avatar, size: Size) -> list[Shot]:
    """Frames of a seeded motion with the clouds that the avatar poses for them."""
    rig = load_rig(avatar.rig.name)  # on the CPU
    motion = random_motion(rig, FRAMES)
    cameras = [
        camera._replace(w2c_44=camera.w2c_44.to(avatar.device), K_33=camera.K_33.to(avatar.device))
        for camera in filling_cameras(rig, motion, size)
    ]
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
    """Milliseconds of each part of a frame, each timed on its own; "skin" is a frame by skinning alone."""
    decoder = avatar.pose_decoder
    assert isinstance(decoder, PoseDecoder)
    deltas = [decoder(avatar.projected_1AD, signals_of(avatar, shot.driving)) for shot in shots]
    shot, delta = in_turn(shots), in_turn(deltas)

    def draw() -> Any:
        chosen = shot()
        return chosen.posed.render(chosen.camera)

    parts: dict[str, Callable[[], Any]] = {
        "decode": lambda: decoder(avatar.projected_1AD, signals_of(avatar, shot().driving)),
        "deltas": lambda: apply_deltas(avatar.canonical, delta(), avatar.limits),
        "skin": lambda: avatar.animate(shot().driving, correctives=False),
        "raster": draw,
    }
    return [Figure(name, median_time(part, rounds, calls), "ms") for name, part in parts.items()]


def posing_figures(avatar: Avatar, shots: list[Shot], rounds: int) -> list[Figure]:
    """How often decoding, corrections and skinning run in a second, without waiting in between."""
    players: dict[str, Avatar | GraphedAvatar] = {"decode + deltas + skin": avatar}
    if avatar.device.type == "cuda":
        players["the same as a CUDA graph"] = GraphedAvatar(avatar, shots[0].driving)
    shot, figures = in_turn(shots), []
    for name, player in players.items():
        milliseconds = median_time(partial(_play, player, shot), min(rounds, 5), len(shots))
        figures.append(Figure(name, 1e3 / milliseconds, "per second"))
    return figures


def _play(player: Avatar | GraphedAvatar, shot: Callable[[], Shot]) -> PosedAvatar:
    return player.animate(shot().driving)


def waits_for_gpu(avatar: Avatar, driving: Driving) -> bool:
    """Whether posing a frame makes the processor wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        avatar.animate(driving)
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


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
    calls = len(shots)  # a turn plays the whole motion, as a video would
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
        [
            *part_times(avatar, shots, options.rounds, calls),
            *posing_figures(avatar, shots, options.rounds),
        ],
        notes=["Parts are timed one by one; an animated frame runs them together."],
    )
    report.requirements = requirements(
        report, size, waits_for_gpu(avatar, shots[0].driving) if options.on_cuda else None
    )
    return report


def requirements(report: Report, size: Size, waits: bool | None) -> list[Requirement]:
    """What must be reached at this size on this device.

    Args:
        report: With the comparisons and figures.
        size: Of the avatar.
        waits: Whether posing waits for the GPU; None on the CPU.
    """
    wanted = []
    limit = LIMITS[report.device.type].get(size)
    if limit is not None:
        ratio = report.measurements[-1].ratio
        wanted.append(Requirement("animated / static frame:", ratio, "at most", limit))
    if waits is not None and size == "base":
        rate = report.figures[-1].value or 0.0
        wanted.append(Requirement("decode + skin per second:", rate, "at least", POSINGS_PER_SECOND))
        wanted.append(Requirement("waits for the GPU while posing:", float(waits), "at most", 0.0))
    return wanted
