"""Photos cut from a real capture: one identity, a pose each, and clear refusals; slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mediapipe")
from lca_lightning.errors import DataError
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.preprocessing.photos import fit_photos

pytestmark = pytest.mark.slow


def photo(samples: Path, camera: str, number: int) -> np.ndarray:
    for index, image in enumerate(SourceVideo(samples / "pose2sim_multiview" / f"{camera}.mp4")):
        if index == number:
            return image
    raise AssertionError("the video is shorter than expected")


def test_several_photos_share_one_identity_and_a_half_body_is_allowed(samples: Path, rig) -> None:
    torch.set_num_threads(1)
    half = photo(samples, "cam02", 5)[:800]
    images = [photo(samples, "cam01", 20), photo(samples, "cam03", 60), half]
    fits = fit_photos(images, rig)
    assert fits.identity_I.shape == (rig.identity_size,) and fits.hidden_joints == ()
    for result in fits.photos:
        assert result.overlap > 0.7 and result.error_px < 15
        assert result.mask_HW.shape == result.image_HW3.shape[:2]
    assert {"foot.L", "foot.R", "lowerleg01.L"} <= set(fits.photos[2].hidden_joints)
    assert "foot.L" not in fits.photos[0].hidden_joints
    assert np.isfinite(fits.photos[0].face_box_4).all() and np.isnan(fits.photos[1].face_box_4).all()


def test_no_person_and_two_people_are_refused_by_name(samples: Path, rig) -> None:
    image = photo(samples, "cam03", 0)
    with pytest.raises(DataError, match="No person was found in photo 2"):
        fit_photos([image, np.full((300, 200, 3), 128, np.uint8)], rig)
    with pytest.raises(DataError, match="2 people are in photo 1"):
        fit_photos([np.concatenate([image, image], 1)], rig)
    with pytest.raises(DataError, match="No photo"):
        fit_photos([], rig)
