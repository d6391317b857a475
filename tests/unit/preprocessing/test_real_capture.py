"""The promises of preprocessing, measured on a real four-camera capture; slow, skipped without the samples.

``pytest -m slow -s tests/unit/preprocessing/test_real_capture.py`` prints the numbers of
docs/preprocessing.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mediapipe")
from lca_lightning.preprocessing.camera_matching import MatchReport, settle_orientations, size_rules
from lca_lightning.preprocessing.clip_sources import ClipSource
from lca_lightning.preprocessing.clips import PreprocessOptions
from lca_lightning.preprocessing.fitted_clip import (
    SEVERAL_CAMERAS,
    PreparedClip,
    fit_prepared,
    multiview_observations,
    silhouettes_of,
)
from lca_lightning.preprocessing.pipeline import prepare_clip
from lca_lightning.preprocessing.quality import measure_quality
from lca_lightning.preprocessing.rig_fitting import RigFit, fit_clip, reprojection_errors
from lca_lightning.preprocessing.silhouette import SilhouettePenalty
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig, RigPose

pytestmark = pytest.mark.slow
STRIDE = 5


@pytest.fixture(scope="module")
def capture(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedClip:
    folder = samples / "pose2sim_multiview"
    (clip,) = list(ClipSource(sorted(folder.glob("cam*.mp4")), folder / "Calib.qca.txt", None))
    return prepare_clip(clip, PreprocessOptions(tmp_path_factory.mktemp("out"), stride=STRIDE), workers=2)


@pytest.fixture(scope="module")
def body() -> Iterator[Rig]:
    threads = torch.get_num_threads()
    yield load_rig()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fitted_clip(capture: PreparedClip, body: Rig) -> tuple[RigFit, PreparedClip]:
    return fit_prepared(body, capture)


@pytest.fixture(scope="module")
def fitted(fitted_clip: tuple[RigFit, PreparedClip]) -> RigFit:
    return fitted_clip[0]


def test_reprojection_within_15_pixels_and_overlap_above_three_quarters(
    fitted_clip: tuple[RigFit, PreparedClip], body: Rig
) -> None:
    fitted, capture = fitted_clip
    quality = measure_quality(body, capture, fitted)
    print("\nmoved", capture.report["cameras_moved_by_outlines"])
    print("\nreprojection", quality.summary()["reprojection_px_median_by_camera"])
    print("silhouette", np.nanmedian(quality.overlap_CT, axis=1).round(3))
    print("bare joints", bare_joint_errors(capture, body, fitted))
    assert np.nanmedian(quality.error_CT) < 15
    assert np.nanmedian(quality.overlap_CT) > 0.75
    assert quality.valid_T.mean() > 0.9


def bare_joint_errors(capture: PreparedClip, body: Rig, fit: RigFit) -> float:
    """Median distance when the landmarks' learned offsets are left out."""
    plain = replace(fit, offsets_L3=torch.zeros_like(fit.offsets_L3))
    return round(float(reprojection_errors(body, capture.observations, plain).nanmedian()), 2)


def test_leave_one_camera_out_within_20_pixels(capture: PreparedClip, body: Rig) -> None:
    medians: dict[str, float] = {}
    for left_out, camera in enumerate(capture.cameras):
        others = [index for index in range(len(capture.cameras)) if index != left_out]
        images = [image for image in silhouettes_of(capture) if image.camera != left_out]
        for position, image in enumerate(images):
            images[position] = type(image)(**{**image.__dict__, "camera": others.index(image.camera)})
        seen = multiview_observations(capture.cameras, capture.detections, others)
        fit = fit_clip(body, seen, SEVERAL_CAMERAS, SilhouettePenalty(body, images))
        errors = reprojection_errors(body, capture.observations.cameras_kept([left_out]), fit)
        medians[camera.name] = round(float(errors.nanmedian()), 2)
    print("\nleave one camera out", medians)
    assert max(medians.values()) < 20


def test_the_narrower_videos_are_scaled_and_padded(capture: PreparedClip) -> None:
    report: dict[str, Any] = capture.report["calibration"]
    print("\n", {key: report[key] for key in ("rules", "turned_degrees", "residual", "residual_before")})
    assert report["rules"] == {
        "cam01": "scaled and padded", "cam02": "scaled and padded", "cam03": "same", "cam04": "same",
    }  # fmt: skip
    turned = report["turned_degrees"]
    assert max(turned, key=turned.get) == "cam03" and 0.5 < turned["cam03"] < 1.5
    assert report["residual"] < 0.75 * report["residual_before"]


def test_every_size_rule_is_compared_by_residual(capture: PreparedClip, samples: Path) -> None:
    from lca_lightning.calibration.loading import load_calibration

    calibrated = load_calibration(samples / "pose2sim_multiview" / "Calib.qca.txt")
    body_CTP3 = np.stack([detection.body_TP3 for detection in capture.detections])[:, :, 11:]
    pixels = body_CTP3[..., :2].reshape(4, -1, 2)
    confidence = np.where(body_CTP3[..., 2] > 0.5, body_CTP3[..., 2], 0.0).reshape(4, -1)
    residuals = {}
    for index, rule in enumerate(size_rules(calibrated["cam01"], 1080, 1920)):
        cameras = []
        for detection, camera in zip(capture.detections, calibrated.values(), strict=True):
            rules = size_rules(camera, detection.width, detection.height)
            chosen = rules[index] if len(rules) > 1 else rules[0]
            cameras.append(camera.adapted(chosen.scale, chosen.offset, (detection.width, detection.height)))
        report = MatchReport()
        settle_orientations(cameras, pixels, confidence, 900.0, report)
        residuals[rule.name] = (round(report.residual_before, 2), round(report.residual, 2))
    print("\nresidual before and after turning cam03", residuals)
    assert residuals["scaled and padded"][1] < min(after for _, after in residuals.values()) + 0.1


def test_left_stays_left(capture: PreparedClip, body: Rig, fitted: RigFit) -> None:
    """The fitted person walks forwards: toes lie in front of heels, seen along the rig's own facing
    direction.
    """
    with torch.no_grad():
        pose = RigPose(fitted.rotations_TJ3, fitted.translation_T3)
        joints = body.posed_joints(fitted.identity_I[None], pose)
    names = body.joint_names
    across = joints[:, names.index("upperleg01.L")] - joints[:, names.index("upperleg01.R")]
    ahead = torch.linalg.cross(across, torch.tensor([0.0, 1.0, 0.0]).expand_as(across))
    for side in "LR":
        foot = joints[:, names.index(f"toe1-1.{side}")] - joints[:, names.index(f"foot.{side}")]
        assert ((foot * ahead).sum(1) > 0).float().mean() > 0.9
