"""What happens to every picture of a camera: lens distortion removed, then made smaller."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.camera import CalibratedCamera, check_camera
from lca_lightning.calibration.lens import undistort_image, undistortion_maps
from lca_lightning.calibration.opencv import cv2
from lca_lightning.datasets.records import CameraRecord
from lca_lightning.errors import DataError
from lca_lightning.importers.source import SourceCamera


class PictureChange:
    """Undistorts and resizes the pictures of one camera, and says which camera the result has.

    Args:
        camera: As the importer gave it.
        pixel_center: Where the importer's pixel centres lie, 0.0 or 0.5.
        max_size: Longest side of the result in pixels, or None.
    """

    def __init__(self, camera: SourceCamera, pixel_center: float, max_size: int | None) -> None:
        self.camera = camera
        K_33 = camera.K_33.copy()
        K_33[:2, 2] += 0.5 - pixel_center
        lens = CalibratedCamera(
            camera.name, camera.width, camera.height, K_33, camera.distortion_N, camera.w2c_44, camera.fisheye
        )
        self._lens = check_camera("of the source", lens)
        self._maps = undistortion_maps(self._lens)
        longest = max(camera.width, camera.height)
        factor = min(1.0, max_size / longest) if max_size else 1.0
        self.size = max(2, round(camera.width * factor)), max(2, round(camera.height * factor))
        smaller = self._lens.adapted(
            (self.size[0] / camera.width, self.size[1] / camera.height), (0.0, 0.0), self.size
        )
        self.record = CameraRecord(camera.name, *self.size, smaller.K_33, smaller.w2c_44)

    def apply(
        self, image_HW3: np.ndarray, mask_HW: NDArray[np.uint8] | None
    ) -> tuple[np.ndarray, NDArray[np.uint8]]:
        """Change one picture and its mask.

        Args:
            image_HW3: uint8 or uint16.
            mask_HW: uint8; None means that the whole picture is the person's, as far as the lens shows it.

        Returns:
            Both at the size of ``record``.
        """
        if mask_HW is None:
            raise DataError(
                f"camera {self.camera.name} comes without masks; install the mediapipe extra and use "
                "`lca preprocess` on its video, or get the set's masks"
            )
        pictures = []
        for picture in (image_HW3, mask_HW):
            straight = undistort_image(picture, self._lens, self._maps)
            if (straight.shape[1], straight.shape[0]) != self.size:
                straight = np.asarray(cv2.resize(straight, self.size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
            pictures.append(np.ascontiguousarray(straight.astype(picture.dtype, copy=False)))
        return pictures[0], pictures[1]
