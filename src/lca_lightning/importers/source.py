"""What an importer says about a data set: its takes, cameras, pictures, bodies and lamps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.records import check_name
from lca_lightning.datasets.signals import Signals, StageLights
from lca_lightning.errors import DataError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SourceCamera:
    """One camera as the source calibrated it, already in metres, y up, world to camera, OpenCV axes.

    Attributes:
        name: Camera name; letters, digits, dot, dash, underscore.
        width: Pixels of the pictures that the importer yields.
        height: Pixels.
        K_33: Intrinsics in pixels of those pictures; the importer's ``pixel_center`` says where centres lie.
        w2c_44: World (metres, y up) to camera.
        distortion_N: OpenCV's coefficients (4, 5, 8, 12 or 14); empty where there is none.
        fisheye: True for OpenCV's four fisheye coefficients.
    """

    name: str
    width: int
    height: int
    K_33: FloatArray
    w2c_44: FloatArray
    distortion_N: FloatArray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False

    def __post_init__(self) -> None:
        check_name("camera", self.name)
        K_33, w2c_44 = np.asarray(self.K_33, np.float64), np.asarray(self.w2c_44, np.float64)
        if K_33.shape != (3, 3) or w2c_44.shape != (4, 4):
            raise DataError(
                f"Camera {self.name} needs K of shape (3, 3) and w2c of (4, 4), got {K_33.shape} and "
                f"{w2c_44.shape}; its calibration is not as documented."
            )
        if not (np.isfinite(K_33).all() and np.isfinite(w2c_44).all()):
            raise DataError(f"The calibration of camera {self.name} holds NaN or infinite values; repair it.")
        if min(K_33[0, 0], K_33[1, 1]) <= 0 or min(self.width, self.height) < 1:
            raise DataError(
                f"Camera {self.name} has focal lengths {K_33[0, 0]:g} and {K_33[1, 1]:g} and a size of "
                f"{self.width}x{self.height}; all must be positive, so its calibration is broken."
            )
        rotation = w2c_44[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
            raise DataError(
                f"The extrinsics of camera {self.name} hold no rotation; its calibration is broken or of "
                "another convention than documented."
            )
        object.__setattr__(self, "K_33", K_33)
        object.__setattr__(self, "w2c_44", w2c_44)
        object.__setattr__(self, "distortion_N", np.asarray(self.distortion_N, np.float64).reshape(-1))


@dataclass(frozen=True)
class SourceTake:
    """One take of one person; cheap to make, pictures are read later. Must pickle.

    Attributes:
        id: Name inside the set; becomes the sequence's id after the set's name.
        subject: Name of the person, the same in all takes of the person.
        cameras: Calibrated cameras.
        frame_count: Frames that every camera has.
        fps: Frames a second.
        folder: Where the take lies.
        split: The set's own split, or "" for ``--splits`` and ``--test-fraction``.
        kind: Kind of data, or "" for the importer's.
        color: ``"srgb"``: pictures are uint8 sRGB; ``"linear"``: uint16 linear light.
        linear_white: Radiance of 65535 in linear pictures.
        details: Whatever the importer needs again to read the take: plain values and paths.
        remark: What a person should know of it, such as frames that are left out; "" for nothing.
    """

    id: str
    subject: str
    cameras: tuple[SourceCamera, ...]
    frame_count: int
    fps: float = 30.0
    folder: Path = Path()
    split: str = ""
    kind: str = ""
    color: str = "srgb"
    linear_white: float = 1.0
    details: dict[str, object] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class JointsBody:
    """Joint positions.

    Attributes:
        names: ``P`` joint names as the source calls them, or COCO-WholeBody style names.
        positions_TP3: World metres, y up; NaN where unknown.
        confidence_TP: In [0, 1].
    """

    names: tuple[str, ...]
    positions_TP3: FloatArray
    confidence_TP: FloatArray | None = None


@dataclass(frozen=True)
class MeshBody:
    """Vertices of a posed body mesh.

    Attributes:
        topology: ``"smpl"``, ``"smplh"``, ``"smplx"`` (vertex order known to the fit) or another name.
        vertices_TV3: World metres, y up.
        joints: Joints beside it, where known.
    """

    topology: str
    vertices_TV3: FloatArray
    joints: JointsBody | None = None


@dataclass(frozen=True)
class SmplBody:
    """Parameters of the SMPL family; posing them needs the model file that the user supplies.

    Attributes:
        model: ``"smpl"``, ``"smplh"`` or ``"smplx"``.
        gender: ``"neutral"``, ``"female"`` or ``"male"``.
        betas_N: Shape.
        orientation_T3: Global orientation, rotation vectors.
        pose_TJ3: Body joints (23 of smpl, 21 of smplh and smplx), rotation vectors.
        translation_T3: In the model's axes, metres, applied after posing.
        left_hand_TJ3: 15 finger joints, rotation vectors; or ``(T, N)`` principal components; or None.
        right_hand_TJ3: The same.
        jaw_T3: Rotation vectors or None.
        expression_TN: Expression coefficients or None.
        world_from_model_44: Similarity from the model's axes to ours, applied to posed vertices; one for all
            frames or one each, ``(T, 4, 4)``.
        scale: Factor on the model's vertices and joints before translation.
        hands_from_mean: Whether hands are relative to the model's mean hand (``flat_hand_mean=False``).
        instead: What the set stores beside the parameters; used where the user has no model file.
    """

    model: str
    gender: str
    betas_N: FloatArray
    orientation_T3: FloatArray
    pose_TJ3: FloatArray
    translation_T3: FloatArray
    left_hand_TJ3: FloatArray | None = None
    right_hand_TJ3: FloatArray | None = None
    jaw_T3: FloatArray | None = None
    expression_TN: FloatArray | None = None
    world_from_model_44: FloatArray = field(default_factory=lambda: np.eye(4))
    scale: float = 1.0
    hands_from_mean: bool = False
    instead: JointsBody | MeshBody | None = None


@dataclass(frozen=True)
class RigBody:
    """Values of our own rig, written as they are."""

    signals: Signals


BodySource = JointsBody | MeshBody | SmplBody | RigBody


class Importer(ABC):
    """Reads one public data set. Construction only looks at the folder; nothing large is read.

    Args:
        source: The folder that the user downloaded.

    Raises:
        DataError: The folder is not that set; one sentence says what was expected.

    Attributes:
        name: Name on the command line.
        title: Name of the set.
        licence: Licence of the data.
        terms_url: Where the terms are.
        access: How one gets the set, a few words.
        verified: True where a real fragment was imported by the authors.
        kind: Kind of data that is written, see `lca_lightning.datasets.records.KINDS`.
        consent: See `lca_lightning.datasets.records.CONSENTS`.
        pixel_center: 0.0 where the source's pixel centres lie at integers (OpenCV, Qualisys), 0.5 otherwise.
        expects: What a source folder looks like, used in refusals.
        has_body_model: The user supplied a model file of the SMPL family; set by the frame.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    terms_url: ClassVar[str]
    access: ClassVar[str] = "request"
    verified: ClassVar[bool] = False
    kind: ClassVar[str] = "studio"
    consent: ClassVar[str] = "source_licence"
    pixel_center: ClassVar[float] = 0.0
    expects: ClassVar[str]
    has_body_model: bool = False

    def __init__(self, source: Path | str) -> None:
        self.source = Path(source)
        if not self.source.is_dir():
            raise DataError(f"There is no folder {self.source}; {self.name} expects {self.expects}.")

    def not_this_set(self, reason: str = "") -> DataError:
        """The one sentence for a wrong folder."""
        because = f" ({reason})" if reason else ""
        return DataError(f"{self.source} is not {self.title}{because}; {self.name} expects {self.expects}.")

    @abstractmethod
    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """Every take of the set, in a fixed order; one that cannot be described as `BrokenTake`."""

    @abstractmethod
    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Pictures of one camera, one after the other, never all at once.

        Args:
            take: The take.
            camera: One of its cameras.
            indices: Frames wanted, rising.

        Returns:
            Picture ``(H, W, 3)`` RGB, uint8 (or uint16 for linear takes), and mask ``(H, W)`` uint8, 255 on
            the person; None where the set has no mask, the frame then makes one.
        """

    def body(self, take: SourceTake, indices: Sequence[int]) -> BodySource | None:
        """The body of the frames wanted, or None where the set says nothing that fits a full body."""
        return None

    def lights(self, take: SourceTake, indices: Sequence[int]) -> StageLights | None:
        """Lamps of a light stage for the frames wanted."""
        return None


@dataclass(frozen=True)
class BrokenTake:
    """A take that cannot be imported, listed in ``skipped.json``."""

    id: str
    reason: str
