"""Cuts around the person and the face, resized with antialiasing; intrinsics follow exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from lca_lightning.geometry.cameras import crop_intrinsics, scale_intrinsics

PERSON_MARGIN = 0.1  # of the person's extent, on each side
FACE_SCALE = 1.6  # side of the square over the larger extent of the face box


@dataclass(frozen=True)
class FrameCrop:
    """One frame of one camera, cut around the person.

    Args:
        image_HW3: uint8 sRGB; grey where the cut leaves the picture.
        mask_HW: uint8, 255 on the person.
        K_33: Intrinsics of the cut, pixels, float32.
        face_hw3: Square close-up of the face, uint8, or None where no face is seen.
        face_mask_hw: Its part of the mask, uint8, or None.
    """

    image_HW3: np.ndarray
    mask_HW: np.ndarray
    K_33: np.ndarray
    face_hw3: np.ndarray | None = None
    face_mask_hw: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        arrays = (self.image_HW3, self.mask_HW, self.K_33, self.face_hw3, self.face_mask_hw)
        return sum(array.nbytes for array in arrays if array is not None)


def expand_to_aspect(box: np.ndarray, aspect: float, margin: float = PERSON_MARGIN) -> np.ndarray:
    """Widen a box by a margin and then to an aspect ratio, about its middle.

    Args:
        box: ``(4,)`` left, top, right, bottom in pixels.
        aspect: Width over height of the result.
        margin: Part of the extent added on each side first.

    Returns:
        ``(4,)`` box in pixels; it may leave the picture.
    """
    left, top, right, bottom = (float(value) for value in box)
    width, height = (right - left) * (1 + 2 * margin), (bottom - top) * (1 + 2 * margin)
    width, height = max(width, height * aspect), max(height, width / aspect)
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def face_square(box: np.ndarray, scale: float = FACE_SCALE) -> np.ndarray:
    """Square about a face box whose side is ``scale`` times the larger extent (``(4,)``, pixels)."""
    left, top, right, bottom = (float(value) for value in box)
    half = scale * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([x - half, y - half, x + half, y + half])


def cut_and_resize(image: np.ndarray, box: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """Cut a box with fractional edges out of a picture and resize it with antialiasing.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8.
        box: ``(4,)`` left, top, right, bottom in pixels; parts outside the picture get ``fill``.
        size: Height and width of the result in pixels.
        fill: Value outside the picture, 0 to 255.

    Returns:
        ``(h, w, 3)`` or ``(h, w)`` uint8.
    """
    left, top = (int(np.floor(value)) for value in box[:2])
    right, bottom = (max(int(np.ceil(far)), near + 1) for far, near in zip(box[2:], (left, top), strict=True))
    inside = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    window = image[inside]
    if window.shape[:2] != (bottom - top, right - left):
        padded = np.full((bottom - top, right - left, *image.shape[2:]), fill, np.uint8)
        y, x = max(-top, 0), max(-left, 0)
        padded[y : y + window.shape[0], x : x + window.shape[1]] = window
        window = padded
    relative = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    picture = Image.fromarray(np.ascontiguousarray(window))
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=relative))


def crop_frame(
    image_HW3: np.ndarray,
    mask_HW: np.ndarray,
    K_33: np.ndarray,
    person_box: np.ndarray,
    face_box: np.ndarray | None,
    image_size: tuple[int, int],
    face_size: tuple[int, int],
) -> FrameCrop:
    """Cut a frame around the person and its face.

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
    height, width = mask_HW.shape
    known = np.isfinite(person_box).all()
    box = person_box if known else np.array([0, 0, width, height], float)
    box = expand_to_aspect(box, image_size[1] / image_size[0], PERSON_MARGIN if known else 0.0)
    face = face_mask = None
    if face_box is not None and np.isfinite(face_box).all():
        square = face_square(face_box)
        face = cut_and_resize(image_HW3, square, face_size, 128)
        face_mask = cut_and_resize(mask_HW, square, face_size, 0)
    return FrameCrop(
        image_HW3=cut_and_resize(image_HW3, box, image_size, 128),
        mask_HW=cut_and_resize(mask_HW, box, image_size, 0),
        K_33=_crop_and_scale(K_33, box, image_size),
        face_hw3=face,
        face_mask_hw=face_mask,
    )


def _crop_and_scale(K_33: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    cropped = crop_intrinsics(torch.from_numpy(np.array(K_33, np.float64)), float(box[0]), float(box[1]))
    scale_x, scale_y = size[1] / float(box[2] - box[0]), size[0] / float(box[3] - box[1])
    return scale_intrinsics(cropped, scale_x, scale_y).numpy().astype(np.float32)


def replace_background(image_HW3: np.ndarray, mask_HW: np.ndarray, background: float) -> torch.Tensor:
    """Composite a picture over a constant colour.

    Args:
        image_HW3: uint8 sRGB.
        mask_HW: uint8 mask.
        background: Grey value in [0, 1].

    Returns:
        ``(3, H, W)`` float32 in [0, 1].
    """
    image, mask = to_float(image_HW3), to_float(mask_HW)
    return mask * image + (1 - mask) * background


def to_float(array: np.ndarray) -> torch.Tensor:
    """uint8 ``(H, W, 3)`` or ``(H, W)`` to float32 ``(3, H, W)`` or ``(1, H, W)`` in [0, 1]."""
    # A copy, because photos may come in read-only memory, which torch does not know.
    tensor = torch.from_numpy(np.array(array if array.ndim == 3 else array[..., None]))
    return tensor.permute(2, 0, 1).to(torch.float32).div_(255)
