"""What a synthetic data set looks like, and what its parts are called."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lca_lightning.datasets.records import KINDS
from lca_lightning.errors import UsageError

LICENCE = "CC0-1.0"
PROVENANCE = "synthetic"
_ONE_CAMERA = ("wild", "stylised")


@dataclass(frozen=True)
class CaptureSettings:
    """What a synthetic data set looks like; the same settings, seed and subject give the same sequence.

    Attributes:
        kind: "wild" (one camera anywhere, everyday clothes), "studio" (ring of cameras, even light, bare
            heads), "light_stage" (a studio whose lamps flash in turn, tight clothes) or "stylised" (drawn
            figures).
        frames: Frames per sequence.
        cameras: Cameras of the ring; "wild" and "stylised" have one.
        height: Picture height in pixels, even.
        width: Picture width in pixels, even.
        seed: Seed of the whole set; sets of other kinds with the same seed show bodies of the same people.
        samples: Samples per pixel.
        fps: Frames per second.
        motion: A .bvh or .npz file to move everybody by, or None for procedural motion.
        rig: Name of the rig.
        environments: Folder of captured environment maps for "wild", or None for procedural ones.
        fit_noise: Strength of the errors of the stored rig values; None is 1 for "wild" and 0 elsewhere.
    """

    kind: str = "wild"
    frames: int = 24
    cameras: int = 6
    height: int = 256
    width: int = 192
    seed: int = 0
    samples: int = 24
    fps: float = 10.0
    motion: str | None = None
    rig: str = "anny"
    environments: str | None = None
    fit_noise: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"The kind of a capture is {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {self.kind!r}."
            )
        for name in ("frames", "cameras", "samples"):
            if getattr(self, name) < 1:
                raise UsageError(f"The number of {name} must be at least 1, got {getattr(self, name)}.")
        if min(self.height, self.width) < 32 or self.height % 2 or self.width % 2:
            raise UsageError(
                f"The picture size must be even and at least 32x32, got {self.height}x{self.width}."
            )
        if self.seed < 0 or self.fps <= 0:
            raise UsageError("The seed must not be negative and the frame rate must be positive.")
        if self.noise_strength < 0:
            raise UsageError(f"The fit noise must not be negative, got {self.fit_noise:g}.")
        if self.environments is not None and self.kind != "wild":
            raise UsageError(f"Environment maps light only the kind wild, not {self.kind}.")

    @property
    def camera_count(self) -> int:
        """Cameras per sequence."""
        return 1 if self.kind in _ONE_CAMERA else self.cameras

    @property
    def texture_size(self) -> int:
        """Side of the body texture in pixels."""
        return 512 if self.height <= 320 else 1024

    @property
    def noise_strength(self) -> float:
        """Strength of the fit's errors."""
        default = 1.0 if self.kind == "wild" else 0.0
        return default if self.fit_noise is None else self.fit_noise

    @property
    def pictures(self) -> int:
        """Pictures per sequence."""
        return self.frames * self.camera_count

    def described(self) -> dict[str, Any]:
        """Plain values for the sequence's description; folders stay out of it."""
        values = asdict(self)
        values.update(cameras=self.camera_count, fit_noise=self.noise_strength)
        values["motion"] = Path(self.motion).name if self.motion else "procedural"
        del values["environments"]
        return values


def sequence_id(settings: CaptureSettings, subject: int) -> str:
    """Name of a subject's sequence, the same in every run."""
    return f"synthetic-{settings.seed:04d}-{subject:05d}"


def split_of(subject: int, subjects: int, held_out: tuple[int, int]) -> str:
    """Split of a subject: the last ones test, those before them validate.

    Args:
        subject: Number of the subject.
        subjects: Number of all.
        held_out: How many validate and how many test.
    """
    validate, test = held_out
    if subject >= subjects - test:
        return "test"
    return "val" if subject >= subjects - test - validate else "train"


def held_out_counts(
    subjects: int, val_subjects: int | None, test_subjects: int | None, kind: str
) -> tuple[int, int]:
    """How many subjects validate and test.

    Args:
        subjects: Number of all.
        val_subjects: Wish, an eighth (rounded down) when None.
        test_subjects: Wish, an eighth (rounded up) when None.
        kind: Of the data set; drawn figures are all for testing.

    Raises:
        UsageError: The numbers do not fit.
    """
    if subjects < 1:
        raise UsageError(f"Needs at least one subject, got {subjects}.")
    if kind == "stylised":
        if val_subjects or test_subjects not in (None, subjects):
            raise UsageError("Stylised figures are a test set only: all of them are test subjects.")
        return 0, subjects
    test = (subjects + 6) // 8 if test_subjects is None else test_subjects
    if not 0 <= test <= subjects:
        raise UsageError(f"The number of test subjects must lie between 0 and {subjects}, got {test}.")
    validate = min(subjects // 8, subjects - test) if val_subjects is None else val_subjects
    if not 0 <= validate <= subjects - test:
        raise UsageError(
            f"The number of val subjects must lie between 0 and {subjects - test}, got {validate}."
        )
    return validate, test
