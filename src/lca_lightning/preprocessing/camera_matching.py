"""A calibration meets its videos: names, picture sizes, and whether the views really agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.lens import undistort_pixels
from lca_lightning.errors import DataError
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.triangulation import reprojection_distance, triangulate

# A calibration is refused when landmarks disagree by more than this share of the person's stature in pixels.
WRONG_SHARE = 0.035
# A single camera is turned when it is off by more than this share, and at most by this angle.
TURN_SHARE = 0.015
MOST_DEGREES = 2.5
# Small turns of all cameras are kept when they lower the disagreement of the views by at least this share.
REFINEMENT_GAIN = 0.03
REFINEMENT_ROUNDS = 2  # more rounds hardly gain and let all cameras drift together


@dataclass(frozen=True)
class SizeRule:
    """One explanation of why a video has another size than its calibration.

    Attributes:
        name: ``same``, ``scaled``, ``scaled and padded``, ``scaled and cropped``, ``stretched``, ``cropped
            left`` ...
        scale: Factor on calibrated pixels, x and y.
        offset: Pixels lost at the left and top after scaling; negative for padding.
    """

    name: str
    scale: tuple[float, float]
    offset: tuple[float, float]


@dataclass
class MatchReport:
    """How cameras and videos were brought together; goes into the data's quality block.

    Attributes:
        rules: Size rule by camera.
        residuals: Median triangulation residual in pixels by candidate, for the cameras whose size differs.
        turned_degrees: Correction of orientation by camera.
        residual: Final median residual in pixels.
        residual_before: The same before any camera was turned.
    """

    rules: dict[str, str] = field(default_factory=dict)
    residuals: dict[str, float] = field(default_factory=dict)
    turned_degrees: dict[str, float] = field(default_factory=dict)
    residual: float = float("nan")
    residual_before: float = float("nan")


def match_names(
    paths: list[Path], cameras: dict[str, CalibratedCamera], calibration: Path
) -> list[CalibratedCamera]:
    """The calibrated camera of each video, by the stem of its file name.

    Raises:
        DataError: A video has no camera; lists the known ones.
    """
    chosen = []
    for path in paths:
        if path.stem not in cameras:
            raise DataError(
                f"No camera in {calibration} is called {path.stem!r} (known: {', '.join(sorted(cameras))}); "
                "name each video after its camera."
            )
        chosen.append(cameras[path.stem])
    if len({path.stem for path in paths}) < len(paths):
        raise DataError(
            "Two videos have the same file name, so they cannot be told apart by camera; rename one."
        )
    return chosen


def size_rules(
    camera: CalibratedCamera, width: int, height: int, content: tuple[int, int, int, int] | None = None
) -> list[SizeRule]:
    """Explanations of a video's size, given the size the calibration is for.

    Args:
        camera: The calibrated camera.
        width: Of the video.
        height: Of the video.
        content: Left, top, right, bottom of the picture inside black borders, if the video has any.

    Returns:
        One rule when the answer is certain, else several to be told apart by how well views agree.
    """
    if (camera.width, camera.height) == (width, height) and content is None:
        return [SizeRule("same", (1.0, 1.0), (0.0, 0.0))]
    ratio_x, ratio_y = width / camera.width, height / camera.height
    if content is not None and _same_shape(camera, content[2] - content[0], content[3] - content[1]):
        scale = min(ratio_x, ratio_y)
        offset = (0.5 * (camera.width * scale - width), 0.5 * (camera.height * scale - height))
        return [SizeRule("scaled and padded", (scale, scale), offset)]
    if abs(ratio_x / ratio_y - 1) < 1e-3:
        return [SizeRule("scaled", (ratio_x, ratio_y), (0.0, 0.0))]
    rules = [SizeRule("stretched", (ratio_x, ratio_y), (0.0, 0.0))]
    for name, scale in (
        ("scaled and padded", min(ratio_x, ratio_y)),
        ("scaled and cropped", max(ratio_x, ratio_y)),
    ):
        offset = (0.5 * (camera.width * scale - width), 0.5 * (camera.height * scale - height))
        rules.append(SizeRule(name, (scale, scale), offset))
    extra_x, extra_y = camera.width - width, camera.height - height
    if extra_x >= 0 and extra_y >= 0 and (extra_x or extra_y):
        for share_x, share_y in product(
            *[(0.0, 0.5, 1.0) if extra else (0.0,) for extra in (extra_x, extra_y)]
        ):
            offset = (share_x * extra_x, share_y * extra_y)
            rules.append(SizeRule(f"cropped by {offset[0]:g} left, {offset[1]:g} top", (1.0, 1.0), offset))
    return rules


def _same_shape(camera: CalibratedCamera, width: int, height: int) -> bool:
    return abs((width / height) / (camera.width / camera.height) - 1) < 0.003


def picture_inside_borders(image_HW3: np.ndarray, dark: float = 12.0) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the content when a picture has symmetric black borders, else None."""
    gray = image_HW3.mean(-1)
    rows, columns = gray.mean(1) > dark, gray.mean(0) > dark
    # The outermost lines carry ringing of the codec, so a border may start brighter than it goes on.
    rows[[0, -1]], columns[[0, -1]] = rows[[1, -2]], columns[[1, -2]]
    if not rows.any() or not columns.any():
        return None
    top, bottom = int(np.argmax(rows)), len(rows) - int(np.argmax(rows[::-1]))
    left, right = int(np.argmax(columns)), len(columns) - int(np.argmax(columns[::-1]))
    margins_y, margins_x = (top, len(rows) - bottom), (left, len(columns) - right)
    if (
        max(*margins_y, *margins_x) < 2
        or abs(margins_y[0] - margins_y[1]) > 2
        or abs(margins_x[0] - margins_x[1]) > 2
    ):
        return None
    return left, top, right, bottom


def agreement(
    cameras: list[CalibratedCamera], pixels_CN2: FloatArray, confidence_CN: FloatArray, gate: float
) -> float:
    """Mean capped triangulation residual in pixels of measured (distorted) landmarks."""
    undistorted = np.stack([undistort_pixels(p, c) for p, c in zip(pixels_CN2, cameras, strict=True)])
    projections = np.stack([camera.projection_34 for camera in cameras])
    result = triangulate(undistorted, confidence_CN, projections, gate=gate, iterations=4)
    return _capped_mean(result.residuals_CN, confidence_CN, gate)


def _capped_mean(residuals: FloatArray, confidence: FloatArray, gate: float) -> float:
    measured = confidence > 0
    capped = np.minimum(np.nan_to_num(residuals, nan=gate, posinf=gate), gate)
    return float(capped[measured].mean()) if measured.any() else float("inf")


def choose_size_rules(
    cameras: list[CalibratedCamera],
    sizes: list[tuple[int, int]],
    contents: list[tuple[int, int, int, int] | None],
    pixels_CN2: FloatArray,
    confidence_CN: FloatArray,
    gate: float,
    report: MatchReport,
) -> list[CalibratedCamera]:
    """Adapt calibrations to the videos' sizes; undecided cameras take the rule under which the views agree
    best.

    Args:
        cameras: As calibrated.
        sizes: Width and height of each video.
        contents: The picture inside black borders, per video.
        pixels_CN2: Landmarks as measured, ``(C, N, 2)``.
        confidence_CN: Their confidences, ``(C, N)``.
        gate: Cap of residuals, pixels.
        report: Receives the rules and the residual of each candidate.

    Returns:
        The adapted cameras.

    Raises:
        DataError: A single camera whose size cannot be explained.
    """
    candidates = [
        size_rules(camera, *size, content)
        for camera, size, content in zip(cameras, sizes, contents, strict=True)
    ]
    chosen = [0] * len(cameras)
    if len(cameras) == 1 and len(candidates[0]) > 1:
        width, height = sizes[0]
        raise DataError(
            f"Wrong calibration: camera {cameras[0].name} is calibrated for "
            f"{cameras[0].width}x{cameras[0].height} but its "
            f"video is {width}x{height}; calibrate for that size, or give more cameras so that the "
            f"right way is measured."
        )

    def adapted(choice: list[int]) -> list[CalibratedCamera]:
        return [
            camera.adapted(rules[index].scale, rules[index].offset, size)
            for camera, rules, index, size in zip(cameras, candidates, choice, sizes, strict=True)
        ]

    for _ in range(2):
        for place, rules in enumerate(candidates):
            if len(rules) < 2:
                continue
            costs = []
            for index, rule in enumerate(rules):
                trial = chosen[:place] + [index] + chosen[place + 1 :]
                costs.append(agreement(adapted(trial), pixels_CN2, confidence_CN, gate))
                report.residuals[f"{cameras[place].name}: {rule.name}"] = round(costs[-1], 3)
            chosen[place] = int(np.argmin(costs))
    for camera, rules, index in zip(cameras, candidates, chosen, strict=True):
        report.rules[camera.name] = rules[index].name
    return adapted(chosen)


def settle_orientations(
    cameras: list[CalibratedCamera],
    pixels_CN2: FloatArray,
    confidence_CN: FloatArray,
    stature: float,
    report: MatchReport,
) -> list[CalibratedCamera]:
    """Turn cameras that were knocked after calibration, and refuse a calibration that stays wrong.

    A camera that clearly contradicts the points of all others is turned about its own centre where a small
    turn explains most of the contradiction. Then every camera is turned a little towards the points of the
    others, as a bundle adjustment over orientations would: calibrations drift after they are made.

    Args:
        cameras: Adapted to the videos.
        pixels_CN2: Landmarks as measured, ``(C, N, 2)``.
        confidence_CN: Their confidences, ``(C, N)``.
        stature: Apparent stature in pixels, the scale of the thresholds.
        report: Receives residuals and turns.

    Returns:
        The cameras, turned where needed.

    Raises:
        DataError: The views disagree by more than landmark noise explains.
    """
    gate = 0.08 * stature
    current = list(cameras)
    report.residual_before = agreement(current, pixels_CN2, confidence_CN, gate)
    for _ in range(len(cameras) if len(cameras) >= 3 else 0):
        best = _best_turn(current, pixels_CN2, confidence_CN, stature, gate)
        if best is None:
            break
        place, camera = best
        current[place] = camera
    if len(cameras) >= 3:
        current = _refine_orientations(current, pixels_CN2, confidence_CN, stature, gate)
    for before, after in zip(cameras, current, strict=True):
        degrees = after.degrees_from(before)
        if degrees > 0:
            report.turned_degrees[after.name] = round(degrees, 3)
    report.residual = agreement(current, pixels_CN2, confidence_CN, gate)
    if not report.residual < WRONG_SHARE * stature:
        raise DataError(
            f"Wrong calibration: the same body landmarks seen by {', '.join(c.name for c in cameras)} "
            f"miss each other by "
            f"{report.residual:.0f} pixels ({100 * report.residual / stature:.1f}% of the person); "
            f"check that the file belongs "
            "to this session, that videos are named after their cameras, and that they start at the "
            "same instant."
        )
    return current


def _refine_orientations(
    cameras: list[CalibratedCamera],
    pixels_CN2: FloatArray,
    confidence_CN: FloatArray,
    stature: float,
    gate: float,
) -> list[CalibratedCamera]:
    """Turn each camera a little to the points of the others; unchanged when that gains little."""
    undistorted = np.stack([undistort_pixels(p, c) for p, c in zip(pixels_CN2, cameras, strict=True)])
    refined = list(cameras)
    for place in list(range(len(cameras))) * REFINEMENT_ROUNDS:
        points_N3, usable_N = _points_of_others(refined, place, undistorted, confidence_CN, gate)
        if usable_N.sum() >= 50:
            refined[place] = _turn_to_points(
                refined[place], points_N3[usable_N], undistorted[place, usable_N], stature
            )
    before = agreement(cameras, pixels_CN2, confidence_CN, gate)
    after = agreement(refined, pixels_CN2, confidence_CN, gate)
    return refined if after < (1 - REFINEMENT_GAIN) * before else cameras


def _points_of_others(
    cameras: list[CalibratedCamera],
    place: int,
    undistorted_CN2: FloatArray,
    confidence_CN: FloatArray,
    gate: float,
) -> tuple[FloatArray, np.ndarray]:
    """Points ``(N, 3)`` triangulated without one camera, and which of them that camera sees too."""
    others = [index for index in range(len(cameras)) if index != place]
    projections = np.stack([cameras[index].projection_34 for index in others])
    points = triangulate(undistorted_CN2[others], confidence_CN[others], projections, gate=gate, iterations=4)
    return points.points_N3, np.isfinite(points.points_N3[:, 0]) & (confidence_CN[place] > 0)


def _best_turn(
    cameras: list[CalibratedCamera],
    pixels_CN2: FloatArray,
    confidence_CN: FloatArray,
    stature: float,
    gate: float,
) -> tuple[int, CalibratedCamera] | None:
    """The camera whose turn improves the agreement of all views most, if any qualifies."""
    now = agreement(cameras, pixels_CN2, confidence_CN, gate)
    undistorted = np.stack([undistort_pixels(p, c) for p, c in zip(pixels_CN2, cameras, strict=True)])
    projections = np.stack([camera.projection_34 for camera in cameras])
    best: tuple[float, int, CalibratedCamera] | None = None
    for place, camera in enumerate(cameras):
        points_N3, usable = _points_of_others(cameras, place, undistorted, confidence_CN, gate)
        if usable.sum() < 50:
            continue
        before = np.median(
            reprojection_distance(
                points_N3[usable],
                undistorted[place : place + 1, usable],
                projections[place : place + 1],
            )
        )
        turned = _turn_to_points(camera, points_N3[usable], undistorted[place, usable], stature)
        after = np.median(
            reprojection_distance(
                points_N3[usable], undistorted[place : place + 1, usable], turned.projection_34[None]
            )
        )
        if before < TURN_SHARE * stature or after > 0.6 * before:
            continue
        trial = cameras[:place] + [turned] + cameras[place + 1 :]
        cost = agreement(trial, pixels_CN2, confidence_CN, gate)
        if cost < 0.9 * now and (best is None or cost < best[0]):
            best = (cost, place, turned)
    return None if best is None else (best[1], best[2])


def _turn_to_points(
    camera: CalibratedCamera, points_N3: FloatArray, pixels_N2: FloatArray, stature: float
) -> CalibratedCamera:
    """The camera turned about its centre by at most a few degrees so that points fall on their pixels."""
    from dataclasses import replace

    def turned(vector: FloatArray) -> CalibratedCamera:
        w2c_44 = np.eye(4)
        w2c_44[:3] = Rotation.from_rotvec(vector).as_matrix() @ camera.w2c_44[:3]
        return replace(camera, w2c_44=w2c_44)

    homogeneous = np.concatenate([points_N3, np.ones((len(points_N3), 1))], 1)

    def residual(vector: FloatArray) -> FloatArray:
        image = homogeneous @ turned(vector).projection_34.T
        return ((image[:, :2] / np.maximum(image[:, 2:], 1e-6) - pixels_N2) / (0.01 * stature)).ravel()

    limit = np.radians(MOST_DEGREES)
    solution = least_squares(residual, np.zeros(3), loss="soft_l1", bounds=(-limit, limit), x_scale=0.01)
    return turned(solution.x)
