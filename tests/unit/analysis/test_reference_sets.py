"""Reference sets of data sets and of somebody's own photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.analysis.reference_sets import (
    choose_sequences,
    open_for_rig,
    photo_reference_set,
    read_reference_sets,
)
from lca_lightning.avatar.avatar import Camera
from lca_lightning.avatar.create import PhotoFormat, PreparedPhotos, ReferencePhoto, build_references
from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import project_points
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.anny import AnnyRig
from tests.tiny_capture import write_capture

FORMAT = PhotoFormat((64, 48), (32, 32), 0.5)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    people = {"ann": "train", "bob": "test", "cem": "test", "dan": "val"}
    return write_capture(tmp_path_factory.mktemp("studio"), rig, people, 3, "studio")


def test_sets_of_a_studio(studio: Path, rig: AnnyRig) -> None:
    dataset = open_for_rig(studio, "anny")
    assert len(choose_sequences(dataset, "test", None)) == 2
    assert len(choose_sequences(dataset, "test", None, 1)) == 1
    (position,) = choose_sequences(dataset, "test", "ann_take")
    (photos,) = read_reference_sets(dataset, position, FORMAT, 3)
    assert photos.subject == "ann" and len(set(photos.labels)) == 3
    assert len({label.split()[0] for label in photos.labels}) == 3, "far-apart views are of several cameras"
    assert photos.references.body_BV3HW.shape == (1, 3, 3, 64, 48)
    assert photos.references.face_mask_BV[0].any()
    early, late = read_reference_sets(dataset, position, FORMAT, 2, 2)
    frames = [[int(label.split()[-1]) for label in entry.labels] for entry in (early, late)]
    assert max(frames[0]) < min(frames[1])
    assert photos.pose is not None and photos.w2c_V44 is not None and photos.K_V33 is not None
    assert photos.identity_I is not None
    vertices = rig.posed_vertices(photos.identity_I[None], photos.pose)
    for view in range(3):  # the rig projected by the cut's camera covers the person in the cut
        pixels, _ = project_points(vertices[view], photos.w2c_V44[view], photos.K_V33[view])
        columns, rows = pixels.floor().long().unbind(1)
        mattes = photos.references.body_mattes_BV1HW
        assert mattes is not None
        inside = (rows >= 0) & (rows < 64) & (columns >= 0) & (columns < 48)
        assert inside.float().mean() > 0.7, "the picture cuts the feet off"
        assert mattes[0, view, 0, rows[inside], columns[inside]].mean() > 0.6


def test_a_wild_clip_has_one_camera(tmp_path: Path, rig: AnnyRig) -> None:
    root = write_capture(tmp_path / "wild", rig, {"ann": "test"}, 2, "wild")
    (photos,) = read_reference_sets(open_for_rig(root, "anny"), 0, FORMAT, 4)
    assert {label.split()[0] for label in photos.labels} == {"cam0"}


def test_what_does_not_exist(studio: Path) -> None:
    with pytest.raises(DataError, match="rig 'anny', the checkpoint was trained on 'mhr'"):
        open_for_rig(studio, "mhr")
    dataset = open_for_rig(studio, "anny")
    with pytest.raises(DataError, match="no sequence 'eve'; it has ann_take"):
        choose_sequences(dataset, "test", "eve")
    dataset.index.splits_N[:] = "train"
    with pytest.raises(DataError, match="no sequence of split 'val'"):
        choose_sequences(dataset, "val", None)


def test_own_photos_are_cut_as_for_an_avatar(rig: AnnyRig) -> None:
    generator = np.random.default_rng(0)
    photos = []
    for height, width in ((120, 90), (200, 300)):
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : -height // 4, width // 3 : -width // 3] = 255
        image = generator.integers(0, 255, (height, width, 3), np.uint8)
        photos.append(ReferencePhoto(image, mask, np.array([width / 3, 10, width / 2, 40])))
    pose = rig.rest_pose(2)
    motion = Motion(pose.rotations_BJ3.numpy(), pose.translation_B3.numpy(), 1.0)
    cameras = tuple(Camera(torch.eye(4), torch.eye(3) * 100, 90, 120) for _ in photos)
    prepared = PreparedPhotos(tuple(photos), rig.neutral_identity(), (), motion, cameras)
    got = photo_reference_set(prepared, ("a.jpg", "b.jpg"), FORMAT)
    expected = build_references(photos, FORMAT)
    assert torch.equal(got.references.body_BV3HW, expected.body_BV3HW)
    assert torch.equal(got.references.face_BV3hw, expected.face_BV3hw)
    assert got.pose is not None and got.K_V33 is not None and got.labels == ("a.jpg", "b.jpg")
    bare = photo_reference_set(PreparedPhotos(tuple(photos)), ("a.jpg", "b.jpg"), FORMAT)
    assert bare.pose is None and bare.K_V33 is None
    empty = ReferencePhoto(photos[0].image_HW3, np.zeros_like(photos[0].mask_HW))
    with pytest.raises(DataError, match="no person in photo 2"):
        photo_reference_set(PreparedPhotos((photos[0], empty)), ("a", "b"), FORMAT)
