"""HumanOLAT: intrinsics over the width, millimetres, extrinsics of either kind, lamps one at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.importers import take_writing
from lca_lightning.importers.humanolat import HumanOLATImporter
from lca_lightning.importers.humanolat_files import light_sequence
from lca_lightning.importers.source import JointsBody, SmplBody, SourceTake
from lca_lightning.importers.triangulated_joints import BODY_25
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.miniature import Y_DOWN, Eye, encoded, overlaps, picture, posed_body, ring

SIZE, LAMPS = (118, 210), 24
LAMP_POSITIONS = np.random.default_rng(0).normal(size=(LAMPS, 3)) * [1.5, 0.6, 1.5] + [0, 0.9, 0]
ORDER = list(np.random.default_rng(1).permutation(LAMPS) + 1)
PICTURES = 14 + 1 + LAMPS + 2  # the lamp sequence: even, 19 lamps, even, 5 lamps


def joint_points(vertices_V3: np.ndarray) -> np.ndarray:
    """25 made-up joints: what matters here is where they lie, not what they are."""
    return vertices_V3[np.linspace(0, len(vertices_V3) - 1, 25).astype(int)]


def write_set(root: Path, rig: AnnyRig, vertices_V3: np.ndarray, eyes: list[Eye], wrong: str = "") -> Path:
    subject, turn = root / "SUBJECT_C003", np.eye(3) if wrong == "y up" else Y_DOWN
    pose, shared = subject / "POSE_00", subject / "shared"
    shared.mkdir(parents=True)
    text = "Skeletool Camera Calibration File V1.0\n"
    for eye in eyes:
        extrinsic = np.eye(4)
        extrinsic[:3, :3] = eye.w2c_44[:3, :3] @ turn
        extrinsic[:3, 3] = eye.w2c_44[:3, 3] * (1 if wrong == "metres" else 1000)
        if wrong == "camera to world":
            extrinsic = np.linalg.inv(extrinsic)
        K = eye.K_33.copy()
        K[:2, 2] -= 0.5
        K[0] /= SIZE[0]
        K[1] /= SIZE[1] if wrong == "over width and height" else SIZE[0]
        rows = {"extrinsic": extrinsic[:3], "intrinsic": K}
        text += f"name {eye.name}\n  distortionModel OpenCV\n  distortion 0.3 0.1 0 0 0\n"
        for key, matrix in rows.items():
            text += f"  {key}\n" + "".join(
                "    " + " ".join(map(repr, row)) + "\n" for row in matrix.tolist()
            )
    (shared / "cameras.calib").write_text(text)
    lamps = "".join(f"v {x} {y} {z}\n" for x, y, z in LAMP_POSITIONS @ turn)
    (shared / "LSX_light_positions_aligned.pc").write_text("# lamps\n" + lamps)
    (shared / "LSX3_light_z_spiral.txt").write_text("\n".join(map(str, ORDER)))
    for eye in eyes:
        image, mask = picture(eye, vertices_V3, rig.faces_F3.numpy(), background=0)
        shots = pose / "images_processed" / eye.name
        shots.mkdir(parents=True)
        for number in range(PICTURES):
            shade = image if number in (0, 14, 34) else (image * (0.3 + 0.01 * number)).astype(np.uint8)
            (shots / f"A001_C003.{number:06d}.avif").write_bytes(encoded(shade, "AVIF", quality=90, speed=10))
        path = pose / "segmentations" / "masks" / "000" / f"{eye.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(mask * 255))
        joints = joint_points(vertices_V3) @ eye.w2c_44[:3, :3].T + eye.w2c_44[:3, 3]
        pixels = (joints @ eye.K_33.T)[:, :2] / joints[:, 2:] - 0.5
        people = [{"pose_keypoints_2d": np.c_[pixels, np.full(25, 0.9)].ravel().tolist()}]
        path = pose / "openpose" / eye.name.removeprefix("Cam") / "000_keypoints.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"people": people}))
    body = {
        "id": 0,
        "Rh": [[0.0, 0.0, 0.3]],
        "Th": [[0.1, -0.2, 0.3]],
        "poses": [[0.0] * 87],
        "shapes": [[0.0] * 10],
    }
    (pose / "smpl-x").mkdir()
    (pose / "smpl-x" / "000000.json").write_text(json.dumps([body]))
    return subject


@pytest.fixture(scope="module")
def truth(rig: AnnyRig) -> tuple[np.ndarray, list[Eye]]:
    body = posed_body(rig, 1)[0]
    return body, ring(["Cam01", "Cam02", "Cam03"], SIZE, body.mean(0), 1.9)


@pytest.fixture(autouse=True)
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_writing, "fit_body", lambda *_: (None, "left out"))


def test_body_lies_on_the_masks_in_every_view(
    rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    body, eyes = truth
    write_set(tmp_path / "set", rig, body, eyes)
    main(["import", "humanolat", str(tmp_path / "set"), str(tmp_path / "out"), "--frames", "0:24"])
    assert min(overlaps(tmp_path / "out", body[None], rig.faces_F3.numpy())) > 0.97
    (sequence,) = Dataset(tmp_path / "out").sequences()
    lights = sequence.signals.lights
    assert lights is not None and sequence.color == "linear"
    np.testing.assert_allclose(lights.positions_L3, LAMP_POSITIONS, atol=1e-6)
    # white, even, then the first lamp of the order, ..., even again after twenty lamps
    np.testing.assert_array_equal(np.flatnonzero(lights.fully_lit_T), [0, 1, 21])
    assert (lights.intensities_TL3[2, :, 0] > 0).nonzero()[0].tolist() == [ORDER[0] - 1]
    assert (lights.intensities_TL3[22, :, 0] > 0).nonzero()[0].tolist() == [ORDER[19] - 1]
    shown = sequence.read_frames("Cam01", [0])[0][0]
    mask = sequence.read_frames("Cam01", [0])[1][0] > 200
    np.testing.assert_allclose(np.median(shown[mask], 0), [200, 120, 90], atol=4)  # sRGB, linear, sRGB


def test_camera_to_world_is_recognised(
    rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    body, eyes = truth
    write_set(tmp_path / "set", rig, body, eyes, "camera to world")
    main(["import", "humanolat", str(tmp_path / "set"), str(tmp_path / "out"), "--frames", "0:1"])
    assert min(overlaps(tmp_path / "out", body[None], rig.faces_F3.numpy())) > 0.97


@pytest.mark.parametrize("wrong", ["metres", "over width and height"])
def test_a_wrong_convention_does_not_pass(
    rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path, wrong: str
) -> None:
    body, eyes = truth
    write_set(tmp_path / "set", rig, body, eyes, wrong)
    try:
        main(["import", "humanolat", str(tmp_path / "set"), str(tmp_path / "out"), "--frames", "0:1"])
    except SystemExit:
        assert "look at the lamps" in (tmp_path / "out" / "skipped.json").read_text()
        return
    assert min(overlaps(tmp_path / "out", body[None], rig.faces_F3.numpy())) < 0.7


def test_joints_are_triangulated_and_wrong_annotations_left_out(
    rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    body, _ = truth
    eyes = ring([f"Cam{i:02d}" for i in range(1, 5)], SIZE, body.mean(0), 1.9)
    subject = write_set(tmp_path, rig, body, eyes)
    path = subject / "POSE_00" / "openpose" / "02" / "000_keypoints.json"
    content = json.loads(path.read_text())
    content["people"][0]["pose_keypoints_2d"][:2] = [3.0, 3.0]  # the nose in a corner
    path.write_text(json.dumps(content))
    importer = HumanOLATImporter(tmp_path)
    (take,) = importer.takes()
    assert isinstance(take, SourceTake)
    found = importer.body(take, [0, 1])
    assert isinstance(found, JointsBody) and found.names == BODY_25
    # annotations are in OpenCV pixels, half a pixel of the pictures: millimetres here
    np.testing.assert_allclose(found.positions_TP3[1], joint_points(body), atol=5e-3)


def test_smplx_of_easymocap_moves_as_a_whole(
    rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    body, eyes = truth
    write_set(tmp_path, rig, body, eyes)
    importer = HumanOLATImporter(tmp_path)
    importer.has_body_model = True
    (take,) = importer.takes()
    assert isinstance(take, SourceTake)
    found = importer.body(take, [0])
    assert isinstance(found, SmplBody) and not found.orientation_T3.any()
    moved = found.world_from_model_44 @ [1.0, 0.0, 0.0, 1.0]
    own = np.array([np.cos(0.3) + 0.1, np.sin(0.3) - 0.2, 0.3])
    np.testing.assert_allclose(moved[:3], Y_DOWN @ own, atol=1e-9)


def test_sequence_of_the_real_stage() -> None:
    pairs = light_sequence(list(range(331)))
    even = [picture for picture, lamp in pairs if lamp < 0]
    # pictures under even light as the set's own viewer lists them, after the white one
    assert (
        even
        == [0, 14, 34, 55, 76, 97, 118, 139, 160, 181, 202, 223, 244, 265, 286, 307, 328, 349][: len(even)]
    )
    lit = {lamp: picture for picture, lamp in pairs if lamp >= 0}
    assert len(lit) == 331 and lit[0] == 15 and lit[19] == 35 and lit[330] == 361


def test_damage_is_listed(rig: AnnyRig, truth: tuple[np.ndarray, list[Eye]], tmp_path: Path) -> None:
    body, eyes = truth
    subject = write_set(tmp_path / "set", rig, body, eyes)
    (subject / "shared" / "LSX3_light_z_spiral.txt").write_text("1\n1\n2\n")
    with pytest.raises(SystemExit):
        main(["import", "humanolat", str(tmp_path / "set"), str(tmp_path / "out")])
    assert "each of the 24 lamps" in (tmp_path / "out" / "skipped.json").read_text()


@pytest.mark.slow
def test_stored_body_lies_on_the_masks(rig: AnnyRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.spatial.transform import Rotation

    from lca_lightning.importers.body_fitting import fit_body
    from lca_lightning.importers.smpl_family import load_body_model, pose_model
    from tests.unit.importers.smpl_stand_in import save_stand_in
    from tests.unit.importers.views import stored_overlaps

    monkeypatch.setattr(take_writing, "fit_body", fit_body)
    model = save_stand_in(rig, "smplx", tmp_path / "smplx.npz")
    loaded = load_body_model(model)
    still = np.zeros((1, 55, 3))
    still[0, 25:] = loaded.hand_means_245.reshape(30, 3)  # no hands are taken over: the model's relaxed ones
    posed = pose_model(loaded, np.zeros(10), still, np.zeros((1, 10)))[0][0]
    own = posed @ Rotation.from_rotvec([0.0, 0.0, 0.3]).as_matrix().T + [0.1, -0.2, 0.3]
    body = own @ Y_DOWN
    eyes = ring(["Cam01", "Cam02", "Cam03"], SIZE, body.mean(0), 1.9)
    write_set(tmp_path / "set", rig, body, eyes)
    words = ["--frames", "0:2", "--body-model", str(model)]
    main(["import", "humanolat", str(tmp_path / "set"), str(tmp_path / "out"), *words])
    found = stored_overlaps(tmp_path / "out", rig)
    assert len(found) == 3 and min(min(values) for values in found.values()) > 0.8
