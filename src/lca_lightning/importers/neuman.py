"""NeuMan: six short videos of one person each, filmed by a moving phone.

Layout after apple/ml-neuman: ``SCENE/images/00000.png``, ``SCENE/segmentations/00000.png``,
``SCENE/sparse/{cameras,images}.txt`` (COLMAP), ``SCENE/alignments.npy`` (a similarity from SMPL to the scene
for each picture) and ``SCENE/smpl_output_optimized.pkl`` or ``smpl_output_romp.pkl`` (joblib).

Its traps: masks are 0 on the person; COLMAP's pixel centres are at +0.5 already and its scale is arbitrary;
``alignments`` are stored transposed and scale the body. The camera moves, so each frame's body is brought to
the camera's axes: the camera then stands still, and sizes are those of the body model, in metres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.colmap import is_colmap, read_colmap
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.joblib_arrays import read_joblib
from lca_lightning.importers.reading import read_picture
from lca_lightning.importers.source import BrokenTake, Importer, SmplBody, SourceCamera, SourceTake
from lca_lightning.safe_pickle import read_npy

_BODIES = ("smpl_output_optimized.pkl", "smpl_output_romp.pkl")
# The camera looks along -z of a world with y up.
_TO_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])
_BROKEN = (LCAError, OSError, KeyError, ValueError, TypeError, IndexError)


class NeuManImporter(Importer):
    """Reads each scene as one take of one camera."""

    name = "neuman"
    title = "NeuMan"
    licence = "CC-BY-NC-4.0 (Apple, data of ml-neuman)"
    terms_url = "https://github.com/apple/ml-neuman"
    access = "download"
    kind = "wild"
    pixel_center = 0.5
    expects = "SCENE folders with images, segmentations and sparse"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if not self._folders():
            raise self.not_this_set("there is no segmentations beside sparse")

    def _folders(self) -> list[Path]:
        places = [self.source, *sorted(path for path in self.source.iterdir() if path.is_dir())]
        return [place for place in places if (place / "segmentations").is_dir() and is_colmap(place)]

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a scene, in the order of the paths."""
        for folder in self._folders():
            name = folder.resolve().name
            try:
                yield self._take(folder, name)
            except _BROKEN as error:
                yield BrokenTake(name, str(error))

    def _take(self, folder: Path, name: str) -> SourceTake:
        cameras = {
            key: camera for key, camera in read_colmap(folder).items() if (folder / "images" / key).is_file()
        }
        if not cameras:
            raise DataError(f"{folder / 'images'} holds none of the pictures that COLMAP registered")
        first = next(iter(cameras.values()))
        for key, camera in cameras.items():
            if not np.allclose(camera.K_33, first.K_33) or camera.width != first.width:
                raise DataError(f"picture {key} has another lens than the first one")
        phone = SourceCamera(
            "phone", first.width, first.height, first.K_33, _TO_CAMERA, first.distortion_8, first.fisheye
        )
        details: dict[str, object] = {"pictures": list(cameras)}
        return SourceTake(name, name, (phone,), len(cameras), 30.0, folder, details=details)

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures, and masks with 255 on the person."""
        names = take.details["pictures"]
        assert isinstance(names, list)
        for index in indices:
            outside = read_picture(take.folder / "segmentations" / Path(names[index]).name, mode="L")
            yield (
                read_picture(take.folder / "images" / names[index]),
                np.where(outside == 0, 255, 0).astype(np.uint8),
            )

    def body(self, take: SourceTake, indices: Sequence[int]) -> SmplBody | None:
        """SMPL in the axes of each frame's own camera, at the size that the model has."""
        path = next((take.folder / name for name in _BODIES if (take.folder / name).is_file()), None)
        if path is None or not (take.folder / "alignments.npy").is_file():
            return None
        names = take.details["pictures"]
        assert isinstance(names, list)
        chosen = [names[index] for index in indices]
        bodies = _only_person(path)
        rows = [int(Path(name).stem) for name in chosen]
        if max(rows) >= len(bodies["pose"]):
            raise DataError(f"{path} holds {len(bodies['pose'])} bodies, but body {max(rows)} is needed.")
        pose = np.asarray(bodies["pose"], np.float64)[rows].reshape(len(rows), 24, 3)
        cameras, alignments = read_colmap(take.folder), read_npy(take.folder / "alignments.npy")
        worlds = np.stack([_camera_from_model(alignments, name, cameras[name]) for name in chosen])
        return SmplBody(
            "smpl",
            "neutral",
            np.median(np.asarray(bodies["betas"], np.float64).reshape(-1, 10), axis=0),
            pose[:, 0],
            pose[:, 1:],
            np.zeros((len(rows), 3)),
            world_from_model_44=np.linalg.inv(_TO_CAMERA) @ worlds,
        )


def _only_person(path: Path) -> dict[str, Any]:
    """The estimates are keyed by person, of whom there is one."""
    content = read_joblib(path)
    people = list(content.values()) if isinstance(content, dict) else []
    if len(people) != 1 or not {"pose", "betas"} <= set(people[0]):
        raise DataError(f"{path} must hold pose and betas of one person; get it again.")
    return people[0]


def _camera_from_model(
    alignments: dict[str, Any], name: str, camera: CalibratedCamera
) -> NDArray[np.float64]:
    """Rigid ``(4, 4)`` from the model to the camera's axes, in metres.

    A picture does not change when the scene shrinks about its camera, so the similarity's scale is taken off
    there.
    """
    if Path(name).name not in alignments:
        raise DataError(f"alignments.npy lacks the picture {name}; get it again.")
    similarity = np.eye(4)
    similarity[:3] = np.asarray(alignments[Path(name).name], np.float64).T[:3]
    whole = camera.w2c_44 @ similarity
    scale = float(np.cbrt(np.linalg.det(whole[:3, :3])))
    if not scale > 0:
        raise DataError(f"The alignment of picture {name} is no similarity; get alignments.npy again.")
    whole[:3] /= scale
    return whole
