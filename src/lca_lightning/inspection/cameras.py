"""Whether a camera can be a camera, and whether it sees the person."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lca_lightning.inspection.findings import Findings

_CALIBRATE = "read the calibration again, with its units and axes as docs/data_format.md says"
_FOCAL_RATIO = 1.25
_NARROWEST, _WIDEST = math.radians(1.0), math.radians(150.0)
NEAREST, FARTHEST = 0.15, 60.0
"""Metres between camera and person that are plausible."""
SHORTEST, TALLEST = 0.4, 2.6
"""Metres of stature that are plausible."""
_FEWEST_IN_PICTURE = 0.05


def check_camera(name: str, values: dict[str, Any], findings: Findings) -> bool:
    """Check one camera of ``sequence.json`` by itself.

    Args:
        name: Of the camera.
        values: ``width``, ``height``, ``K`` and ``w2c`` as read.
        findings: Receives what is wrong.

    Returns:
        Whether points can be projected with it.
    """
    try:
        width, height = int(values["width"]), int(values["height"])
        K_33, w2c_44 = np.array(values["K"], np.float64), np.array(values["w2c"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        findings.error(
            "cameras", f"width, height, K or w2c is missing or no number ({error})", _CALIBRATE, name
        )
        return False
    if K_33.shape != (3, 3) or w2c_44.shape != (4, 4) or min(width, height) < 1:
        what = f"K is {K_33.shape}, w2c is {w2c_44.shape}, the picture {width}x{height}"
        findings.error("cameras", what, _CALIBRATE, name)
        return False
    if not (np.isfinite(K_33).all() and np.isfinite(w2c_44).all()):
        findings.error("cameras", "K or w2c holds NaN or infinity", _CALIBRATE, name)
        return False
    lens = _check_intrinsics(name, width, height, K_33, findings)
    return _check_extrinsics(name, w2c_44, findings) and lens


def _check_intrinsics(name: str, width: int, height: int, K_33: np.ndarray, findings: Findings) -> bool:
    focal_x, focal_y, center_x, center_y = K_33[0, 0], K_33[1, 1], K_33[0, 2], K_33[1, 2]
    if min(focal_x, focal_y) <= 0:
        what = f"the focal lengths are {focal_x:g} and {focal_y:g} pixels; they must be positive"
        findings.error("cameras", what, "turn the axes of w2c instead of the picture", name)
        return False
    if not np.allclose(K_33[2], [0, 0, 1]) or abs(K_33[1, 0]) > 1e-6 * focal_x:
        findings.error("cameras", "K is not upper triangular with 0 0 1 as its last row", _CALIBRATE, name)
        return False
    ratio = focal_x / focal_y
    if max(ratio, 1 / ratio) > _FOCAL_RATIO:
        what = f"the focal lengths differ by a factor of {max(ratio, 1 / ratio):.2f}: stretched pictures?"
        findings.warning("cameras", what, _CALIBRATE, name)
    if not (0 <= center_x <= width and 0 <= center_y <= height):
        what = (
            f"the principal point ({center_x:.0f}, {center_y:.0f}) lies outside the {width}x{height} picture"
        )
        way_out = "fine for pictures cut out of larger ones; otherwise K belongs to another resolution"
        findings.warning("cameras", what, way_out, name)
    view = 2 * math.atan(height / 2 / focal_y)
    if not _NARROWEST < view < _WIDEST:
        what = f"the vertical field of view is {math.degrees(view):.1f} degrees"
        findings.warning("cameras", what, "K may belong to another resolution", name)
    return True


def _check_extrinsics(name: str, w2c_44: np.ndarray, findings: Findings) -> bool:
    rotation = w2c_44[:3, :3]
    if not np.allclose(w2c_44[3], [0, 0, 0, 1], atol=1e-6):
        findings.error("cameras", "the last row of w2c is not 0 0 0 1", "transpose it", name)
        return False
    scale = np.cbrt(np.linalg.det(rotation))
    departure = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if departure > 2e-3:
        what = f"the rotation is off orthonormal by {departure:.2g} (scale {abs(scale):.3g})"
        findings.error("cameras", what, "take scale and shear out of w2c", name)
        return False
    if scale < 0:
        what = "the rotation mirrors the world (determinant -1)"
        findings.error("cameras", what, "turn the axes by a rotation instead of negating one of them", name)
        return False
    return True


def check_person_in_view(
    name: str,
    depth_TV: np.ndarray,
    inside_TV: np.ndarray,
    seen_T: np.ndarray,
    findings: Findings,
) -> bool:
    """Check that the rig stands in front of a camera, at a plausible distance and inside the picture.

    Args:
        name: Of the camera.
        depth_TV: Depth of the rig's vertices in metres, by frame.
        inside_TV: Which of them lie in front of the camera and inside the picture.
        seen_T: Frames in which the mask shows somebody; only these count.
        findings: Receives what is wrong.

    Returns:
        Whether all is well.
    """
    if not seen_T.any():
        return True
    depth, share = float(np.median(depth_TV[seen_T])), float(np.median(inside_TV[seen_T].mean(1)))
    if depth <= 0:
        what = f"the rig stands {abs(depth):.2f} m behind the camera while the mask shows somebody"
        findings.error(
            "cameras", what, "w2c may be camera to world, or have z backwards: invert or turn it", name
        )
        return False
    if not NEAREST <= depth <= FARTHEST:
        guess = " (millimetres?)" if 300 <= depth <= 30000 else ""
        what = f"the rig stands {depth:.3g} m from the camera{guess}"
        findings.error("cameras", what, "bring translations and w2c to metres", name)
        return False
    if share < _FEWEST_IN_PICTURE:
        what = f"only {100 * share:.0f}% of the rig projects into the picture while the mask shows somebody"
        findings.error("cameras", what, _CALIBRATE, name)
        return False
    return True


def check_stature(vertices_TV3: np.ndarray, findings: Findings) -> None:
    """Check that the rig is of human size: metres, not centimetres or feet.

    Args:
        vertices_TV3: Posed vertices in metres.
        findings: Receives what is wrong.
    """
    extent_T = (vertices_TV3.max(1) - vertices_TV3.min(1)).max(1)
    size = float(np.median(extent_T))
    if not SHORTEST <= size <= TALLEST:
        what = f"the rig is {size:.3g} m large, between {SHORTEST} and {TALLEST} m are plausible"
        findings.error("signals", what, "check the identity values and their units")
