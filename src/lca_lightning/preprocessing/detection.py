"""People, landmarks and masks from MediaPipe 0.10.21, the one file that imports it.

The graphs are assembled from the models inside the wheel: a person detector that reports everybody, and body
landmarks with segmentation for a given rotated box, so that the person chosen stays the person tracked.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import ConfigError, MissingAssetError
from lca_lightning.preprocessing.landmarks import (
    BODY_INDEX,
    FACE_COUNT,
    HAND_COUNT,
    FloatArray,
    FrameDetection,
    PersonBox,
    empty_detection,
)

_PEOPLE_GRAPH = """
input_stream: "image"
output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
_BODY_GRAPH = """
input_stream: "image"
input_stream: "roi"
output_stream: "landmarks"
output_stream: "world"
output_stream: "mask"
output_stream: "next_roi"
input_side_packet: "enable_segmentation"
input_side_packet: "model_complexity"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_stream: "IMAGE:image"  input_stream: "ROI:roi"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  output_stream: "LANDMARKS:landmarks"  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "SEGMENTATION_MASK:mask"  output_stream: "AUXILIARY_LANDMARKS:auxiliary"
}
node { calculator: "ImagePropertiesCalculator" input_stream: "IMAGE:image" output_stream: "SIZE:size" }
node {
  calculator: "PoseLandmarksToRoi"
  input_stream: "LANDMARKS:auxiliary"  input_stream: "IMAGE_SIZE:size"  output_stream: "ROI:next_roi"
}
"""


def has_mediapipe() -> bool:
    """Whether MediaPipe and OpenCV are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("mediapipe", "cv2"))


def require_mediapipe() -> None:
    """Refuse to go on without the extra that detects people.

    Raises:
        MissingAssetError: Names the extra to install.
    """
    if not has_mediapipe():
        raise MissingAssetError(
            "Finding people in pictures needs MediaPipe 0.10.21, which is not installed: "
            "pip install 'lca-lightning[mediapipe]'."
        )


@contextlib.contextmanager
def _quiet_native_log() -> Iterator[None]:
    """Silence the start-up lines that MediaPipe's C++ part writes straight to file descriptor 2."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class PersonDetector:
    """Finds people in RGB pictures and measures one of them.

    Args:
        minimum_score: Confidence below which a person candidate is ignored.

    Raises:
        MissingAssetError: MediaPipe is not installed.
    """

    def __init__(self, minimum_score: float = 0.3) -> None:
        require_mediapipe()
        os.environ.setdefault("GLOG_minloglevel", "2")
        with _quiet_native_log():
            from google.protobuf import text_format
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python.solution_base import SolutionBase
            from mediapipe.python.solutions.face_mesh import FaceMesh
            from mediapipe.python.solutions.hands import Hands

            def graph(text: str) -> Any:
                return text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())

            self._rectangle = rect_pb2.NormalizedRect
            threshold = "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
            self._people = SolutionBase(
                graph_config=graph(_PEOPLE_GRAPH),
                outputs=["detections"],
                calculator_params={threshold: minimum_score},
            )
            self._body = SolutionBase(
                graph_config=graph(_BODY_GRAPH),
                outputs=["landmarks", "world", "mask", "next_roi"],
                side_inputs={"enable_segmentation": True, "model_complexity": 1},
            )
            self._face = FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True)
            self._hand = Hands(static_image_mode=True, max_num_hands=1, min_detection_confidence=0.3)
            self._warm_up()

    @classmethod
    def check(cls, weights: Path | None) -> None:
        """Refuse to go on without the package; its models are inside it.

        Raises:
            MissingAssetError: MediaPipe is not installed.
            ConfigError: Weights were given.
        """
        if weights is not None:
            raise ConfigError(
                "The estimator mediapipe brings its weights along; leave out --estimator-weights."
            )
        require_mediapipe()

    @classmethod
    def load(cls, weights: Path | None) -> PersonDetector:
        """The detector; ``weights`` is always None."""
        return cls()

    def normals(self, image_HW3: NDArray[np.uint8], box: PersonBox) -> FloatArray | None:
        """Not estimated."""
        return None

    def _warm_up(self) -> None:
        blank = np.zeros((64, 64, 3), np.uint8)
        self.people(blank)
        self.body(blank, PersonBox((32.0, 32.0), 64.0, 0.0, 1.0))
        self._face.process(blank)
        self._hand.process(blank)

    def close(self) -> None:
        """Release the native graphs."""
        for graph in (self._people, self._body, self._face, self._hand):
            graph.close()

    def people(self, image_HW3: NDArray[np.uint8]) -> list[PersonBox]:
        """Everybody the person detector sees in an RGB picture ``(H, W, 3)``, best first."""
        height, width = image_HW3.shape[:2]
        found = self._people.process({"image": np.ascontiguousarray(image_HW3)}).detections or []
        boxes = []
        for detection in found:
            points = detection.location_data.relative_keypoints
            hip_x, hip_y = points[0].x * width, points[0].y * height
            tip_x, tip_y = points[1].x * width, points[1].y * height
            size = 2.5 * math.hypot(tip_x - hip_x, tip_y - hip_y)
            rotation = math.atan2(tip_x - hip_x, hip_y - tip_y)
            boxes.append(PersonBox((hip_x, hip_y), size, rotation, float(detection.score[0])))
        return sorted(boxes, key=lambda box: -box.score)

    def body(self, image_HW3: NDArray[np.uint8], box: PersonBox) -> tuple[FrameDetection, PersonBox] | None:
        """Body landmarks and mask of the person inside a box.

        Args:
            image_HW3: RGB picture, ``(H, W, 3)``.
            box: Where to look, pixels.

        Returns:
            The detection (no hands, no face) and the box that the landmarks suggest for the next frame;
            None when there is no person in the box.
        """
        height, width = image_HW3.shape[:2]
        region = self._rectangle(
            x_center=box.center[0] / width,
            y_center=box.center[1] / height,
            width=box.size / width,
            height=box.size / height,
            rotation=box.rotation,
        )
        result = self._body.process({"image": np.ascontiguousarray(image_HW3), "roi": region})
        if result.landmarks is None or result.mask is None:
            return None
        body = np.array([(p.x * width, p.y * height, p.visibility) for p in result.landmarks.landmark])
        world = np.array([(p.x, p.y, p.z) for p in result.world.landmark])
        following = result.next_roi
        next_box = PersonBox(
            (following.x_center * width, following.y_center * height),
            max(following.width * width, following.height * height),
            following.rotation,
            float(body[:, 2].mean()),
        )
        mask = np.clip(result.mask * 255.0 + 0.5, 0, 255).astype(np.uint8)
        empty = empty_detection(1, 1)
        return FrameDetection(body, world, empty.hands_2P3, empty.face_P3, mask), next_box

    def hands(self, image_HW3: NDArray[np.uint8], body_P3: FloatArray) -> FloatArray:
        """Landmarks of both hands, looked for around the wrists of a body; NaN where there is none.

        Args:
            image_HW3: RGB picture, ``(H, W, 3)``.
            body_P3: Body landmarks, ``(33, 3)``.

        Returns:
            Left then right hand, pixels and relative depth in pixels, ``(2, 21, 3)``.
        """
        hands = np.full((2, HAND_COUNT, 3), np.nan)
        for side, name in enumerate(("left", "right")):
            wrist, elbow, index, pinky = (
                body_P3[BODY_INDEX[f"{name}_{part}"]] for part in ("wrist", "elbow", "index", "pinky")
            )
            if wrist[2] < 0.5:
                continue
            palm = 0.5 * (index[:2] + pinky[:2])
            shoulder, hip = body_P3[BODY_INDEX["left_shoulder"]], body_P3[BODY_INDEX["right_hip"]]
            torso = float(np.linalg.norm(shoulder[:2] - hip[:2]))
            side_length = max(1.1 * float(np.linalg.norm(wrist[:2] - elbow[:2])), 0.6 * torso, 24.0)
            center = wrist[:2] + 1.2 * (palm - wrist[:2])
            crop, left, top, scale = _square_crop(image_HW3, center, side_length, 256)
            found = self._hand.process(crop).multi_hand_landmarks
            if not found:
                continue
            points = np.array([(p.x, p.y, p.z) for p in found[0].landmark]) * crop.shape[0] / scale
            points[:, :2] += (left, top)
            if np.linalg.norm(points[0, :2] - wrist[:2]) < 0.35 * side_length:
                hands[side] = points
        return hands

    def face(self, image_HW3: NDArray[np.uint8], body_P3: FloatArray) -> FloatArray:
        """Face and iris landmarks ``(478, 3)`` in pixels, looked for around a body's head; NaN without a
        face.
        """
        face = np.full((FACE_COUNT, 3), np.nan)
        head = body_P3[:11]
        if not face_towards_camera(body_P3):
            return face
        center = head[:, :2].mean(0)
        torso = float(np.linalg.norm(body_P3[11:13, :2].mean(0) - body_P3[23:25, :2].mean(0)))
        spread = float(np.linalg.norm(head[:, :2] - center, axis=1).max())
        extent = max(4.4 * spread, 0.5 * torso, 24.0)
        crop, left, top, scale = _square_crop(image_HW3, center, extent, 320)
        found = self._face.process(crop).multi_face_landmarks
        if found:
            points = np.array([(p.x, p.y, p.z) for p in found[0].landmark]) * crop.shape[0] / scale
            points[:, :2] += (left, top)
            face[:] = points
        return face


def face_towards_camera(body_P3: FloatArray) -> bool:
    """Whether nose and eyes are in front of the ears, seen by the camera: left of the person lies right."""
    if body_P3[0, 2] < 0.5:
        return False
    eyes = body_P3[BODY_INDEX["left_eye"], :2] - body_P3[BODY_INDEX["right_eye"], :2]
    mouth = body_P3[9:11, :2].mean(0) - body_P3[[2, 5], :2].mean(0)
    return bool(eyes[0] * mouth[1] - eyes[1] * mouth[0] > 0)


def _square_crop(
    image_HW3: NDArray[np.uint8], center: FloatArray, side: float, target: int
) -> tuple[NDArray[np.uint8], float, float, float]:
    """A square cut-out resized to ``target``, zero outside the picture; with left, top and scale."""
    from lca_lightning.calibration.opencv import cv2

    scale = target / side
    left, top = float(center[0] - side / 2), float(center[1] - side / 2)
    # Pixel centres lie at +0.5 for us and at integers for cv2.
    matrix = np.array(
        [[scale, 0, -left * scale + 0.5 * scale - 0.5], [0, scale, -top * scale + 0.5 * scale - 0.5]]
    )
    crop = cv2.warpAffine(image_HW3, matrix, (target, target), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(crop, dtype=np.uint8), left, top, scale
