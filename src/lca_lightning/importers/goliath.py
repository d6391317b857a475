"""Goliath-4: heads and hands under light patterns, clothed and minimally clothed bodies.

Layout after the data sheet of facebookresearch/goliath: a folder a capture,
``{m,s}--DATE--TIME--SUBJECT--pilot--ProjectGoliath--{Head,Hands--left,ClothedBody,..}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.linear_light import linear_to_deep, linear_to_srgb8
from lca_lightning.datasets.signals import StageLights
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.codec_studio import (
    camera_pictures,
    linear_picture,
    read_cameras,
    to_world,
)
from lca_lightning.importers.reading import (
    numbered_members,
    ply_vertices,
    read_json_file,
    read_member,
    read_table,
)
from lca_lightning.importers.source import BrokenTake, Importer, MeshBody, SourceCamera, SourceTake

FULL_DURATION = 5555.0  # a lamp's duration that counts as intensity 1
FULLY_LIT = 0  # number of the pattern in which all lamps burn
TOPOLOGY = "goliath"


class GoliathImporter(Importer):
    """Reads captures of the multi-view dome; the telephone captures are left out."""

    name = "goliath"
    title = "Goliath-4"
    licence = "CC-BY-NC-4.0"
    terms_url = "https://github.com/facebookresearch/goliath"
    access = "on request by mail"
    kind = "studio"
    pixel_center = 0.0
    expects = (
        "capture folders such as m--DATE--TIME--SUBJECT--..--Head with camera_calibration.json and image/"
    )

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        places = [self.source, *sorted(self.source.iterdir())]
        self._captures = [place for place in places if (place / "camera_calibration.json").is_file()]
        if not self._captures:
            raise self.not_this_set("no folder holds camera_calibration.json")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a capture."""
        for folder in self._captures:
            try:
                yield self._take(folder)
            except (LCAError, OSError, ValueError) as error:
                yield BrokenTake(folder.name, str(error))

    def _take(self, folder: Path) -> SourceTake:
        parts = folder.resolve().name.split("--")
        if len(parts) < 4:
            raise DataError(f"{folder.name} does not name its subject as x--DATE--TIME--SUBJECT--.. does.")
        cameras, turn = read_cameras(folder)
        frames = sorted(
            {int(row["frame"]) for row in read_table(folder / "frame_splits_list.csv", ["frame"])}
        )
        staged = (folder / "lights" / "light_pattern_metadata.json").is_file()
        if staged:
            lit = {
                int(frame) for frame, _ in read_json_file(folder / "lights" / "light_pattern_per_frame.json")
            }
            frames = [frame for frame in frames if frame in lit]
        return SourceTake(
            "--".join([*parts[1:4], *parts[6:]]),
            parts[3],
            tuple(cameras),
            len(frames),
            30.0,
            folder,
            kind="light_stage" if staged else "studio",
            color="linear" if staged else "srgb",
            details={"frames": frames, "turn": turn},
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Linear 16-bit pictures of staged captures, sRGB of bodies."""
        parts = take.folder / "segmentation_parts" / f"{camera.name}.zip"
        whole = take.folder / "segmentation_fgbg" / f"{camera.name}.zip"
        archive = take.folder / "image" / f"{camera.name}.zip"
        for raw, mask in camera_pictures(
            archive, whole if whole.is_file() else parts, _chosen(take, indices)
        ):
            deep = linear_to_deep(linear_picture(raw), 1.0)
            yield (deep if take.color == "linear" else linear_to_srgb8(deep, 1.0)), mask

    def body(self, take: SourceTake, indices: Sequence[int]) -> MeshBody | None:
        """The registered mesh of bodies; heads and hands are no full body."""
        if "Body" not in take.folder.name:
            return None
        path = take.folder / "kinematic_tracking" / "registration_vertices.zip"
        members = numbered_members(path, "ply")
        meshes = []
        for frame in _chosen(take, indices):
            if frame not in members:
                raise DataError(f"{path} holds no mesh of frame {frame}; get it again.")
            content = read_member(path, members[frame])
            meshes.append(to_world(ply_vertices(content, members[frame]), np.asarray(take.details["turn"])))
        return MeshBody(TOPOLOGY, np.stack(meshes))

    def lights(self, take: SourceTake, indices: Sequence[int]) -> StageLights | None:
        """Lamps of each frame; a lamp's intensity is its duration over that of a full flash."""
        if take.color != "linear":
            return None
        folder = take.folder / "lights"
        known = read_json_file(folder / "light_pattern_metadata.json")
        numbers = {int(f): int(p) for f, p in read_json_file(folder / "light_pattern_per_frame.json")}
        patterns = [numbers[frame] for frame in _chosen(take, indices)]
        try:
            positions = to_world(
                np.array(known["light_positions"], np.float64), np.asarray(take.details["turn"])
            )
            intensities = np.zeros((len(patterns), len(positions), 3), np.float32)
            for row, pattern in enumerate(patterns):
                for lamp, duration in known["light_patterns"][pattern]["light_index_durations"]:
                    intensities[row, int(lamp)] = float(duration) / FULL_DURATION
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"The light patterns in {folder} are not as documented ({error}).") from error
        distance = float(np.median(np.linalg.norm(positions - positions.mean(0), axis=1)))
        return StageLights(positions, intensities, np.array(patterns) == FULLY_LIT, max(distance, 1e-3))


def _chosen(take: SourceTake, indices: Sequence[int]) -> list[int]:
    """Frame numbers of the set for places in the take."""
    numbers = take.details["frames"]
    assert isinstance(numbers, list)
    return [numbers[index] for index in indices]
