"""Small cuts of frames, kept in memory up to a bound, because training reads the same frames many times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lca_lightning.datasets.crops import FrameCrop, crop_rgba
from lca_lightning.datasets.format import Sequence, mask_box


class Shot(NamedTuple):
    """One frame of one camera of a sequence."""

    camera: str
    frame: int


class FrameStore:
    """Decodes, cuts and caches frames; least recently used ones go first.

    Args:
        image_size: Height and width of person cuts in pixels.
        face_size: Height and width of face close-ups in pixels.
        cache_bytes: Bound on the memory of cached cuts in this process.
    """

    def __init__(self, image_size: tuple[int, int], face_size: tuple[int, int], cache_bytes: int) -> None:
        self.image_size, self.face_size, self.cache_bytes = image_size, face_size, cache_bytes
        self._crops: OrderedDict[tuple[str, Shot], FrameCrop] = OrderedDict()
        self._held_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process starts with an empty cache."""
        return {**self.__dict__, "_crops": OrderedDict(), "_held_bytes": 0}

    def get(self, sequence: Sequence, shots: Iterable[Shot]) -> list[FrameCrop]:
        """Cuts of the shots in their order; frames of one camera are decoded in one request."""
        wanted = list(shots)
        found = {shot: self._crops[key] for shot in wanted if (key := (sequence.id, shot)) in self._crops}
        missing: dict[str, list[int]] = {}
        for shot in dict.fromkeys(wanted):
            if shot not in found:
                missing.setdefault(shot.camera, []).append(shot.frame)
        for camera, frames in missing.items():
            for frame, rgba_HW4 in sequence.iterate_rgba(camera, frames):
                found[Shot(camera, frame)] = self._cut(sequence, Shot(camera, frame), rgba_HW4)
        for shot, crop in found.items():
            self._keep((sequence.id, shot), crop)
        return [found[shot] for shot in wanted]

    def _cut(self, sequence: Sequence, shot: Shot, rgba_HW4: np.ndarray) -> FrameCrop:
        signals = sequence.signals
        boxes = signals.person_boxes.get(shot.camera)
        faces = signals.face_boxes.get(shot.camera)
        person_box = mask_box(rgba_HW4[..., 3]) if boxes is None else boxes[shot.frame]
        face_box = None if faces is None else faces[shot.frame]
        K_33 = sequence.cameras[shot.camera].K_33
        return crop_rgba(rgba_HW4, K_33, person_box, face_box, self.image_size, self.face_size)

    def _keep(self, key: tuple[str, Shot], crop: FrameCrop) -> None:
        if key not in self._crops:
            self._held_bytes += crop.nbytes
        self._crops[key] = crop
        self._crops.move_to_end(key)
        while self._held_bytes > self.cache_bytes and self._crops:
            self._held_bytes -= self._crops.popitem(last=False)[1].nbytes
