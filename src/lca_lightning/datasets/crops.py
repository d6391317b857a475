"""Cuts around the person and the face, resized with antialiasing; intrinsics follow exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

PERSON_MARGIN = 0.1  # of the person's extent, on each side
_CUT_OFF = 1.0  # pixels from the border of a picture within which a mask ends there
FACE_SCALE = 1.6  # side of the square over the larger extent of the face box
_OUTSIDE = (128, 128, 128, 0)  # grey and not the person


@dataclass(frozen=True)
class FrameCrop:
    """One frame of one camera, cut around the person.

    Args:
        body_4HW: uint8 sRGB and, as fourth channel, the mask; grey and no person outside the picture.
        K_33: Intrinsics of the cut, pixels, float32.
        face_4hw: Square close-up of the face, likewise, or None where no face is seen.
        box: ``(4,)`` left, top, right, bottom of the cut in the whole picture, whole pixels; other values of
            the same frame are cut to it by :func:`cut_values`.
    """

    body_4HW: np.ndarray
    K_33: np.ndarray
    face_4hw: np.ndarray | None
    box: np.ndarray

    @property
    def image_HW3(self) -> np.ndarray:
        """The picture, uint8 sRGB."""
        return self.body_4HW[:3].transpose(1, 2, 0)

    @property
    def mask_HW(self) -> np.ndarray:
        """The mask, uint8, 255 on the person."""
        return self.body_4HW[3]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        arrays = (self.body_4HW, self.K_33, self.face_4hw)
        return sum(array.nbytes for array in arrays if array is not None)


def person_cut(
    box: np.ndarray, picture: tuple[int, int], aspect: float, margin: float = PERSON_MARGIN
) -> np.ndarray:
    """Widen the box of a person by a margin and then to an aspect ratio, about its middle.

    A side on which the picture cuts the person off stays where it is: nobody knows what is beyond, and a
    target must not say that it is background. Where that holds for two opposite sides that should grow, the
    cut becomes shorter below, or narrower on the right, instead.

    Args:
        box: ``(4,)`` left, top, right, bottom in pixels.
        picture: Height and width of the picture in pixels.
        aspect: Width over height of the result.
        margin: Part of the extent added on each side first.

    Returns:
        ``(4,)`` box in pixels; it may leave the picture on sides where the person does not.
    """
    left, top, right, bottom = (float(value) for value in box)  # single numbers are faster than arrays
    x, y = _Side.of(left, right, picture[1], margin), _Side.of(top, bottom, picture[0], margin)
    width, height = max(x.length, y.length * aspect), max(y.length, x.length / aspect)
    if x.is_stuck and width > x.length:
        width, height = x.length, x.length / aspect
    elif y.is_stuck and height > y.length:
        width, height = y.length * aspect, y.length
    (left, right), (top, bottom) = x.resized(width), y.resized(height)
    return np.array([left, top, right, bottom])


class _Side(NamedTuple):
    """Extent of a cut along one axis, pixels, and which of its ends may move outwards."""

    near: float
    far: float
    near_is_free: bool
    far_is_free: bool

    @staticmethod
    def of(near: float, far: float, picture: int, margin: float) -> _Side:
        """The person's extent with a margin on its free ends."""
        free = near > _CUT_OFF, far < picture - _CUT_OFF
        added = margin * (far - near)
        return _Side(near - added * free[0], far + added * free[1], *free)

    @property
    def length(self) -> float:
        return self.far - self.near

    @property
    def is_stuck(self) -> bool:
        return not (self.near_is_free or self.far_is_free)

    def resized(self, length: float) -> tuple[float, float]:
        """Ends of an extent of another length: longer at the free ends, or shorter at the far one."""
        growth = length - self.length
        if growth <= 0 or not self.near_is_free:
            return self.near, self.near + length
        if not self.far_is_free:
            return self.far - length, self.far
        return self.near - growth / 2, self.far + growth / 2


def _whole(height: int, width: int, aspect: float) -> np.ndarray:
    """The whole picture, widened to an aspect ratio."""
    x, y = (max(width, height * aspect) - width) / 2, (max(height, width / aspect) - height) / 2
    return np.array([-x, -y, width + x, height + y])


def face_square(box: np.ndarray, scale: float = FACE_SCALE) -> np.ndarray:
    """Square about a face box whose side is ``scale`` times the larger extent (``(4,)``, pixels)."""
    left, top, right, bottom = (float(value) for value in box)
    half = scale * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([x - half, y - half, x + half, y + half])


def snap(box: np.ndarray) -> np.ndarray:
    """The nearest box of whole pixels, at least one on each side, int64; intrinsics follow it exactly."""
    left, top, right, bottom = (float(value) for value in box)
    x, y = round(left), round(top)
    return np.array([x, y, x + max(round(right - left), 1), y + max(round(bottom - top), 1)])


def window(pixels: np.ndarray, box: np.ndarray, fill: int | tuple[int, ...]) -> np.ndarray:
    """Part of a picture ``(H, W, ...)`` in a box of whole pixels; outside the picture it is ``fill``."""
    left, top, right, bottom = box.tolist()
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    padded = np.empty((bottom - top, right - left, *pixels.shape[2:]), pixels.dtype)
    y, x = max(-top, 0), max(-left, 0)
    below, beside = y + inside.shape[0], x + inside.shape[1]
    one_row = np.empty_like(padded[:1])
    one_row[:] = fill
    padded[:y] = padded[below:] = one_row
    padded[y:below, :x] = one_row[:, :x]
    padded[y:below, beside:] = one_row[:, beside:]
    padded[y:below, x:beside] = inside
    return padded


def cut_values(
    values_HWC: np.ndarray, box: np.ndarray, size: tuple[int, int], fill: int | tuple[int, ...] = 0
) -> np.ndarray:
    """Cut a box of whole pixels out of any channels and resize it with antialiasing.

    Args:
        values_HWC: uint8 or float32; four channels of bytes are the fastest.
        box: ``(4,)`` left, top, right, bottom, whole pixels, as :attr:`FrameCrop.box`.
        size: Height and width of the result in pixels.
        fill: Value, or one for each channel, outside the picture.

    Returns:
        ``(h, w, C)`` of the same type.
    """
    part = torch.from_numpy(window(values_HWC, box, fill))
    resized = torch.empty(*size, part.shape[2], dtype=part.dtype)
    # What functional.interpolate calls after ten times as long a preparation. Channels stay side by side:
    # told nothing, it would spend a third of its time on taking them apart.
    torch.ops.aten._upsample_bilinear2d_aa.out(
        part.permute(2, 0, 1)[None], size, False, None, None, out=resized.permute(2, 0, 1)[None]
    )
    return np.asarray(resized.numpy())


def crop_frame(
    image_HW3: np.ndarray,
    mask_HW: np.ndarray,
    K_33: np.ndarray,
    person_box: np.ndarray,
    face_box: np.ndarray | None,
    image_size: tuple[int, int],
    face_size: tuple[int, int],
) -> FrameCrop:
    """Cut a frame around the person and its face; see :func:`crop_rgba`.

    Args:
        image_HW3: Whole picture, uint8 sRGB.
        mask_HW: Person mask, uint8.
        K_33: Intrinsics of the whole picture, pixels.
        person_box: ``(4,)`` pixels; NaN takes the whole picture.
        face_box: ``(4,)`` pixels; None or NaN gives no face.
        image_size: Height and width of the cut in pixels.
        face_size: Height and width of the close-up in pixels.

    Returns:
        The cut with its intrinsics.
    """
    rgba = np.concatenate([image_HW3, mask_HW[..., None]], axis=-1)
    return crop_rgba(rgba, K_33, person_box, face_box, image_size, face_size)


def crop_rgba(
    rgba_HW4: np.ndarray,
    K_33: np.ndarray,
    person_box: np.ndarray,
    face_box: np.ndarray | None,
    image_size: tuple[int, int],
    face_size: tuple[int, int],
) -> FrameCrop:
    """Cut a frame, whose fourth channel is the mask, around the person and its face.

    Boxes are moved to whole pixels, by half a pixel at most.

    Args:
        rgba_HW4: Whole picture, uint8 sRGB and the person mask.
        K_33: Intrinsics of the whole picture, pixels.
        person_box: ``(4,)`` pixels; NaN takes the whole picture.
        face_box: ``(4,)`` pixels; None or NaN gives no face.
        image_size: Height and width of the cut in pixels.
        face_size: Height and width of the close-up in pixels.

    Returns:
        The cut with its intrinsics.
    """
    height, width = rgba_HW4.shape[:2]
    known = not math.isnan(person_box[0])
    aspect = image_size[1] / image_size[0]
    box = snap(person_cut(person_box, (height, width), aspect) if known else _whole(height, width, aspect))
    face = None
    if face_box is not None and not math.isnan(face_box[0]):
        face = cut_values(rgba_HW4, snap(face_square(face_box)), face_size, _OUTSIDE)
    person = cut_values(rgba_HW4, box, image_size, _OUTSIDE)
    return FrameCrop(
        body_4HW=person.transpose(2, 0, 1),
        K_33=cut_intrinsics(K_33, box, image_size),
        face_4hw=None if face is None else face.transpose(2, 0, 1),
        box=box,
    )


def cut_intrinsics(K_33: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Intrinsics of a cut: pixels are counted from its corner and then scaled (centres at +0.5)."""
    left, top, right, bottom = box.tolist()
    scale_x, scale_y = size[1] / (right - left), size[0] / (bottom - top)
    cut_33 = np.array(K_33, np.float64)
    cut_33[0] = scale_x * (cut_33[0] - left * cut_33[2])
    cut_33[1] = scale_y * (cut_33[1] - top * cut_33[2])
    return cut_33.astype(np.float32)


def replace_background(image_HW3: np.ndarray, mask_HW: np.ndarray, background: float) -> torch.Tensor:
    """Composite a picture over a constant colour.

    Args:
        image_HW3: uint8 sRGB.
        mask_HW: uint8 mask.
        background: Grey value in [0, 1].

    Returns:
        ``(3, H, W)`` float32 in [0, 1].
    """
    return to_float(image_HW3).sub_(background).mul_(to_float(mask_HW)).add_(background)


def to_float(array: np.ndarray) -> torch.Tensor:
    """uint8 ``(H, W, 3)`` or ``(H, W)`` to float32 ``(3, H, W)`` or ``(1, H, W)`` in [0, 1]."""
    # photos may come in read-only memory, which torch does not know
    writable = array if array.flags.writeable else np.array(array)
    tensor = torch.from_numpy(writable)
    return (tensor.permute(2, 0, 1) if array.ndim == 3 else tensor[None]).to(torch.float32).div_(255)
