"""What the pipeline needs to know about a person in a picture, and how an estimator is made."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lca_lightning.preprocessing.landmarks import FloatArray, FrameDetection, PersonBox

Image = NDArray[np.uint8]


@runtime_checkable
class Estimator(Protocol):
    """Measures people in RGB pictures ``(H, W, 3)`` of uint8.

    Landmarks follow the names in :mod:`lca_lightning.preprocessing.landmarks`, pixel centres lie at +0.5, the
    person's own left is left. NaN marks what the estimator does not know: rough metric positions, hands,
    faces or single landmarks of a face may all be NaN.
    """

    @classmethod
    def check(cls, weights: Path | None) -> None:
        """Raise a ``MissingAssetError`` when a package or weights are missing; fast, loads nothing."""

    @classmethod
    def load(cls, weights: Path | None) -> Estimator:
        """Make one, from a folder of weights or, for None, from where they usually lie."""
        ...

    def people(self, image_HW3: Image) -> list[PersonBox]:
        """Candidates for people, best first; each is confirmed by ``body``."""
        ...

    def body(self, image_HW3: Image, box: PersonBox) -> tuple[FrameDetection, PersonBox] | None:
        """Body landmarks and mask of the person in a box, and the box to look into in the next frame."""
        ...

    def hands(self, image_HW3: Image, body_P3: FloatArray) -> FloatArray:
        """Left then right hand of the body just measured, ``(2, 21, 3)``."""
        ...

    def face(self, image_HW3: Image, body_P3: FloatArray) -> FloatArray:
        """Face and iris landmarks of the body just measured, ``(478, 3)``."""
        ...

    def normals(self, image_HW3: Image, box: PersonBox) -> FloatArray | None:
        """Unit surface normals in camera axes ``(H, W, 3)``, 0 outside the box; None if not estimated."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
