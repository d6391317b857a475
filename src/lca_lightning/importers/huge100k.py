"""HuGe100K: 100,000 generated people, 24 generated views on a circle each.

Layout after yiyuzhuang/IDOL: ``param/NAME.npy`` (``poses``: 24 pairs of world-to-camera 4x4 and fx, fy, cx,
cy; ``smpl_params``: 189 numbers of SMPL-X) beside ``videos/NAME.mp4`` whose frames are the views. The body
stands unscaled in the world of the cameras, metres, y up. The background is white.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import video_frames
from lca_lightning.importers.source import BrokenTake, Importer, SmplBody, SourceCamera, SourceTake
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.safe_pickle import read_npy

SMPLX_SIZES = {
    "scale": 1, "translation": 3, "orientation": 3, "pose": 63, "betas": 10, "left_hand": 45,
    "right_hand": 45, "jaw": 3, "left_eye": 3, "right_eye": 3, "expression": 10,
}  # fmt: skip
_WHITE = 238  # darker than this in some channel is the person; the video's compression stains the white


class HuGe100KImporter(Importer):
    """Reads each person as one frame seen by 24 cameras."""

    name = "huge100k"
    title = "HuGe100K"
    licence = "research only, DeepFashion part under its own licence"
    terms_url = "https://github.com/yiyuzhuang/IDOL"
    access = "download"
    verified = True  # the one published sample; not its SMPL-X values
    kind = "studio"
    pixel_center = 0.5
    expects = "folders with param/NAME.npy and videos/NAME.mp4"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if next(self.source.rglob("param/*.npy"), None) is None:
            raise self.not_this_set("there is no param/NAME.npy")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a person, in the order of the paths."""
        for path in sorted(self.source.rglob("param/*.npy")):
            name = "-".join([*path.relative_to(self.source).parts[:-2], path.stem])
            try:
                yield self._take(path, name)
            except (LCAError, OSError) as error:
                yield BrokenTake(name, str(error))

    def _take(self, path: Path, name: str) -> SourceTake:
        known = _parameters(path)
        video = SourceVideo(path.parent.parent / "videos" / f"{path.stem}.mp4")
        cameras = []
        for number, (w2c_44, lens) in enumerate(known["poses"]):
            fx, fy, cx, cy = np.asarray(lens, np.float64).reshape(4)
            K_33 = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            cameras.append(
                SourceCamera(
                    f"view{number:02d}", video.width, video.height, K_33, np.asarray(w2c_44, np.float64)
                )
            )
        details: dict[str, object] = {"video": str(video.path), "parameters": str(path)}
        return SourceTake(name, name, tuple(cameras), 1, 15.0, path.parent.parent, details=details)

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """The view, which is a frame of the video."""
        number = int(camera.name.removeprefix("view"))
        for image in video_frames(SourceVideo(Path(str(take.details["video"]))), [number]):
            yield image, white_background_mask(image)

    def body(self, take: SourceTake, indices: Sequence[int]) -> SmplBody | None:
        """SMPL-X, one pose; its scale and translation stay unused, as in the set's own code."""
        values = np.asarray(_parameters(Path(str(take.details["parameters"])))["smpl_params"], np.float64)
        ends = np.cumsum(list(SMPLX_SIZES.values()))
        if values.size != ends[-1]:
            raise DataError(
                f"{take.details['parameters']} holds {values.size} SMPL-X values, not {ends[-1]}."
            )
        parts = dict(zip(SMPLX_SIZES, np.split(values.reshape(-1), ends[:-1]), strict=True))
        return SmplBody(
            "smplx",
            "neutral",
            parts["betas"],
            parts["orientation"][None],
            parts["pose"].reshape(1, 21, 3),
            np.zeros((1, 3)),
            left_hand_TJ3=parts["left_hand"].reshape(1, 15, 3),
            right_hand_TJ3=parts["right_hand"].reshape(1, 15, 3),
            jaw_T3=parts["jaw"][None],
            expression_TN=parts["expression"][None],
            hands_from_mean=True,
        )


def _parameters(path: Path) -> dict[str, Any]:
    known = read_npy(path)
    if not isinstance(known, dict) or not {"poses", "smpl_params"} <= set(known) or not len(known["poses"]):
        raise DataError(f"{path} lacks the poses and smpl_params that the set documents; get it again.")
    return known


def white_background_mask(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All that the white background does not reach from the picture's edge.

    Args:
        image_HW3: Picture on white.

    Returns:
        255 on the person, ``(H, W)``; white clothes stay, as they are enclosed by darker pixels.
    """
    white = (image_HW3.min(-1) >= _WHITE).astype(np.uint8)
    height, width = white.shape
    ringed = np.pad(white, 1, constant_values=1)
    flooded = np.zeros((height + 4, width + 4), np.uint8)
    cv2.floodFill(ringed, flooded, (0, 0), (2.0,))
    person = (ringed[1:-1, 1:-1] != 2).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    if count <= 1:
        return np.zeros((height, width), np.uint8)
    kept = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= 0.02 * stats[1:, cv2.CC_STAT_AREA].max())
    return np.where(np.isin(labels, kept), 255, 0).astype(np.uint8)
