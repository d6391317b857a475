"""Miniature Goliath and Ava-256 captures in the layout of their data sheets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.importers.miniature import Y_DOWN, Eye, encoded, picture, ply, write_zip

FRAMES = (27533, 27534)  # numbers of the set; they start anywhere
SIZE = (167, 256)  # a sixteenth of the calibrated 2668x4096
LAMPS_MILLIMETRES = np.array(
    [[1000.0, -1500.0, 0.0], [-900.0, -1500.0, 300.0], [0.0, -500.0, -1100.0], [100.0, -2000.0, 800.0]]
)


def write_calibration(folder: Path, eyes: list[Eye], wrong: str = "") -> None:
    """``camera_calibration.json``: transposed matrices, millimetres, y down, centres at integers."""
    entries: list[dict[str, Any]] = []
    for eye in eyes:
        K = eye.K_33.copy()
        for row, factor in enumerate((2668 / eye.width, 4096 / eye.height)):
            K[row, row] *= factor
            K[row, 2] = K[row, 2] * factor - (0.0 if wrong == "pixel centres" else 0.5)
        T = np.eye(4)
        T[:3, :3] = eye.w2c_44[:3, :3] @ Y_DOWN
        T[:3, 3] = eye.w2c_44[:3, 3] * (1.0 if wrong == "metres" else 1000.0)
        if wrong == "inverse":
            T = np.linalg.inv(T)
        entries.append(
            {
                "cameraId": eye.name,
                "projectionModel": "Pinhole",
                "distortionModel": "RadialAndTangential",
                "K": (K if wrong == "K not transposed" else K.T).tolist(),
                "distortion": [0.0, 0.0, 0.0, 0.0],
                "T": (T if wrong == "T not transposed" else T.T).tolist(),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "camera_calibration.json").write_text(json.dumps({"KRT": entries}))


def write_pictures(
    folder: Path, eyes: list[Eye], vertices_TV3: np.ndarray, faces: np.ndarray, frames: tuple[int, ...],
    masked: tuple[int, ...], half_masks: bool = False, chair: bool = False,
) -> None:  # fmt: skip
    """Archives of pictures and part segmentations of each camera; class 3 is a chair beside the person."""
    for eye in eyes:
        pictures, masks = {}, {}
        for index, frame in enumerate(frames):
            image, mask = picture(eye, vertices_TV3[index], faces)
            pictures[f"cam{eye.name}/{frame:06d}.avif"] = encoded(image, "AVIF", quality=90)
            labels = mask * 2
            if chair:
                labels[-40:][labels[-40:] == 0] = 3
            if frame in masked:
                step = 2 if half_masks else 1
                masks[f"cam{eye.name}/{frame:06d}.png"] = encoded(labels[::step, ::step])
        write_zip(folder / "image" / f"cam{eye.name}.zip", pictures)
        write_zip(folder / "segmentation_parts" / f"cam{eye.name}.zip", masks)


def write_goliath(
    root: Path, capture: str, eyes: list[Eye], vertices_TV3: np.ndarray, faces: np.ndarray, wrong: str = ""
) -> Path:
    """One capture; heads get lamps, bodies a registered mesh."""
    letter = "s" if "Body" in capture else "m"
    folder = root / f"{letter}--20230405--1635--ABC123--pilot--ProjectGoliath--{capture}"
    write_calibration(folder, eyes, wrong)
    masked = FRAMES[:1] if "Head" in capture else FRAMES
    write_pictures(folder, eyes, vertices_TV3, faces, FRAMES, masked, half_masks="Head" in capture)
    with (folder / "frame_splits_list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["frame", "split"], *([frame, "train"] for frame in FRAMES)])
    meshes = {
        f"registration_vertices/{frame:06d}.ply": ply(points @ Y_DOWN * 1000.0)
        for frame, points in zip(FRAMES, vertices_TV3, strict=True)
    }
    write_zip(folder / "kinematic_tracking" / "registration_vertices.zip", meshes)
    if "Head" in capture:
        lights = folder / "lights"
        lights.mkdir()
        full = [[lamp, 5555] for lamp in range(len(LAMPS_MILLIMETRES))]
        patterns = [{"light_index_durations": full}, {"light_index_durations": [[2, 5555], [0, 1111]]}]
        (lights / "light_pattern_metadata.json").write_text(
            json.dumps({"light_positions": LAMPS_MILLIMETRES.tolist(), "light_patterns": patterns})
        )
        (lights / "light_pattern_per_frame.json").write_text(json.dumps([[FRAMES[0], 0], [FRAMES[1], 1]]))
    return folder


def write_ava256(
    root: Path, eyes: list[Eye], vertices_TV3: np.ndarray, faces: np.ndarray, wrong: str = ""
) -> Path:
    """One capture with one segment, a chair in every picture."""
    folder = root / "m--20210810--1306--FXN596--GHS" / "decoder"
    write_calibration(folder, eyes, wrong)
    write_pictures(folder, eyes, vertices_TV3, faces, FRAMES, FRAMES, chair=True)
    with (folder / "frame_list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["seg_id", "frame_id"], *(["EXP_neutral_peak", f"{f:06d}"] for f in FRAMES)]
        )
    return folder
