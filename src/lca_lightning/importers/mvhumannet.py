"""MVHumanNet and MVHumanNet++: up to 48, or 16, cameras around people in daily dress.

Layout after GAP-LAB-CUHK-SZ/MVHumanNet: ``OUTFIT/{images,fmask}/CAMERA/0380_img.jpg``,
``camera_intrinsics.json`` (one for all cameras), ``camera_extrinsics.json``, ``camera_scale.pkl``,
``smplx/smpl/000075.json`` and ``smplx/smplx_mesh/000075.obj``. Layout of MVHumanNet++ (GAP-LAB-CUHK-SZ/
MVHumanNet_plusplus): ``OUTFIT/{images,masks}/cam_00/0675.jpg``, ``cameras/cam_00/camera.npz``,
``smplx_params.npz``.

Its traps: translations are in millimetres of another scale, times ``camera_scale.pkl`` they are right; the
intrinsics are of the full pictures while the stored ones have half the size; the name of a camera stands
after a prefix (``1_CC32871A004.png``); pictures are numbered in video frames (0380), bodies from zero in
steps of five (000075), in MVHumanNet++ rows in steps of 25; the world has -z up; the body of the first
version turns about the model's origin. Checked against the fragments that both repositories carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import world_to_camera
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import picture_size, read_json_file, read_picture
from lca_lightning.importers.source import (
    BodySource,
    BrokenTake,
    Importer,
    MeshBody,
    SmplBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.upright import (
    common_frames,
    numbered_pictures,
    safe_camera_name,
    turned_camera,
    up_axis_of_bodies,
    world_turn,
)
from lca_lightning.safe_pickle import read_pickle

_UP = "-z"
_BROKEN = (LCAError, OSError, KeyError, ValueError, TypeError, IndexError)
# Video frames between stored pictures.
_EVERY, _EVERY_PLUS = 5, 25


class MVHumanNetImporter(Importer):
    """Reads each outfit as one take, of either version of the set."""

    name = "mvhumannet"
    title = "MVHumanNet"
    licence = "MVHumanNet terms of use, research only"
    terms_url = "https://github.com/GAP-LAB-CUHK-SZ/MVHumanNet"
    access = "form"
    kind = "studio"
    pixel_center = 0.5  # the half-size pictures need the shift before scaling, so it is done here
    expects = "OUTFIT folders with images, fmask (or masks) and camera_extrinsics.json (or cameras)"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if next(self._folders(), None) is None:
            raise self.not_this_set("there is neither camera_extrinsics.json nor cameras/cam_00/camera.npz")

    def _folders(self) -> Iterator[Path]:
        first = {path.parent for path in self.source.rglob("camera_extrinsics.json")}
        second = {path.parents[2] for path in self.source.rglob("cameras/*/camera.npz")}
        return iter(sorted(first | second))

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take an outfit, in the order of the paths."""
        for folder in self._folders():
            try:
                yield self._take(folder)
            except _BROKEN as error:
                yield BrokenTake(folder.name, f"{folder.name}: {type(error).__name__} {error}")

    def _take(self, folder: Path) -> SourceTake:
        plus = not (folder / "camera_extrinsics.json").is_file()
        up = _up(folder, plus)
        poses = _poses_plus(folder) if plus else _poses(folder)
        cameras, folders = [], {}
        for name, (K_33, w2c_44) in poses.items():
            pictures = numbered_pictures(folder / "images" / name)
            if not pictures:
                continue
            size = picture_size(next(iter(pictures.values())))
            lens = _shrunk(K_33, size)
            cameras.append(SourceCamera(safe_camera_name(name), *size, lens, turned_camera(w2c_44, up)))
            folders[safe_camera_name(name)] = folder / "images" / name
        numbers = common_frames(folders)
        if not numbers:
            raise DataError("its cameras have no picture in common")
        details: dict[str, object] = {"numbers": numbers, "plus": plus, "up": up}
        details["folders"] = {name: path.name for name, path in folders.items()}
        fps = 25.0 / (_EVERY_PLUS if plus else _EVERY)
        subject = safe_camera_name(folder.name)
        return SourceTake(subject, subject, tuple(cameras), len(numbers), fps, folder, details=details)

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures and masks."""
        names, numbers = take.details["folders"], take.details["numbers"]
        assert isinstance(names, dict) and isinstance(numbers, list)
        pictures = numbered_pictures(take.folder / "images" / names[camera.name])
        folder = take.folder / ("masks" if take.details["plus"] else "fmask") / names[camera.name]
        masks = numbered_pictures(folder)
        for index in indices:
            if numbers[index] not in masks:
                raise DataError(f"{folder} lacks the mask of frame {numbers[index]}; get the set's masks.")
            yield read_picture(pictures[numbers[index]]), read_picture(masks[numbers[index]], mode="L")

    def body(self, take: SourceTake, indices: Sequence[int]) -> BodySource | None:
        """The stored mesh, for which no model file is needed; else SMPL-X's parameters."""
        numbers = take.details["numbers"]
        assert isinstance(numbers, list)
        turn_44 = world_turn(str(take.details["up"]))
        if take.details["plus"]:
            rows = [numbers[index] // _EVERY_PLUS - 1 for index in indices]
            path = take.folder / "smplx_params.npz"
            return _body_plus(path, rows, turn_44) if path.is_file() else None
        rows = [numbers[index] // _EVERY - 1 for index in indices]
        meshes = [_mesh_path(take.folder, row) for row in rows]
        if all(mesh is not None for mesh in meshes):
            vertices = np.stack([_obj_vertices(mesh) for mesh in meshes if mesh is not None])
            return MeshBody("smplx", vertices @ turn_44[:3, :3].T)
        files = [take.folder / "smplx" / "smpl" / f"{row:06d}.json" for row in rows]
        if all(file.is_file() for file in files):
            return _body([read_json_file(file)[0] for file in files], turn_44)
        return None


def _up(folder: Path, plus: bool) -> str:
    """From the stored bodies; the two studios of the set both have -z up as far as is known."""
    if plus and (folder / "smplx_params.npz").is_file():
        return up_axis_of_bodies(_arrays(folder / "smplx_params.npz")["global_orient"])
    files = sorted((folder / "smplx" / "smpl").glob("*.json"))[:20]
    if files:
        return up_axis_of_bodies(np.array([read_json_file(file)[0]["Rh"] for file in files]))
    return _UP


def _poses(folder: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Intrinsics of the full picture and metric poses, by camera folder."""
    K_33 = np.array(read_json_file(folder / "camera_intrinsics.json")["intrinsics"], np.float64)
    scale = float(read_pickle(folder / "camera_scale.pkl"))
    if not scale > 0:
        raise DataError(f"camera_scale.pkl holds {scale}, not a positive number")
    poses = {}
    for key, entry in read_json_file(folder / "camera_extrinsics.json").items():
        shift = np.array(entry["translation"], np.float64) / 1000.0 * scale
        poses[Path(key).stem.split("_")[-1]] = (K_33, world_to_camera(np.array(entry["rotation"]), shift))
    return dict(sorted(poses.items()))


def _poses_plus(folder: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    poses = {}
    for path in sorted(folder.glob("cameras/*/camera.npz")):
        values = _arrays(path)
        pose = np.asarray(values["extrinsic"], np.float64)
        poses[path.parent.name] = (
            np.asarray(values["intrinsic"], np.float64), world_to_camera(pose[:3, :3], pose[:3, 3])
        )  # fmt: skip
    return poses


def _shrunk(K_33: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Intrinsics (centres at integers) of the full picture for a smaller one, centres at +0.5.

    The principal point is the middle of the full picture, which tells its size.
    """
    shifted = K_33.copy()
    shifted[:2, 2] += 0.5
    factor = size[0] / (2.0 * shifted[0, 2])
    factor = 1.0 if abs(factor - 1.0) < 0.05 else factor  # a principal point need not be quite central
    shifted[:2] *= factor
    return shifted


def _arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], np.float64) for name in archive.files}
    except Exception as error:  # numpy and zipfile each raise their own kind
        raise DataError(f"{path} cannot be read ({error}); download it again.") from error


def _mesh_path(folder: Path, row: int) -> Path | None:
    places = [folder / "smplx" / "smplx_mesh" / f"{row:06d}{end}.obj" for end in ("", "_smplx")]
    return next((place for place in places if place.is_file()), None)


def _obj_vertices(path: Path) -> NDArray[np.float64]:
    rows = [line.split()[1:4] for line in path.read_text(encoding="utf-8").splitlines() if line[:2] == "v "]
    return np.array(rows, np.float64)


def _body(frames: list[dict[str, Any]], turn_44: NDArray[np.float64]) -> SmplBody:
    """87 pose values: 66 of the body (the root's unused), 6 + 6 hand components, jaw, eyes."""

    def stacked(name: str) -> NDArray[np.float64]:
        return np.stack([np.asarray(frame[name], np.float64).reshape(-1) for frame in frames])

    poses, worlds = stacked("poses"), np.tile(np.eye(4), (len(frames), 1, 1))
    worlds[:, :3, :3] = Rotation.from_rotvec(stacked("Rh")).as_matrix()
    worlds[:, :3, 3] = stacked("Th")
    return SmplBody(
        "smplx",
        "neutral",
        stacked("shapes").mean(0),
        poses[:, :3],
        poses[:, 3:66].reshape(len(frames), 21, 3),
        np.zeros((len(frames), 3)),
        left_hand_TJ3=poses[:, 66:72],
        right_hand_TJ3=poses[:, 72:78],
        jaw_T3=poses[:, 78:81],
        expression_TN=stacked("expression"),
        world_from_model_44=turn_44 @ worlds,
    )


def _body_plus(path: Path, rows: list[int], turn_44: NDArray[np.float64]) -> SmplBody:
    """The makers' own parameters; hands are six components, without the mean hand."""
    values = _arrays(path)
    if max(rows) >= len(values["transl"]) or min(rows) < 0:
        raise DataError(f"{path} holds {len(values['transl'])} bodies, but body {max(rows)} is needed.")
    return SmplBody(
        "smplx",
        "neutral",
        values["betas"].reshape(-1, values["betas"].shape[-1]).mean(0),
        values["global_orient"][rows],
        values["body_pose"][rows].reshape(len(rows), 21, 3),
        values["transl"][rows],
        left_hand_TJ3=values["left_hand_pose"][rows],
        right_hand_TJ3=values["right_hand_pose"][rows],
        jaw_T3=values["jaw_pose"][rows],
        expression_TN=values["expression"][rows],
        world_from_model_44=turn_44,
    )
