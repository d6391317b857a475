"""``lca export``: write an avatar in another format."""

from __future__ import annotations

import argparse
from typing import Any

from lca_lightning.errors import UsageError

FORMATS = ("ply",)


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca export``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write an avatar in another format",
        description="Write an avatar in its canonical pose, or in one frame of a motion, for other viewers.",
    )
    parser.add_argument("avatar", metavar="AVATAR.lca", help="a file that `lca create` wrote")
    parser.add_argument("--format", choices=FORMATS, default="ply", help="ply: 3D Gaussian splatting (ply)")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--motion", metavar="FILE", help="a .bvh or .npz motion to take the pose from")
    parser.add_argument("--frame", type=int, metavar="N", help="frame of that motion (0)")


def run(namespace: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        UsageError: The suffix does not fit the format, or there is no such frame.
    """
    if not str(namespace.out).lower().endswith(f".{namespace.format}"):
        raise UsageError(f"--out must end in .{namespace.format}, got {namespace.out!r}.")
    if namespace.frame is not None and namespace.motion is None:
        raise UsageError("--frame chooses a frame of a motion; give --motion FILE with it.")
    from lca_lightning.avatar import load_avatar
    from lca_lightning.export.ply import write_ply
    from lca_lightning.motion.retarget import load_motion

    avatar = load_avatar(namespace.avatar)
    if namespace.motion is None:
        posed = avatar.at_rest()
    else:
        motion = load_motion(namespace.motion, avatar.rig, avatar.identity_I)
        frame = namespace.frame or 0
        if not 0 <= frame < len(motion):
            raise UsageError(f"--frame must lie between 0 and {len(motion) - 1}, got {frame}.")
        posed = avatar.animate(motion[frame])
    write_ply(posed.gaussians, namespace.out)
    print(f"{avatar.gaussian_count} Gaussians are in {namespace.out}, metres, y up.")
