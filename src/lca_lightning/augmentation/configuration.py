"""What is changed in training batches; nothing by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lca_lightning.errors import ConfigError

Where = Literal["references", "both"]
Pictures = Literal["references", "targets", "both"]
BackgroundKind = Literal["color", "noise", "pictures"]
_PREFIX = "model.augmentation"


@dataclass
class ReframingConfig:
    """Pictures moved, scaled and cut anew; cameras follow exactly.

    Args:
        probability: Share of pictures that are scaled and shifted, close-ups of faces included.
        scale: Smallest and largest factor, drawn evenly in its logarithm.
        shift: Largest shift along each axis, as a share of the picture's side.
        crop_probability: Share of bodies and targets of which a part is enlarged to the whole picture.
        smallest_crop: Side of the smallest part, as a share of the picture's.
    """

    probability: float = 0.0
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.1
    crop_probability: float = 0.0
    smallest_crop: float = 0.6

    def __post_init__(self) -> None:
        self.scale = (self.scale[0], self.scale[1])
        _within("reframing.probability", self.probability)
        _within("reframing.crop_probability", self.crop_probability)
        _within("reframing.shift", self.shift, 0.0, 0.5)
        _within("reframing.smallest_crop", self.smallest_crop, 0.1, 1.0)
        if not 0.5 <= self.scale[0] <= self.scale[1] <= 4.0:
            raise ConfigError(
                f"{_PREFIX}.reframing.scale needs two rising numbers between 0.5 and 4, got {self.scale}."
            )


@dataclass
class ColorsConfig:
    """Photometric distortion: what other cameras and white balances do (the paper distorts references).

    Args:
        probability: Share of pictures, or of subjects where both are changed.
        where: ``references``, each photo in its own way, or ``both``, all pictures of a subject alike;
            samples of a light stage are left alone then, because their light is known.
        brightness: Largest change of the factor on colours.
        contrast: Largest change of the factor on distances from middle grey.
        saturation: Largest change of the factor on distances from grey.
        hue: Largest turn of hues, in whole turns.
        largest_gamma: Exponent of the strongest change, at least 1.
    """

    probability: float = 0.0
    where: Where = "references"
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    largest_gamma: float = 1.2

    def __post_init__(self) -> None:
        _within("colors.probability", self.probability)
        _one_of("colors.where", self.where, ("references", "both"))
        for name in ("brightness", "contrast", "saturation"):
            _within(f"colors.{name}", getattr(self, name))
        _within("colors.hue", self.hue, 0.0, 0.5)
        _within("colors.largest_gamma", self.largest_gamma, 1.0, 10.0)


@dataclass
class DegradationConfig:
    """Blur, sensor noise and compression, drawn apart for each picture.

    Args:
        probability: Share of pictures.
        where: ``references``, or ``both`` references and targets (not those of a light stage).
        blur: Largest standard deviation in pixels.
        noise: Largest standard deviation of colours in [0, 1].
        lowest_quality: Strongest compression, 1 to 100 as in JPEG; 100 compresses nothing.
    """

    probability: float = 0.0
    where: Where = "references"
    blur: float = 1.0
    noise: float = 0.03
    lowest_quality: float = 40.0

    def __post_init__(self) -> None:
        _within("degradation.probability", self.probability)
        _one_of("degradation.where", self.where, ("references", "both"))
        _within("degradation.blur", self.blur, 0.0, 20.0)
        _within("degradation.noise", self.noise)
        _within("degradation.lowest_quality", self.lowest_quality, 1.0, 100.0)


@dataclass
class BackgroundConfig:
    """Something else behind the person, composited by the soft mask.

    Targets that a stage lights only in part keep their background (LCA section 3.4). The loss puts colours of
    its own behind targets, so these gain only where a model of yours looks at the whole picture.

    Args:
        probability: Share of pictures.
        where: ``references``, ``targets`` or ``both``.
        kinds: ``color``, ``noise`` (smooth, coloured) and ``pictures``, drawn evenly.
        pictures: Folder with PNG, JPEG or WebP files, subfolders included; needed for ``pictures``.
        keep: Most files that are read, spread evenly over their names; 0.4 MB each.
    """

    probability: float = 0.0
    where: Pictures = "references"
    kinds: Sequence[BackgroundKind] = ("color", "noise")
    pictures: str | None = None
    keep: int = 200

    def __post_init__(self) -> None:
        _within("background.probability", self.probability)
        _one_of("background.where", self.where, ("references", "targets", "both"))
        for kind in self.kinds:
            _one_of("background.kinds", kind, ("color", "noise", "pictures"))
        if not self.kinds:
            raise ConfigError(f"{_PREFIX}.background.kinds must name at least one kind.")
        if "pictures" in self.kinds and not self.pictures:
            raise ConfigError(
                f"{_PREFIX}.background.kinds names pictures: give {_PREFIX}.background.pictures a folder."
            )
        if self.keep < 1:
            raise ConfigError(f"{_PREFIX}.background.keep must be at least 1, got {self.keep}.")


@dataclass
class AugmentationConfig:
    """What is changed in training batches; nothing by default.

    Args:
        recolor_probability: Share of subjects whose colours are changed, in references and targets alike, so
            that what a photo shows is the only way to know them (ours; the paper distorts photometrically).
            Samples of a light stage are left alone.
        largest_gamma: Exponent of the strongest recolouring of a colour channel, at least 1.
        flip_probability: Share of subjects that are mirrored whole: pictures, cameras, pose, gaze,
            expression, identity and lamps.
        reframing: Random scale, shift and crop.
        colors: Brightness, contrast, saturation, hue and gamma.
        degradation: Blur, noise and compression.
        background: What is put behind the person.
    """

    recolor_probability: float = 0.0
    largest_gamma: float = 1.8
    flip_probability: float = 0.0
    reframing: ReframingConfig = field(default_factory=ReframingConfig)
    colors: ColorsConfig = field(default_factory=ColorsConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)

    def __post_init__(self) -> None:
        _within("recolor_probability", self.recolor_probability)
        _within("flip_probability", self.flip_probability)
        if self.largest_gamma < 1.0:
            raise ConfigError(f"{_PREFIX}.largest_gamma must be at least 1, got {self.largest_gamma}.")


def _within(name: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    if not low <= value <= high:  # NaN too
        raise ConfigError(f"{_PREFIX}.{name} must lie in [{low:g}, {high:g}], got {value}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{_PREFIX}.{name} must be one of {', '.join(known)}, got {value!r}.")
