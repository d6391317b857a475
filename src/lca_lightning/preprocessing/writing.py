"""A fitted clip becomes a sequence of the data set, with a video on which a person can check it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.lens import undistortion_maps
from lca_lightning.calibration.opencv import cv2
from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.preprocessing.clips import Clip, PreprocessOptions, safe_name
from lca_lightning.preprocessing.expression import fit_expression
from lca_lightning.preprocessing.face import face_boxes_in_crop, landmark_face_boxes, rig_face_boxes
from lca_lightning.preprocessing.fitted_clip import PreparedClip, frame_time
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.preprocessing.gaze import combine_gaze
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.masks import mask_box, restrict_to_silhouette
from lca_lightning.preprocessing.overlay import (
    draw_contour,
    draw_mesh,
    draw_skeleton,
    side_by_side,
)
from lca_lightning.preprocessing.quality import ClipQuality, frame_vertices
from lca_lightning.preprocessing.rig_fitting import RigFit
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig

MARGIN = 0.08
OVERLAY_HEIGHT = 540
# Masks may reach this far beyond the fitted body, as a share of the stature: hair and loose clothes.
CLOTHES = 0.055


@dataclass(frozen=True)
class Crop:
    """The part of a camera's picture that is written.

    Attributes:
        left: Source pixels cut away.
        top: Source pixels cut away.
        scale: Written pixels per source pixel.
        width: Of the written picture, even.
        height: Of the written picture, even.
    """

    left: int
    top: int
    scale: float
    width: int
    height: int

    def intrinsics(self, K_33: FloatArray) -> FloatArray:
        """Intrinsics of the written picture."""
        K = K_33.copy()
        K[0, 2] -= self.left
        K[1, 2] -= self.top
        K[:2] *= self.scale
        return K

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut and resize a source picture ``(H, W)`` or ``(H, W, 3)``, black outside of it."""
        scale = self.scale
        matrix = np.array(
            [
                [scale, 0, 0.5 * scale - 0.5 - self.left * scale],
                [0, scale, 0.5 * scale - 0.5 - self.top * scale],
            ]
        )
        if scale >= 1:
            flat = cv2.warpAffine(image, matrix, (self.width, self.height), flags=cv2.INTER_LINEAR)
            return np.ascontiguousarray(flat, np.uint8)
        side_x, side_y = round(self.width / scale), round(self.height / scale)
        padded = cv2.copyMakeBorder(image, 0, side_y, 0, side_x, cv2.BORDER_CONSTANT)
        part = padded[self.top : self.top + side_y, self.left : self.left + side_x]
        resized = cv2.resize(part, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(resized, np.uint8)


def choose_crop(boxes_N4: FloatArray, camera: CalibratedCamera, max_side: int) -> Crop:
    """One crop around the person over the whole clip.

    Args:
        boxes_N4: Person boxes of the frames in pixels.
        camera: Gives the picture's size.
        max_side: Longest written side.

    Returns:
        A crop inside the picture with even sides; it is never enlarged.
    """
    left, top = boxes_N4[:, :2].min(0)
    right, bottom = boxes_N4[:, 2:].max(0)
    margin = MARGIN * max(right - left, bottom - top)
    left, top = max(0, int(left - margin)), max(0, int(top - margin))
    right, bottom = min(camera.width, int(right + margin) + 1), min(camera.height, int(bottom + margin) + 1)
    scale = min(1.0, max_side / max(right - left, bottom - top))
    width = max(16, int((right - left) * scale) // 2 * 2)
    height = max(16, int((bottom - top) * scale) // 2 * 2)
    return Crop(left, top, scale, width, height)


def person_boxes(
    rig: Rig, clip: PreparedClip, fit: RigFit, camera: int, frames: NDArray[np.int64]
) -> FloatArray:
    """Boxes of rig and mask together, clipped to the picture, for some frames, ``(N, 4)``."""
    model = clip.cameras[camera]
    boxes = []
    for frame in frames[:: max(1, len(frames) // 60)]:
        vertices = frame_vertices(rig, fit, int(frame))
        local = vertices @ model.w2c_44[:3, :3].T + model.w2c_44[:3, 3]
        image = local @ model.K_33.T
        pixels = image[:, :2] / np.maximum(image[:, 2:], 1e-3)
        boxes.append(np.concatenate([pixels.min(0), pixels.max(0)]))
        box = mask_box(clip.detections[camera].mask(int(frame)))
        if box is not None:
            boxes.append(np.array(box, float))
    size = np.array([model.width, model.height] * 2)
    return np.clip(np.stack(boxes), 0, size)


def _selected(video: SourceVideo, frames: set[int]) -> Iterator[NDArray[np.uint8]]:
    for index, image in enumerate(video):
        if index in frames:
            yield image


def _source_frames(clip: Clip, prepared: PreparedClip) -> Iterator[tuple[int, tuple[NDArray[np.uint8], ...]]]:
    """Number of each used frame and its pictures, one per camera."""
    sources = [
        _selected(SourceVideo(video), set(detection.frames_T.tolist()))
        for video, detection in zip(clip.videos, prepared.detections, strict=True)
    ]
    pictures = zip(*sources, strict=False)  # videos of one take may differ by a frame at the end
    return zip(range(prepared.observations.frame_count), pictures, strict=False)


def write_clip(
    rig: Rig,
    clip: Clip,
    prepared: PreparedClip,
    fit: RigFit,
    quality: ClipQuality,
    options: PreprocessOptions,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """Write one clip as a sequence and its overlay video.

    Args:
        rig: The body.
        clip: Files and names.
        prepared: Cameras and detections.
        fit: The fitted rig.
        quality: Per frame.
        options: Size, licence, folder.
        progress: Called with 1 per frame.

    Returns:
        The quality block written with the data.
    """
    usable = np.flatnonzero(quality.valid_T)
    crops = [
        choose_crop(person_boxes(rig, prepared, fit, index, usable), camera, options.max_side)
        for index, camera in enumerate(prepared.cameras)
    ]
    names = [safe_name(video.stem) for video in clip.videos]
    records = [
        CameraRecord(name, crop.width, crop.height, crop.intrinsics(camera.K_33), camera.w2c_44)
        for name, crop, camera in zip(names, crops, prepared.cameras, strict=True)
    ]
    fps = 1.0 / frame_time(prepared.detections)
    expression = fit_expression(rig, [detection.face_TP3 for detection in prepared.detections])
    signals = _signals(rig, prepared, fit, quality, crops, names, expression)
    block = {**quality.summary(), **prepared.report, "source": [video.name for video in clip.videos]}
    provenance = options.provenance or "lca preprocess: " + ", ".join(video.name for video in clip.videos)
    with SequenceWriter(
        options.out, clip.id, subject=clip.subject, split=options.split, fps=fps, cameras=records,
        rig=rig.name,
        licence=options.licence, provenance=provenance, kind="studio" if len(records) > 1 else "wild",
        overwrite=options.overwrite,
    ) as writer:  # fmt: skip
        painter = _Painter(rig, prepared, fit, crops)
        overlay = options.out / "overlays" / f"{clip.id}.mp4"
        overlay.parent.mkdir(parents=True, exist_ok=True)
        size = painter.size()
        with VideoWriter(overlay, fps, *size) as film:
            for frame, images in _source_frames(clip, prepared):
                cut = painter.cut(frame, images)
                for name, (picture, mask) in zip(names, cut, strict=True):
                    writer.add_frame(name, picture, mask)
                film.add(painter.paint(frame, cut, bool(quality.valid_T[frame])))
                if progress is not None:
                    progress(1)
        writer.finish(signals, block)
    return block


def _signals(
    rig: Rig,
    prepared: PreparedClip,
    fit: RigFit,
    quality: ClipQuality,
    crops: list[Crop],
    names: list[str],
    expression_TE: FloatArray,
) -> Signals:
    boxes = {}
    for name, crop, camera, detection in zip(
        names, crops, prepared.cameras, prepared.detections, strict=True
    ):
        seen = landmark_face_boxes(detection.face_TP3)
        fallback = rig_face_boxes(rig, fit, camera.w2c_44, camera.K_33)
        boxes[name] = face_boxes_in_crop(
            seen, fallback, crop.left, crop.top, crop.scale, crop.width, crop.height
        )
    return Signals(
        identity_I=fit.identity_I.numpy().astype(np.float32),
        rotations_TJ3=fit.rotations_TJ3.numpy().astype(np.float32),
        translation_T3=fit.translation_T3.numpy().astype(np.float32),
        expression_TE=expression_TE.astype(np.float32),
        gaze_T8=combine_gaze([detection.face_TP3 for detection in prepared.detections]).astype(np.float32),
        frame_valid_T=quality.valid_T.astype(bool),
        face_boxes=boxes,
    )


class _Painter:
    """Cuts the pictures of one instant and draws the rig over them."""

    def __init__(self, rig: Rig, prepared: PreparedClip, fit: RigFit, crops: list[Crop]) -> None:
        self.rig, self.prepared, self.fit, self.crops = rig, prepared, fit, crops
        self.maps = [undistortion_maps(camera) for camera in prepared.cameras]
        self.faces = rig.faces_F3[rig.visible_faces_F].numpy()
        self.K = [crop.intrinsics(camera.K_33) for crop, camera in zip(crops, prepared.cameras, strict=True)]

    def size(self) -> tuple[int, int]:
        """Width and height of the overlay video."""
        row = side_by_side(
            [np.zeros((crop.height, crop.width, 3), np.uint8) for crop in self.crops], OVERLAY_HEIGHT
        )
        return row.shape[1], row.shape[0]

    def cut(
        self, frame: int, images: tuple[NDArray[np.uint8], ...]
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Undistorted, cropped pictures and masks free of leaks."""
        vertices = frame_vertices(self.rig, self.fit, frame)
        result = []
        for index, image in enumerate(images):
            detection, camera, crop = (
                self.prepared.detections[index],
                self.prepared.cameras[index],
                self.crops[index],
            )
            mask, lookup = detection.mask(frame), self.maps[index]
            if lookup is not None:
                image = np.asarray(cv2.remap(image, lookup[0], lookup[1], cv2.INTER_LINEAR), np.uint8)
                mask = np.asarray(cv2.remap(mask, lookup[0], lookup[1], cv2.INTER_LINEAR), np.uint8)
            picture, mask = crop.cut(image), crop.cut(mask)
            body = mesh_silhouette(
                vertices, self.faces, camera.w2c_44, self.K[index], crop.height, crop.width
            )
            stature = float(self.prepared.observations.size_CT[index, frame]) * crop.scale
            result.append((picture, restrict_to_silhouette(mask, body, CLOTHES * stature)))
        return result

    def paint(
        self, frame: int, cut: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], valid: bool
    ) -> NDArray[np.uint8]:
        """One overlay picture: mesh, skeleton, mask contour; a red bar on frames that are not used."""
        import torch

        vertices = frame_vertices(self.rig, self.fit, frame)
        with torch.no_grad():
            joints = (
                self.rig.posed_joints(self.fit.identity_I[None], self.fit.frame_pose(frame))[0]
                .double()
                .numpy()
            )
        painted = []
        for index, (picture, mask) in enumerate(cut):
            w2c_44 = self.prepared.cameras[index].w2c_44
            canvas = draw_mesh(picture, vertices, self.faces, w2c_44, self.K[index], 0.45)
            canvas = draw_contour(canvas, mask)
            canvas = draw_skeleton(
                canvas, joints, self.rig.joint_names, self.rig.joint_parents, w2c_44, self.K[index]
            )
            painted.append(canvas)
        row = side_by_side(painted, OVERLAY_HEIGHT)
        if not valid:
            row[:10] = (230, 30, 30)
        return row
