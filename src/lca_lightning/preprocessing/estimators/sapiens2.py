"""Sapiens2 (Khirodkar et al. 2026) through transformers: segmentation, 308 points and surface normals.

It has no person detector: people are the pieces of its segmentation. Its points have no depth, so gaze and
expression come from MediaPipe's face mesh where that is installed, and are left out where it is not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_lightning.calibration.opencv import cv2
from lca_lightning.errors import MissingAssetError
from lca_lightning.preprocessing.detection import PersonDetector, has_mediapipe
from lca_lightning.preprocessing.estimators.protocol import Image
from lca_lightning.preprocessing.keypoints308 import body_landmarks, face_mesh, hand_landmarks
from lca_lightning.preprocessing.landmarks import (
    FloatArray,
    FrameDetection,
    PersonBox,
    empty_detection,
)
from lca_lightning.weights import EncoderWeights

# A box is so much larger than what it holds; the networks' own processor adds the same margin.
MARGIN = 1.25
# Points below this confidence are not used; smaller shares of the picture are no people.
LEAST_CONFIDENCE, LEAST_AREA = 0.3, 0.001
SIZES = {"0.4b": 1.7, "0.8b": 3.4, "1b": 6.0}


@dataclass(frozen=True)
class _Task:
    """One network: the part of its repository's name, and its class in transformers."""

    name: str
    model: str
    needed: bool


TASKS = (
    _Task("pose", "Sapiens2ForPoseEstimation", True),
    _Task("seg", "Sapiens2ForSemanticSegmentation", True),
    _Task("normal", "Sapiens2ForNormalEstimation", False),
)


def published(task: str) -> tuple[EncoderWeights, ...]:
    """The published networks of a task, small ones first."""
    return tuple(
        EncoderWeights(
            f"sapiens2-{task}-{size}", f"facebook/sapiens2-{task}-{size}", f"about {gigabytes} GB",
            "Sapiens2 License", "*.safetensors",
        )
        for size, gigabytes in SIZES.items()
    )  # fmt: skip


def find_weights(task: str, weights: Path | None) -> Path | None:
    """Folder of a task's network, or None.

    Args:
        task: ``pose``, ``seg`` or ``normal``.
        weights: Folder that holds one sub-folder per network, each with the task in its name; None looks in
            ``$LCA_WEIGHTS`` and the Hugging Face cache, the largest network first.
    """
    if weights is None:
        found = (network.find() for network in reversed(published(task)))
        return next((folder for folder in found if folder is not None), None)
    folders = sorted(weights.glob(f"*{task}*")) if weights.is_dir() else []
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


class Sapiens2Estimator:
    """Measures people with Sapiens2's networks.

    Args:
        networks: Model and image processor per task.
        device: Where they run.
    """

    def __init__(self, networks: dict[str, tuple[Any, Any]], device: torch.device) -> None:
        self._networks, self._device = networks, device
        self._face: PersonDetector | None = PersonDetector() if has_mediapipe() else None
        self._points_K3: FloatArray | None = None

    @classmethod
    def check(cls, weights: Path | None) -> None:
        """Refuse missing weights.

        Raises:
            MissingAssetError: Says where to get them.
        """
        missing = [task.name for task in TASKS if task.needed and find_weights(task.name, weights) is None]
        if not missing:
            return
        commands = " and ".join(published(task)[0].way_out for task in missing)
        where = f"in {weights}" if weights is not None else "on this machine"
        raise MissingAssetError(
            f"The estimator sapiens2 needs the networks {' and '.join(missing)}, which are not {where}; get "
            f"them with {commands}, or give their folder as --estimator-weights."
        )

    @classmethod
    def load(cls, weights: Path | None) -> Sapiens2Estimator:
        """Load the networks; a process keeps them for all its clips."""
        cls.check(weights)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folders = {task.name: find_weights(task.name, weights) for task in TASKS}
        networks = {
            task.name: _load(task.model, folder, device.type)
            for task in TASKS
            if (folder := folders[task.name]) is not None
        }
        return cls(networks, device)

    def people(self, image_HW3: Image) -> list[PersonBox]:
        """Pieces of the segmentation, largest first."""
        mask = (self._person(image_HW3) > 127).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        boxes = []
        for left, top, width, height, area in stats[1:].tolist():
            share = area / mask.size
            if share >= LEAST_AREA:
                center = (left + width / 2, top + height / 2)
                boxes.append(PersonBox(center, MARGIN * max(width, height), 0.0, min(1.0, share**0.25)))
        return sorted(boxes, key=lambda box: -box.size)

    def body(self, image_HW3: Image, box: PersonBox) -> tuple[FrameDetection, PersonBox] | None:
        """Body landmarks and mask of the person inside a box, and the box around its points."""
        points = self._pose(image_HW3, box)
        sure = points[points[:, 2] > LEAST_CONFIDENCE]
        if len(sure) < 6:
            return None
        self._points_K3 = points
        body = body_landmarks(points[None])[0]
        mask = np.zeros(image_HW3.shape[:2], np.uint8)
        left, top, right, bottom = _clipped(box, image_HW3)
        if right - left < 8 or bottom - top < 8:
            return None
        mask[top:bottom, left:right] = self._person(image_HW3[top:bottom, left:right])
        low, high = sure[:, :2].min(0), sure[:, :2].max(0)
        size = MARGIN * max(float((high - low).max()), 8.0)
        middle = (low + high) / 2
        following = PersonBox((float(middle[0]), float(middle[1])), size, 0.0, float(body[:, 2].mean()))
        empty = empty_detection(1, 1)
        return FrameDetection(body, empty.world_P3, empty.hands_2P3, empty.face_P3, mask), following

    def hands(self, image_HW3: Image, body_P3: FloatArray) -> FloatArray:
        """Hands of the body just measured, NaN where unsure; depth is 0, it is not known."""
        assert self._points_K3 is not None
        hands = hand_landmarks(self._points_K3[None])[0]
        unsure = hands[..., 2].mean(1) < LEAST_CONFIDENCE
        hands[..., 2] = 0.0
        hands[unsure] = np.nan
        return hands

    def face(self, image_HW3: Image, body_P3: FloatArray) -> FloatArray:
        """MediaPipe's face mesh where it is installed and finds one, else the points that Sapiens has."""
        assert self._points_K3 is not None
        if self._face is not None:
            mesh = self._face.face(image_HW3, body_P3)
            if np.isfinite(mesh).all():
                return mesh
        mesh = face_mesh(self._points_K3[None])[0]
        if np.median(self._points_K3[70:220, 2]) < LEAST_CONFIDENCE:
            mesh[:] = np.nan
        return mesh

    def normals(self, image_HW3: Image, box: PersonBox) -> FloatArray | None:
        """Unit normals in camera axes inside the box, 0 outside; None without that network."""
        if "normal" not in self._networks:
            return None
        left, top, right, bottom = _clipped(box, image_HW3)
        cut = np.ascontiguousarray(image_HW3[top:bottom, left:right])
        outputs, processor = self._run("normal", images=cut, do_pad=True)
        (found,) = processor.post_process_normal_estimation(outputs, source_sizes=[cut.shape[:2]])
        normals = np.zeros(image_HW3.shape, np.float64)
        unit = torch.nn.functional.normalize(found["normals"].float(), dim=0)  # resizing shortens them
        normals[top:bottom, left:right] = unit.permute(1, 2, 0).cpu().numpy()
        return normals

    def close(self) -> None:
        """Release the face mesh; networks stay for the next clip."""
        if self._face is not None:
            self._face.close()

    def _run(self, task: str, **inputs: Any) -> tuple[Any, Any]:
        model, processor = self._networks[task]
        batch = processor(return_tensors="pt", **inputs)
        with torch.inference_mode():
            return model(pixel_values=batch["pixel_values"].to(self._device)), processor

    def _person(self, image_HW3: Image) -> Image:
        """Probability of any part of a person, 0..255, at the picture's own size."""
        outputs, _ = self._run("seg", images=np.ascontiguousarray(image_HW3))
        person = 1.0 - outputs.logits.float().softmax(1)[0, 0].cpu().numpy()  # class 0 is the background
        size = (image_HW3.shape[1], image_HW3.shape[0])
        resized = cv2.resize(person, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.clip(255.0 * resized + 0.5, 0, 255), np.uint8)

    def _pose(self, image_HW3: Image, box: PersonBox) -> FloatArray:
        """The 308 points of the person in a box: pixels (centres at +0.5) and confidence, ``(308, 3)``."""
        side = box.size / MARGIN
        boxes = [[[box.center[0] - 0.5 - side / 2, box.center[1] - 0.5 - side / 2, side, side]]]
        outputs, processor = self._run("pose", images=np.ascontiguousarray(image_HW3), boxes=boxes)
        ((found,),) = processor.post_process_pose_estimation(outputs, boxes)
        points = found["keypoints"].double().cpu().numpy() + 0.5  # theirs has centres at whole numbers
        scores = found["scores"].double().clamp(0, 1).cpu().numpy()
        return np.concatenate([points, scores[:, None]], 1)


def _clipped(box: PersonBox, image_HW3: Image) -> tuple[int, int, int, int]:
    height, width = image_HW3.shape[:2]
    half = box.size / 2
    left, top = max(0, int(box.center[0] - half)), max(0, int(box.center[1] - half))
    right, bottom = min(width, int(box.center[0] + half) + 1), min(height, int(box.center[1] + half) + 1)
    return left, top, right, bottom


@functools.lru_cache(maxsize=3)
def _load(model: str, folder: Path, device: str) -> tuple[Any, Any]:
    import transformers
    from transformers.models.sapiens2.image_processing_sapiens2 import Sapiens2ImageProcessor

    try:
        network = getattr(transformers, model).from_pretrained(folder, local_files_only=True)
        if (folder / "preprocessor_config.json").is_file():
            processor = Sapiens2ImageProcessor.from_pretrained(folder, local_files_only=True)
        else:
            size = network.config.image_size
            height, width = (size, size) if isinstance(size, int) else size
            processor = Sapiens2ImageProcessor(size={"height": height, "width": width})
    except (OSError, ValueError, RuntimeError) as error:
        raise MissingAssetError(
            f"The network in {folder} cannot be loaded as {model} ({str(error).splitlines()[0]}); download "
            "it again."
            "again."
        ) from error
    return network.eval().to(device), processor
