"""What masks and pictures of one camera say next to the reprojected rig."""

from __future__ import annotations

import numpy as np

from lca_lightning.datasets.records import CameraRecord
from lca_lightning.inspection.body import PosedBody
from lca_lightning.inspection.cameras import check_person_in_view
from lca_lightning.inspection.drawing import draw_closely, shrink, to_jpeg
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.overlap import (
    measure_overlaps,
    project_vertices,
    resize_mask,
    scaled_camera,
)
from lca_lightning.inspection.results import CameraResult, CheckOptions, SequenceResult
from lca_lightning.inspection.signatures import sign
from lca_lightning.inspection.synchronisation import Stretch, measure_offset
from lca_lightning.inspection.videos import CheckedVideo

_LOOK, _THUMBNAIL = 640, 220  # pixels of the longer side before and after the person is cut out
_MOTION = 512  # pixels of the longer side at which motion is compared
_AT_ONCE = 8  # masks decoded at once
_LARGEST_SHARE = 0.97
_MOST_SIGNATURES = 32  # pictures of a sequence that are looked for elsewhere: a dome has enough cameras
_WARN_FRAMES, _WRONG_FRAMES = 0.5, 1.0
_LOOSE = 0.15  # what wide clothes and the errors of a fit to a single view may take from the overlap


class CameraCheck:
    """Checks one camera of a sequence.

    Args:
        sequence: Receives signatures.
        result: Receives what is measured of the camera.
        camera: The camera; None when nothing can be projected with it.
        body: The posed rig; None when there is none.
        options: How thorough to be.
        findings: Receives what is wrong.
    """

    def __init__(
        self,
        sequence: SequenceResult,
        result: CameraResult,
        camera: CameraRecord | None,
        body: PosedBody | None,
        options: CheckOptions,
        findings: Findings,
    ) -> None:
        self._sequence, self._result = sequence, result
        self._camera, self._body = camera, body
        self._options, self._findings = options, findings
        self._in_view = True

    def compare_masks(self, masks: dict[int, np.ndarray]) -> None:
        """Check that masks show somebody, that the camera sees the rig, and that they overlap."""
        if not masks:
            return
        name = self._result.name
        share = {frame: float((mask >= 128).mean()) for frame, mask in masks.items()}
        full = sum(value > _LARGEST_SHARE for value in share.values())
        if not any(share.values()):
            what = f"the masks of all {len(share)} sampled frames are empty"
            self._findings.error("masks", what, "segment the person again, or leave the camera out", name)
            return
        if full:
            what = f"{full} of {len(share)} sampled masks cover the whole picture"
            self._findings.warning("masks", what, "segment the person again", name)
        empty = sum(value == 0 for value in share.values())
        if empty and self._body is not None:
            what = f"{empty} of {len(share)} sampled valid frames have an empty mask"
            self._findings.note("masks", what, "fine where the person leaves this camera's view", name)
        if self._camera is not None and self._body is not None:
            self._compare_with_rig(self._camera, self._body, masks, share)

    def _compare_with_rig(
        self, camera: CameraRecord, body: PosedBody, masks: dict[int, np.ndarray], share: dict[int, float]
    ) -> None:
        frames = list(masks)
        vertices_TV3 = np.stack([body.vertices(frame) for frame in frames])
        depth_TV, inside_TV = project_vertices(vertices_TV3, camera)
        seen_T = np.array([share[frame] > 0 for frame in frames])
        self._in_view = check_person_in_view(camera.name, depth_TV, inside_TV, seen_T, self._findings)
        self._result.overlaps = measure_overlaps(body, camera, masks)

    def sign_pictures(self, pictures: dict[int, np.ndarray], masks: dict[int, np.ndarray]) -> None:
        """Remember what the sampled pictures look like."""
        for frame in sorted(pictures.keys() & masks.keys()):
            signature = sign(self._result.name, frame, pictures[frame], masks[frame])
            if signature is not None and len(self._sequence.signatures) < _MOST_SIGNATURES:
                self._sequence.signatures.append(signature)

    def draw_thumbnails(self, pictures: dict[int, np.ndarray], masks: dict[int, np.ndarray]) -> None:
        """Draw the outlines of mask and rig over a few pictures."""
        frames = sorted(pictures)
        count = min(self._options.thumbnails, len(frames))
        for place in np.linspace(0, len(frames) - 1, count).astype(int) if count else ():
            frame = frames[place]
            picture = shrink(pictures[frame], _LOOK)
            height, width = picture.shape[:2]
            mask = resize_mask(masks[frame], width, height) >= 128 if frame in masks else None
            drawn = draw_closely(picture, mask, self._rig_region(frame), _THUMBNAIL)
            overlap = self._result.overlaps.get(frame)
            label = f"frame {frame}" + (f", IoU {overlap:.2f}" if overlap is not None else "")
            self._result.thumbnails.append((label, to_jpeg(drawn)))

    def _rig_region(self, frame: int) -> np.ndarray | None:
        """Where the rig covers the picture of which thumbnails are cut."""
        if self._camera is None or self._body is None or not self._body.usable()[frame]:
            return None
        K_33, height, width = scaled_camera(self._camera, _LOOK)
        return self._body.silhouette(frame, self._camera.w2c_44, K_33, height, width)

    def measure_offsets(self, stretches: list[Stretch], video: CheckedVideo) -> None:
        """Compare the motion of masks and rig at the beginning and at the end.

        Args:
            stretches: Frames to compare.
            video: Of the masks.
        """
        overlap = self._result.median_overlap
        if self._camera is None or self._body is None or not self._in_view or overlap is None:
            return
        if overlap < 0.5 * self._options.minimum_iou:
            return  # masks of something else have no offset
        usable_T, measured = self._body.usable(), []
        K_33, height, width = scaled_camera(self._camera, _MOTION)
        camera = CameraRecord(self._camera.name, width, height, K_33, self._camera.w2c_44)
        for stretch in stretches:
            masks = {
                frame: resize_mask(mask, width, height)
                for start in range(stretch.start, stretch.stop, _AT_ONCE)
                for frame, mask in video.read(range(start, min(start + _AT_ONCE, stretch.stop))).items()
            }
            offset = measure_offset(self._body, usable_T, camera, stretch, masks)
            if offset is not None:
                measured.append((stretch.middle, offset))
        if len(measured) == 2:
            (first, offset), (second, later) = measured
            slope = (later - offset) / (second - first)
            self._result.offset_begin = offset - slope * first
            self._result.offset_end = later + slope * (self._sequence.frames - 1 - second)
        elif measured:
            self._result.offset_begin = measured[0][1]

    def report(self) -> None:
        """Say where overlap and timing are not good enough; a wrong timing explains a low overlap.

        Of a single camera an overlap a little too low is a warning: a skirt or a bag may be the reason.
        """
        overlap, least = self._result.median_overlap, self._options.minimum_iou
        low = self._in_view and overlap is not None and overlap < least
        if not self._report_offsets() and low:
            what = f"mask and reprojected rig overlap by an IoU of {overlap:.2f}, below {least:g}"
            way_out = "look at the outlines in the report: camera, pose and mask must agree"
            loosely = len(self._sequence.cameras) == 1 and overlap is not None and overlap >= least - _LOOSE
            report = self._findings.warning if loosely else self._findings.error
            report("overlap", what, way_out, self._result.name)

    def _report_offsets(self) -> bool:
        """Report pictures that are early or late; whether they are so by a frame or more."""
        begin, end, drift = self._result.offset_begin, self._result.offset_end, self._result.drift
        if begin is None:
            return False
        worst = max(abs(begin), abs(end if end is not None else begin))
        if worst < _WARN_FRAMES:
            return False
        what = f"the pictures run {begin:+.1f} frames behind the rig"
        if end is not None:
            what += f" at the beginning and {end:+.1f} at the end (drift {drift:+.1f} frames)"
        report = self._findings.error if worst >= _WRONG_FRAMES else self._findings.warning
        way_out = "shift this camera's frames, or resample a video that runs at another rate"
        report("synchronisation", what, way_out, self._result.name)
        return worst >= _WRONG_FRAMES
