"""Goliath and Ava-256: transposed matrices, millimetres, reduced pictures, lamps by their durations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.importers.goliath import GoliathImporter
from lca_lightning.importers.source import MeshBody, SourceTake
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.codec_studio_sets import (
    FRAMES,
    LAMPS_MILLIMETRES,
    SIZE,
    write_ava256,
    write_calibration,
    write_goliath,
)
from tests.unit.importers.miniature import Y_DOWN, head_of, overlaps, posed_body, ring

WRONG = ["K not transposed", "T not transposed", "metres", "inverse"]
NAMES = ["400941", "401031", "401163"]


@pytest.fixture(scope="module")
def body(rig: AnnyRig) -> np.ndarray:
    return posed_body(rig)


def _body_eyes(body: np.ndarray) -> list:
    return ring(NAMES, SIZE, body[0].mean(0), 1.9)


def _head_eyes(rig: AnnyRig, body: np.ndarray) -> list:
    top = body[0][body[0, :, 1].argmax()]
    return ring(NAMES, SIZE, top - [0, 0.13, 0], 0.5, radius=1.2)


def test_body_lies_on_the_masks_in_every_view(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    write_goliath(tmp_path / "set", "ClothedBody", _body_eyes(body), body, rig.faces_F3.numpy())
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    assert min(overlaps(tmp_path / "out", body, rig.faces_F3.numpy(), (0, 1))) > 0.95
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert sequence.subject == "ABC123" and sequence.frame_count == 2 and len(sequence.cameras) == 3
    assert sequence.id == "goliath-20230405--1635--ABC123--ClothedBody"


def test_registered_mesh_comes_in_metres_of_our_world(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    write_goliath(tmp_path, "MinimalBody", _body_eyes(body), body, rig.faces_F3.numpy())
    importer = GoliathImporter(tmp_path)
    (take,) = importer.takes()
    assert isinstance(take, SourceTake)
    mesh = importer.body(take, [1])
    assert isinstance(mesh, MeshBody)
    np.testing.assert_allclose(mesh.vertices_TV3[0], body[1], atol=1e-6)


@pytest.mark.parametrize("name", ["goliath", "ava256"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_convention_does_not_pass(
    rig: AnnyRig, body: np.ndarray, tmp_path: Path, name: str, wrong: str
) -> None:
    faces, eyes = rig.faces_F3.numpy(), _body_eyes(body)
    if name == "goliath":
        write_goliath(tmp_path / "set", "ClothedBody", eyes, body, faces, wrong)
    else:
        write_ava256(tmp_path / "set", eyes, body, faces, wrong)
    try:
        main(["import", name, str(tmp_path / "set"), str(tmp_path / "out")])
    except SystemExit:
        assert json.loads((tmp_path / "out" / "skipped.json").read_text())[0]["reason"]
        return  # refused: the matrices are no camera's
    assert min(overlaps(tmp_path / "out", body, faces)) < 0.7


def test_half_a_pixel_is_kept(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    eyes = _body_eyes(body)
    write_goliath(tmp_path / "set", "ClothedBody", eyes, body, rig.faces_F3.numpy())
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    (sequence,) = Dataset(tmp_path / "out").sequences()
    for eye in eyes:
        stored = sequence.cameras[f"cam{eye.name}"]
        np.testing.assert_allclose(stored.K_33, eye.K_33, rtol=1e-9)  # both with centres at +0.5
        np.testing.assert_allclose(stored.w2c_44, eye.w2c_44, atol=1e-9)


def test_heads_keep_lamps_and_linear_light(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    vertices, faces = head_of(rig, body)
    write_goliath(tmp_path / "set", "Head", _head_eyes(rig, body), vertices, faces)
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    dataset = Dataset(tmp_path / "out")
    (sequence,) = dataset.sequences()
    assert dataset.kind == "light_stage" and sequence.color == "linear"
    assert min(overlaps(tmp_path / "out", vertices, faces)) > 0.85  # masks are stored at half the size
    lights = sequence.signals.lights
    assert lights is not None
    np.testing.assert_allclose(lights.positions_L3, LAMPS_MILLIMETRES @ Y_DOWN / 1000.0, atol=1e-6)
    np.testing.assert_array_equal(lights.fully_lit_T, [True, False])
    np.testing.assert_allclose(lights.intensities_TL3[0], 1.0)
    np.testing.assert_allclose(lights.intensities_TL3[1, :, 0], [0.2, 0, 1, 0], rtol=1e-6)  # 1111 / 5555
    assert not sequence.signals.frame_valid_T.any()  # a head is no full body
    radiance = sequence.read_linear("cam400941", [0])[0]
    mask = sequence.read_frames("cam400941", [0])[1][0] > 200
    expected = (np.array([200, 120, 90]) - [2, 1, 2]) * [1.4, 1.1, 1.6] / 255
    np.testing.assert_allclose(np.median(radiance[mask], 0), np.minimum(expected, 1), atol=0.02)


def test_frames_without_a_mask_take_the_nearest(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    vertices, faces = head_of(rig, body)
    write_goliath(tmp_path / "set", "Head", _head_eyes(rig, body), vertices, faces)
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    (sequence,) = Dataset(tmp_path / "out").sequences()
    masks = sequence.read_frames("cam400941", [0, 1])[1]
    np.testing.assert_array_equal(masks[0], masks[1])


def test_ava_leaves_the_chair_out(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    vertices, faces = head_of(rig, body)
    write_ava256(tmp_path / "set", _head_eyes(rig, body), vertices, faces)
    main(["import", "ava256", str(tmp_path / "set"), str(tmp_path / "out")])
    assert min(overlaps(tmp_path / "out", vertices, faces, (0, 1))) > 0.95
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert sequence.subject == "FXN596" and sequence.id.endswith("EXP_neutral_peak")


def test_damage_is_listed_with_its_reason(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    faces, eyes = rig.faces_F3.numpy(), _body_eyes(body)
    good = write_goliath(tmp_path / "set", "ClothedBody", eyes, body, faces)
    negative = tmp_path / "set" / "s--20230405--1700--XYZ987--pilot--ProjectGoliath--MinimalBody"
    write_calibration(negative, eyes)
    known = json.loads((negative / "camera_calibration.json").read_text())
    known["KRT"][0]["K"][0][0] *= -1
    (negative / "camera_calibration.json").write_text(json.dumps(known))
    for place in ("image", "frame_splits_list.csv"):
        (negative / place).symlink_to(good / place)
    cut = tmp_path / "set" / "s--20230405--1800--CUT111--pilot--ProjectGoliath--ClothedBody"
    write_goliath(tmp_path / "other", "ClothedBody", eyes, body, faces).rename(cut)
    archive = cut / "image" / "cam401031.zip"
    archive.write_bytes(archive.read_bytes()[:-200])
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    assert len(Dataset(tmp_path / "out").sequences()) == 1
    reasons = {
        entry["id"]: entry["reason"] for entry in json.loads((tmp_path / "out/skipped.json").read_text())
    }
    assert any("focal lengths" in reason for reason in reasons.values())
    assert any("cam401031.zip" in reason for reason in reasons.values())
    assert len(reasons) == 2


def test_a_missing_picture_is_named(rig: AnnyRig, body: np.ndarray, tmp_path: Path) -> None:
    folder = write_goliath(tmp_path / "set", "ClothedBody", _body_eyes(body), body, rig.faces_F3.numpy())
    with (folder / "frame_splits_list.csv").open("a") as file:
        file.write("27599,train\n")
    with pytest.raises(SystemExit) as stop:
        main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out")])
    assert stop.value.code == 1
    assert "27599" in (tmp_path / "out" / "skipped.json").read_text()
    assert FRAMES[0] != 0
