"""A picture of one sample: references, close-ups and targets with the body's joints projected into them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import to_uint8
from lca_lightning.errors import LCAError
from lca_lightning.geometry.cameras import project_points
from lca_lightning.rig import Rig, RigPose, load_rig

_LABEL, _GAP = 14, 4  # pixels
_OUTLINE, _BONE, _JOINT = (0, 220, 90), (255, 190, 0), (230, 30, 60)


def plot_sample(sample: Batch, rig: str | None = None) -> Image.Image:
    """Draw every row of a batch: reference views, face close-ups, then targets with mask outline and joints.

    Args:
        sample: References, targets and driving values, on any device.
        rig: Name of the rig that gave the driving values; joints are left out where it is None, is not on
            this machine, or has another number of joints.

    Returns:
        A picture; each row of the batch takes two lines of it.
    """
    batch = sample.to("cpu")
    body = None if rig is None else _rig(rig)
    lines = []
    for row in range(batch.size):
        lines.append(_line(_references(batch, row) + _faces(batch, row)))
        lines.append(_line(_targets(batch, row, body)))
    width = max(line.width for line in lines)
    sheet = Image.new("RGB", (width, sum(line.height for line in lines)), "white")
    top = 0
    for line in lines:
        sheet.paste(line, (0, top))
        top += line.height
    return sheet


@lru_cache(maxsize=2)
def _rig(name: str) -> Rig | None:
    try:
        return load_rig(name)
    except LCAError:  # its asset is not here: the pictures are worth seeing all the same
        return None


def _references(batch: Batch, row: int) -> list[tuple[str, Image.Image]]:
    references = batch.references
    shown = torch.nonzero(references.view_mask_BV[row]).flatten().tolist()
    return [
        (f"{batch.subjects[row]} view {view}", Image.fromarray(to_uint8(references.body_BV3HW[row, view])))
        for view in shown
    ]


def _faces(batch: Batch, row: int) -> list[tuple[str, Image.Image]]:
    references = batch.references
    shown = torch.nonzero(references.face_mask_BV[row] & references.view_mask_BV[row]).flatten().tolist()
    return [(f"face {view}", Image.fromarray(to_uint8(references.face_BV3hw[row, view]))) for view in shown]


def _targets(batch: Batch, row: int, rig: Rig | None) -> list[tuple[str, Image.Image]]:
    tiles = []
    joints_TJ3 = _joints(batch, row, rig)
    for frame, name in enumerate(batch.frames[row]):
        picture = Image.fromarray(_outlined(batch, row, frame))
        if joints_TJ3 is not None and rig is not None:
            targets = batch.targets
            w2c_144, K_133 = targets.w2c_BT44[row, frame][None], targets.K_BT33[row, frame][None]
            pixels_J2, depth_J = (part[0] for part in project_points(joints_TJ3[frame][None], w2c_144, K_133))
            _draw_bones(picture, pixels_J2, depth_J, rig.joint_parents)
        light = "" if batch.lighting is None else _light(batch, row, frame)
        tiles.append((f"{name}{light}", picture))
    if batch.lighting is not None:
        tiles += _layers(batch, row)
    return tiles


def _light(batch: Batch, row: int, frame: int) -> str:
    assert batch.lighting is not None
    if bool(batch.lighting.fully_lit_BT[row, frame]):
        return " fully lit"
    burning = (batch.lighting.intensities_BTL3[row, frame].sum(-1) > 0).sum()
    return f" {int(burning)} lamps"


def _layers(batch: Batch, row: int) -> list[tuple[str, Image.Image]]:
    """Albedo and normals of the first target, where known; normals as in world axes."""
    lighting = batch.lighting
    assert lighting is not None
    tiles = []
    if lighting.albedo_BT3HW is not None:
        encoded = lighting.albedo_BT3HW[row, 0].clamp(0, 1) ** (1 / 2.2)
        tiles.append(("albedo", Image.fromarray(to_uint8(encoded))))
    if lighting.normals_BT3HW is not None:
        tiles.append(("normals", Image.fromarray(to_uint8(lighting.normals_BT3HW[row, 0] / 2 + 0.5))))
    return tiles


def _outlined(batch: Batch, row: int, frame: int) -> np.ndarray:
    """A target with the outline of its mask."""
    pixels = to_uint8(batch.targets.images_BT3HW[row, frame]).copy()
    inside = batch.targets.masks_BT1HW[row, frame, 0].numpy() >= 0.5
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[inside & ~core] = _OUTLINE
    return pixels


def _joints(batch: Batch, row: int, rig: Rig | None) -> Tensor | None:
    """World positions of the joints in each target, ``(T, J, 3)`` metres."""
    if rig is None or batch.driving.rotations_BTJ3.shape[2] != len(rig.joint_names):
        return None
    if batch.identity_BI.shape[1] != rig.identity_size:
        return None
    return posed_joints(
        rig, batch.identity_BI[row], batch.driving.rotations_BTJ3[row], batch.driving.translation_BT3[row]
    )


def posed_joints(rig: Rig, identity_I: Tensor, rotations_TJ3: Tensor, translation_T3: Tensor) -> Tensor:
    """World positions of a subject's joints.

    Args:
        rig: The rig.
        identity_I: Identity values.
        rotations_TJ3: Rotation vectors in radians.
        translation_T3: World position of the root joint, metres.

    Returns:
        ``(T, J, 3)`` metres.
    """
    with torch.no_grad():
        rest_J3 = rig.canonical_joints(identity_I[None])[0]
        transforms_TJ44 = rig.joint_transforms(identity_I[None], RigPose(rotations_TJ3, translation_T3))
        turned = torch.einsum("tjab,jb->tja", transforms_TJ44[..., :3, :3], rest_J3)
        return turned + transforms_TJ44[..., :3, 3]


def _draw_bones(picture: Image.Image, pixels_J2: Tensor, depth_J: Tensor, parents: tuple[int, ...]) -> None:
    draw = ImageDraw.Draw(picture)
    places = [(float(x), float(y)) for x, y in pixels_J2.tolist()]
    ahead = (depth_J > 0.01).tolist()
    for joint, parent in enumerate(parents):
        if parent >= 0 and ahead[joint] and ahead[parent]:
            draw.line([places[parent], places[joint]], fill=_BONE)
    for joint, (x, y) in enumerate(places):
        if ahead[joint]:
            draw.rectangle([x - 0.6, y - 0.6, x + 0.6, y + 0.6], fill=_JOINT)


def _line(tiles: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures side by side with their labels above."""
    width = sum(picture.width + _GAP for _, picture in tiles)
    height = max(picture.height for _, picture in tiles) + _LABEL + _GAP
    line = Image.new("RGB", (width, height), "white")
    left = 0
    for label, picture in tiles:
        tag = Image.new("RGB", (picture.width, _LABEL), "white")
        ImageDraw.Draw(tag).text((1, 1), label, fill="black")
        line.paste(tag, (left, 0))
        line.paste(picture, (left, _LABEL))
        left += picture.width + _GAP
    return line
