"""Your own capture: a folder of pictures or videos per camera, masks, and any calibration file we read.

Layout, either directly in the folder or once in each of its subfolders (one take each)::

    images/CAMERA/0001.jpg ...     or videos/CAMERA.mp4, or images/CAMERA.jpg for a single frame
    masks/CAMERA/0001.png ...      or masks/CAMERA.mkv, or masks/CAMERA.png: bright on the person
    calibration.json               or Calib.toml, *.qca.txt, *.xml, intri.yml + extri.yml, sparse/0 (COLMAP)
    import.json                    optional: {"fps": 30, "subject": "anna", "up": "z", "scale": 1.0}
    signals.safetensors            optional: values of our own rig
    body.npz                       optional: SMPL-family parameters under AMASS' names: poses, betas, trans,
                                   already in metres with y up

Pictures and masks are as the lens gave them; both are undistorted. ``up`` and ``scale`` (metres of a unit)
are for calibrations whose world is arbitrary, such as COLMAP's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.colmap import is_colmap
from lca_lightning.calibration.loading import CALIBRATION_KINDS, load_calibration
from lca_lightning.datasets.signals import Signals
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import picture_size, read_json_file, read_picture, video_frames
from lca_lightning.importers.source import (
    BodySource,
    BrokenTake,
    Importer,
    RigBody,
    SmplBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.upright import PICTURE_SUFFIXES, safe_camera_name
from lca_lightning.preprocessing.frames import VIDEO_SUFFIXES, SourceVideo

_PICTURES, _MASKS = ("images", "videos"), "masks"
_CALIBRATIONS = ("calibration.json", "*.toml", "*.qca.txt", "*.xml", "intri.yml", "*.yml", "*.yaml")
_OPTIONS = {"fps": (int, float), "subject": (str,), "up": (str,), "scale": (int, float)}
# Pose values of AMASS-style files by number: model and number of body joints.
_POSES = {72: ("smpl", 23), 156: ("smplh", 21), 165: ("smplx", 21)}


class GenericImporter(Importer):
    """Reads your own captures."""

    name = "generic"
    title = "your own capture"
    licence = "yours"
    terms_url = "none"
    access = "yours"
    verified = True
    kind = "studio"
    consent = "unknown"
    pixel_center = 0.5  # calibrations are brought to +0.5 where they are read
    expects = "images/CAMERA/*.jpg or videos/CAMERA.mp4, masks, and a calibration"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if not self._folders():
            raise self.not_this_set("there is no folder images or videos")

    def _folders(self) -> list[Path]:
        places = [self.source, *sorted(path for path in self.source.iterdir() if path.is_dir())]
        return [place for place in places if any((place / name).is_dir() for name in _PICTURES)]

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a folder, in the order of their names."""
        for folder in self._folders():
            name = safe_camera_name(folder.resolve().name)
            try:
                yield self._take(folder, name)
            except (LCAError, OSError) as error:
                yield BrokenTake(name, str(error))

    def _take(self, folder: Path, name: str) -> SourceTake:
        options = _read_options(folder / "import.json")
        streams = _streams([folder / place for place in _PICTURES])
        if not streams:
            raise DataError(
                f"{folder} holds neither pictures nor videos of a camera; it needs {self.expects}."
            )
        sizes = {camera: _size(stream) for camera, stream in streams.items()}
        calibrated = load_calibration(
            _calibration(folder), up=options.get("up"), scale=float(options.get("scale", 1.0)), sizes=sizes
        )
        masks = _streams([folder / _MASKS])
        cameras, details = [], {}
        for camera, stream in streams.items():
            if camera not in calibrated:
                known = ", ".join(sorted(calibrated))
                raise DataError(
                    f"The calibration knows no camera {camera} (known: {known}); rename one of them."
                )
            lens = _resized(calibrated[camera], sizes[camera])
            plain = safe_camera_name(camera)
            cameras.append(
                SourceCamera(plain, *sizes[camera], lens.K_33, lens.w2c_44, lens.distortion_8, lens.fisheye)
            )
            details[plain] = {"pictures": str(stream), "masks": str(masks[camera]) if camera in masks else ""}
        stems = {camera: _stems(stream) for camera, stream in streams.items()}
        if len({kind is None for kind in stems.values()}) > 1:
            raise DataError("Some cameras come as pictures and some as videos; convert them to one kind.")
        frames, common, remark = _common_frames(streams, stems)
        return SourceTake(
            name,
            safe_camera_name(str(options.get("subject", name))),
            tuple(cameras),
            frames,
            float(options.get("fps", _fps(streams))),
            folder,
            kind="studio" if len(cameras) > 1 else "wild",
            details={"cameras": details, "stems": common},
            remark=remark,
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures, and masks where there are some."""
        places, stems = take.details["cameras"], take.details["stems"]
        assert isinstance(places, dict) and isinstance(stems, list)
        pictures = _read(Path(places[camera.name]["pictures"]), stems, indices, "RGB")
        if not places[camera.name]["masks"]:
            for picture in pictures:
                yield picture, None
            return
        stream, masks = Path(places[camera.name]["pictures"]), Path(places[camera.name]["masks"])
        if stems and _is_video(masks):  # one mask for each picture of this camera, common to all or not
            order = {name: place for place, name in enumerate(_pictures(stream))}
            indices = [order[stems[index]] for index in indices]
        yield from zip(pictures, _read(masks, stems, indices, "L"), strict=True)

    def body(self, take: SourceTake, indices: Sequence[int]) -> BodySource | None:
        """Our own rig's values, or SMPL-family parameters, where the user put some."""
        own, family = take.folder / "signals.safetensors", take.folder / "body.npz"
        if own.is_file():
            return RigBody(_own_signals(own, list(indices)))
        return _family_body(family, list(indices)) if family.is_file() else None


def _read_options(path: Path) -> dict[str, Any]:
    options = read_json_file(path) if path.is_file() else {}
    if not isinstance(options, dict):
        raise DataError(f'{path} must hold a JSON object such as {{"fps": 30}}.')
    for key, value in options.items():
        if key not in _OPTIONS or not isinstance(value, _OPTIONS[key]):
            raise DataError(f"{path} has {key!r}: {value!r}; it may hold fps, subject, up and scale.")
    if float(options.get("fps", 1)) <= 0:
        raise DataError(f"{path} has an fps of {options['fps']}; it must be positive.")
    return options


def _streams(folders: list[Path]) -> dict[str, Path]:
    """Videos, folders of pictures or single pictures by camera."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.is_dir() or path.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES):
                found.setdefault(path.name if path.is_dir() else path.stem, path)
    return found


def _pictures(stream: Path) -> dict[str, Path]:
    """Pictures of a stream by their name without suffix; a single picture is frame ``0``."""
    if stream.is_file():
        return {"0": stream}
    found = [path for path in stream.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    return {path.stem: path for path in sorted(found, key=lambda path: _natural(path.stem))}


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts 9 before 10: recorders often number without leading zeros."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _is_video(stream: Path) -> bool:
    return stream.suffix.lower() in VIDEO_SUFFIXES and stream.is_file()


def _stems(stream: Path) -> list[str] | None:
    return None if _is_video(stream) else list(_pictures(stream))


def _size(stream: Path) -> tuple[int, int]:
    if _is_video(stream):
        video = SourceVideo(stream)
        return video.width, video.height
    pictures = _pictures(stream)
    if not pictures:
        raise DataError(f"{stream} holds no picture ({', '.join(PICTURE_SUFFIXES)}).")
    return picture_size(next(iter(pictures.values())))


def _common_frames(
    streams: dict[str, Path], stems: dict[str, list[str] | None]
) -> tuple[int, list[str], str]:
    """Frames that all cameras have, the names of their pictures (none for videos), and why others are not."""
    lists = {camera: names for camera, names in stems.items() if names is not None}
    if not lists:
        counts = {
            camera: SourceVideo(stream).frame_count or sum(1 for _ in SourceVideo(stream))
            for camera, stream in streams.items()
        }
        count, most = min(counts.values()), max(counts.values())
        short = [f"the video of {camera} has {found}" for camera, found in counts.items() if found < most]
        return count, [], _left_out(most - count, most, short)
    common = sorted(set.intersection(*(set(names) for names in lists.values())), key=_natural)
    if not common:
        raise DataError("The cameras have no picture name in common; name pictures by their frame.")
    every = set.union(*(set(names) for names in lists.values()))
    lacking = [
        f"{camera} lacks {len(every) - len(names)} ({min(every - set(names), key=_natural)} first)"
        for camera, names in lists.items()
        if len(names) < len(every)
    ]
    return len(common), common, _left_out(len(every) - len(common), len(every), lacking)


def _left_out(missing: int, frames: int, reasons: list[str]) -> str:
    """A few words on frames that not every camera has; nothing where all have all."""
    if not missing:
        return ""
    more = f" and {len(reasons) - 3} more cameras" if len(reasons) > 3 else ""
    return f"{missing} of {frames} frames left out, because {', '.join(reasons[:3])}{more}"


def _fps(streams: dict[str, Path]) -> float:
    first = next(iter(streams.values()))
    return SourceVideo(first).fps if _is_video(first) else 30.0


def _calibration(folder: Path) -> Path:
    for pattern in _CALIBRATIONS:
        if found := sorted(path for path in folder.glob(pattern) if path.name != "import.json"):
            return found[0]
    if is_colmap(folder):
        return folder
    raise DataError(f"{folder} holds no calibration; put one there: {CALIBRATION_KINDS}.")


def _resized(camera: CalibratedCamera, size: tuple[int, int]) -> CalibratedCamera:
    """The camera for pictures of another size but the same shape; anything else cannot be right."""
    if (camera.width, camera.height) == size:
        return camera
    factors = size[0] / camera.width, size[1] / camera.height
    if abs(factors[0] / factors[1] - 1) > 0.005:
        raise DataError(
            f"Camera {camera.name} is calibrated for {camera.width}x{camera.height} pictures, but they "
            f"are {size[0]}x{size[1]}, of another shape; calibrate them as they are, or use lca preprocess."
        )
    return camera.adapted(factors, (0.0, 0.0), size)


def _read(stream: Path, stems: list[str], indices: Sequence[int], mode: str) -> Iterator[NDArray[np.uint8]]:
    if _is_video(stream):
        for frame in video_frames(SourceVideo(stream), indices):
            yield frame if mode == "RGB" else frame[..., 1].copy()
        return
    pictures = _pictures(stream)
    if not stems:  # the other side is a video: by order
        stems = list(pictures)
        if len(stems) <= max(indices):
            raise DataError(f"{stream} holds {len(stems)} pictures, fewer than the video has frames.")
    for index in indices:
        if stems[index] not in pictures:
            raise DataError(f"{stream} lacks the picture {stems[index]}; every frame needs one.")
        yield read_picture(pictures[stems[index]], mode=mode)


def _own_signals(path: Path, indices: list[int]) -> Signals:
    try:
        found = Signals.from_arrays(load_file(path))
        return Signals(
            identity_I=found.identity_I,
            rotations_TJ3=found.rotations_TJ3[indices],
            translation_T3=found.translation_T3[indices],
            expression_TE=found.expression_TE[indices],
            gaze_T8=found.gaze_T8[indices],
            frame_valid_T=found.frame_valid_T[indices],
        )
    except (OSError, SafetensorError, KeyError, IndexError) as error:
        raise DataError(f"{path} holds no values of our rig for these frames ({error}).") from error


def _family_body(path: Path, indices: list[int]) -> SmplBody:
    try:
        with np.load(path, allow_pickle=False) as archive:
            values = {name: np.asarray(archive[name], np.float64) for name in ("poses", "betas", "trans")}
        poses, trans = values["poses"][indices], values["trans"][indices]
        kind, joints = _POSES[poses.shape[1]]
    except Exception as error:  # numpy and zipfile each raise their own kind
        raise DataError(
            f"{path} must hold poses (72, 156 or 165 values a frame), betas and trans for every frame "
            f"({error})."
        ) from error
    pose = poses.reshape(len(indices), -1, 3)
    hands = None if kind == "smpl" else pose[:, -30:]
    return SmplBody(
        kind,
        "neutral",
        values["betas"].reshape(-1, values["betas"].shape[-1]).mean(0),
        pose[:, 0],
        pose[:, 1 : 1 + joints],
        trans,
        left_hand_TJ3=None if hands is None else hands[:, :15],
        right_hand_TJ3=None if hands is None else hands[:, 15:],
        jaw_T3=pose[:, 22] if kind == "smplx" else None,
    )
