"""A contact sheet of a data set: a row per sequence, a picture per camera and moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lca_lightning.datasets.records import read_dataset_header
from lca_lightning.datasets.sequence import Sequence
from lca_lightning.errors import DataError, LCAError, UsageError
from lca_lightning.inspection.body import PosedBody, rig_of
from lca_lightning.inspection.drawing import draw_outlines
from lca_lightning.inspection.overlap import resize_mask, scaled_camera
from lca_lightning.inspection.sources import is_packed, packed_header, sequence_places
from lca_lightning.writing import write_atomically

_GAP, _TITLE, _LABEL, _LINE = 6, 24, 16, 17
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
_PAPER, _INK, _FAINT, _RED = (250, 250, 248), (30, 30, 30), (110, 110, 110), (190, 40, 30)
MOST_REASONS = 3
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class SheetOptions:
    """What a contact sheet shows.

    Args:
        sequences: Most rows; spread evenly over the data set.
        frames: Pictures per row; they run through the cameras and through time together.
        overlay: Draw the outlines of mask (red) and reprojected rig (blue).
        height: Of every picture in pixels.
    """

    sequences: int = 8
    frames: int = 6
    overlay: bool = False
    height: int = 200

    def __post_init__(self) -> None:
        if min(self.sequences, self.frames) < 1 or self.height < 32:
            raise UsageError(
                "A contact sheet needs at least one sequence, one frame and pictures of at least 32 pixels."
            )


@dataclass
class _Row:
    """A sequence's title and its labelled pictures; without pictures the title says why."""

    title: str
    pictures: list[tuple[str, np.ndarray]]


def write_contact_sheet(
    root: Path | str,
    path: Path | str,
    options: SheetOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a contact sheet of a data set.

    Args:
        root: A data set's folder, plain or packed.
        path: The picture to write, ``.jpg`` or ``.png``.
        options: What it shows.
        progress: Called with the rows done and all rows.

    Returns:
        The path.

    Raises:
        UsageError: The suffix is another.
        DataError: There is no data set, nothing of it can be shown, or the file cannot be written. A broken
            sequence among others becomes a row that says so.
    """
    path, options = Path(path), options or SheetOptions()
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"A contact sheet is a picture that ends in {', '.join(SUFFIXES)}, not {path.name}.")
    name = str(root)
    header = packed_header(name) if is_packed(name) else read_dataset_header(Path(root))
    places = sequence_places(name)
    if not places:
        raise DataError(
            f"{name} holds no sequence yet, so there is nothing to show; see docs/data_format.md."
        )
    count = min(options.sequences, len(places))
    chosen = np.unique(np.linspace(0, len(places) - 1, count).astype(int))
    rows, reasons = [], list[str]()
    for number in chosen:
        try:
            rows.append(_row(Sequence(places[number].open()), str(header["rig"]), options))
        except LCAError as error:
            reasons.append(f"{places[number].name}: {error}")
            rows.append(_Row(reasons[-1], []))
        if progress is not None:
            progress(len(rows), len(chosen))
    if len(reasons) == len(rows):
        more = f" (and {len(reasons) - MOST_REASONS} more)" if len(reasons) > MOST_REASONS else ""
        raise DataError(
            f"{name} has nothing to show, every sequence looked at is broken: "
            f"{' '.join(reasons[:MOST_REASONS])}{more}"
        )
    sheet = _draw(rows, f"{Path(root).name}: {len(chosen)} of {len(places)} sequences", options)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    return write_atomically(path, lambda temporary: sheet.save(temporary, format=kind, quality=90))


def _row(sequence: Sequence, rig_name: str, options: SheetOptions) -> _Row:
    cameras = list(sequence.cameras)
    cells = [
        (
            cameras[
                place * len(cameras) // options.frames
                if len(cameras) >= options.frames
                else place % len(cameras)
            ]
        )
        for place in range(options.frames)
    ]
    frames = _moments(sequence, options.frames)
    body = PosedBody(rig_of(rig_name), sequence.signals) if options.overlay else None
    facts = f"{len(cameras)} cameras, {sequence.frame_count} frames at {sequence.fps:g}/s, {sequence.color}"
    if sequence.layers:
        facts += f", layers {' '.join(sequence.layers)}"
    title = f"{sequence.id}: {sequence.subject}, {sequence.split}, {facts}"
    pictures = [
        (_label(sequence, camera, frame), _picture(sequence, camera, frame, body, options.height))
        for camera, frame in zip(cells, frames, strict=True)
    ]
    return _Row(title, pictures)


def _moments(sequence: Sequence, count: int) -> list[int]:
    """Frames spread over the sequence; in a light stage every other one is lit from everywhere."""
    frames = np.linspace(0, sequence.frame_count - 1, count).astype(int)
    lights = sequence.signals.lights
    if lights is not None:
        for place in range(count):
            alike = np.flatnonzero(np.asarray(lights.fully_lit_T, bool) == (place % 2 == 0))
            if len(alike):
                frames[place] = alike[np.abs(alike - frames[place]).argmin()]
    return [int(frame) for frame in frames]


def _label(sequence: Sequence, camera: str, frame: int) -> str:
    lights = sequence.signals.lights
    label = f"{camera}, frame {frame}"
    if lights is None:
        return label
    if lights.fully_lit_T[frame]:
        return f"{label}, fully lit"
    burning = int((np.asarray(lights.intensities_TL3[frame]).max(1) > 0).sum())
    return f"{label}, {burning} of {len(lights.positions_L3)} lights"


def _picture(sequence: Sequence, camera: str, frame: int, body: PosedBody | None, height: int) -> np.ndarray:
    """One picture at the sheet's height, with outlines where there is a body to draw."""
    images, masks = sequence.read_frames(camera, [frame])
    record = sequence.cameras[camera]
    width = max(1, round(record.width * height / record.height))
    image = np.asarray(Image.fromarray(images[0]).resize((width, height), Image.Resampling.LANCZOS))
    if body is None:
        return image
    rig = None
    if body.fits_rig and body.usable()[frame]:
        K_33, rig_height, rig_width = scaled_camera(record, max(width, height))
        drawn = body.silhouette(frame, record.w2c_44, K_33, rig_height, rig_width)
        rig = resize_mask(drawn.astype(np.uint8) * 255, width, height) >= 128
    return draw_outlines(image, resize_mask(masks[0], width, height) >= 128, rig)


def _draw(rows: list[_Row], heading: str, options: SheetOptions) -> Image.Image:
    font, small = ImageFont.load_default(size=14), ImageFont.load_default(size=11)
    pitch = _TITLE + options.height + _LABEL + _GAP

    def pace(label: str, image: np.ndarray) -> int:
        return max(image.shape[1], round(small.getlength(label))) + _GAP

    width = max(640, *(sum(pace(*picture) for picture in row.pictures) for row in rows))
    titles = [_wrapped(row.title, font, width) for row in rows]
    heights = [
        (pitch if row.pictures else _GAP + _TITLE) + _LINE * (len(lines) - 1)
        for row, lines in zip(rows, titles, strict=True)
    ]
    sheet = Image.new("RGB", (width + 2 * _GAP, _TITLE + sum(heights) + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), heading, _FAINT, font)
    for row, lines, top in zip(rows, titles, _tops(heights), strict=True):
        for number, line in enumerate(lines):
            draw.text((_GAP, top + 3 + _LINE * number), line, _INK if row.pictures else _RED, font)
        top += _LINE * (len(lines) - 1)
        left = _GAP
        for label, image in row.pictures:
            sheet.paste(Image.fromarray(image), (left, top + _TITLE))
            draw.text((left, top + _TITLE + options.height + 1), label, _FAINT, small)
            left += pace(label, image)
    return sheet


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """The text in lines no wider than so many pixels; a word that is wider is cut."""
    lines = [""]
    for word in text.split():
        for piece in [word] if font.getlength(word) <= width else list(word):
            joined = f"{lines[-1]} {piece}" if lines[-1] and piece == word else lines[-1] + piece
            if font.getlength(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(piece)
    return lines


def _tops(heights: list[int]) -> Iterator[int]:
    top = _TITLE + _GAP
    for height in heights:
        yield top
        top += height
