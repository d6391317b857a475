"""``lca score``: score anybody's images against true ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import DataError

if TYPE_CHECKING:
    import torch

    from lca_lightning.metrics.folders import PicturePair
    from lca_lightning.metrics.protocol import Protocol

SET = "score"
"""Name of the set in ``metrics.json``."""


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca score``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "score",
        help="score anybody's images against true ones",
        description=(
            "Score the PNG and JPG files of one folder against those of the same name in another, with the "
            "code of `lca test`. The first folder level, if any, names the subject: scores are means by "
            "subject, then over subjects. Predictions should be over white, or carry their opacity."
        ),
    )
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="predictions")
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="true pictures")
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="masks of the person (the opacity of the true pictures, else the whole pictures)",
    )
    parser.add_argument(
        "--protocol",
        default="masked",
        metavar="NAMES",
        help="of masked, composite, lhm, with commas (masked)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("score"), metavar="DIR", help="for metrics.json and .csv (score)"
    )
    parser.add_argument("--allow-missing", action="store_true", help="leave out what lacks a counterpart")
    parser.add_argument("--no-lpips", action="store_true", help="leave LPIPS out, which takes the longest")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (CUDA where there is one)")


def run(namespace: argparse.Namespace) -> None:
    """Score the folders, write the files and print the tables.

    Raises:
        UsageError: A protocol is unknown.
        DataError: A picture is missing, unreadable or of another size, or every mask is empty.
        MissingAssetError: The weights of a perceptual score are not on this machine.
    """
    from tqdm import tqdm

    from lca_lightning.avatar.devices import pick_device
    from lca_lightning.cli.test_options import chosen_protocols
    from lca_lightning.metrics.folders import check_sizes, match_folders
    from lca_lightning.writing import refuse_unwritable

    names = chosen_protocols(namespace.protocol)
    refuse_unwritable(namespace.out)
    device = pick_device(namespace.device)
    pairs, missing = match_folders(namespace.pred, namespace.gt, namespace.masks, namespace.allow_missing)
    with tqdm(total=len(pairs), desc="check", unit="picture", delay=1) as bar:
        masked = check_sizes(pairs, bar.update)
    protocols = [protocol.to(device) for protocol in _build(names, not namespace.no_lpips)]
    with tqdm(pairs, desc="score", unit="picture", delay=1) as shown:
        _score(shown, protocols, device)
    notes = _notes(protocols, missing, masked)
    _write(namespace, protocols, notes)
    print(_tables(protocols))
    for note in notes:
        print(f"- {note}")
    print(f"wrote metrics.json and metrics.csv to {namespace.out}; next: compare only rows of one protocol")


def _build(names: Sequence[str], with_lpips: bool) -> list[Protocol]:
    """The protocols; those that compare by the same network share it."""
    from lca_lightning.errors import MissingAssetError
    from lca_lightning.losses.perceptual import LPIPS
    from lca_lightning.metrics.protocol import build_protocol

    try:
        alex = LPIPS("alex") if with_lpips and set(names) - {"lhm"} else None
        lpips = {name: None if name == "lhm" else alex for name in names}
        return [build_protocol(name, lpips=lpips[name] if with_lpips else False) for name in names]
    except MissingAssetError as error:
        raise MissingAssetError(f"{str(error).rstrip('.')} (--no-lpips does that here).") from error


def _score(pairs: Any, protocols: Sequence[Protocol], device: torch.device) -> None:
    for pair in pairs:
        frames = _frames(pair, device)
        for protocol in protocols:
            protocol.update(frames)


def _frames(pair: PicturePair, device: torch.device) -> Any:
    from dataclasses import replace

    frames = pair.read()
    alphas = frames.alphas_BT1HW
    return replace(
        frames,
        predicted_BT3HW=frames.predicted_BT3HW.to(device),
        images_BT3HW=frames.images_BT3HW.to(device),
        masks_BT1HW=frames.masks_BT1HW.to(device),
        alphas_BT1HW=None if alphas is None else alphas.to(device),
    )


def _notes(protocols: Sequence[Protocol], missing: Sequence[str], masked: bool) -> list[str]:
    """What a reader of the numbers must know; refuses when there are no numbers."""
    rows = protocols[0].rows()
    empty = [frame for _, frame, scores in rows if all(value != value for value in scores.values())]
    if len(empty) == len(rows):
        raise DataError(
            f"Every one of the {len(rows)} masks is empty, so that nothing can be scored; masks must be "
            "brighter than half where the person is."
        )
    notes = []
    if not masked:
        notes.append("some true pictures have no mask: all of their pixels were scored")
    if empty:
        notes.append(
            f"{len(empty)} of {len(rows)} pictures have an empty mask and are left out: {_few(empty)}"
        )
    if missing:
        lacking = "1 name lacks" if len(missing) == 1 else f"{len(missing)} names lack"
        notes.append(f"{lacking} a counterpart, left out: {_few(missing)}")
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _write(namespace: argparse.Namespace, protocols: Sequence[Protocol], notes: Sequence[str]) -> None:
    import json

    from lca_lightning.writing import write_text

    folders = {"pred": namespace.pred, "gt": namespace.gt, "masks": namespace.masks}
    values = {
        "format": "lca-metrics",
        "version": 1,
        "checkpoint": None,
        "inputs": {name: None if folder is None else str(folder) for name, folder in folders.items()},
        "results": [_summary(protocol) for protocol in protocols],
        "cost": {},
        "notes": list(notes),
    }
    text = json.dumps(values, indent=2, allow_nan=False)
    write_text(namespace.out / "metrics.json", text + "\n")
    write_text(namespace.out / "metrics.csv", _csv(protocols))


def _summary(protocol: Protocol) -> dict[str, Any]:
    """Means of one protocol as ``metrics.json`` lists them."""
    from lca_lightning.metrics.protocol import COUNTS

    means = protocol.compute()
    return {
        "set": SET,
        "views": None,
        "task": "all",
        "protocol": protocol.name,
        "scores": {name: float(value) for name, value in means.items() if name not in COUNTS},
        **{name: int(means[name]) for name in COUNTS},
    }


def _csv(protocols: Sequence[Protocol]) -> str:
    """One row a picture with the scores that any picture has; cells without a value are empty."""
    import csv
    import io

    rows = [protocol.rows() for protocol in protocols]
    columns = [
        [name for name in protocol.score_names if any(row[2][name] == row[2][name] for row in table)]
        for protocol, table in zip(protocols, rows, strict=True)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heading = [f"{p.name}/{name}" for p, names in zip(protocols, columns, strict=True) for name in names]
    writer.writerow(["set", "views", "task", "subject", "frame", "angle", *heading])
    for same in zip(*rows, strict=True):
        values = [row[2][name] for row, names in zip(same, columns, strict=True) for name in names]
        cells = ["" if value != value else f"{value:.9g}" for value in values]
        writer.writerow([SET, "", "all", *same[0][:2], "", *cells])
    return text.getvalue()


def _tables(protocols: Sequence[Protocol]) -> str:
    """A Markdown table for each protocol, which are never mixed in one."""
    from lca_lightning.reports.metrics_table import formatted
    from lca_lightning.reports.score_direction import is_better_high

    lines = []
    for protocol in protocols:
        summary = _summary(protocol)
        names = [f"{name} {'↑' if is_better_high(name) else '↓'}" for name in summary["scores"]]
        cells = [formatted(name, value) for name, value in summary["scores"].items()]
        counts = [str(summary[name]) for name in ("frames", "subjects", "frames_without_mask")]
        heading = [*names, "frames", "subjects", "without mask"]
        lines += [
            f"Protocol `{protocol.name}`",
            "",
            f"| {' | '.join(heading)} |",
            f"|{'---:|' * len(heading)}",
            f"| {' | '.join([*cells, *counts])} |",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"
