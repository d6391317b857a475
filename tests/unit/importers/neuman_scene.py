"""A small NeuMan scene: a moving phone, COLMAP in a scale of its own, joblib's file of SMPL."""

from __future__ import annotations

import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.importers.upright import world_turn
from tests.unit.calibration.files import write_colmap_text
from tests.unit.importers.dome_sets import save
from tests.unit.importers.truth import Truth
from tests.unit.importers.views import photograph, ring


class NumpyArrayWrapper:
    """What joblib pickles in place of an array."""

    def __init__(self, array: np.ndarray, alignment: int | None) -> None:
        self.subclass, self.shape, self.order = np.ndarray, array.shape, "C"
        self.dtype, self.allow_mmap = array.dtype, True
        if alignment is not None:
            self.numpy_array_alignment_bytes = alignment


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes as joblib's documented format does: the wrapper, then the array's bytes."""

    def __init__(self, file: Any, alignment: int | None) -> None:
        super().__init__(file, protocol=4)
        self._file, self._alignment = file, alignment

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) is not np.ndarray:
            return super().save(obj, save_persistent_id)
        super().save(NumpyArrayWrapper(obj, self._alignment))
        self.framer.commit_frame(force=True)
        if self._alignment is not None:
            padding = self._alignment - (self._file.tell() + 1) % self._alignment
            self._file.write(bytes([padding]) + b"\xff" * padding)
        self._file.write(obj.tobytes())


def dump_joblib(path: Path, value: Any, alignment: int | None = 16) -> None:
    """Write a file as joblib would, which is not installed here."""
    package, module = types.ModuleType("joblib"), types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("joblib", "joblib.numpy_pickle")}
    sys.modules.update({"joblib": package, "joblib.numpy_pickle": module})
    try:
        with path.open("wb") as file:
            _Pickler(file, alignment).dump(value)
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old


def write_neuman(root: Path, truth: Truth, wrong: str = "") -> Path:
    """A scene whose unit is 0.4 metres; the phone walks around the person."""
    folder, unit = root / "bike", 0.4
    scene = Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix()  # our world to the scene's axes
    phones: list[CalibratedCamera] = []
    alignments = {}
    # SMPL stands about the pelvis in axes of its own, as an estimator for one picture gives it.
    turn = world_turn(truth.up)[:3, :3]
    for frame, camera in enumerate(ring(8)[: len(truth.vertices_TV3)]):
        image, mask = photograph(camera, truth.vertices_TV3[frame], truth.model.faces_F3)
        name = f"{frame:05d}.png"
        save(folder / "images" / name, image)
        save(folder / "segmentations" / name, mask if wrong == "masks" else 255 - mask)
        pose = camera.w2c_44.copy()
        pose[:3, :3] = pose[:3, :3] @ scene.T
        pose[:3, 3] /= unit
        phones.append(replace(camera, name=f"{frame:05d}", w2c_44=pose))
        # From the model posed about its pelvis, without translation, to the scene.
        similarity = np.eye(4)
        similarity[:3, :3] = scene @ turn / unit
        similarity[:3, 3] = scene @ turn @ truth.translation_T3[frame] / unit
        stored = similarity[:3].T  # (4, 3)
        alignments[name] = (
            np.vstack([similarity[:3, :3], similarity[:3, 3]]) if wrong == "transposed" else stored
        )
    if wrong == "centres":
        phones = [
            replace(phone, K_33=phone.K_33 + np.array([[0, 0, 25], [0, 0, 25], [0, 0, 0]]))
            for phone in phones
        ]
    write_colmap_text(folder / "sparse", phones, "PINHOLE")
    np.save(folder / "alignments.npy", np.array(alignments, dtype=object), allow_pickle=True)
    frames = len(truth.vertices_TV3)
    poses = np.concatenate([truth.orientation_T3[:, None], truth.pose_TJ3], 1).reshape(frames, 72)
    betas = np.tile(np.r_[truth.betas, np.zeros(8)], (frames, 1))
    dump_joblib(folder / "smpl_output_romp.pkl", {1: {"pose": poses.astype(np.float32), "betas": betas}})
    return root
