"""``lca demo``: the whole path on people we render: data, training, test, avatar, animation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import UsageError

if TYPE_CHECKING:
    from lca_lightning.avatar.avatar import Avatar
    from lca_lightning.avatar.create import PreparedPhotos
    from lca_lightning.datasets.format import Sequence

RECIPE = "tiny/pretrain.yaml"
VIEWS = 4


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca demo``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="run everything once on synthetic people",
        description="Synthesize people, train a tiny model, test it on people it never saw, make the avatar"
        " of one of them, and write a contact sheet, a turntable and a table of metrics; run it again to"
        " continue.",
    )
    parser.add_argument(
        "--out", default="demo_output", metavar="DIR", help="where everything goes (demo_output)"
    )
    parser.add_argument("--subjects", type=int, default=12, metavar="N", help="synthetic people (12)")
    parser.add_argument("--frames", type=int, default=16, metavar="N", help="frames of each (16)")
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="training steps (600)")
    parser.add_argument("--size", default="256x192", metavar="HxW", help="height x width in pixels (256x192)")


def run(namespace: argparse.Namespace) -> None:
    """Run the steps; each one that is already done is skipped."""
    if namespace.steps < 1:
        raise UsageError(f"--steps must be at least 1, got {namespace.steps}.")
    out = Path(namespace.out)
    data, run_directory = out / "people", out / "run"
    print(f"1/4 synthetic people -> {data}")
    _lca("synthesize", "--out", data, "--kind", "wild", "--subjects", namespace.subjects, "--frames",
         namespace.frames, "--size", namespace.size, "--fit-noise", 0)  # fmt: skip
    checkpoint = run_directory / "last.ckpt"
    print(f"2/4 training {RECIPE} for {namespace.steps} steps -> {run_directory}")
    _train(data, run_directory, checkpoint, namespace.steps)
    print("3/4 test on people the model has never seen")
    _lca("test", "--ckpt_path", checkpoint)
    print("4/4 avatar of one of them")
    avatar, sequence = _create_avatar(checkpoint, data)
    written = [
        _write_contact_sheet(avatar, sequence, out / "contact_sheet.png"),
        _write_turntable(avatar, out / "turntable.mp4"),
        _write_table(run_directory / "test" / "metrics.md", out / "metrics.md"),
    ]
    written.append(run_directory / "test" / "report.html")
    print("Written: " + ", ".join(str(path) for path in written) + ".")
    print(
        f"Next: look at them, then lca preprocess YOUR_VIDEO.mp4 --out data, or `lca fit --config {RECIPE}`."
    )


def _lca(*words: object) -> None:
    from lca_lightning.cli.main import main

    main([str(word) for word in words])


def _train(data: Path, run_directory: Path, checkpoint: Path, steps: int) -> None:
    from lca_lightning.training.checkpoints import read_checkpoint

    if checkpoint.is_file():
        if read_checkpoint(checkpoint)["global_step"] >= steps:
            print("    already trained")
            return
        _lca("fit", "--ckpt_path", checkpoint, "--trainer.max_steps", steps)
        return
    _lca("fit", "--config", RECIPE, "--data.init_args.root", data, "--trainer.max_steps", steps,
         "--model.optimizer.warmup_steps", min(20, steps),
         "--trainer.devices", 1, "--run_dir", run_directory)  # fmt: skip


def _create_avatar(checkpoint: Path, data: Path) -> tuple[Avatar, Sequence]:
    """Avatar of the first test subject from four frames, with the identity that the data set knows."""
    import lca_lightning
    from lca_lightning.datasets.format import Dataset

    sequence = Dataset(data).sequences("test")[0]
    creator = lca_lightning.load_model(checkpoint)
    return creator.create_prepared(_photos(sequence)), sequence


def _camera_and_frames(sequence: Sequence) -> tuple[str, list[int]]:
    """The first camera and four frames spread over the sequence."""
    frames = [index * (sequence.frame_count - 1) // (VIEWS - 1) for index in range(VIEWS)]
    return next(iter(sequence.cameras)), frames


def _photos(sequence: Sequence) -> PreparedPhotos:
    import numpy as np
    import torch

    from lca_lightning.avatar.create import PreparedPhotos, ReferencePhoto

    camera, frames = _camera_and_frames(sequence)
    images, masks = sequence.read_frames(camera, frames)
    boxes = sequence.signals.face_boxes[camera][frames]
    photos = [
        ReferencePhoto(image, mask, box if np.isfinite(box).all() else None)
        for image, mask, box in zip(images, masks, boxes, strict=True)
    ]
    return PreparedPhotos(tuple(photos), torch.from_numpy(sequence.signals.identity_I).float())


def _write_contact_sheet(avatar: Avatar, sequence: Sequence, path: Path) -> Path:
    """Photos; the avatar from four sides; the avatar in other frames of the video; those frames."""
    import torch

    from lca_lightning.avatar.avatar import Camera
    from lca_lightning.avatar.contact_sheet import contact_sheet
    from lca_lightning.avatar.turntable import turntable_images
    from lca_lightning.motion.clip import Motion

    camera, references = _camera_and_frames(sequence)
    others = [min(frame + 1, sequence.frame_count - 1) for frame in references]
    record, signals = sequence.cameras[camera], sequence.signals
    matrices = torch.from_numpy(record.w2c_44).float(), torch.from_numpy(record.K_33).float()
    view = Camera(*matrices, record.width, record.height)
    motion = Motion(signals.rotations_TJ3, signals.translation_T3, sequence.fps, signals.expression_TE,
                    signals.gaze_T8)  # fmt: skip
    with torch.no_grad():
        posed = [avatar.animate(motion[frame]).render(view).color_TCHW[0] for frame in others]
    photos, truth = (list(sequence.read_frames(camera, frames)[0]) for frames in (references, others))
    rows = {
        "photo": photos,
        "avatar": turntable_images(avatar, VIEWS),
        "animated": posed,
        "true frame": truth,
    }
    labels = [f"{name} {index + 1}" for name in rows for index in range(VIEWS)]
    return contact_sheet([image for row in rows.values() for image in row], path, VIEWS, labels)


def _write_turntable(avatar: Avatar, path: Path) -> Path:
    from lca_lightning.avatar.turntable import turntable

    return turntable(avatar, path)


def _write_table(table: Path, path: Path) -> Path:
    """The table of metrics beside the pictures."""
    from lca_lightning.writing import write_text

    return write_text(path, table.read_text(encoding="utf-8"))
