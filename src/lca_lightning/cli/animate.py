"""``lca animate``: move an avatar by a motion file and write a video."""

from __future__ import annotations

import argparse
import re
from typing import Any

from lca_lightning.cli.picture_size import parse_size
from lca_lightning.errors import UsageError

_CAMERAS = ("front", "orbit", "follow")
_COLORS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "grey": (0.5, 0.5, 0.5),
    "green": (0.0, 0.7, 0.25),
}


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca animate``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "animate",
        help="move an avatar by a motion file and write a video",
        description="Move an avatar by a BVH of any human skeleton, or by an .npz of rig rotations.",
    )
    parser.add_argument("avatar", metavar="AVATAR.lca", help="a file that `lca create` wrote")
    parser.add_argument("--motion", required=True, metavar="FILE", help="a .bvh or .npz motion")
    parser.add_argument("--out", required=True, metavar="F.mp4", help="the video to write")
    parser.add_argument(
        "--camera", choices=_CAMERAS, default="front", help="still, circling or following (front)"
    )
    parser.add_argument("--size", default="512x512", metavar="HxW", help="height x width in pixels (512x512)")
    parser.add_argument(
        "--fps", type=float, default=None, help="frames per second (the motion's, at most 30)"
    )
    parser.add_argument("--frames", metavar="A:B", help="frames A to B of the motion, B left out")
    parser.add_argument(
        "--background", default="white", metavar="COLOR", help="white, black, grey, green or #rrggbb"
    )
    parser.add_argument("--up-axis", choices=("auto", "x", "y", "z"), default="auto", help="of a BVH (auto)")
    parser.add_argument("--no-correctives", action="store_true", help="move by skinning alone")
    parser.add_argument("--device", default=None, help="cpu or cuda (cuda where there is one)")


def run(namespace: argparse.Namespace) -> None:
    """Write the video.

    Raises:
        UsageError: A size, frame rate, frame range or colour cannot be read.
    """
    height, width = parse_size(namespace.size)
    start, stop = parse_frames(namespace.frames)
    background = parse_color(namespace.background)
    if namespace.fps is not None and not 0 < namespace.fps <= 1000:
        raise UsageError(f"The frame rate must lie between 0 and 1000, got {namespace.fps:g}.")
    if not str(namespace.out).lower().endswith(".mp4"):
        raise UsageError(f"--out must end in .mp4, got {namespace.out!r}.")
    from lca_lightning.avatar import View, animate_video, load_avatar
    from lca_lightning.avatar.devices import pick_device
    from lca_lightning.motion.retarget import load_motion

    avatar = load_avatar(namespace.avatar, pick_device(namespace.device))
    motion = load_motion(namespace.motion, avatar.rig, avatar.identity_I, up_axis=namespace.up_axis)
    held = motion.held_frames
    motion = motion.slice(start, len(motion) if stop is None else stop)
    motion = motion.resample(namespace.fps or min(motion.fps, 30.0))
    view = View(width, height, namespace.camera, background)
    animate_video(avatar, motion, namespace.out, view, correctives=not namespace.no_correctives)
    if held:
        print(f"{held} frames of {namespace.motion} held NaN and repeat the last good frame.")
    print(f"{len(motion)} frames at {motion.fps:g} per second are in {namespace.out}.")


def parse_frames(text: str | None) -> tuple[int, int | None]:
    """First frame and the one past the last from ``"A:B"``; either may be left out.

    Raises:
        UsageError: Another form, or an empty range.
    """
    if text is None:
        return 0, None
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise UsageError(f"--frames must be A:B, for example 100:400, got {text!r}.")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise UsageError(f"--frames {text} selects no frame: B must be larger than A.")
    return start, stop


def parse_color(text: str) -> tuple[float, float, float]:
    """sRGB in [0, 1] from a name or ``"#rrggbb"``.

    Raises:
        UsageError: Neither.
    """
    if text.lower() in _COLORS:
        return _COLORS[text.lower()]
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        raise UsageError(f"--background must be {', '.join(_COLORS)} or #rrggbb, got {text!r}.")
    digits = text.removeprefix("#")
    red, green, blue = (int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4))
    return red, green, blue
