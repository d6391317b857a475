"""Everything that can be verified of one sequence by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.datasets.files import SequenceFiles
from lca_lightning.datasets.linear_light import linear_to_srgb8
from lca_lightning.datasets.records import CameraRecord
from lca_lightning.datasets.signals import Signals
from lca_lightning.errors import LCAError
from lca_lightning.inspection.body import PosedBody, rig_of
from lca_lightning.inspection.camera_check import CameraCheck
from lca_lightning.inspection.cameras import check_camera, check_stature
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.results import CameraResult, CheckOptions, SequenceResult
from lca_lightning.inspection.sequence_files import (
    digest,
    list_strangers,
    read_signals,
    read_values,
    stated_counts,
    stated_videos,
)
from lca_lightning.inspection.synchronisation import choose_stretches
from lca_lightning.inspection.videos import CheckedVideo, open_checked
from lca_lightning.rig.loading import RIG_NAMES

FIT_THE_BODY = "run import with --fit pictures or --body-model"


def check_sequence(files: SequenceFiles, rig_name: str, kind: str, options: CheckOptions) -> SequenceResult:
    """Verify one sequence; whatever is wrong becomes a finding, nothing is raised.

    Args:
        files: Of the sequence, in a folder or a pack.
        rig_name: Rig of the data set; empty where its header is unreadable.
        kind: Kind of the data set.
        options: How thorough to be.

    Returns:
        Measures and findings.
    """
    result, findings = SequenceResult(files.name), Findings(files.name)
    try:
        _check(files, rig_name, kind, options, result, findings)
    except Exception as error:  # the boundary around foreign files: one sequence must not end the inspection
        first_line = (str(error).strip() or "no message").splitlines()[0]
        what = f"the check met an unexpected {type(error).__name__}: {first_line}"
        findings.error("layout", what, "make the sequence again, or report this")
    result.findings = findings.all
    return result


def _check(
    files: SequenceFiles,
    rig_name: str,
    kind: str,
    options: CheckOptions,
    result: SequenceResult,
    findings: Findings,
) -> None:
    description = read_values(files, findings)
    if description is None:
        return
    result.subject, result.split = str(description.get("subject", "")), str(description.get("split", ""))
    result.frames, result.fps = stated_counts(description)
    part = description.get("part")
    result.origin = str(part.get("sequence", "")) if isinstance(part, dict) else files.name
    result.licence, result.consent = (str(description.get(key, "")) for key in ("licence", "consent"))
    stated = description.get("cameras")
    stated = stated if isinstance(stated, dict) else {}
    result.cameras = {name: CameraResult(name) for name in stated}
    cameras = _sound_cameras(stated, findings)
    if kind == "wild" and len(stated) > 1:
        findings.note("layout", f"{len(stated)} cameras in a data set of kind wild are clips of their own")
    if not (result.frames and result.fps and stated):
        return  # the schema has said so
    signals = read_signals(files, description, list(stated), findings)
    if kind == "light_stage" and signals is not None and signals.lights is None:
        way_out = "write StageLights, or state another kind"
        findings.error("signals", "a sequence of a light stage has no lights", way_out)
    body = _posed_body(rig_name, signals, findings, result) if signals is not None else None
    if body is not None:
        body.prepare(_spread(body.usable(), options.sample))
    expected: set[str] = set()
    for name, values in stated.items():
        size = _stated_size(name, values)
        if size is not None:
            expected |= _check_camera(
                files, description, size, cameras.get(name), body, options, result, findings
            )
    list_strangers(files, expected, findings)
    if body is not None:
        check_stature(np.stack([body.vertices(frame) for frame in _spread(body.usable(), 3)]), findings)


def _sound_cameras(stated: dict[str, Any], findings: Findings) -> dict[str, CameraRecord]:
    """Cameras with which points can be projected."""
    sound = {}
    for name, values in stated.items():
        if check_camera(name, values if isinstance(values, dict) else {}, findings):
            try:
                sound[name] = CameraRecord.from_json(name, values)
            except LCAError as error:
                findings.error("cameras", str(error).rstrip("."), "see docs/data_format.md", name)
    return sound


def _stated_size(name: str, values: Any) -> CameraRecord | None:
    """A camera with the stated picture size, whatever its calibration is worth; None without a size."""
    try:
        width, height = int(values["width"]), int(values["height"])
        return CameraRecord(name, width, height, np.eye(3), np.eye(4))
    except (KeyError, TypeError, ValueError, LCAError):
        return None  # the schema and the cameras' check have said so


def _posed_body(
    rig_name: str, signals: Signals, findings: Findings, result: SequenceResult
) -> PosedBody | None:
    """The body, where one was fitted and its rig is on this machine."""
    valid, frames = int(np.asarray(signals.frame_valid_T, bool).sum()), len(signals.frame_valid_T)
    result.valid_frames = valid
    if not valid:
        what = "no frame has a fitted body: it cannot be trained on, overlap and timing are unchecked"
        findings.warning("overlap", what, FIT_THE_BODY)
        return None
    if 2 * valid < frames:
        what = f"only {valid} of {frames} frames have a fitted body, training uses no others"
        findings.warning("overlap", what, "find out why the body does not fit the others")
    if rig_name not in RIG_NAMES:
        return None  # the data set as a whole has an error
    try:
        body = PosedBody(rig_of(rig_name), signals)
    except LCAError as error:
        findings.warning("overlap", f"the body cannot be posed: {str(error).rstrip('.')}", "get the rig")
        return None
    if not body.fits_rig:
        what = f"identity, joints or expression have other sizes than the rig {rig_name!r}"
        findings.error("signals", what, "write the values of the rig that dataset.json names")
        return None
    result.has_body = True
    return body


def _check_camera(
    files: SequenceFiles,
    description: dict[str, Any],
    size: CameraRecord,
    camera: CameraRecord | None,
    body: PosedBody | None,
    options: CheckOptions,
    result: SequenceResult,
    findings: Findings,
) -> set[str]:
    """Check the files of one camera; returns the paths that it accounts for."""
    videos: dict[str, CheckedVideo | None] = {}
    expected = set()
    for stated in stated_videos(description, size):
        expected.add(stated.path)
        videos[stated.label] = open_checked(files, stated, findings)
        if stated.label == "video" and videos["video"] is not None:
            result.digests[stated.path] = digest(files, stated.path)
    try:
        check = CameraCheck(result, result.cameras[size.name], camera, body, options, findings)
        frames = _spread(body.usable() if body else np.ones(result.frames, bool), options.sample)
        masks = videos["mask"].read(frames) if videos["mask"] else {}
        pictures = videos["video"].read(frames) if videos["video"] else {}
        if description.get("color") == "linear":
            white = float(description.get("linear_white", 1.0))
            pictures = {frame: linear_to_srgb8(deep, white) for frame, deep in pictures.items()}
        check.compare_masks(masks)
        check.sign_pictures(pictures, masks)
        check.draw_thumbnails(pictures, masks)
        if videos["mask"] and options.synchronisation:
            check.measure_offsets(choose_stretches(result.frames), videos["mask"])
        check.report()
        for label, video in videos.items():
            if video is not None and (options.full or label not in ("video", "mask")):
                video.read_all() if options.full else video.read(frames)
    finally:
        for video in videos.values():
            if video is not None:
                result.cameras[size.name].broken_frames += video.broken
                video.close()
    return expected


def _spread(usable_T: np.ndarray, count: int) -> list[int]:
    """So many of the usable frames, evenly spread; of all frames where none is usable."""
    frames = np.flatnonzero(usable_T) if usable_T.any() else np.arange(len(usable_T))
    return [int(frame) for frame in np.unique(frames[np.linspace(0, len(frames) - 1, count).astype(int)])]
