"""One take to one sequence: pictures undistorted, resized and masked, the body brought to our rig."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lca_lightning.datasets.signals import Signals
from lca_lightning.datasets.writer import SequenceWriter
from lca_lightning.errors import DataError
from lca_lightning.importers.body_fitting import fit_body
from lca_lightning.importers.picture_changes import PictureChange
from lca_lightning.importers.picture_fit import fit_in_pictures
from lca_lightning.importers.picture_joints import body_in_pictures, look_at_pictures
from lca_lightning.importers.selection import choose_cameras, choose_frames, sequence_name
from lca_lightning.importers.source import BodySource, Importer, MeshBody, SourceCamera, SourceTake
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig

Tick = Callable[[int, int], object]


@dataclass(frozen=True)
class TakeOptions:
    """How a take is written.

    Attributes:
        cameras: Names or patterns, or one number of cameras spread far apart; empty for all.
        frames: Which frames.
        max_size: Longest side of written pictures in pixels, or None for the source's size.
        body_model: File of the SMPL-family model that the user supplies, or None.
        fit: ``"source"``: bodies from what the set stores; ``"pictures"``: where that does not do, from
            joints found in the pictures of several cameras.
        rig: Name of the rig whose values are written.
    """

    cameras: tuple[str, ...] = ()
    frames: slice = field(default_factory=lambda: slice(None))
    max_size: int | None = None
    body_model: Path | None = None
    fit: str = "source"
    rig: str = "anny"


@dataclass(frozen=True)
class TakeSummary:
    """What was written of a take.

    Attributes:
        id: The sequence's id.
        frames: Frames per camera.
        cameras: Cameras.
        valid_frames: Frames with a body of our rig.
        body: What became of the body, a few words.
        remark: What the source said of frames that it lacks; empty where nothing is missing.
    """

    id: str
    frames: int
    cameras: int
    valid_frames: int
    body: str
    remark: str = ""

    @property
    def pictures(self) -> int:
        """Pictures written."""
        return self.frames * self.cameras


def write_take(
    importer: Importer,
    take: SourceTake,
    out: str | Path,
    options: TakeOptions,
    overwrite: bool = False,
    tick: Tick | None = None,
) -> TakeSummary:
    """Write one take as a sequence, complete or not at all.

    Args:
        importer: Reads the take.
        take: With its split filled in.
        out: Folder of the data set.
        options: Cameras, frames, size, body model.
        overwrite: Replace a finished sequence.
        tick: Called with pictures done now and pictures in all.

    Returns:
        What was written.

    Raises:
        DataError: The take is broken; says how.
    """
    chosen = choose_cameras(take.cameras, options.cameras)
    indices = choose_frames(take.frame_count, options.frames)
    changes = [PictureChange(camera, importer.pixel_center, options.max_size) for camera in chosen]
    signals, body = _signals(importer, take, chosen, indices, options)
    name = sequence_name(importer.name, take.id)
    with SequenceWriter(
        out,
        name,
        subject=take.subject,
        split=take.split or "train",
        fps=take.fps / (indices[1] - indices[0] if len(indices) > 1 else 1),
        cameras=[change.record for change in changes],
        rig=options.rig,
        licence=importer.licence,
        provenance=f"{importer.title}, {importer.terms_url}",
        kind=take.kind or importer.kind,
        consent=importer.consent,
        color=take.color,
        linear_white=take.linear_white,
        overwrite=overwrite,
    ) as writer:
        for change in changes:
            _write_camera(importer, take, change, indices, writer, tick, len(changes) * len(indices))
        writer.finish(signals, {"importer": importer.name, "verified": importer.verified, "body": body})
    return TakeSummary(name, len(indices), len(chosen), int(signals.frame_valid_T.sum()), body, take.remark)


def _write_camera(
    importer: Importer,
    take: SourceTake,
    change: PictureChange,
    indices: Sequence[int],
    writer: SequenceWriter,
    tick: Tick | None,
    total: int,
) -> None:
    """Stream the pictures of one camera."""
    camera, count = change.camera, 0
    kind = np.uint16 if take.color == "linear" else np.uint8
    for image, mask in importer.frames(take, camera, indices):
        _check_picture(camera, image, mask, kind, indices[min(count, len(indices) - 1)])
        writer.add_frame(camera.name, *change.apply(image, mask))
        count += 1
        if tick is not None:
            tick(1, total)
    writer.finish_camera(camera.name)
    if count != len(indices):
        raise DataError(
            f"Camera {camera.name} of {take.id} gave {count} of {len(indices)} frames: pictures are missing "
            "or its video is cut short; get it again, or leave it out with --cameras."
        )


def _check_picture(
    camera: SourceCamera, image: np.ndarray, mask: np.ndarray | None, kind: type, frame: int
) -> None:
    expected = (camera.height, camera.width, 3)
    if image.shape != expected or image.dtype != kind:
        raise DataError(
            f"Frame {frame} of camera {camera.name} is {image.dtype} of shape {image.shape}; its calibration "
            f"is for {expected[1]}x{expected[0]} pictures, so the two do not belong together."
        )
    if mask is not None and (mask.shape != expected[:2] or mask.dtype != np.uint8):
        raise DataError(
            f"The mask of frame {frame} of camera {camera.name} is {mask.dtype} of shape {mask.shape}; its "
            f"picture is {expected[1]}x{expected[0]}."
        )


@lru_cache(maxsize=1)
def _rig(name: str) -> Rig:
    return load_rig(name)


def _signals(
    importer: Importer,
    take: SourceTake,
    cameras: Sequence[SourceCamera],
    indices: Sequence[int],
    options: TakeOptions,
) -> tuple[Signals, str]:
    """Rig values of the take and a few words on where they come from."""
    rig, frames = _rig(options.rig), len(indices)
    importer.has_body_model = options.body_model is not None
    source = importer.body(take, indices)
    fitted, words = _fit(rig, source, frames, options)
    if fitted is None and options.fit == "pictures":
        fitted, words = _fit_pictures(rig, importer, take, cameras, indices, source, options, words)
    signals = no_body(rig, frames) if fitted is None else fitted
    return replace(signals, lights=importer.lights(take, indices)), words


def _fit_pictures(
    rig: Rig,
    importer: Importer,
    take: SourceTake,
    cameras: Sequence[SourceCamera],
    indices: Sequence[int],
    source: BodySource | None,
    options: TakeOptions,
    before: str,
) -> tuple[Signals | None, str]:
    """Rig values from the pictures; the set's own surface, where there is one, is better than masks."""
    if isinstance(source, MeshBody):
        found = body_in_pictures(importer, take, cameras, indices)
        if found is None:
            return None, before
        body = replace(source, joints=found.joints if isinstance(found, MeshBody) else found)
        fitted, words = _fit(rig, body, len(indices), options)
        return fitted, f"{words}, joints found in the pictures"
    seen = look_at_pictures(importer, take, cameras, indices)
    if seen is None:
        return None, f"{before}; --fit pictures needs two cameras, one goes through lca preprocess"
    return fit_in_pictures(rig, seen, indices)


def _fit(
    rig: Rig, source: BodySource | None, frames: int, options: TakeOptions
) -> tuple[Signals | None, str]:
    """Rig values of a body, or None, and a few words."""
    if source is None:
        return None, "none: the set stores no full body here"
    return fit_body(rig, source, frames, options.body_model)


def no_body(rig: Rig, frames: int) -> Signals:
    """Values of the rig at rest, marked as not to be used.

    Args:
        rig: The rig.
        frames: Number of frames ``T``.
    """
    rest = rig.rest_pose(1)
    return Signals(
        identity_I=rig.neutral_identity().numpy().astype(np.float32),
        rotations_TJ3=np.repeat(rest.rotations_BJ3.numpy().astype(np.float32), frames, 0),
        translation_T3=np.repeat(rest.translation_B3.numpy().astype(np.float32), frames, 0),
        expression_TE=np.zeros((frames, rig.expression_size), np.float32),
        gaze_T8=np.zeros((frames, 8), np.float32),
        frame_valid_T=np.zeros(frames, bool),
    )
