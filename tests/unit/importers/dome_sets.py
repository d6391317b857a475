"""Writers of small sets in documented layouts, right or with one convention wrong."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.unit.importers.truth import Truth, source_pose
from tests.unit.importers.views import photograph, ring

LENS = (-0.08, 0.05, 0.001, -0.002, 0.0)


def opencv_K(K_33: np.ndarray) -> np.ndarray:
    K = K_33.copy()
    K[:2, 2] -= 0.5
    return K


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_dna(root: Path, truth: Truth, wrong: str = "") -> Path:
    """``main/0001_01.smc`` and ``annotations/0001_01_annots.smc``."""
    import cv2
    import h5py

    (root / "main").mkdir()
    (root / "annotations").mkdir()
    frames, cameras = len(truth.vertices_TV3), ring(4, LENS)
    with (
        h5py.File(root / "main" / "0001_01.smc", "w") as pictures,
        h5py.File(root / "annotations" / "0001_01_annots.smc", "w") as known,
    ):
        pictures.attrs.update(actor_id="0001", performance_id="01", gender="female", age=30)
        for index, camera in enumerate(cameras):
            pose = source_pose(camera, truth.up)
            entry = known.create_group(f"Camera_Parameter/{index:02d}")
            entry["K"], entry["D"] = opencv_K(camera.K_33), camera.distortion_8[:5]
            entry["RT"] = pose if wrong == "w2c" else np.linalg.inv(pose)
            for frame in range(frames):
                image, mask = photograph(camera, truth.vertices_TV3[frame], truth.model.faces_F3)
                image = image if wrong == "rgb" else image[..., ::-1]
                for file, group, pixels in (
                    (pictures, f"Camera_5mp/{index}/color", image), (known, f"Mask/{index}/mask", mask)
                ):  # fmt: skip
                    file[f"{group}/{frame}"] = cv2.imencode(".png", pixels)[1].ravel()
        full = np.zeros((frames, 55, 3))
        full[:, 0], full[:, 1:22] = truth.orientation_T3, truth.pose_TJ3
        full[:, 25:40], full[:, 40:55] = (truth.hands_T2[:, side].reshape(-1, 15, 3) for side in (0, 1))
        known["SMPLx/betas"] = np.tile(np.r_[truth.betas, np.zeros(8)], (frames, 1))
        known["SMPLx/fullpose"], known["SMPLx/transl"] = full, truth.translation_T3
        known["SMPLx/expression"], known["SMPLx/scale"] = np.zeros((frames, 10)), 1.0
        if wrong == "turned":
            known["SMPLx/fullpose"][:, 0] = 0.0
    return root


def write_mvhumannet(root: Path, truth: Truth, wrong: str = "") -> Path:
    """An outfit of the first version; pictures have half the size of the intrinsics."""
    folder, scale = root / "100001", 120 / 65
    outer: dict[str, Any] = {}
    Rh, Th = truth.about_origin()
    if wrong == "pelvis":
        Th = truth.translation_T3
    for camera in ring(4):
        K = camera.K_33.copy()
        K[:2, 2] = camera.width / 2, camera.height / 2
        camera = type(camera)(camera.name, camera.width, camera.height, K, np.zeros(0), camera.w2c_44)
        pose = source_pose(camera, truth.up)
        if wrong == "c2w":
            pose = np.linalg.inv(pose)
        shift = pose[:3, 3] * 1000 / (1.0 if wrong == "scale" else scale)
        outer[f"1_CC{camera.name}.png"] = {"rotation": pose[:3, :3].tolist(), "translation": shift.tolist()}
        for frame, vertices in enumerate(truth.vertices_TV3):
            image, mask = photograph(camera, vertices, truth.model.faces_F3)
            name = f"{5 * (frame + 1):04d}_img"
            save(folder / "images" / f"CC{camera.name}" / f"{name}.jpg", image, quality=95)
            save(folder / "fmask" / f"CC{camera.name}" / f"{name}_fmask.png", mask)
    full = K.copy()
    full[:2] *= 2
    inner = {"intrinsics": opencv_K(full).tolist(), "dist": []}
    (folder / "camera_intrinsics.json").write_text(json.dumps(inner))
    (folder / "camera_extrinsics.json").write_text(json.dumps(outer))
    (folder / "camera_scale.pkl").write_bytes(pickle.dumps(scale))
    for frame in range(len(truth.vertices_TV3)):
        poses = np.zeros(87)
        poses[3:66], poses[66:72] = truth.pose_TJ3[frame].ravel(), truth.hands_T2[frame, 0]
        poses[72:78] = truth.hands_T2[frame, 1]
        values = {
            "id": 0, "Rh": [Rh[frame].tolist()], "Th": [Th[frame].tolist()], "poses": [poses.tolist()],
            "expression": [[0.0] * 10], "shapes": [[*truth.betas.tolist(), *[0.0] * 8]],
        }  # fmt: skip
        path = folder / "smplx" / "smpl" / f"{frame:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([values]))
    return root


def write_mvhumannet_plus(root: Path, truth: Truth, wrong: str = "") -> Path:
    """An outfit of MVHumanNet++."""
    folder, frames = root / "100831", len(truth.vertices_TV3)
    for index, camera in enumerate(ring(4)):
        pose = source_pose(camera, truth.up)
        if wrong == "c2w":
            pose = np.linalg.inv(pose)
        name = f"cam_{index:02d}"
        (folder / "cameras" / name).mkdir(parents=True)
        np.savez(
            folder / "cameras" / name / "camera.npz", intrinsic=opencv_K(camera.K_33), extrinsic=pose[:3]
        )
        for frame, vertices in enumerate(truth.vertices_TV3):
            image, mask = photograph(camera, vertices, truth.model.faces_F3)
            save(folder / "images" / name / f"{25 * (frame + 1):04d}.jpg", image, quality=95)
            save(folder / "masks" / name / f"{25 * (frame + 1):04d}.png", mask)
        save(folder / "images" / name / "A-2045.jpg", image)
    np.savez(
        folder / "smplx_params.npz",
        betas=np.r_[truth.betas, np.zeros(8)][None],
        global_orient=truth.orientation_T3,
        transl=truth.translation_T3,
        body_pose=truth.pose_TJ3.reshape(frames, 63),
        left_hand_pose=truth.hands_T2[:, 0],
        right_hand_pose=truth.hands_T2[:, 1],
        jaw_pose=np.zeros((frames, 3)),
        expression=np.zeros((frames, 10)),
    )
    return root


def write_actorshq(root: Path, truth: Truth, wrong: str = "") -> Path:
    """A sequence at quarter size."""
    folder = root / "Actor01" / "Sequence1" / "4x"
    folder.mkdir(parents=True)
    with (folder / "calibration.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow("name w h rx ry rz tx ty tz fx fy px py".split())
        for index, camera in enumerate(ring(4)):
            pose = source_pose(camera, truth.up)
            stored = pose if wrong == "w2c" else np.linalg.inv(pose)
            vector, K = Rotation.from_matrix(stored[:3, :3]).as_rotvec(), camera.K_33
            size = (1, 1) if wrong == "pixels" else (camera.width, camera.height)
            lens = K[0, 0] / size[0], K[1, 1] / size[1], K[0, 2] / size[0], K[1, 2] / size[1]
            name = f"Cam{index + 1:03d}"
            rows.writerow([name, camera.width, camera.height, *vector, *stored[:3, 3], *lens])
            for frame, vertices in enumerate(truth.vertices_TV3):
                image, mask = photograph(camera, vertices, truth.model.faces_F3)
                save(folder / "rgbs" / name / f"{name}_rgb{frame:06d}.jpg", image, quality=95)
                save(folder / "masks" / name / f"{name}_mask{frame:06d}.png", mask)
    return root


def write_zju(root: Path, truth: Truth, wrong: str = "") -> Path:
    """A subject; some of the cameras' pictures may be absent."""
    folder = root / "CoreView_313"
    cameras: dict[str, list[Any]] = {"K": [], "D": [], "R": [], "T": []}
    names = []
    for index, camera in enumerate(ring(4, LENS)):
        pose = source_pose(camera, truth.up)
        if wrong == "c2w":
            pose = np.linalg.inv(pose)
        cameras["K"].append(opencv_K(camera.K_33))
        cameras["D"].append(camera.distortion_8[:5, None])
        cameras["R"].append(pose[:3, :3])
        cameras["T"].append(pose[:3, 3:] * (1.0 if wrong == "metres" else 1000.0))
        names.append(f"Camera ({index + 1})")
        for frame, vertices in enumerate(truth.vertices_TV3):
            image, mask = photograph(camera, vertices, truth.model.faces_F3)
            name = f"{names[-1]}/{names[-1]}_{frame + 1:04d}_2019-08-23_16-08-50.592"
            save(folder / f"{name}.jpg", image, quality=95)
            save(folder / "mask_cihp" / f"{name}.png", np.where(mask > 0, 13, 0).astype(np.uint8))
    frames = [
        {"ims": [f"{n}/{n}_{frame + 1:04d}_2019-08-23_16-08-50.592.jpg" for n in names]}
        for frame in range(len(truth.vertices_TV3))
    ]
    np.save(
        folder / "annots.npy", np.array({"cams": cameras, "ims": frames}, dtype=object), allow_pickle=True
    )
    Rh, Th = truth.about_origin()
    (folder / "new_params").mkdir()
    for frame in range(len(frames)):
        poses = np.zeros((1, 72))
        poses[0, 3:] = truth.pose_TJ3[frame].ravel()
        shift = truth.translation_T3 if wrong == "pelvis" else Th
        values = {"poses": poses, "Rh": Rh[frame : frame + 1], "Th": shift[frame : frame + 1]}
        values["shapes"] = np.r_[truth.betas, np.zeros(8)][None]
        np.save(folder / "new_params" / f"{frame + 1}.npy", np.array(values, dtype=object), allow_pickle=True)
    return root
