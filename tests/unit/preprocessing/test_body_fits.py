"""SAM-3D-Body's results: read without executing anything, traps refused, bodies carried over to our rigs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.body_fit_clip import (
    camera_of,
    fitted_observations,
    mhr_motion,
    prepare_from_fits,
)
from lca_lightning.preprocessing.body_fits import fit_files, person_in_box, read_body_fits
from lca_lightning.preprocessing.clips import Clip
from lca_lightning.preprocessing.keypoints308 import body_landmarks
from lca_lightning.preprocessing.rig_fitting import fit_clip
from lca_lightning.preprocessing.surface_fitting import SURFACES, fit_surfaces, surface_distances
from lca_lightning.rig.anny import AnnyRig


@pytest.fixture(scope="module")
def files(samples: Path) -> list[Path]:
    return sorted((samples / "mhr_fits").glob("*.npz"))


def fields(path: Path) -> dict[str, Any]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def test_real_fits_stand_upright_before_one_camera(files: list[Path]) -> None:
    fits = [person for path in files for person in read_body_fits(path)]
    camera = camera_of(fits)
    assert len(fits) == 4 and (camera.width, camera.height) == (1920, 890)
    assert camera.K_33[0, 0] == pytest.approx(2535.27, abs=0.1)
    observations, surfaces = fitted_observations(fits, camera, None)
    for fit, surface in zip(fits, surfaces, strict=True):
        assert surface is not None
        image = fit.keypoints_K3 @ camera.K_33.T
        np.testing.assert_allclose(image[:, :2] / image[:, 2:], fit.keypoints_K2, atol=0.01)
        # In our world up is up, and the body fills the picture's box.
        assert surface[:, 1].max() - surface[:, 1].min() > 1.4 and surface[:, 2].max() < -5
        image = fit.vertices_V3 @ camera.K_33.T
        low, high = (image[:, :2] / image[:, 2:]).min(0), (image[:, :2] / image[:, 2:]).max(0)
        np.testing.assert_allclose(np.concatenate([low, high]), fit.box_4, atol=60)
    ankles = observations.points_TL3[:, 27:29, 1].mean(1)
    assert (observations.points_TL3[:, 0, 1] - ankles > 1.0).all()
    assert observations.confidence_CTL[0].sum(1).min() > 60


def test_a_fit_given_as_pickle_is_the_same_and_no_pickle_is_executed(
    files: list[Path], tmp_path: Path
) -> None:
    people = [fields(path) for path in files]
    (tmp_path / "all.pkl").write_bytes(pickle.dumps(people))
    read = read_body_fits(tmp_path / "all.pkl")
    for path, person in zip(files, read, strict=True):
        (alone,) = read_body_fits(path)
        np.testing.assert_array_equal(person.vertices_V3, alone.vertices_V3)
    chosen = person_in_box(read, people[2]["bbox"] + 5.0)
    assert chosen is read[2] and person_in_box(read, None) is None
    assert person_in_box(read, np.array([0.0, 0.0, 4.0, 4.0])) is None

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({**people[0], "bbox": Evil()}))
    with pytest.raises(DataError):
        read_body_fits(tmp_path / "evil.pkl")
    assert not (tmp_path / "executed").exists()


def changed(values: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**values, name: value}


def test_traps_are_refused_by_name(files: list[Path], tmp_path: Path) -> None:
    good, flip = fields(files[0]), np.array([1, -1, -1], np.float32)
    broken = {
        "unflipped": (
            changed(good, "pred_keypoints_3d", good["pred_keypoints_3d"] * flip),
            "y and z negated",
        ),
        "surface": (changed(good, "pred_vertices", good["pred_vertices"] * flip), "pred_vertices lies"),
        "moved": (
            changed(good, "pred_keypoints_3d", good["pred_keypoints_3d"] + good["pred_cam_t"]),
            "pred_cam_t not added",
        ),
        "nan": (changed(good, "pred_vertices", good["pred_vertices"] * np.nan), "NaN"),
        "shape": (changed(good, "pred_joint_coords", good["pred_joint_coords"][:9]), r"\(127, 3\)"),
        "lacking": ({k: v for k, v in good.items() if k != "pred_cam_t"}, "lacks pred_cam_t"),
    }
    for name, (values, said) in broken.items():
        np.savez(tmp_path / f"{name}.npz", **values)
        with pytest.raises(DataError, match=said):
            read_body_fits(tmp_path / f"{name}.npz")
    (tmp_path / "half.npz").write_bytes(files[0].read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        read_body_fits(tmp_path / "half.npz")


def test_files_are_found_by_frame_number(tmp_path: Path) -> None:
    for name in ("walk/000003.npz", "walk/walk_12.pkl", "walk/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {frame: path.name for frame, path in fit_files(tmp_path, "walk").items()} == {
        3: "000003.npz", 12: "walk_12.pkl",
    }  # fmt: skip
    (tmp_path / "000007.npz").touch()  # of whatever video; "other" must not get it
    with pytest.raises(DataError, match="no sub-folder other"):
        fit_files(tmp_path, "other")
    assert list(fit_files(tmp_path / "walk", "any")) == [3, 12]
    (tmp_path / "walk" / "frame3.npz").touch()
    with pytest.raises(DataError, match="both of frame 3"):
        fit_files(tmp_path, "walk")


def test_a_video_takes_its_bodies_from_files_and_its_masks_from_the_estimator(
    files: list[Path], tmp_path: Path
) -> None:
    from lca_lightning.preprocessing.clip_detection import ClipDetections, pack_mask

    (fit,) = read_body_fits(files[1])
    mask = np.zeros((890, 1920), np.uint8)
    left, top, right, bottom = fit.box_4.astype(int)
    mask[top:bottom, left:right] = 255
    frames = 3
    body = np.tile(np.nan_to_num(body_landmarks(fit.keypoints_K2[None])), (frames, 1, 1))
    detection = ClipDetections(
        np.arange(frames) * 2, np.concatenate([body, np.ones((frames, 33, 1))], 2),
        np.full((frames, 33, 3), np.nan), np.full((frames, 2, 21, 3), np.nan),
        np.full((frames, 478, 3), np.nan),
        np.zeros(frames, bool), (pack_mask(mask),) * frames, 1920, 890, 30.0,
    )  # fmt: skip
    clip = Clip("walk", (tmp_path / "walk.mp4",), "walk", None)
    everybody = [fields(path) for path in files]
    (tmp_path / "walk").mkdir()
    for frame in (0, 4):
        (tmp_path / "walk" / f"{frame:06d}.pkl").write_bytes(pickle.dumps(everybody))
    prepared = prepare_from_fits(clip, tmp_path, detection)
    assert [surface is not None for surface in prepared.surfaces] == [True, False, True]
    np.testing.assert_allclose(prepared.observations.pixels_CTL2[0, 2, 11], fit.keypoints_K2[5], atol=0.01)
    assert not prepared.observations.confidence_CTL[0, 1].any() and not prepared.observations.relative
    with pytest.raises(DataError, match="1920x890"):
        prepare_from_fits(clip, tmp_path, replace(detection, width=960, height=445))


def test_stored_parameters_become_poses_of_mhr(files: list[Path], tmp_path: Path) -> None:
    """The stand-in shares MHR's bones; its own parameters are a part of the stored ones."""
    from lca_lightning.rig.mhr import MHRRig
    from tests.mhr_stand_in import save_stand_in
    from tests.parity.mhr_names import JOINTS, PARAMETERS

    rig = MHRRig(save_stand_in(tmp_path / "part.pt"))
    fits = [person for path in files for person in read_body_fits(path)]
    columns = [PARAMETERS.index(name) if name in PARAMETERS else -1 for name in rig.parameter_names]
    cut = []
    for fit in fits:
        assert fit.model_204 is not None
        model = np.array([fit.model_204[column] if column >= 0 else 0.0 for column in columns])
        cut.append(replace(fit, shape_45=np.zeros(rig.shape_size), model_204=model))
    identity, pose = mhr_motion(rig, cut)
    body = torch.tensor(rig.finger_J) < 0
    body[0] = False
    index = [JOINTS.index(name) for name in rig.joint_names]
    stored = np.stack([fit.joints_J3 for fit in fits])[:, index] * np.array([1.0, -1.0, -1.0])
    ours = rig.posed_joints(identity, pose).double().numpy()
    np.testing.assert_allclose(ours[:, body], stored[:, body], atol=2e-5)
    with pytest.raises(DataError, match="shape_params"):
        mhr_motion(rig, [replace(fits[0], shape_45=None)])


@pytest.mark.slow
def test_our_rig_meets_all_real_bodies_within_a_centimetre(files: list[Path], rig: AnnyRig) -> None:
    torch.set_num_threads(1)
    for path in files:
        fits = read_body_fits(path)
        observations, surfaces = fitted_observations(fits, camera_of(fits), None)
        named = fit_clip(rig, observations, SURFACES)
        fit = fit_surfaces(rig, observations, surfaces)
        before = 1000 * surface_distances(rig, named, surfaces)
        after = 1000 * surface_distances(rig, fit, surfaces)
        print(
            f"{path.stem}: median {np.median(after):.1f} mm (points alone {np.median(before):.1f}), "
            f"90% {np.percentile(after, 90):.1f} mm"
        )
        assert (
            np.median(after) < 10 and np.percentile(after, 90) < 30 and np.median(after) < np.median(before)
        )
