"""HumanOLAT: 21 people in still poses, 40 cameras, 331 lamps one at a time.

Layout after the data sheet of TMT22/HumanOLAT (``processed_data.tar``):
``SUBJECT_ID/POSE_NN/images_processed/CamNN/*.avif`` (undistorted, masked, sRGB), ``segmentations/masks``,
``openpose``, ``smpl-x`` and ``SUBJECT_ID/shared`` with cameras and lamps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.axes import turn_to_y_up
from lca_lightning.datasets.linear_light import linear_to_deep, srgb_to_linear
from lca_lightning.datasets.signals import StageLights
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.humanolat_files import (
    light_sequence,
    read_calibration,
    read_lamp_order,
    read_lamps,
    read_openpose,
    read_smplx,
)
from lca_lightning.importers.reading import picture_size, read_picture, snapped_up_axis
from lca_lightning.importers.source import (
    BodySource,
    BrokenTake,
    Importer,
    JointsBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.triangulated_joints import BODY_25, triangulate_joints


class HumanOLATImporter(Importer):
    """Reads the processed pictures of white light and of single lamps."""

    name = "humanolat"
    title = "HumanOLAT"
    licence = "HumanOLAT licence (research)"
    terms_url = "https://gvv-assets.mpi-inf.mpg.de/HumanOLAT"
    access = "on request by mail"
    kind = "light_stage"
    pixel_center = 0.0
    expects = "SUBJECT_ID/shared/cameras.calib and SUBJECT_ID/POSE_NN/images_processed/CamNN"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        places = [self.source, *sorted(self.source.iterdir())]
        self._subjects = [place for place in places if _calibration_file(place).is_file()]
        if not self._subjects:
            raise self.not_this_set("no folder holds shared/cameras.calib")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a pose."""
        for subject in self._subjects:
            for pose in sorted(subject.glob("POSE_*")):
                name = f"{subject.resolve().name}-{pose.name}"
                try:
                    yield self._take(subject, pose, name)
                except (LCAError, OSError, ValueError) as error:
                    yield BrokenTake(name, str(error))

    def _take(self, subject: Path, pose: Path, name: str) -> SourceTake:
        folders = sorted((pose / "images_processed").glob("Cam*"))
        pictures = {folder.name: sorted(folder.glob("*.avif")) for folder in folders}
        pictures = {camera: files for camera, files in pictures.items() if files}
        if not pictures:
            raise DataError(f"{pose} holds no picture images_processed/CamNN/*.avif.")
        if len({len(files) for files in pictures.values()}) > 1:
            raise DataError(f"The cameras of {pose} hold different numbers of pictures; get them again.")
        lamps = read_lamps(subject / "shared" / "LSX_light_positions_aligned.pc")
        order = read_lamp_order(subject / "shared" / "LSX3_light_z_spiral.txt", len(lamps))
        sizes = {camera: picture_size(files[0]) for camera, files in pictures.items()}
        calibrated = read_calibration(_calibration_file(subject), sizes, lamps.mean(0))
        turn = turn_to_y_up(snapped_up_axis([w2c[:3, :3] for _, w2c in calibrated.values()]), {})
        cameras = []
        for camera, (K_33, w2c_44) in calibrated.items():
            turned = w2c_44.copy()
            turned[:3, :3] = w2c_44[:3, :3] @ turn.T
            cameras.append(SourceCamera(camera, *sizes[camera], K_33, turned))
        shown = [pair for pair in light_sequence(order) if pair[0] < len(next(iter(pictures.values())))]
        details: dict[str, object] = {"shown": shown, "turn": turn, "lamps": lamps @ turn.T}
        subject_name = subject.resolve().name
        return SourceTake(
            name, subject_name, tuple(cameras), len(shown), 30.0, pose, color="linear", details=details
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Linear pictures; the person stands still, so the mask of the white picture serves all."""
        files = sorted((take.folder / "images_processed" / camera.name).glob("*.avif"))
        path = take.folder / "segmentations" / "masks" / "000" / f"{camera.name}.png"
        mask = read_picture(path, mode="L")
        mask = np.where(mask > 0, 255, 0).astype(np.uint8)
        curve = srgb_to_linear(np.arange(256) / 255.0)
        for picture, _ in _shown(take, indices):
            yield linear_to_deep(curve[read_picture(files[picture])], 1.0), mask

    def lights(self, take: SourceTake, indices: Sequence[int]) -> StageLights:
        """One lamp a frame at intensity 1; all of them in fully lit frames."""
        positions = np.asarray(take.details["lamps"], np.float64)
        chosen = _shown(take, indices)
        intensities = np.zeros((len(chosen), len(positions), 3), np.float32)
        for row, (_, lamp) in enumerate(chosen):
            intensities[row, lamp if lamp >= 0 else slice(None)] = 1.0
        distance = float(np.median(np.linalg.norm(positions - positions.mean(0), axis=1)))
        return StageLights(positions, intensities, np.array([lamp < 0 for _, lamp in chosen]), distance)

    def body(self, take: SourceTake, indices: Sequence[int]) -> BodySource | None:
        """SMPL-X where the user has the model file, else joints triangulated from the 2D annotations."""
        turn = np.asarray(take.details["turn"])
        if self.has_body_model:
            smplx = read_smplx(take.folder / "smpl-x" / "000000.json", turn, len(indices))
            if smplx is not None:
                return smplx
        seen = {camera.name: read_openpose(take.folder / "openpose", camera.name) for camera in take.cameras}
        joints = triangulate_joints([(camera, seen[camera.name]) for camera in take.cameras])
        if joints is None:
            return None
        positions, confidence = joints
        frames = len(indices)
        return JointsBody(
            BODY_25, np.repeat(positions[None], frames, 0), np.repeat(confidence[None], frames, 0)
        )


def _calibration_file(subject: Path) -> Path:
    """``cameras.calib``, called ``camera.calib`` for some subjects."""
    path = subject / "shared" / "cameras.calib"
    return path if path.is_file() else subject / "shared" / "camera.calib"


def _shown(take: SourceTake, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Picture number and lamp (-1: all) of places in the take."""
    shown = take.details["shown"]
    assert isinstance(shown, list)
    return [shown[index] for index in indices]
