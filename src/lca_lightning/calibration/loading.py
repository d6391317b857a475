"""One function that reads every kind of calibration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from lca_lightning.calibration.axes import change_world, turn_to_y_up
from lca_lightning.calibration.camera import CalibratedCamera, check_camera
from lca_lightning.calibration.colmap import is_colmap, read_colmap, standing_cameras
from lca_lightning.calibration.opencv_yaml import parse_opencv_yaml
from lca_lightning.calibration.own_json import parse_own_json
from lca_lightning.calibration.pose2sim import parse_pose2sim
from lca_lightning.calibration.qualisys import parse_qualisys
from lca_lightning.errors import DataError

CALIBRATION_KINDS = "Qualisys XML, Pose2Sim TOML, OpenCV YAML, COLMAP or our JSON"
"""The files `load_calibration` reads, for help texts."""
_PAIR = ("intri.yml", "extri.yml")
_COLMAP_FILES = ("cameras.bin", "cameras.txt", "images.bin", "images.txt")
_READ_ERRORS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, ElementTree.ParseError)


def load_calibration(
    path: Path,
    *,
    up: str | None = None,
    scale: float = 1.0,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, CalibratedCamera]:
    """Read a calibration of any kind we know; it is recognised by its content.

    Args:
        path: Qualisys XML (any extension), Pose2Sim's TOML, OpenCV's YAML (a file, or the folder or either
            file of EasyMocap's ``intri.yml`` and ``extri.yml``), COLMAP's model (its folder or a file in
            it), or our JSON.
        up: The axis of the file's world that points up, one of ``axes.UP_CHOICES``; by default what the kind
            of file says (``"cameras"`` for COLMAP, whose world is arbitrary).
        scale: Metres of one unit of the file's world; COLMAP's is arbitrary.
        sizes: Width and height of the pictures by camera, for OpenCV files that do not say them.

    Returns:
        Cameras by name, in metres with y up.

    Raises:
        DataError: The file is missing, of another kind, or inconsistent; says which.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"Calibration {path} does not exist; check the path.")
    try:
        cameras, native_up = _read(path, sizes)
    except _READ_ERRORS as error:
        reason = str(error.args[0]) if error.args else str(error)
        raise DataError(
            f"{path} is not a calibration this command reads ({type(error).__name__}: {reason}); "
            f"give {CALIBRATION_KINDS}, described in docs/preprocessing.md."
        ) from error
    except OSError as error:
        raise DataError(f"Calibration {path} cannot be read ({error.strerror}); check the file.") from error
    cameras = {name: check_camera(path, camera) for name, camera in cameras.items()}
    return change_world(cameras, turn_to_y_up(up or native_up, cameras), scale)


def _read(path: Path, sizes: Mapping[str, tuple[int, int]] | None) -> tuple[dict[str, CalibratedCamera], str]:
    """Cameras in the file's world and the axis that points up in it."""
    if path.is_dir() and not is_colmap(path) and not (path / _PAIR[0]).is_file():
        raise DataError(
            f"The folder {path} holds neither a COLMAP model nor intri.yml with extri.yml; check the path."
        )
    folder = path.parent if path.name in (*_COLMAP_FILES, *_PAIR) else path
    if folder.is_dir() and is_colmap(folder):
        return standing_cameras(read_colmap(folder)), "cameras"
    if folder.is_dir():
        for name in _PAIR:
            if not (folder / name).is_file():
                raise DataError(f"{folder / name} is missing beside its other half; put both there.")
        return parse_opencv_yaml(_text(folder / _PAIR[0]), _text(folder / _PAIR[1]), sizes)
    text = _text(path)
    if text.startswith("{"):
        return parse_own_json(text)
    if path.suffix.lower() in (".yml", ".yaml") or text.startswith("%YAML"):
        cameras, up = parse_opencv_yaml(text, None, sizes)
        if list(cameras) == ["camera"]:  # a file of one nameless camera is named after itself
            return {path.stem: replace(cameras["camera"], name=path.stem)}, up
        return cameras, up
    if path.suffix.lower() == ".toml" or re.match(r"\s*\[[^\]]+\]", text):
        return parse_pose2sim(text)
    return parse_qualisys(text)


def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff \r\n\t")
    if not text:
        raise DataError(f"Calibration {path} is empty; export it again.")
    return text
