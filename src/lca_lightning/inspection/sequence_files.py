"""The files of one sequence: its description and what should lie beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from lca_lightning.datasets.files import FolderFiles, SequenceFiles
from lca_lightning.datasets.migration import migrate_sequence
from lca_lightning.datasets.records import CameraRecord
from lca_lightning.datasets.schema_check import schema_violations
from lca_lightning.datasets.sequence import read_description
from lca_lightning.datasets.signals import Signals
from lca_lightning.errors import DataError
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.videos import StatedVideo

_REMAKE = "make the sequence again"
_KNOWN = {"videos", "masks", "layers"}


def read_values(files: SequenceFiles, findings: Findings) -> dict[str, Any] | None:
    """Values of ``sequence.json`` in the present layout, checked against its schema.

    Args:
        files: Of the sequence.
        findings: Receives what is wrong.

    Returns:
        The values, even when the schema finds fault; None when they cannot be read.
    """
    try:
        values = read_description(files)
    except DataError:
        missing = not files.size("sequence.json")
        what = "is missing or empty" if missing else "is no JSON object, it may be truncated"
        findings.error("layout", f"sequence.json {what}", _REMAKE)
        return None
    present = migrate_sequence(values)
    for violation in schema_violations("sequence", present):
        findings.error("layout", f"sequence.json, {violation}", "see docs/data_format.md")
    return present


def stated_counts(description: dict[str, Any]) -> tuple[int, float]:
    """Frames and frames per second; 0 where the values are no positive numbers."""
    frames, fps = description.get("frames"), description.get("fps")
    frames = frames if isinstance(frames, int) and frames > 0 else 0
    return frames, float(fps) if isinstance(fps, (int, float)) and fps > 0 else 0.0


def stated_videos(description: dict[str, Any], camera: CameraRecord) -> Iterator[StatedVideo]:
    """The files of pictures that a camera should have: colour, mask, layers."""
    frames, fps = stated_counts(description)
    size = camera.name, camera.width, camera.height, frames, fps
    linear = description.get("color") == "linear"
    name = f"{camera.name}.{'mkv' if linear else 'mp4'}"
    yield StatedVideo(f"videos/{name}", "video", *size, "gbrp16le" if linear else "rgb24")
    yield StatedVideo(f"masks/{camera.name}.mkv", "mask", *size, "gray")
    layers = description.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        path = f"layers/{layer}/{camera.name}.mkv"
        yield StatedVideo(path, f"{layer} layer", *size, "gbrp16le")


def list_strangers(files: SequenceFiles, expected: set[str], findings: Findings) -> None:
    """Note files of pictures that no camera accounts for, and what interrupted writers left.

    Args:
        files: Of the sequence; a pack holds no others.
        expected: Relative paths that are accounted for.
        findings: Receives what is found.
    """
    if not isinstance(files, FolderFiles):
        return
    for name in sorted(_KNOWN):
        for path in sorted((files.folder / name).rglob("*")):
            relative = path.relative_to(files.folder).as_posix()
            if path.is_file() and relative not in expected:
                if path.name.startswith("."):
                    findings.note("leftovers", f"{relative} is unfinished", "remove it")
                else:
                    findings.warning("layout", f"{relative} belongs to no camera or layer", "remove it")


def read_signals(
    files: SequenceFiles, description: dict[str, Any], cameras: list[str], findings: Findings
) -> Signals | None:
    """Rig values, checked against the description.

    Args:
        files: Of the sequence.
        description: Values of ``sequence.json``.
        cameras: Their names.
        findings: Receives what is wrong.

    Returns:
        The signals; None when they cannot be used.
    """
    try:
        signals = Signals.from_arrays(load(files.read("signals.safetensors")))
    except KeyError as error:
        findings.error("signals", f"signals.safetensors lacks the array {error}", _REMAKE)
        return None
    except (OSError, SafetensorError):
        findings.error("layout", "signals.safetensors is missing or damaged", _REMAKE)
        return None
    frames = len(signals.frame_valid_T)
    if frames != description.get("frames"):
        what = f"signals.safetensors has {frames} frames, stated are {description.get('frames')}"
        findings.error("frames", what, _REMAKE)
        return None
    try:
        signals.check(files.name, frames, cameras)
    except DataError as error:
        findings.error("signals", str(error).rstrip("."), _REMAKE)
        return None
    return signals


def digest(files: SequenceFiles, path: str) -> str:
    """Hash of a file's bytes; a file on disk is read piece by piece."""
    source = files.video(path)
    if isinstance(source, Path):
        with source.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return hashlib.blake2b(files.read(path)).hexdigest()[:32]
