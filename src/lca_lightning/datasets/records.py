"""Headers and cameras of data sets of layout version 1, ``docs/data_format.md``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.writing import write_text

FORMAT_NAME = "lca-dataset"
FORMAT_VERSION = 1
KINDS = ("wild", "studio", "light_stage", "stylised")
CONSENTS = ("participant", "synthetic", "source_licence", "unknown")
COLORS = ("srgb", "linear")
LAYERS = ("albedo", "normal")
SPLITS = ("train", "val", "test")
HOW_TO_GET_DATA = "make one with `lca synthesize --out DIR` or `lca preprocess VIDEO --out DIR`"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class CameraRecord:
    """One calibrated camera of a sequence, free of lens distortion.

    Args:
        name: File name without suffix of its video and mask.
        width: Pixels.
        height: Pixels.
        K_33: Intrinsics in pixels, pixel centres at +0.5, float64.
        w2c_44: World to camera in metres, OpenCV axes, float64.
    """

    name: str
    width: int
    height: int
    K_33: np.ndarray
    w2c_44: np.ndarray

    def __post_init__(self) -> None:
        check_name("camera", self.name)
        for label, shape in (("K_33", (3, 3)), ("w2c_44", (4, 4))):
            value = np.asarray(getattr(self, label), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise DataError(
                    f"Camera {self.name} needs finite {label} of shape {shape}, got {value.shape}."
                )
            object.__setattr__(self, label, value)
        if min(self.width, self.height) < 1 or min(self.K_33[0, 0], self.K_33[1, 1]) <= 0:
            raise DataError(
                f"Camera {self.name} has a size of {self.width}x{self.height} pixels and focal lengths of "
                f"{self.K_33[0, 0]:g} and {self.K_33[1, 1]:g}; all must be positive."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``sequence.json``."""
        return {
            "width": self.width,
            "height": self.height,
            "K": self.K_33.tolist(),
            "w2c": self.w2c_44.tolist(),
        }

    @staticmethod
    def from_json(name: str, values: dict[str, Any]) -> CameraRecord:
        """The inverse of :meth:`to_json`."""
        try:
            size = int(values["width"]), int(values["height"])
            return CameraRecord(name, *size, np.array(values["K"], float), np.array(values["w2c"], float))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"Camera {name} lacks a valid width, height, K or w2c ({error}).") from error


def check_name(what: str, name: str) -> None:
    """Refuse names that cannot be file names everywhere.

    Raises:
        DataError: The name is empty or has characters other than letters, digits, dot, dash, underscore.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise DataError(f"The {what} name {name!r} may hold only letters, digits, '.', '_' and '-'.")


def write_dataset_header(
    root: Path | str, *, kind: str, rig: str, licence: str, provenance: str, consent: str = "unknown"
) -> None:
    """Write ``dataset.json``, or check that an existing one agrees.

    Args:
        root: The data set's folder, made when missing.
        kind: ``"wild"`` (one moving or standing camera), ``"studio"`` (several calibrated cameras),
            ``"light_stage"`` (a studio whose lamps flash in turn) or ``"stylised"`` (drawn figures, for
            tests only).
        rig: Name of the rig whose values the sequences carry.
        licence: Licence of the data.
        provenance: Where the data comes from, one sentence.
        consent: On what it rests that these people may be shown: ``"participant"`` (they agreed),
            ``"synthetic"`` (nobody real), ``"source_licence"`` (what the source says) or ``"unknown"``.

    Raises:
        DataError: The folder holds a data set of another kind or rig, or cannot be written.
    """
    root = Path(root)
    check_choice("kind of a data set", kind, KINDS)
    check_choice("consent of a data set", consent, CONSENTS)
    if (root / "dataset.json").exists():
        header = read_dataset_header(root)
        for key, value in (("kind", kind), ("rig", rig)):
            if header[key] != value:
                raise DataError(
                    f"{root} holds data of {key} {header[key]!r}, not {value!r}; choose another folder."
                )
        return
    header = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "kind": kind, "rig": rig, "licence": licence}
    header.update(consent=consent, provenance=provenance, units="metres", axes="y up, right-handed")
    header.update(cameras="OpenCV axes, world to camera", pixel_center=0.5)
    write_text(root / "dataset.json", json.dumps(header, indent=2) + "\n")


def check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not in a list.

    Raises:
        DataError: Lists what is allowed.
    """
    if value not in allowed:
        raise DataError(f"The {what} must be one of {', '.join(allowed)}, not {value!r}.")


def read_dataset_header(root: Path) -> dict[str, Any]:
    """Read and check ``dataset.json``.

    Raises:
        DataError: The folder or file is missing, is no data set of ours, or has another version.
    """
    if not root.is_dir():
        raise DataError(f"There is no data set folder {root}; {HOW_TO_GET_DATA}.")
    if not (root / "dataset.json").is_file():
        raise DataError(f"{root} is not a data set (it has no dataset.json); {HOW_TO_GET_DATA}.")
    header = read_json(root / "dataset.json")
    if header.get("format") != FORMAT_NAME:
        raise DataError(f"{root / 'dataset.json'} does not describe a data set of format {FORMAT_NAME!r}.")
    version = header.get("version")
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and 0 <= version < FORMAT_VERSION
        way_out = f"run `lca migrate-data {root}`" if older else "install a newer lca-lightning"
        raise DataError(
            f"{root} has layout version {version} but this program reads version {FORMAT_VERSION}; {way_out}."
        )
    if header.get("kind") not in KINDS or not isinstance(header.get("rig"), str):
        raise DataError(f"{root / 'dataset.json'} must name its kind ({' or '.join(KINDS)}) and its rig.")
    return header


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, truncated or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"The file {path} is missing; make the data again.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON, it may be truncated; make the data again.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold a JSON object.")
    return values


def cannot_write(path: Path, error: OSError) -> DataError:
    """The one sentence for a full disk or a folder without permission."""
    reason = error.strerror or str(error)
    return DataError(f"{path} cannot be written ({reason}); free some space or choose another folder.")
