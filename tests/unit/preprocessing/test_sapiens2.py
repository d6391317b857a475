"""Sapiens2's plumbing with tiny random networks, and the meaning of its 308 points on real stored people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.datasets.video import VideoWriter
from lca_lightning.errors import ConfigError, MissingAssetError
from lca_lightning.preprocessing.estimators.protocol import Estimator
from lca_lightning.preprocessing.estimators.registry import check_estimator, find_estimator
from lca_lightning.preprocessing.face import landmark_face_boxes
from lca_lightning.preprocessing.keypoints308 import body_landmarks, face_mesh, hand_landmarks
from lca_lightning.preprocessing.landmarks import BODY_INDEX, PersonBox
from lca_lightning.preprocessing.monocular import SHOULDERS, lift_landmarks

pytest.importorskip("cv2")
LABELS = {"pose": 308, "seg": 29, "normal": 3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random networks that are sure of what they see: everything is a person, every point is certain."""
    import transformers

    root = tmp_path_factory.mktemp("sapiens2")
    classes = {
        "pose": transformers.Sapiens2ForPoseEstimation,
        "seg": transformers.Sapiens2ForSemanticSegmentation,
        "normal": transformers.Sapiens2ForNormalEstimation,
    }
    torch.manual_seed(0)
    for task, made in classes.items():
        config = transformers.Sapiens2Config(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_attention_heads=2, image_size=[64, 48], num_labels=LABELS[task],
            # As published: points at a quarter of the picture's size, the others at its own.
            head_config={
                "upsample_out_channels": [16] * (2 if task == "pose" else 4), "conv_out_channels": [16],
            },
        )  # fmt: skip
        network = made(config)
        bias = network.decode_head.predictor.bias
        with torch.no_grad():
            bias.fill_(0.9 if task == "pose" else 0.0)
            if task == "seg":
                bias[3] = 8.0
        network.save_pretrained(root / f"sapiens2-{task}-tiny")
    return root


@pytest.fixture(scope="module")
def estimator(weights: Path) -> Estimator:
    return find_estimator("sapiens2").load(weights)


def picture(height: int = 96, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_shapes_and_ranges_follow_the_protocol(estimator: Estimator) -> None:
    image = picture()
    (box,) = estimator.people(image)
    assert isinstance(estimator, Estimator) and box.size == pytest.approx(1.25 * 96) and 0 < box.score <= 1
    found = estimator.body(image, box)
    assert found is not None
    detection, following = found
    assert detection.found and detection.body_P3.shape == (33, 3) and np.isnan(detection.world_P3).all()
    assert detection.mask_HW.shape == (96, 80) and detection.mask_HW.min() > 127 and following.size > 0
    assert estimator.hands(image, detection.body_P3).shape == (2, 21, 3)
    assert estimator.face(image, detection.body_P3).shape == (478, 3)
    normals = estimator.normals(image, PersonBox((30.0, 40.0), 20.0, 0.0, 1.0))
    assert normals is not None and normals.shape == (96, 80, 3) and not normals[:20].any()
    np.testing.assert_allclose(np.linalg.norm(normals[35:45, 25:35], axis=-1), 1.0, atol=1e-4)


def test_points_land_where_a_known_heat_map_has_its_peak(estimator: Estimator, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A peak moved through the network's place must come out at the pixel it stands for."""
    model, processor = estimator._networks["pose"]  # type: ignore[attr-defined]
    seen: dict[str, torch.Tensor] = {}

    def brightest(pixel_values: torch.Tensor) -> object:
        seen["crop"] = pixel_values
        heat = pixel_values.mean(1, keepdim=True)
        heat = (heat - heat.min()) / (heat.max() - heat.min())
        return type("Heat", (), {"heatmaps": heat.expand(-1, 308, -1, -1).contiguous()})

    monkeypatch.setitem(estimator._networks, "pose", (brightest, processor))  # type: ignore[attr-defined]
    image = np.zeros((200, 160, 3), np.uint8)
    rows, columns = np.mgrid[:200, :160] + 0.5
    bump = np.exp(-((columns - 83.0) ** 2 + (rows - 121.0) ** 2) / (2 * 6.0**2))
    image[:] = (255 * bump[..., None]).astype(np.uint8)
    points = estimator._pose(image, PersonBox((80.0, 100.0), 120.0, 0.0, 1.0))  # type: ignore[attr-defined]
    np.testing.assert_allclose(points[:, :2], np.tile([83.0, 121.0], (308, 1)), atol=0.35)


def test_a_video_runs_up_to_its_detections(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lca_lightning.preprocessing import people
    from lca_lightning.preprocessing.pipeline import detect_video

    # Random points lie anywhere: whoever is found counts as a person.
    monkeypatch.setattr(people, "_looks_like_person", lambda detection: True)

    with VideoWriter(tmp_path / "noise.mp4", 5.0, 80, 96) as video:
        for _ in range(3):
            video.add(picture())
    task = (tmp_path / "noise.mp4", tmp_path / "cache", 1, "main", "sapiens2", weights)
    detections = detect_video(task)
    assert detections.body_TP3.shape == (3, 33, 3) and detections.found_T.all()
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1
    again = detect_video(task)  # from the cache
    np.testing.assert_array_equal(again.body_TP3, detections.body_TP3)


def test_missing_weights_and_wrong_names_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingAssetError, match="facebook/sapiens2-pose-0.4b.*Sapiens2 License.*"):
        check_estimator("sapiens2", tmp_path)
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingAssetError, match="on this machine"):
        check_estimator("sapiens2", None)
    with pytest.raises(ConfigError, match="mediapipe, sapiens2"):
        find_estimator("sapiens3")
    with pytest.raises(ConfigError, match="lacks check, load, people"):
        find_estimator("pathlib:Path")
    with pytest.raises(ConfigError, match="cannot be imported"):
        find_estimator("no_such_module:Thing")


def test_the_points_mean_what_their_names_say_on_real_people(samples: Path) -> None:
    """SAM-3D-Body reports the first 70 of the points together with MHR's named joints."""
    from tests.parity.mhr_names import JOINTS

    near = {
        "left_shoulder": ("l_uparm", 0.09), "right_shoulder": ("r_uparm", 0.09),
        "left_elbow": ("l_lowarm", 0.06), "right_elbow": ("r_lowarm", 0.06),
        "left_wrist": ("l_wrist", 0.05), "right_wrist": ("r_wrist", 0.05),
        "left_hip": ("l_upleg", 0.12), "right_hip": ("r_upleg", 0.12), "left_knee": ("l_lowleg", 0.08),
        "right_knee": ("r_lowleg", 0.08), "left_ankle": ("l_foot", 0.06), "right_ankle": ("r_foot", 0.06),
        "left_index": ("l_index1", 0.03), "right_pinky": ("r_pinky1", 0.03), "left_thumb": ("l_thumb3", 0.03),
        "right_thumb": ("r_thumb3", 0.03),
    }  # fmt: skip
    for path in sorted((samples / "mhr_fits").glob("*.npz")):
        with np.load(path) as fit:
            points, joints = fit["pred_keypoints_3d"][None], fit["pred_joint_coords"]
        body, hands = body_landmarks(points)[0], hand_landmarks(points)[0]
        for name, (joint, metres) in near.items():
            distance = np.linalg.norm(body[BODY_INDEX[name]] - joints[JOINTS.index(joint)])
            assert distance < metres, (path.name, name, distance)
        for side, letter in enumerate("lr"):
            for finger, word in enumerate(("thumb", "index", "middle", "ring", "pinky")):
                for segment in range(1, 4):
                    joint = joints[JOINTS.index(f"{letter}_{word}{segment}")]
                    distance = np.linalg.norm(hands[side, finger * 4 + segment] - joint)
                    assert distance < 0.03, (path.name, letter, word, segment, distance)
        assert np.isnan(body[BODY_INDEX["mouth_left"]]).all()


def test_a_partial_face_still_gives_a_box() -> None:
    points = np.random.default_rng(1).uniform(10, 50, (2, 308, 3))
    mesh = face_mesh(points)
    boxes = landmark_face_boxes(mesh)
    assert np.isfinite(boxes).all() and (boxes[:, 2] > boxes[:, 0]).all()
    mesh[1] = np.nan
    assert np.isnan(landmark_face_boxes(mesh)[1]).all()


@pytest.mark.parametrize("degrees", [-150, -40, 0, 40, 150])
def test_lifted_landmarks_turn_as_the_person_does(degrees: int) -> None:
    """Shoulders of a person turned by an angle about the vertical get the depth they have."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    body = np.zeros((33, 3))
    body[11], body[12] = (SHOULDERS / 2, -0.5, 0), (-SHOULDERS / 2, -0.5, 0)
    body[0] = (0, -0.7, -0.15)  # before the shoulders, towards the camera
    body[23], body[24] = (0.1, 0, 0), (-0.1, 0, 0)
    turned = body @ turn.T
    pixels = np.concatenate([turned[:, :2] * 500 + 700, np.ones((33, 1))], 1)[None]
    lifted = lift_landmarks(pixels, np.array([1.7 * 500]))[0]
    np.testing.assert_allclose(lifted[[11, 12], 2], turned[[11, 12], 2], atol=0.02)
