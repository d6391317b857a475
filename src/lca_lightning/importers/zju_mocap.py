"""ZJU-MoCap (LightStage): up to 23 cameras, SMPL.

Layout after zju3dv/neuralbody: ``CoreView_313/annots.npy`` (a pickled dictionary: ``cams`` with lists ``K``,
``D``, ``R``, ``T`` and ``ims``, one dictionary a frame whose ``ims`` lists a picture per camera),
``mask_cihp/CAMERA/FRAME.png``, ``new_vertices/FRAME.npy`` and ``new_params/FRAME.npy`` (``vertices`` and
``params`` in other releases).

Its traps: ``T`` is in millimetres while bodies are in metres; masks hold part numbers, not 255; the body
turns about the model's origin and not about the pelvis (``Rh``, ``Th``); z is up; the frames of some
subjects are counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import world_to_camera
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import picture_size, read_labels, read_picture
from lca_lightning.importers.source import (
    BrokenTake,
    Importer,
    MeshBody,
    SmplBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.upright import safe_camera_name, turned_camera, world_turn
from lca_lightning.safe_pickle import read_npy

_UP = "z"
_VERTICES, _PARAMETERS = ("new_vertices", "vertices"), ("new_params", "params")


class ZJUMoCapImporter(Importer):
    """Reads each folder with an ``annots.npy`` as one take."""

    name = "zju_mocap"
    title = "ZJU-MoCap"
    licence = "ZJU-MoCap agreement, research only"
    terms_url = "https://chingswy.github.io/Dataset-Demo"
    access = "form"
    kind = "studio"
    pixel_center = 0.0
    expects = "CoreView_NUMBER/annots.npy with pictures and mask_cihp"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if next(self.source.rglob("annots.npy"), None) is None:
            raise self.not_this_set("there is no annots.npy")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a subject, in the order of the paths."""
        for path in sorted(self.source.rglob("annots.npy")):
            name = path.parent.name or self.source.resolve().name
            try:
                yield self._take(path, safe_camera_name(name))
            except (LCAError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
                yield BrokenTake(name, f"{path}: {error}")

    def _take(self, path: Path, name: str) -> SourceTake:
        known = read_npy(path)
        if not isinstance(known, dict) or not {"cams", "ims"} <= set(known):
            raise DataError("it lacks cams and ims")
        rows = [[str(entry) for entry in np.asarray(frame["ims"]).ravel()] for frame in known["ims"]]
        cameras, details = [], {}
        for number, first in enumerate(rows[0]):
            if not (path.parent / first).is_file():
                continue  # people keep some of the cameras only
            camera = _camera(known["cams"], number, path.parent / first)
            details[camera.name] = [row[number] for row in rows]
            cameras.append(camera)
        if not cameras:
            raise DataError(f"none of its pictures is there, such as {rows[0][0]}")
        return SourceTake(name, name, tuple(cameras), len(rows), 50.0, path.parent, details=dict(details))

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures and masks; any part number is the person."""
        names = take.details[camera.name]
        assert isinstance(names, list)
        for index in indices:
            picture = Path(names[index])
            places = [take.folder / folder / picture.with_suffix(".png") for folder in ("mask_cihp", "mask")]
            mask = next((place for place in places if place.is_file()), places[0])
            labels = read_labels(mask)
            yield read_picture(take.folder / picture), np.where(labels > 0, 255, 0).astype(np.uint8)

    def body(self, take: SourceTake, indices: Sequence[int]) -> MeshBody | SmplBody | None:
        """Stored vertices, for which no model file is needed; else SMPL's parameters."""
        names = take.details[take.cameras[0].name]
        assert isinstance(names, list)
        numbers = [_frame_number(names[index]) for index in indices]
        for folder in _VERTICES:
            files = [take.folder / folder / f"{number}.npy" for number in numbers]
            if all(file.is_file() for file in files):
                vertices = np.stack([np.asarray(read_npy(file), np.float64) for file in files])
                return MeshBody("smpl", vertices @ world_turn(_UP)[:3, :3].T)
        for folder in _PARAMETERS:
            files = [take.folder / folder / f"{number}.npy" for number in numbers]
            if all(file.is_file() for file in files):
                return _parameters([read_npy(file) for file in files])
        return None


def _camera(cameras: dict[str, Any], number: int, picture: Path) -> SourceCamera:
    def values(name: str) -> NDArray[np.float64]:
        return np.asarray(cameras[name][number], np.float64)

    width, height = picture_size(picture)
    pose = world_to_camera(values("R"), values("T").reshape(3) / 1000.0)
    name = safe_camera_name(picture.parent.name)
    lens = values("D").reshape(-1)
    return SourceCamera(name, width, height, values("K").reshape(3, 3), turned_camera(pose, _UP), lens)


def _frame_number(name: str) -> int:
    """``000012.jpg``, or the first four-digit number of ``Camera (1)_0013_2019-08-23_16-08-50.592.jpg``."""
    stem = Path(name).stem
    match = re.fullmatch(r"\d+", stem) or re.search(r"_(\d{4})_", stem)
    if match is None:
        raise DataError(f"The picture name {name} holds no frame number; it is not as documented.")
    return int(match[match.lastindex or 0])


def _parameters(frames: list[dict[str, Any]]) -> SmplBody:
    """The body turns about the model's origin, so the turn goes into the world's transform."""

    def stacked(name: str, size: int) -> NDArray[np.float64]:
        return np.stack([np.asarray(frame[name], np.float64).reshape(-1)[:size] for frame in frames])

    poses = stacked("poses", 72).reshape(len(frames), 24, 3)
    worlds = np.tile(np.eye(4), (len(frames), 1, 1))
    worlds[:, :3, :3] = Rotation.from_rotvec(stacked("Rh", 3)).as_matrix()
    worlds[:, :3, 3] = stacked("Th", 3)
    return SmplBody(
        "smpl",
        "neutral",
        stacked("shapes", 10).mean(0),
        poses[:, 0],
        poses[:, 1:],
        np.zeros((len(frames), 3)),
        world_from_model_44=world_turn(_UP) @ worlds,
    )
