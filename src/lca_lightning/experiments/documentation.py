"""The page about all experiments, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError
from lca_lightning.experiments.curves import draw_curves
from lca_lightning.experiments.declaration import (
    SCALES,
    experiment_names,
    find_experiment,
    read_experiment,
)
from lca_lightning.experiments.results import read_results
from lca_lightning.experiments.tables import markdown
from lca_lightning.writing import write_text

ORDER = ("table1", "table2", "table3", "s1_decoders", "s1_decay", "s2_scale", "s3_deformer")

_HEAD = """\
# Experiments

This page is written by `lca experiment --write-docs`, from the results stored in `experiments/results`;
nothing in it is typed by hand. Each table is a file in `experiments/`, run by `lca experiment FILE --scale
tiny|small`. All rows of a table take the same number of optimiser steps and are tested once, with their
final checkpoints. Scores are the masked protocol's unless a table says otherwise: mean by subject, then
over subjects, then over seeds; what follows ± is the standard deviation over seeds. Where a table has tests
with other references, all are measured on the frames that all of them have. The paper's numbers are
for its own size of model and data, other people and another renderer: compare the order of rows, not the
values.

A result is reused only where a hash of three things is unchanged: the resolved configuration, the digest of
the data, and the digest of the code that results depend on. The last one is taken over syntax trees,
without comments and docstrings: for trainings of `batch`, `weights`, `kernels`, `geometry`, `rig`,
`rendering`, `model`, `losses`, `datasets`, `augmentation`, `training` (without what only watches or writes
down), the data modules and the set-up of the command line; for tests of `metrics` and the collection of
scores too. Docs and tests do not count, nor do the versions of libraries and the machine, which `run.json`
of each training tells; a table names the devices that it was trained on.
"""


def write_page(results: Path, page: Path) -> Path:
    """Write the page, and drawings of curves beside it in ``images``.

    Args:
        results: Folder with ``SCALE/NAME.json``.
        page: The Markdown file.

    Returns:
        The page.

    Raises:
        DataError: A stored result cannot be read, or the page not be written.
    """
    if not results.is_dir():
        raise DataError(
            f"There is no folder {results}; store results by `lca experiment FILE --store {results}`."
        )
    parts = [_HEAD]
    for scale in SCALES:
        stored = {path.stem: read_results(path) for path in (results / scale).glob("*.json")}
        parts.append(f"## Scale {scale}\n")
        for name in sorted({*stored, *experiment_names()}, key=_place):
            if name in stored:
                parts.append(markdown(stored[name], 3, _drawings(stored[name], page)))
                parts += _behind(stored[name])
        absent = [name for name in sorted(experiment_names(), key=_place) if name not in stored]
        parts += [_absent(name, scale) for name in absent]
    return write_text(page, "\n".join(parts))


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _behind(results: Mapping[str, Any]) -> list[str]:
    """What the file of an experiment declares today that its stored result does not have."""
    if results["name"] not in experiment_names():
        return ["The file of this experiment is gone.\n"]
    experiment = read_experiment(find_experiment(results["name"]))
    steps = experiment.steps[results["scale"]]
    seeds = [str(seed) for seed in experiment.seeds if seed not in results["seeds"]]
    said = [f"{steps} optimiser steps are declared now"] if steps != results["steps"] else []
    said += [f"seed {', '.join(seeds)} not run yet"] if seeds else []
    return [f"Behind its file: {'; '.join(said)}.\n"] if said else []


def _absent(name: str, scale: str) -> str:
    experiment = read_experiment(find_experiment(name))
    reason = f"needs the {experiment.requires}, not available yet" if experiment.requires else "not run yet"
    return f"- {experiment.title} at scale {scale}: {reason} (`lca experiment {name} --scale {scale}`).\n"


def _drawings(results: Mapping[str, Any], page: Path) -> list[str]:
    """Draw the curves of an experiment; names relative to the page."""
    names = []
    for tag, drawing in drawings(results).items():
        name = f"images/experiment_{results['scale']}_{results['name']}_{tag.replace('/', '_')}.svg"
        write_text(page.parent / name, drawing + "\n")
        names.append(name)
    return names


def drawings(results: Mapping[str, Any]) -> dict[str, str]:
    """SVG of each curve of an experiment, by the name of its value."""
    titles = {row["row"]: row["title"] for row in results["rows"]}
    return {tag: draw_curves(tag, curves, titles) for tag, curves in results["curves"].items()}
