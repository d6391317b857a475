"""``lca preprocess``: turn videos of people into a data set."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import DataError, UsageError

if TYPE_CHECKING:
    from lca_lightning.preprocessing.clips import PreprocessOptions
    from lca_lightning.preprocessing.run_report import RunReport

# Clips of which each gets a line of its own.
MOST_LINES = 20


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
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of them, quoted patterns, or @list.txt with one path per line",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="Qualisys XML, Pose2Sim TOML, OpenCV YAML, COLMAP folder or our JSON",
    )
    parser.add_argument(
        "--up",
        metavar="AXIS",
        help="axis of the calibration's world that points up: x, y, z, -x, -y, -z, or cameras (by the file)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="M", help="metres of a unit of the calibration (1)"
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
    _add_estimation(parser.add_argument_group("what is found"))
    _add_running(parser.add_argument_group("how clips are run"))


def _add_estimation(group: Any) -> None:
    group.add_argument(
        "--estimator",
        default="mediapipe",
        metavar="NAME",
        help="who finds people, landmarks and masks: mediapipe (default), sapiens2, or module:Class",
    )
    group.add_argument(
        "--estimator-weights", type=Path, metavar="DIR", help="folder of the estimator's weights"
    )
    group.add_argument(
        "--body-fits",
        type=Path,
        metavar="DIR",
        help="SAM-3D-Body results (.npz, .pkl) that give the body, in a sub-folder per video",
    )
    group.add_argument(
        "--clip-score",
        default="photographic",
        metavar="NAME",
        help="what a clip must pass: photographic (default, drops drawn people), none, module:Class",
    )
    group.add_argument("--score-threshold", type=float, metavar="X", help="least score kept")


def _add_running(group: Any) -> None:
    group.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="processes here (local), or Ray"
    )
    group.add_argument(
        "--address", metavar="HOST", help="Ray cluster, auto for this machine's; by default one is started"
    )
    group.add_argument(
        "--clip-minutes",
        type=float,
        default=60.0,
        metavar="M",
        help="a clip that takes longer is killed (60)",
    )
    group.add_argument(
        "--retries", type=int, default=2, metavar="N", help="further tries of a clip that crashed (2)"
    )
    group.add_argument(
        "--retry-failed", action="store_true", help="try clips again that were dropped or set aside"
    )


def run(namespace: argparse.Namespace) -> None:
    """Make the data set.

    Raises:
        UsageError: A number is out of range.
        DataError: Nothing remained.
    """
    _check(namespace)
    from lca_lightning.preprocessing.clip_sources import ClipSource
    from lca_lightning.preprocessing.runner import RunSettings, preprocess

    clips = ClipSource(namespace.videos, namespace.calibration, namespace.subject)
    settings = RunSettings(
        engine=namespace.engine,
        address=namespace.address,
        workers=namespace.workers,
        minutes=namespace.clip_minutes,
        retries=namespace.retries,
        retry_failed=namespace.retry_failed,
    )
    bars = _Bars(len(clips))
    try:
        report = preprocess(clips, _options(namespace), settings, bars.update, bars.clips)
    finally:
        bars.close()
    _tell(report, namespace)


def _check(namespace: argparse.Namespace) -> None:
    for name, least in (("workers", 1), ("max_side", 64), ("stride", 1), ("retries", 0)):
        if getattr(namespace, name) < least:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least {least}, got {getattr(namespace, name)}."
            )
    if not namespace.min_height >= 0:
        raise UsageError(f"--min-height must not be negative, got {namespace.min_height:g}.")
    _check_threshold(namespace.clip_score, namespace.score_threshold)
    _check_world(namespace)
    if not namespace.clip_minutes > 0:
        raise UsageError(f"--clip-minutes must be positive, got {namespace.clip_minutes:g}.")
    if namespace.address is not None and namespace.engine != "ray":
        raise UsageError("--address is of a Ray cluster; add --engine ray.")


def _check_threshold(score: str, threshold: float | None) -> None:
    if threshold is None:
        return
    if score == "photographic" and not 0 <= threshold <= 1:
        raise UsageError(f"--score-threshold of photographic must lie in [0, 1], got {threshold:g}.")
    if not math.isfinite(threshold):
        raise UsageError(f"--score-threshold must be a finite number, got {threshold:g}.")


def _check_world(namespace: argparse.Namespace) -> None:
    from lca_lightning.calibration.axes import UP_CHOICES

    if namespace.up is not None and namespace.up not in UP_CHOICES:
        raise UsageError(f"--up must be one of {', '.join(UP_CHOICES)}, got {namespace.up}.")
    if not 0 < namespace.scale < math.inf:
        raise UsageError(f"--scale must be positive, got {namespace.scale:g}.")
    if namespace.calibration is None and (namespace.up is not None or namespace.scale != 1.0):
        raise UsageError("--up and --scale are of a calibration; add --calibration FILE.")


def _options(namespace: argparse.Namespace) -> PreprocessOptions:
    from lca_lightning.preprocessing.clips import PreprocessOptions

    names = (
        "out", "stride", "max_side", "people", "split", "licence", "provenance", "overwrite", "estimator",
        "estimator_weights", "body_fits", "clip_score", "score_threshold", "up", "scale",
    )  # fmt: skip
    return PreprocessOptions(
        minimum_height=namespace.min_height, **{name: getattr(namespace, name) for name in names}
    )


def _tell(report: RunReport, namespace: argparse.Namespace) -> None:
    out, left_out = namespace.out, report.left_out
    kept = report.written + report.already_there
    for entry in left_out[:MOST_LINES]:
        print(f"{'set aside' if entry.state == 'set_aside' else 'dropped'} {entry.clip}: {entry.reason}")
    if not kept:
        if len(left_out) == 1:
            raise DataError(f"Clip {left_out[0].clip} cannot be used: {left_out[0].reason}")
        raise DataError(
            f"None of the {len(left_out)} clips can be used; {out / 'dropped.json'} and "
            f"{out / 'set_aside.json'} list why."
        )
    if kept <= MOST_LINES:
        for result in report.kept:
            print(f"{result.id}: {_describe(result.summary)}")
    if report.total > 1:
        print("\n".join(report.table()))
    recipe = "tiny/posttrain.yaml" if namespace.calibration else "tiny/pretrain.yaml"
    print(
        f"{kept} of {report.total} clips are in {out}, check {out / 'overlays'}; next: "
        f"lca fit --config {recipe} --data.init_args.root {out}"
    )


def _describe(summary: dict[str, Any]) -> str:
    if summary.get("already_there"):
        return "already there, left as it is (--overwrite writes it again)"
    return (
        f"{summary['valid_frames']} of {summary['frames']} frames usable, landmarks off by "
        f"{summary['reprojection_px_median']} px, silhouette overlap {summary['silhouette_iou_median']}"
    )


class _Bars:
    """One progress bar a stage of a single clip, opened when it first reports; one over many clips.

    Args:
        total: Number of clips.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._bars: dict[str, Any] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """Advance a stage's bar."""
        from tqdm import tqdm

        if stage not in self._bars:
            self._bars[stage] = tqdm(
                total=total or None, desc=stage, unit="step" if stage == "fit" else "frame"
            )
        self._bars[stage].update(done)

    def clips(self, report: RunReport) -> None:
        """Advance the bar over clips; its rate and time left count only clips that really ran."""
        if self._total == 1:
            return
        from tqdm import tqdm

        if "clips" not in self._bars:
            layout = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            self._bars["clips"] = tqdm(total=self._total, desc="clips", bar_format=layout)
        bar = self._bars["clips"]
        bar.set_postfix_str(report.pace(), refresh=False)
        bar.update(report.settled - bar.n)

    def close(self) -> None:
        """Close every bar."""
        for bar in self._bars.values():
            bar.close()
