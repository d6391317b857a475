"""The generic importer on a real capture: four calibrated cameras, distorting lenses, one man."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lca_lightning.calibration.loading import load_calibration
from lca_lightning.importers.importing import ImportOptions, import_dataset
from lca_lightning.importers.reading import video_frames
from lca_lightning.importers.take_writing import TakeOptions
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.rig.anny import AnnyRig
from tests.unit.calibration.files import write_toml
from tests.unit.importers.dome_sets import save
from tests.unit.importers.views import stored_overlaps

FRAMES = (5, 35, 60, 90)


def write_real_capture(samples: Path, root: Path) -> Path:
    """Pictures as filmed, masks of a segmentation network, and the calibration as Pose2Sim's TOML."""
    mediapipe = pytest.importorskip("mediapipe")
    folder, cameras = samples / "pose2sim_multiview", []
    for name, camera in load_calibration(folder / "Calib.qca.txt").items():
        video = SourceVideo(folder / f"{name}.mp4")
        # Two of the videos are 8 pixels narrower than their calibration.
        offset = ((camera.width - video.width) / 2, (camera.height - video.height) / 2)
        cameras.append(camera.adapted((1.0, 1.0), offset, (video.width, video.height)))
        with mediapipe.solutions.pose.Pose(static_image_mode=True, enable_segmentation=True) as network:
            for number, picture in zip(FRAMES, video_frames(video, FRAMES), strict=True):
                mask = network.process(picture).segmentation_mask
                save(root / "images" / name / f"{number:04d}.jpg", picture, quality=95)
                save(root / "masks" / name / f"{number:04d}.png", (255 * mask).astype(np.uint8))
    write_toml(root / "Calib.toml", cameras)
    return root


@pytest.mark.slow
def test_a_body_found_in_real_pictures_lies_on_their_masks(
    samples: Path, tmp_path: Path, rig: AnnyRig
) -> None:
    root = write_real_capture(samples, tmp_path / "man")
    options = ImportOptions(take=TakeOptions(max_size=960, fit="pictures"))
    result = import_dataset("generic", root, tmp_path / "out", options)
    assert not result.skipped and result.written[0].valid_frames == 4, result
    found = stored_overlaps(tmp_path / "out", rig)
    assert len(found) == 4 and min(min(values) for values in found.values()) > 0.68
    assert np.median([np.median(values) for values in found.values()]) > 0.8
