"""Ava-256: heads of 256 people, 80 cameras, even light.

Layout after the data sheet of facebookresearch/ava-256: ``m--DATE--TIME--SUBJECT--GHS/decoder`` a capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.codec_studio import camera_pictures, read_cameras
from lca_lightning.importers.reading import read_table
from lca_lightning.importers.source import BrokenTake, Importer, SourceCamera, SourceTake

BACKGROUND, CHAIR = 0, 3  # classes of segmentation_parts that are not the person


class Ava256Importer(Importer):
    """Reads the dome's half of each capture; the headset's infrared pictures are left out."""

    name = "ava256"
    title = "Ava-256"
    licence = "CC-BY-NC-4.0"
    terms_url = "https://github.com/facebookresearch/ava-256"
    access = "download"
    kind = "studio"
    pixel_center = 0.0
    expects = "capture folders m--DATE--TIME--SUBJECT--GHS with decoder/camera_calibration.json"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        places = [self.source, *sorted(self.source.iterdir())]
        self._captures = [
            place for place in places if (place / "decoder" / "camera_calibration.json").is_file()
        ]
        if not self._captures:
            raise self.not_this_set("no folder holds decoder/camera_calibration.json")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a segment of a capture: the frames of one expression or phrase."""
        for folder in self._captures:
            try:
                yield from self._segments(folder)
            except (LCAError, OSError, ValueError) as error:
                yield BrokenTake(folder.name, str(error))

    def _segments(self, folder: Path) -> Iterator[SourceTake]:
        parts = folder.resolve().name.split("--")
        if len(parts) < 4:
            raise DataError(f"{folder.name} does not name its subject as m--DATE--TIME--SUBJECT--GHS does.")
        cameras, _ = read_cameras(folder / "decoder")
        segments: dict[str, list[int]] = {}
        for row in read_table(folder / "decoder" / "frame_list.csv", ["seg_id", "frame_id"]):
            segments.setdefault(row["seg_id"], []).append(int(row["frame_id"]))
        for segment, frames in segments.items():
            name = "--".join([*parts[1:4], segment])
            details: dict[str, object] = {"frames": sorted(frames)}
            yield SourceTake(
                name, parts[3], tuple(cameras), len(frames), 30.0, folder / "decoder", details=details
            )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures as they are released, without the chair."""
        numbers = take.details["frames"]
        assert isinstance(numbers, list)
        archive = take.folder / "image" / f"{camera.name}.zip"
        masks = take.folder / "segmentation_parts" / f"{camera.name}.zip"
        return camera_pictures(archive, masks, [numbers[index] for index in indices], (BACKGROUND, CHAIR))
