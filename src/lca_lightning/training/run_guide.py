"""``README.md`` of a run directory: what the run is and what can be done with it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lca_lightning.writing import write_text

_STATUS = {
    "running": "is running, or was killed before it could say so (`lca runs` knows)",
    "finished": "has finished",
    "interrupted": "was interrupted and can go on",
    "failed": "has failed",
}


def write_guide(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``README.md``.

    Args:
        folder: Run directory.
        record: What ``run.json`` holds.

    Returns:
        The path.

    Raises:
        DataError: The folder cannot be written.
    """
    return write_text(folder / "README.md", guide(folder, record))


def guide(folder: Path, record: Mapping[str, Any]) -> str:
    """Text of the guide, in Markdown."""
    total = record.get("total_steps")
    steps = f"{record['steps']} of {total} steps" if total else f"{record['steps']} steps"
    head = [
        f"# Run of {record['recipe']}",
        "",
        f"This run {_STATUS[record['status']]}: {steps}, {_duration(record['seconds'])} of training."
        f" It began {record['started']}"
        + (f" and ended {record['finished']}." if record["finished"] else "."),
    ]
    if record.get("error"):
        head += ["", f"Why: {record['error']}"]
    return "\n".join([*head, "", *_scores(record), *_commands(folder, record), *_origin(record), *_FILES, ""])


def _scores(record: Mapping[str, Any]) -> list[str]:
    found = []
    for name, entry in (record.get("scores") or {}).items():
        values = ", ".join(f"{key} {value:.4g}" for key, value in entry.items() if key != "step")
        found.append(f"- {name} validation (step {entry['step']}): {values}")
    return [*found, ""] if found else []


def _commands(folder: Path, record: Mapping[str, Any]) -> list[str]:
    best = folder / ("best.ckpt" if (folder / "best.ckpt").exists() else "last.ckpt")
    return [
        "## What to do with it",
        "",
        "In the folder where it was started:",
        "",
        "```bash",
        f"{record['resume']}  # go on",
        f"lca test --ckpt_path {best}  # scores on held-out people, into test/",
        f"lca create --ckpt_path {best} --images PHOTOS --out avatar.lca  # an avatar from photos",
        f"tensorboard --logdir {folder / 'tensorboard'}  # curves and pictures",
        "```",
        "",
    ]


def _origin(record: Mapping[str, Any]) -> list[str]:
    git, versions = record["git"], record["versions"]
    code = f"lca-lightning {git['package']}"
    if git["revision"]:
        code += f", git {git['revision'][:12]}" + (" with changes" if git["dirty"] else "")
    libraries = ", ".join(
        f"{name} {version}" for name, version in versions.items() if name != "lca-lightning"
    )
    data = [
        f"- data `{name}`: {entry['root']} (digest {str(entry['digest'])[:12]})"
        for name, entry in record["data"].items()
    ]
    starts = [
        f"  - {start['at']} from step {start['step']}"
        + (f" on {start['device']}" if "device" in start else "")  # earlier versions did not say
        + f": `{start['command']}`"
        for start in record["starts"]
    ]
    return [
        "## Where it comes from",
        "",
        "- started:",
        *starts,
        f"- code: {code}",
        *data,
        f"- libraries: {libraries}",
        "",
    ]


_FILES = [
    "## Files",
    "",
    "| | |",
    "|---|---|",
    "| `config.yaml` | everything that was configured, resolved |",
    "| `run.json` | this page for programs; `lca runs` reads it |",
    "| `last.ckpt` | newest state, to go on from |",
    "| `best.ckpt` | best validation score so far |",
    "| `interrupted.ckpt` | state at an error; `last.ckpt` is the last good one |",
    "| `images/` | references, target, renderings, error and mask, by step |",
    "| `turntables/` | one held-out person from all sides, by step |",
    "| `tensorboard/` | curves and pictures |",
    "| `test/` | scores and report of `lca test` |",
]


def _duration(seconds: float) -> str:
    """Hours and minutes, or seconds."""
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes else f"{seconds:.0f} s"
