"""Our cameras in Mitsuba 3, and Mitsuba itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError, MissingAssetError

_CROP_MARGIN = 3


def load_mitsuba() -> Any:
    """Import Mitsuba with the variant that needs no LLVM.

    Raises:
        MissingAssetError: The ``synthesis`` extra is not installed.
    """
    try:
        import mitsuba
    except ImportError as error:
        raise MissingAssetError(
            "Synthesis needs Mitsuba 3; install it with: pip install 'lca-lightning[synthesis]'."
        ) from error
    if mitsuba.variant() != "scalar_rgb":
        mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


def use_one_thread() -> None:
    """Render with one thread in this process; for use with one process per core."""
    load_mitsuba()
    import drjit

    drjit.set_thread_count(1)


def sensor_description(
    mitsuba: Any,
    K_33: NDArray,
    w2c_44: NDArray,
    width: int,
    height: int,
    samples: int,
    crop: tuple[int, int, int, int],
) -> dict[str, Any]:
    """Describe an OpenCV camera to Mitsuba.

    Args:
        mitsuba: The loaded module.
        K_33: Intrinsics in pixels, pixel centres at +0.5, square pixels, no skew.
        w2c_44: World to camera (x right, y down, z forward).
        width: Full picture width in pixels.
        height: Full picture height in pixels.
        samples: Samples per pixel.
        crop: Left, top, width, height of the part to render.

    Returns:
        A plugin dictionary of a perspective sensor with an RGBA film and a box filter.

    Raises:
        DataError: The pixels are not square or the axes are skewed.
    """
    if abs(K_33[0, 0] - K_33[1, 1]) > 1e-4 * K_33[0, 0] or abs(K_33[0, 1]) > 1e-6:
        raise DataError(
            f"Synthesis needs square pixels without skew, got fx {K_33[0, 0]:g}, fy {K_33[1, 1]:g}."
        )
    camera_to_world = np.linalg.inv(w2c_44.astype(np.float64)) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    left, top, crop_width, crop_height = crop
    return {
        "type": "perspective",
        "fov": float(np.degrees(2 * np.arctan(0.5 * width / K_33[0, 0]))),
        "fov_axis": "x",
        "near_clip": 0.05,
        "far_clip": 100.0,
        # Mitsuba's offset moves the window over the scene, hence the sign.
        "principal_point_offset_x": float(0.5 - K_33[0, 2] / width),
        "principal_point_offset_y": float(0.5 - K_33[1, 2] / height),
        "to_world": mitsuba.ScalarTransform4f(camera_to_world),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "pixel_format": "rgba",
            "component_format": "float32",
            "rfilter": {"type": "box"},
            "crop_offset_x": left,
            "crop_offset_y": top,
            "crop_width": crop_width,
            "crop_height": crop_height,
        },
        "sampler": {"type": "multijitter", "sample_count": samples},
    }


def pixel_rays(K_33: NDArray, w2c_44: NDArray, width: int, height: int) -> NDArray[np.float64]:
    """Unit world directions through the pixel centres, ``(height, width, 3)``."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(K_33).T
    rays = inside @ w2c_44[:3, :3]
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def person_crop(
    points_N3: NDArray, K_33: NDArray, w2c_44: NDArray, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of the pixels that can show the points, or None when there are none."""
    camera = points_N3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    if (camera[:, 2] < 0.05).any():
        return 0, 0, width, height
    pixels = camera[:, :2] / camera[:, 2:] * [K_33[0, 0], K_33[1, 1]] + [K_33[0, 2], K_33[1, 2]]
    low = np.floor(pixels.min(0)).astype(int) - _CROP_MARGIN
    high = np.ceil(pixels.max(0)).astype(int) + _CROP_MARGIN
    left, top = max(low[0], 0), max(low[1], 0)
    right, bottom = min(high[0], width), min(high[1], height)
    if right <= left or bottom <= top:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)
