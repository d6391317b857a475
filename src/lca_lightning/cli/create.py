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

NOTICE = (
    "Using the small demonstration model `{name}`, trained on synthetic people: it takes over build, pose "
    "and rough colours, not the likeness of a face or fine detail (limits: MODEL_CARD.md); --ckpt_path takes "
    "a model of your own."
)


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca create``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "create",
        help="make an avatar from photos",
        description="Make an avatar of one person from one or more photos, and a contact sheet beside it.",
    )
    parser.add_argument(
        "--ckpt_path", default=None, metavar="F.ckpt",
        help="a checkpoint of `lca fit` (without it: the small demonstration model that ships, `tiny`)",
    )  # fmt: skip
    parser.add_argument(
        "--images", required=True, nargs="+", metavar="PHOTO",
        help="photos of one person: files, or a folder of them (jpg, jpeg, png, webp)",
    )  # fmt: skip
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
        DataError: There are no photos, or nobody in them.
        CheckpointError: The model is missing or damaged.
    """
    if not str(namespace.out).lower().endswith(".lca"):
        raise UsageError(f"--out must end in .lca, got {namespace.out!r}.")
    import time

    import lca_lightning
    from lca_lightning.avatar import save_avatar
    from lca_lightning.avatar.photo_files import list_photos
    from lca_lightning.pretrained_models import DEFAULT, is_shipped
    from lca_lightning.writing import refuse_unwritable

    refuse_unwritable(namespace.out)
    images = list_photos(namespace.images)
    creator = lca_lightning.load_model(namespace.ckpt_path, namespace.device)
    if is_shipped(namespace.ckpt_path or DEFAULT):
        print(NOTICE.format(name=namespace.ckpt_path or DEFAULT))
    if namespace.identity == "neutral":
        print(
            "lca: warning: the neutral body is used, the avatar's build will not be the person's",
            file=sys.stderr,
        )
    start = time.perf_counter()
    prepared = creator.prepare(images, namespace.identity)
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
