"""HuGe100K and PeopleSnapshot: bodies of the SMPL family, pickles of arrays, HDF5."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.importers import take_writing
from lca_lightning.importers.huge100k import HuGe100KImporter, white_background_mask
from lca_lightning.importers.people_snapshot import PeopleSnapshotImporter
from lca_lightning.importers.smpl_family import body_in_world, load_body_model, pose_model
from lca_lightning.importers.source import Importer, SmplBody, SourceTake
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.miniature import Y_DOWN, Eye, overlaps, picture, ring
from tests.unit.importers.smpl_stand_in import save_stand_in

h5py = pytest.importorskip("h5py", reason="the importers extra is not installed")


@pytest.fixture(scope="module")
def models(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_stand_in(rig, kind, folder / f"{kind}.npz") for kind in ("smpl", "smplx")}


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests look at cameras, pictures and the source's own body; the fit has tests of its own."""
    monkeypatch.setattr(take_writing, "fit_body", lambda *_: (None, "left out"))


def _first(importer: Importer) -> SourceTake:
    take = next(iter(importer.takes()))
    assert isinstance(take, SourceTake)
    return take


# HuGe100K


def write_huge100k(root: Path, rig: AnnyRig, model: Path, wrong: str = "") -> np.ndarray:
    """One person of 24 views; returns the true vertices."""
    generator = np.random.default_rng(0)
    pose = generator.normal(size=(55, 3)) * 0.08
    pose[0], pose[22:25] = [0, 0.2, 0], 0
    betas, expression = np.r_[0.4, -0.3, np.zeros(8)], np.zeros(10)
    loaded = load_body_model(model)
    hands = pose[25:].copy() + loaded.hand_means_245.reshape(30, 3)  # stored relative to the mean hand
    vertices, _ = pose_model(loaded, betas, np.r_[pose[:25], hands][None], expression[None])
    eyes = ring([str(i) for i in range(24)], (160, 224), vertices[0].mean(0), 2.0)
    params = np.r_[
        1, 0, 0, 0, pose[0], pose[1:22].ravel(), betas, pose[25:40].ravel(), pose[40:].ravel(),
        pose[22], pose[23], pose[24], expression,
    ]  # fmt: skip
    poses = []
    for eye in eyes:
        matrix = np.linalg.inv(eye.w2c_44) if wrong == "camera to world" else eye.w2c_44
        matrix = np.diag([1.0, -1, -1, 1]) @ matrix if wrong == "opengl" else matrix
        lens = [eye.K_33[0, 0], eye.K_33[1, 1], eye.K_33[0, 2], eye.K_33[1, 2]]
        lens = [lens[2], lens[3], lens[0], lens[1]] if wrong == "centre first" else lens
        poses.append([torch.tensor(matrix, dtype=torch.float32), torch.tensor(lens, dtype=torch.float32)])
    name = "Kenya_female_fit_streetwear_50~60 years old_1501"
    folder = root / "flux_batch1" / "images0"
    (folder / "param").mkdir(parents=True)
    content = {"smpl_params": torch.tensor(params, dtype=torch.float32), "poses": poses}
    np.save(folder / "param" / f"{name}.npy", np.array(content, object), allow_pickle=True)
    with VideoWriter(folder / "videos" / f"{name}.mp4", 15.0, 160, 224, quality=12) as video:
        for eye in eyes:
            video.add(picture(eye, vertices[0], rig.faces_F3.numpy(), background=252)[0])
    return vertices


def test_huge100k_body_lies_on_the_masks_in_every_view(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, no_fit: None
) -> None:
    truth = write_huge100k(tmp_path / "set", rig, models["smplx"])
    main(["import", "huge100k", str(tmp_path / "set"), str(tmp_path / "out"), "--cameras", "6"])
    assert min(overlaps(tmp_path / "out", truth, rig.faces_F3.numpy())) > 0.85
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert len(sequence.cameras) == 6 and sequence.frame_count == 1 and " " not in sequence.id
    importer = HuGe100KImporter(tmp_path / "set")
    body = importer.body(_first(importer), [0])
    assert isinstance(body, SmplBody)
    posed, _ = body_in_world(load_body_model(models["smplx"]), body)
    np.testing.assert_allclose(posed, truth, atol=1e-5)


@pytest.mark.parametrize("wrong", ["camera to world", "opengl", "centre first"])
def test_huge100k_in_a_wrong_convention_does_not_pass(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, no_fit: None, wrong: str
) -> None:
    truth = write_huge100k(tmp_path / "set", rig, models["smplx"], wrong)
    main(["import", "huge100k", str(tmp_path / "set"), str(tmp_path / "out"), "--cameras", "4"])
    assert min(overlaps(tmp_path / "out", truth, rig.faces_F3.numpy())) < 0.7


def test_huge100k_never_runs_what_a_file_names(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Command:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch executed",)

    monkeypatch.chdir(tmp_path)
    write_huge100k(tmp_path / "set", rig, models["smplx"])
    (path,) = (tmp_path / "set").rglob("*.npy")
    np.save(path, np.array({"poses": [Command()], "smpl_params": 0}, object), allow_pickle=True)
    with pytest.raises(SystemExit):
        main(["import", "huge100k", "set", "out"])
    assert "not executed" in (tmp_path / "out" / "skipped.json").read_text()
    assert not (tmp_path / "executed").exists()


def test_white_clothes_stay_on_a_white_background() -> None:
    image = np.full((100, 80, 3), 250, np.uint8)
    image[20:90, 20:60] = 90
    image[40:60, 30:50] = 255  # a white shirt under a jacket
    image[3:5, 3:5] = 0  # a stain
    mask = white_background_mask(image) > 0
    assert mask[20:90, 20:60].all() and mask.sum() == 70 * 40


# PeopleSnapshot


def write_people_snapshot(root: Path, rig: AnnyRig, model: Path, wrong: str = "") -> np.ndarray:
    """Somebody before one camera; returns the true vertices in our world."""
    frames = 3
    pose = np.random.default_rng(1).normal(size=(frames, 24, 3)) * 0.08
    pose[:, 0] = Rotation.from_rotvec([[np.pi, 0, 0]] * frames).as_rotvec()  # y down before the camera
    betas = np.r_[0.5, 0.2, np.zeros(8)]
    loaded = load_body_model(model)
    translation = np.array([[0.05 * i, 0.1, 3.2] for i in range(frames)])
    vertices = pose_model(loaded, betas, pose, None)[0] + translation[:, None]
    truth = vertices @ Y_DOWN
    K = np.array([[320.0, 0, 118], [0, 326.0, 122], [0, 0, 1]])
    eye = Eye("camera", 240, 240, K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], np.diag([1.0, -1, -1, 1]))
    folder = root / "female-1-casual"
    folder.mkdir(parents=True)
    shots = [picture(eye, points, rig.faces_F3.numpy()) for points in truth]
    with VideoWriter(folder / "female-1-casual.mp4", 30.0, 240, 240) as video:
        for image, _ in shots:
            video.add(image)
    center = np.array([122.0, 118.0]) if wrong == "centre swapped" else np.array([118.0, 122.0])
    camera = {
        "camera_t": np.zeros(3), "camera_rt": np.zeros(3), "camera_f": np.array([320.0, 326.0]),
        "camera_c": center, "camera_k": np.zeros(5), "width": 240, "height": 240,
    }  # fmt: skip
    (folder / "camera.pkl").write_bytes(pickle.dumps(camera, 2))  # as Python 2 wrote them
    with h5py.File(folder / "masks.hdf5", "w") as file:
        file["masks"] = np.stack([mask for _, mask in shots]).astype(np.int8)
    with h5py.File(folder / "reconstructed_poses.hdf5", "w") as file:
        file["pose"] = pose.reshape(frames, 72).astype(np.float32)
        file["trans"] = (translation * (1000 if wrong == "millimetres" else 1)).astype(np.float32)
        file["betas"] = betas.astype(np.float32)
    return truth


def test_people_snapshot_body_lies_on_the_masks(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, no_fit: None
) -> None:
    truth = write_people_snapshot(tmp_path / "set", rig, models["smpl"])
    main(["import", "people_snapshot", str(tmp_path / "set"), str(tmp_path / "out")])
    assert min(overlaps(tmp_path / "out", truth, rig.faces_F3.numpy(), (0, 1, 2))) > 0.98
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert sequence.subject == "female-1"  # casual and sport are the same person
    importer = PeopleSnapshotImporter(tmp_path / "set")
    body = importer.body(_first(importer), [0, 2])
    assert isinstance(body, SmplBody) and body.gender == "female"
    posed, _ = body_in_world(load_body_model(models["smpl"]), body)
    np.testing.assert_allclose(posed, truth[[0, 2]], atol=1e-5)


def test_people_snapshot_in_millimetres_is_not_the_truth(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path
) -> None:
    truth = write_people_snapshot(tmp_path / "set", rig, models["smpl"], "millimetres")
    importer = PeopleSnapshotImporter(tmp_path / "set")
    body = importer.body(_first(importer), [0])
    assert isinstance(body, SmplBody)
    posed, _ = body_in_world(load_body_model(models["smpl"]), body)
    assert np.abs(posed - truth[:1]).max() > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["huge100k", "people_snapshot"])
def test_stored_body_lies_on_the_masks(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from tests.unit.importers.views import stored_overlaps

    write = {"huge100k": write_huge100k, "people_snapshot": write_people_snapshot}[name]
    model = models["smplx" if name == "huge100k" else "smpl"]
    write(tmp_path / "set", rig, model)
    main(["import", name, str(tmp_path / "set"), str(tmp_path / "out"), "--body-model", str(model)])
    found = stored_overlaps(tmp_path / "out", rig)
    assert len(found) == (24 if name == "huge100k" else 1)
    assert min(min(values) for values in found.values()) > 0.8


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("pickle", "not executed"),
        ("masks", "masks.hdf5"),
        ("mask size", "mask"),
        ("focal", "focal"),
        ("video size", "camera.pkl"),
    ],
)
def test_people_snapshot_damage_is_listed(
    rig: AnnyRig, models: dict[str, Path], tmp_path: Path, no_fit: None, damage: str, says: str
) -> None:
    write_people_snapshot(tmp_path / "set", rig, models["smpl"])
    folder = tmp_path / "set" / "female-1-casual"
    camera = pickle.loads((folder / "camera.pkl").read_bytes())
    if damage == "pickle":
        camera["camera_t"] = io.StringIO  # a name that arrays do not need
    elif damage == "focal":
        camera["camera_f"] = np.array([-320.0, 320.0])
    elif damage == "video size":
        camera["width"] = 1080
    elif damage == "masks":
        (folder / "masks.hdf5").write_bytes((folder / "masks.hdf5").read_bytes()[:500])
    elif damage == "mask size":
        with h5py.File(folder / "masks.hdf5", "w") as file:
            file["masks"] = np.ones((3, 100, 100), np.int8)
    (folder / "camera.pkl").write_bytes(pickle.dumps(camera, 2))
    with pytest.raises(SystemExit) as stop:
        main(["import", "people_snapshot", str(tmp_path / "set"), str(tmp_path / "out")])
    assert stop.value.code == 1
    (entry,) = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert says in entry["reason"]
    assert not list((tmp_path / "out").rglob("sequence.json"))


@pytest.mark.slow
def test_the_published_sample_of_huge100k_lies_on_its_masks(
    rig: AnnyRig, samples: Path, tmp_path: Path
) -> None:
    """The one real take that can be had: a body found in its pictures covers the masks of all 24 views."""
    from tests.unit.importers.views import stored_overlaps

    source = samples / "huge100k"
    if not source.is_dir():
        pytest.skip("the sample of HuGe100K (dataset/sample of its code) is not on this machine")
    pytest.importorskip("mediapipe")
    words = ["--max-size", "448", "--fit", "pictures"]
    main(["import", "huge100k", str(source), str(tmp_path / "out"), *words])
    found = stored_overlaps(tmp_path / "out", rig)
    assert len(found) == 24 and min(min(values) for values in found.values()) > 0.7
