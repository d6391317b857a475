"""A made-up folder passes the test that every data module must pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lca_data_example import PhotoFolderDataModule
from PIL import Image

from lca_data_modules import check_data_module
from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras, project_points
from lca_lightning.rig import load_rig

HEIGHT, WIDTH = 128, 96
OPTIONS = dict(image_size=(64, 48), face_size=(32, 32), views=(1, 2), targets_per_sample=1, steps_per_epoch=4)


def write_photos(folder: Path, people: dict[str, str], photos: int = 4) -> Path:
    """Dots of the rig's mesh, seen from a ring of cameras."""
    rig = load_rig("anny")
    w2c_P44 = orbit_cameras(photos, torch.tensor([0.0, 0.9, 0.0]), 2.6, 0.1)
    K_33 = intrinsics_from_field_of_view(0.9, WIDTH, HEIGHT)
    identity_I, pose = rig.neutral_identity(), rig.rest_pose(1)
    vertices_V3 = rig.posed_vertices(identity_I[None], pose)[0]
    for number, (name, split) in enumerate(people.items()):
        (folder / name).mkdir(parents=True)
        records = []
        for place, w2c_44 in enumerate(w2c_P44):
            pixels_V2, _ = project_points(vertices_V3[None], w2c_44[None], K_33[None])
            columns, rows = pixels_V2[0].round().long().unbind(1)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            for down in (-1, 0, 1):
                mask[(rows + down).clamp(0, HEIGHT - 1), columns.clamp(0, WIDTH - 1)] = 255
            image = np.where(mask[..., None] > 0, [200, 60 + 40 * number, 90], 20).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{place:03d}.png")
            Image.fromarray(mask).save(folder / name / f"{place:03d}_mask.png")
            records.append(
                {
                    "image": f"{place:03d}.png", "mask": f"{place:03d}_mask.png", "K": K_33.tolist(),
                    "w2c": w2c_44.tolist(), "rotations": pose.rotations_BJ3[0].tolist(),
                    "root": pose.translation_B3[0].tolist(),
                }
            )  # fmt: skip
        person = {"name": name, "split": split, "identity": identity_I.tolist(), "photos": records}
        (folder / name / "person.json").write_text(json.dumps(person))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), {"ann": "train", "bob": "train", "eve": "test"})


def test_the_module_follows_the_rules(photos: Path) -> None:
    check_data_module(PhotoFolderDataModule(str(photos), batch_size=2, test_views=2, **OPTIONS))


def test_people_without_photos_or_without_training(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody of split 'train'"):
        PhotoFolderDataModule(str(tmp_path), **OPTIONS).train_dataloader()
    (tmp_path / "zoe").mkdir()
    (tmp_path / "zoe" / "person.json").write_text("{")
    with pytest.raises(DataError, match="write it again"):
        PhotoFolderDataModule(str(tmp_path), **OPTIONS).train_dataloader()
