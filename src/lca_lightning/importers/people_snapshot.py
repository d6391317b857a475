"""PeopleSnapshot: a person turns in front of one standing camera.

Layout of people_snapshot_public: a folder a take with ``NAME.mp4``, ``camera.pkl`` (``camera_f``,
``camera_c``, ``camera_k``, ``width``, ``height``), ``masks.hdf5`` (``masks``, 1 on the person) and
``reconstructed_poses.hdf5`` (``pose`` of 72, ``trans``, ``betas`` of SMPL in the camera's axes, y down).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.axes import turn_to_y_up
from lca_lightning.errors import DataError, LCAError, MissingAssetError
from lca_lightning.importers.reading import video_frames
from lca_lightning.importers.source import BrokenTake, Importer, SmplBody, SourceCamera, SourceTake
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.safe_pickle import read_pickle


class PeopleSnapshotImporter(Importer):
    """Reads videos with their masks and SMPL fits."""

    name = "people_snapshot"
    title = "PeopleSnapshot"
    licence = "non-commercial research and art"
    terms_url = "https://graphics.tu-bs.de/people-snapshot"
    access = "form"
    kind = "wild"
    pixel_center = 0.0
    expects = "folders such as female-1-casual with camera.pkl, masks.hdf5 and an .mp4 file"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        places = [self.source, *sorted(self.source.iterdir())]
        self._folders = [place for place in places if (place / "camera.pkl").is_file()]
        if not self._folders:
            raise self.not_this_set("no folder holds camera.pkl")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a folder; ``female-1-casual`` and ``female-1-sport`` are the same person."""
        for folder in self._folders:
            try:
                yield self._take(folder)
            except MissingAssetError:
                raise
            except (LCAError, OSError) as error:
                yield BrokenTake(folder.name, str(error))

    def _take(self, folder: Path) -> SourceTake:
        name = folder.resolve().name
        videos = sorted(folder.glob("*.mp4"))
        if not videos:
            raise DataError(f"{folder} holds no .mp4 file.")
        video = SourceVideo(next((path for path in videos if path.stem == name), videos[0]))
        camera = _camera(read_pickle(folder / "camera.pkl"), folder)
        if (camera.width, camera.height) != (video.width, video.height):
            raise DataError(
                f"camera.pkl of {name} is for {camera.width}x{camera.height} pictures but its video is "
                f"{video.width}x{video.height}."
            )
        with _open_hdf5(folder / "masks.hdf5") as file:
            count = min(len(_array(file, "masks", folder)), video.frame_count or 10**9)
        subject = re.sub(r"-[A-Za-z_]+$", "", name)
        return SourceTake(
            name, subject, (camera,), count, video.fps, folder, details={"video": str(video.path)}
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Frames with masks, both read one at a time."""
        video = SourceVideo(Path(str(take.details["video"])))
        with _open_hdf5(take.folder / "masks.hdf5") as file:
            masks = _array(file, "masks", take.folder)
            for index, image in zip(indices, video_frames(video, indices), strict=False):
                yield image, np.where(np.asarray(masks[index]) != 0, 255, 0).astype(np.uint8)

    def body(self, take: SourceTake, indices: Sequence[int]) -> SmplBody | None:
        """SMPL in the camera's axes."""
        path = take.folder / "reconstructed_poses.hdf5"
        if not path.is_file():
            return None
        rows = list(indices)
        with _open_hdf5(path) as file:
            pose = np.asarray(_array(file, "pose", take.folder), np.float64)
            translation = np.asarray(_array(file, "trans", take.folder), np.float64)
            betas = np.asarray(_array(file, "betas", take.folder), np.float64).reshape(-1)
        if pose.shape[1:] != (72,) or len(pose) <= rows[-1] or len(translation) <= rows[-1]:
            raise DataError(f"{path} holds poses of shape {pose.shape}; expected (frames, 72).")
        world = np.eye(4)
        world[:3, :3] = turn_to_y_up("-y", {})
        joints = pose[rows].reshape(len(rows), 24, 3)
        gender = take.id.split("-")[0]
        return SmplBody(
            "smpl",
            gender if gender in ("female", "male") else "neutral",
            betas,
            joints[:, 0],
            joints[:, 1:],
            translation[rows],
            world_from_model_44=world,
        )


def _camera(known: Any, folder: Path) -> SourceCamera:
    """The camera at ``camera_t`` and ``camera_rt``, zeros in the published files."""
    try:
        focal, center = (np.asarray(known[key], np.float64).reshape(2) for key in ("camera_f", "camera_c"))
        turn = Rotation.from_rotvec(np.asarray(known["camera_rt"], np.float64).reshape(3)).as_matrix()
        w2c_44 = np.eye(4)
        w2c_44[:3, :3] = turn @ turn_to_y_up("-y", {}).T
        w2c_44[:3, 3] = np.asarray(known["camera_t"], np.float64).reshape(3)
        size = int(known["width"]), int(known["height"])
        distortion = np.asarray(known.get("camera_k", np.zeros(5)), np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / 'camera.pkl'} is not as documented ({error}).") from error
    K_33 = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
    return SourceCamera("camera", *size, K_33, w2c_44, distortion)


def _open_hdf5(path: Path) -> Any:
    """An HDF5 file opened for reading.

    Raises:
        MissingAssetError: h5py is not installed.
        DataError: The file is missing or damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingAssetError(
            "Reading HDF5 files needs h5py: pip install 'lca-lightning[importers]'."
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is missing or no complete HDF5 file; get it again.") from error


def _array(file: Any, name: str, folder: Path) -> Any:
    if name not in file:
        raise DataError(f"{Path(file.filename).name} of {folder.name} holds no {name!r}; get it again.")
    return file[name]
