"""ActorsHQ: 160 cameras at 12 megapixels.

Layout after synthesiaresearch/humanrf: ``Actor01/Sequence1/4x/`` (also ``1x``, ``2x``) with
``calibration.csv`` (name, w, h, rx, ry, rz, tx, ty, tz, fx, fy, px, py),
``rgbs/Cam001/Cam001_rgb000000.jpg`` and ``masks/Cam001/Cam001_mask000000.png``.

Its traps: rotation vector and centre are camera-to-world; focal lengths and principal point are shares of
width and height, so pixel centres are at +0.5. The set has meshes but no body model's values: takes are
written without a body.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import intrinsic_matrix, world_to_camera
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import read_picture, read_table
from lca_lightning.importers.source import BrokenTake, Importer, SourceCamera, SourceTake

_COLUMNS = ("name", "w", "h", "rx", "ry", "rz", "tx", "ty", "tz", "fx", "fy", "px", "py")


class ActorsHQImporter(Importer):
    """Reads each sequence at the largest size that is there."""

    name = "actorshq"
    title = "ActorsHQ"
    licence = "CC-BY-NC-4.0"
    terms_url = "https://actors-hq.com"
    access = "request"
    kind = "studio"
    pixel_center = 0.5
    expects = "Actor01/Sequence1/4x with calibration.csv, rgbs and masks"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if not self._folders():
            raise self.not_this_set("there is no calibration.csv beside rgbs")

    def _folders(self) -> list[Path]:
        """One folder a sequence; ``1x`` sorts before ``2x`` and ``4x``, and is the largest."""
        found: dict[Path, Path] = {}
        for path in sorted(self.source.rglob("calibration.csv")):
            if (path.parent / "rgbs").is_dir():
                found.setdefault(path.parent.parent, path.parent)
        return list(found.values())

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a sequence, in the order of the paths."""
        for folder in self._folders():
            sequence = folder.parent
            name = "-".join((sequence.parent.name, sequence.name))
            try:
                yield self._take(folder, name, sequence.parent.name)
            except (LCAError, OSError, ValueError) as error:
                yield BrokenTake(name, str(error))

    def _take(self, folder: Path, name: str, subject: str) -> SourceTake:
        rows = read_table(folder / "calibration.csv", _COLUMNS)
        cameras = tuple(
            _camera(row) for row in rows if next((folder / "rgbs" / row["name"]).glob("*.jpg"), None)
        )
        if not cameras:
            raise DataError(f"{folder / 'rgbs'} holds no picture of a calibrated camera")
        numbers = [
            {int(path.stem[-6:]) for path in (folder / "rgbs" / camera.name).glob("*.jpg")}
            for camera in cameras
        ]
        common = sorted(set.intersection(*numbers))
        if not common:
            raise DataError("its cameras have no frame in common")
        details: dict[str, object] = {"folder": str(folder), "numbers": common}
        return SourceTake(name, subject, cameras, len(common), 25.0, folder, details=details)

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures with the background removed, and masks."""
        folder, numbers = Path(str(take.details["folder"])), take.details["numbers"]
        assert isinstance(numbers, list)
        for index in indices:
            stem = f"{camera.name}/{camera.name}"
            number = f"{numbers[index]:06d}"
            image = read_picture(folder / "rgbs" / f"{stem}_rgb{number}.jpg")
            yield image, read_picture(folder / "masks" / f"{stem}_mask{number}.png", mode="L")


def _camera(row: dict[str, str]) -> SourceCamera:
    value = {name: float(row[name]) for name in _COLUMNS[1:]}
    width, height = int(value["w"]), int(value["h"])
    K_33 = intrinsic_matrix(
        value["fx"] * width, value["fy"] * height, value["px"] * width, value["py"] * height
    )
    turn = Rotation.from_rotvec([value["rx"], value["ry"], value["rz"]]).as_matrix().T  # world to camera
    center = np.array([value["tx"], value["ty"], value["tz"]])
    return SourceCamera(row["name"], width, height, K_33, world_to_camera(turn, -turn @ center))
