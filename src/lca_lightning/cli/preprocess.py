"""``lca preprocess``: turn videos of people into a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError, UsageError


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca preprocess``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "preprocess",
        help="turn videos into a data set: masks, landmarks, fitted rig",
        description=(
            "Find the person in each video, fit the body rig over the whole clip and write a data set "
            "with an overlay video "
            "to check it by. Without --calibration every video is a clip of its own; with it the videos "
            "are the cameras "
            "of one clip, named like the calibrated cameras. Run it again to continue where it stopped."
        ),
    )
    parser.add_argument(
        "videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="Qualisys XML, Pose2Sim TOML, OpenCV YAML, COLMAP folder or our JSON",
    )
    parser.add_argument("--subject", metavar="NAME", help="name of the person (the clip's)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="clips or cameras side by side (2)"
    )
    parser.add_argument(
        "--max-side", type=int, default=768, metavar="PX", help="longer side of written pictures (768)"
    )
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="take every N-th frame (1)")
    parser.add_argument(
        "--people",
        choices=("single", "main"),
        default="single",
        help="single: frames with somebody else as large are not used; main: follow the most present person",
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="split of the clips (train)"
    )
    parser.add_argument(
        "--min-height", type=float, default=120.0, metavar="PX", help="smallest usable person (120)"
    )
    parser.add_argument("--licence", default="unknown", help="licence of the footage, stored with the data")
    parser.add_argument("--provenance", default="", help="where the footage comes from, stored with the data")
    parser.add_argument("--overwrite", action="store_true", help="write clips again that are already there")


def run(namespace: argparse.Namespace) -> None:
    """Make the data set.

    Raises:
        UsageError: A number is out of range.
        DataError: Nothing remained.
    """
    for name, least in (("workers", 1), ("max_side", 64), ("stride", 1)):
        if getattr(namespace, name) < least:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least {least}, got {getattr(namespace, name)}."
            )
    from lca_lightning.preprocessing.clips import PreprocessOptions, plan_clips
    from lca_lightning.preprocessing.pipeline import preprocess

    clips = plan_clips(namespace.videos, namespace.calibration, namespace.subject)
    options = PreprocessOptions(
        out=namespace.out,
        stride=namespace.stride,
        max_side=namespace.max_side,
        people=namespace.people,
        split=namespace.split,
        licence=namespace.licence,
        provenance=namespace.provenance,
        minimum_height=namespace.min_height,
        overwrite=namespace.overwrite,
    )
    bars = _Bars()
    try:
        results = preprocess(clips, options, namespace.workers, bars.update)
    finally:
        bars.close()
    dropped = [result for result in results if result.reason]
    for result in dropped:
        print(f"dropped {result.id}: {result.reason}")
    kept = [result for result in results if not result.reason]
    if not kept:
        listed = f"{namespace.out / 'dropped.json'} lists why"
        if len(dropped) == 1:
            raise DataError(f"Clip {dropped[0].id} cannot be used: {dropped[0].reason}")
        raise DataError(f"None of the {len(dropped)} clips can be used; {listed}.")
    for result in kept:
        print(f"{result.id}: {_describe(result.summary)}")
    recipe = "tiny/posttrain.yaml" if namespace.calibration else "tiny/pretrain.yaml"
    print(
        f"{len(kept)} of {len(results)} clips are in {namespace.out}, check "
        f"{namespace.out / 'overlays'}; next: "
        f"lca fit --config {recipe} --data.init_args.root {namespace.out}"
    )


def _describe(summary: dict[str, Any]) -> str:
    if summary.get("already_there"):
        return "already there, left as it is (--overwrite writes it again)"
    return (
        f"{summary['valid_frames']} of {summary['frames']} frames usable, landmarks off by "
        f"{summary['reprojection_px_median']} px, silhouette overlap {summary['silhouette_iou_median']}"
    )


class _Bars:
    """One progress bar a stage, opened when the stage first reports."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """Advance a stage's bar."""
        from tqdm import tqdm

        if stage not in self._bars:
            self._bars[stage] = tqdm(
                total=total or None, desc=stage, unit="step" if stage == "fit" else "frame"
            )
        self._bars[stage].update(done)

    def close(self) -> None:
        """Close every bar."""
        for bar in self._bars.values():
            bar.close()
