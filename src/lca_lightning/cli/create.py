"""``lca create``: make an avatar from photos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from lca_lightning.avatar import Avatar
    from lca_lightning.avatar.create import PreparedPhotos


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca create``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "create",
        help="make an avatar from photos",
        description="Make an avatar of one person from one or more photos, and a contact sheet beside it.",
    )
    parser.add_argument("--ckpt_path", required=True, metavar="F.ckpt", help="a checkpoint of `lca fit`")
    parser.add_argument("--images", required=True, nargs="+", metavar="FILE", help="photos of one person")
    parser.add_argument(
        "--out", default="avatar.lca", metavar="F.lca", help="the avatar to write (avatar.lca)"
    )
    parser.add_argument(
        "--identity", choices=("fit", "neutral"), default="fit",
        help="fit one body to all photos, or take the average one (fit)",
    )  # fmt: skip
    parser.add_argument("--device", default=None, help="cpu or cuda (cuda where there is one)")


def run(namespace: argparse.Namespace) -> None:
    """Write the avatar and its contact sheet.

    Raises:
        UsageError: The suffix is not the avatar's.
    """
    if not str(namespace.out).lower().endswith(".lca"):
        raise UsageError(f"--out must end in .lca, got {namespace.out!r}.")
    import time

    import lca_lightning
    from lca_lightning.avatar import save_avatar
    from lca_lightning.writing import refuse_unwritable

    refuse_unwritable(namespace.out)
    creator = lca_lightning.load_model(namespace.ckpt_path, namespace.device)
    if namespace.identity == "neutral":
        print(
            "lca: warning: the neutral body is used, the avatar's build will not be the person's",
            file=sys.stderr,
        )
    start = time.perf_counter()
    prepared = creator.prepare(namespace.images, namespace.identity)
    fitted = time.perf_counter()
    avatar = creator.create_prepared(prepared, namespace.identity)
    made = time.perf_counter()
    save_avatar(avatar, namespace.out)
    sheet = write_sheet(avatar, prepared, Path(namespace.out).with_suffix(".png"))
    print(f"Photos understood in {fitted - start:.1f} s, avatar made in {made - fitted:.1f} s.")
    if prepared.joints_at_prior:
        print(f"Not seen in any photo, left as usual: {', '.join(prepared.joints_at_prior)}.")
    print(
        f"{avatar.gaussian_count} Gaussians are in {namespace.out}, pictures in {sheet}; next: "
        f"lca animate {namespace.out} --motion FILE.bvh --out FILE.mp4"
    )


def write_sheet(avatar: Avatar, prepared: PreparedPhotos, path: Path) -> Path:
    """Cuts of the photos, the avatar as each photo saw the person, the avatar from four sides."""
    from lca_lightning.avatar import contact_sheet, turntable_images
    from lca_lightning.avatar.create import photo_views

    rows: dict[str, list[Tensor]] = {"photo": [], "avatar": []}
    for cut, camera, pose in photo_views(prepared):
        rows["photo"].append(cut)
        if camera is not None and pose is not None:
            rows["avatar"].append(avatar.animate(pose).render(camera).color_TCHW[0])
    columns = max(4, len(prepared.photos))
    images, labels = [], []
    for name, row in rows.items():
        padding = (columns - len(row)) if row else 0
        images += row + [row[0].new_ones(3, 4, 3)] * padding
        labels += [f"{name} {index + 1}" for index in range(len(row))] + [""] * padding
    sides = ["front", "left", "back", "right"]
    return contact_sheet([*images, *turntable_images(avatar, 4)], path, columns, [*labels, *sides])
