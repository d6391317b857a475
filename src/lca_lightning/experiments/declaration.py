"""The file of an experiment: rows of training stages, what they are tested on, the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

from lca_lightning.composition import compose
from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.metrics.protocol import PROTOCOLS, build_protocol

SCALES = ("tiny", "small")
SCHEDULES = ("stage", "row")
AVAILABLE: frozenset[str] = frozenset()
"""What ``requires:`` may name and this version can do; names of parts that are still to come are absent."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        recipe: Packaged recipe without its folder; the scale picks the folder.
        share: Share of the scale's optimiser steps.
        overrides: Dotted keys of the recipe and their values.
        schedule: Over what the learning rate falls: the ``stage``, or the ``row``: a stage that another
            follows then has learned as much as a row of this stage alone, but for its slow end.
    """

    recipe: str
    share: Fraction = Fraction(1)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "stage"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Key.
        title: Text in the table.
        stages: Trainings, each from the one before; none where only the paper has numbers.
        tests: Tests it takes part in; all where empty.
        paper: The paper's numbers by test and set, in the order of the columns.
        requires: Part of the model that it needs, None for what is always there.
    """

    name: str
    title: str
    stages: tuple[Stage, ...]
    tests: tuple[str, ...]
    paper: Mapping[str, Mapping[str, Sequence[float | None]]]
    requires: str | None


@dataclass(frozen=True)
class TestSet:
    """Held-out data.

    Attributes:
        name: Key.
        title: Text in the table.
        recipe: Recipe whose data module and picture sizes it is read with.
        part: Folder of the benchmark.
        of: Set whose frames it takes instead, those in ``angle`` only.
        angle: Degrees from the nearest reference: above the first, up to the second.
        angle_in: Test whose references give the angle, so that tests share frames; each its own where None.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    name: str
    title: str
    recipe: str = ""
    part: str = ""
    of: str | None = None
    angle: tuple[float, float] | None = None
    angle_in: str | None = None


@dataclass(frozen=True)
class TestVariant:
    """How a set is tested.

    Attributes:
        name: Key.
        title: Text in the table.
        views: Reference views.
        protocol: One of the evaluation protocols.
        overrides: Dotted keys under ``data.init_args`` and their values.
    """

    __test__ = False

    name: str
    title: str
    views: int
    protocol: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A line of the table against others, by a paired bootstrap.

    Attributes:
        line: ``row`` or ``row/test``.
        against: Lines of the same kind; all others of the same test where empty.
        score: Score compared.
        note: What is looked for.
    """

    line: str
    against: tuple[str, ...]
    score: str
    note: str


@dataclass(frozen=True)
class Experiment:
    """A table of the paper, or one of our own; see the attributes of its parts."""

    name: str
    title: str
    source: str
    expect: str
    data: str
    seeds: tuple[int, ...]
    steps: Mapping[str, int]
    overrides: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, TestSet]
    tests: Mapping[str, TestVariant]
    columns: Mapping[str, str]
    rows: Mapping[str, Row]
    comparisons: tuple[Comparison, ...]
    curves: tuple[str, ...]
    notes: tuple[str, ...]
    requires: str | None


def find_experiment(name: str) -> Path:
    """Find an experiment's file: a path, else a packaged one by its name, with or without ``experiments/``.

    Raises:
        UsageError: There is none; lists the packaged ones.
    """
    packaged = Path(str(resources.files("lca_experiments")))
    bare = name.removeprefix("experiments/").removesuffix(".yaml")
    candidates = [Path(name), Path(f"{name}.yaml")]
    if "/" not in bare:
        candidates.append(packaged / f"{bare}.yaml")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = ", ".join(experiment_names())
    raise UsageError(f"There is no experiment {name!r}; packaged are {known}; or give a file's path.")


def experiment_names() -> list[str]:
    """Names of the packaged experiments."""
    return sorted(path.stem for path in Path(str(resources.files("lca_experiments"))).glob("*.yaml"))


def read_experiment(path: Path) -> Experiment:
    """Read an experiment's file with its parts, and check it.

    Raises:
        ConfigError: It is no YAML, a part or key is missing, a key is unknown, or two contradict each other.
    """
    content = compose(path)
    where = f"Experiment {path.name}"
    _check_keys(content, where, _KEYS, ("title", "source", "data", "rows"))
    scales = content.get("scales") or {}
    for scale, options in scales.items():
        _check_keys(options, f"{where}, scales.{scale}", ("steps", "overrides"), ("steps",))
    experiment = Experiment(
        name=path.stem,
        title=str(content["title"]),
        source=str(content["source"]),
        expect=" ".join(str(content.get("expect", "")).split()),
        data=str(content["data"]),
        seeds=_seeds(content.get("seeds", [0]), where),
        steps={s: _count(o["steps"], f"{where}, scales.{s}.steps") for s, o in scales.items()},
        overrides={scale: options.get("overrides") or {} for scale, options in scales.items()},
        sets={n: _set(n, o, where) for n, o in (content.get("sets") or {}).items()},
        tests={n: _variant(n, o, where) for n, o in (content.get("tests") or {}).items()},
        columns=dict(content.get("columns") or {}),
        rows={str(n): _row(str(n), o, where) for n, o in content["rows"].items()},
        comparisons=tuple(_comparison(o, where) for o in content.get("compare") or []),
        curves=tuple(content.get("curves") or ()),
        notes=tuple(" ".join(str(note).split()) for note in content.get("notes") or ()),
        requires=content.get("requires"),
    )
    _check_references(experiment, where)
    _check_scores(experiment, where)
    return experiment


_KEYS = ("title", "source", "expect", "data", "seeds", "scales", "sets", "tests", "columns", "rows",
         "compare", "curves", "notes", "requires")  # fmt: skip


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 1:  # true is no number here
        raise ConfigError(f"{where} must be a whole number from 1 on, not {value!r}.")
    return value


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(type(seed) is int for seed in value):
        raise ConfigError(f"{where}, seeds must be a list of whole numbers such as [0, 1, 2], not {value!r}.")
    return tuple(value)


def _check_keys(content: Any, where: str, known: Sequence[str], needed: Sequence[str] = ()) -> None:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where} must be a mapping, got {type(content).__name__}; see table1.yaml.")
    unknown = [key for key in content if key not in known]
    if unknown:
        raise ConfigError(f"{where} has the unknown key {unknown[0]!r}; it knows {', '.join(known)}.")
    missing = [key for key in needed if key not in content]
    if missing:
        raise ConfigError(f"{where} lacks the key {missing[0]!r}; add it.")


def _row(name: str, options: Any, where: str) -> Row:
    where = f"{where}, row {name}"
    _check_keys(options, where, ("title", "stages", "tests", "paper", "requires"), ("title",))
    stages = tuple(_stage(stage, where) for stage in options.get("stages") or [])
    if stages and sum(stage.share for stage in stages) != 1:
        total = sum(stage.share for stage in stages)
        raise ConfigError(
            f"{where}: the shares of its stages must sum to 1, not {total}; rows need equal steps."
        )
    tests, paper = tuple(options.get("tests") or ()), options.get("paper") or {}
    return Row(name, str(options["title"]), stages, tests, paper, options.get("requires"))


def _stage(options: Any, where: str) -> Stage:
    _check_keys(options, f"{where}, stage", ("recipe", "share", "overrides", "schedule"), ("recipe",))
    schedule = str(options.get("schedule", SCHEDULES[0]))
    if schedule not in SCHEDULES:
        raise ConfigError(f"{where}: a schedule is over the {' or the '.join(SCHEDULES)}, not {schedule!r}.")
    try:
        share = Fraction(str(options.get("share", 1)))
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{where}: a share is a fraction such as 5/6, not {options['share']!r}.") from error
    return Stage(str(options["recipe"]), share, options.get("overrides") or {}, schedule)


def _set(name: str, options: Any, where: str) -> TestSet:
    where = f"{where}, set {name}"
    known = ("title", "recipe", "part", "of", "angle", "angle_in")
    _check_keys(options, where, known)
    _check_keys(options, where, known, ("title", "of", "angle") if "of" in options else known[:3])
    angle = options.get("angle")
    return TestSet(
        name,
        str(options["title"]),
        options.get("recipe", ""),
        options.get("part", ""),
        options.get("of"),
        (float(angle[0]), float(angle[1])) if angle else None,
        options.get("angle_in"),
    )


def _variant(name: str, options: Any, where: str) -> TestVariant:
    known = ("title", "views", "protocol", "overrides")
    _check_keys(options, f"{where}, test {name}", known, ("title", "views"))
    protocol, overrides = options.get("protocol", PROTOCOLS[0]), options.get("overrides") or {}
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"{where}, test {name}: there is no protocol {protocol!r}; take {', '.join(PROTOCOLS)}."
        )
    views = _count(options["views"], f"{where}, test {name}, views")
    return TestVariant(name, options["title"], views, protocol, overrides)


def _comparison(options: Any, where: str) -> Comparison:
    _check_keys(options, f"{where}, compare", ("line", "against", "score", "note"), ("line", "score"))
    against = tuple(options.get("against") or ())
    return Comparison(options["line"], against, options["score"], options.get("note", ""))


def _check_scores(experiment: Experiment, where: str) -> None:
    """Scores that are shown or compared must be among those of every protocol that is tested with."""
    wanted = [*experiment.columns.values(), *(comparison.score for comparison in experiment.comparisons)]
    for protocol in {variant.protocol for variant in experiment.tests.values()}:
        known = (*build_protocol(protocol, lpips=False).score_names, "lpips")
        unknown = [score for score in wanted if score not in known]
        if unknown:
            raise ConfigError(
                f"{where}: protocol {protocol} has no score {unknown[0]!r}; it has {', '.join(known)}."
            )


def _check_references(experiment: Experiment, where: str) -> None:
    """Names that point at rows, sets and tests must exist."""
    for test_set in experiment.sets.values():
        if test_set.of is not None and test_set.of not in experiment.sets:
            raise ConfigError(f"{where}: set {test_set.name} is of the unknown set {test_set.of!r}.")
        if test_set.angle_in is not None and test_set.angle_in not in experiment.tests:
            raise ConfigError(f"{where}: set {test_set.name} names the unknown test {test_set.angle_in!r}.")
    for row in experiment.rows.values():
        for test in [*row.tests, *row.paper]:
            if test not in experiment.tests:
                raise ConfigError(f"{where}: row {row.name} names the unknown test {test!r}.")
        for sets in row.paper.values():
            for name, numbers in sets.items():
                if name not in experiment.sets or len(numbers) != len(experiment.columns):
                    raise ConfigError(
                        f"{where}: the paper's numbers of row {row.name} on {name!r} need a known set and "
                        f"{len(experiment.columns)} values, one a column (null where there is none)."
                    )
    lines = set(experiment.rows) | {f"{row}/{test}" for row in experiment.rows for test in experiment.tests}
    for comparison in experiment.comparisons:
        for line in (comparison.line, *comparison.against):
            if line not in lines:
                raise ConfigError(f"{where}: compare names the unknown line {line!r}.")
