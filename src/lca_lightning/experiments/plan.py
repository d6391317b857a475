"""What an experiment has to run: stages and tests, each known by a hash of all that its result depends on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.experiments.code_copy import CodeCopy
from lca_lightning.experiments.configuration import Compose, name_parts, set_dotted, stage_config
from lca_lightning.experiments.declaration import AVAILABLE, Experiment, Row, TestSet, TestVariant


@dataclass(frozen=True)
class Job:
    """A training or a test.

    Attributes:
        kind: ``train`` or ``test``.
        title: For people.
        describes: Everything the result depends on; the key is its hash.
        config: Configuration with ``<part>`` in the place of folders.
        steps: Optimiser steps; 0 for a test.
        after: Key of the stage whose checkpoint it starts from or measures.
        protocol: Of a test.
    """

    kind: str
    title: str
    describes: Mapping[str, Any]
    config: Mapping[str, Any]
    steps: int = 0
    after: str | None = None
    protocol: str = ""

    @property
    def key(self) -> str:
        """Hash of what the result depends on, 16 hexadecimal digits."""
        text = json.dumps(self.describes, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Plan:
    """The jobs of an experiment.

    Attributes:
        jobs: By key, each once, stages before what starts from them.
        tests: Key of the test of (row, seed, test, set).
        stages: Keys of the stages of (row, seed).
        waiting: Rows that cannot be run yet, and why.
        beginnings: By key of a training, that of a shorter one whose steps are its own first steps.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    tests: dict[tuple[str, int, str, str], str] = field(default_factory=dict)
    stages: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    beginnings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What a plan is made for.

    Attributes:
        scale: ``tiny`` or ``small``.
        seeds: Seeds.
        rows: Rows to run.
        compose: Gives a recipe by its name, with its parts put together.
        digest: Gives the digest of a part of the benchmark, without the split that is named second, if any.
        code: Copy of the code that will run.
    """

    scale: str
    seeds: Sequence[int]
    rows: Sequence[str]
    compose: Compose
    digest: Callable[[str, str | None], str]
    code: CodeCopy


def make_plan(experiment: Experiment, setting: Setting) -> Plan:
    """Work out the jobs, those of the first seed first.

    Raises:
        UsageError: The experiment has no such scale or row.
        ConfigError: A stage's share of the steps is less than one, or a recipe does not fit.
    """
    if setting.scale not in experiment.steps:
        raise UsageError(
            f"Experiment {experiment.name} has no scale {setting.scale!r}; it has {list(experiment.steps)}."
        )
    unknown = [name for name in setting.rows if name not in experiment.rows]
    if unknown:
        raise UsageError(
            f"Experiment {experiment.name} has no row {unknown[0]!r}; it has {', '.join(experiment.rows)}."
        )
    plan = Plan()
    for seed in setting.seeds:
        for row in (experiment.rows[name] for name in setting.rows):
            needed = row.requires or experiment.requires
            if needed and needed not in AVAILABLE:
                plan.waiting[row.name] = f"needs the {needed}, which this version does not have yet"
            elif row.stages:
                _add_row(plan, experiment, row, seed, setting)
    plan.beginnings = _beginnings(plan.jobs)
    return plan


def _beginnings(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Trainings that differ in nothing but where they end: the longer one continues the shorter one."""
    courses: dict[str, list[Job]] = {}
    for job in jobs.values():
        if job.kind == "train":
            described = copy.deepcopy(dict(job.describes))
            trainer = described["config"]["trainer"]
            optimizer = described["config"].setdefault("model", {}).setdefault("optimizer", {})
            length = trainer.pop("max_steps")
            optimizer["total_steps"] = optimizer.get("total_steps") or length
            courses.setdefault(json.dumps(described, sort_keys=True), []).append(job)
    ordered = [sorted(course, key=lambda job: job.steps) for course in courses.values()]
    return {
        longer.key: shorter.key
        for course in ordered
        for shorter, longer in zip(course, course[1:], strict=False)
        if shorter.steps < longer.steps
    }


def stage_steps(row: Row, budget: int) -> list[int]:
    """Optimiser steps of each stage; they sum to the budget exactly.

    Raises:
        ConfigError: A stage gets none.
    """
    steps = [round(stage.share * budget) for stage in row.stages[:-1]]
    steps.append(budget - sum(steps))
    if min(steps) < 1:
        raise ConfigError(
            f"Row {row.name} has a stage without a step; raise scales.*.steps, which is {budget}."
        )
    return steps


def _add_row(plan: Plan, experiment: Experiment, row: Row, seed: int, setting: Setting) -> None:
    after: str | None = None
    keys: list[str] = []
    budget = experiment.steps[setting.scale]
    for stage, steps in zip(row.stages, stage_steps(row, budget), strict=True):
        recipe = setting.compose(f"{setting.scale}/{stage.recipe}")
        overrides = {**experiment.overrides[setting.scale], **stage.overrides}
        if stage.schedule == "row":
            overrides["model.optimizer.total_steps"] = budget
        config = stage_config(recipe, overrides, steps, seed)
        title = f"{row.name}: {stage.recipe}, seed {seed}"
        job = Job("train", title, _description("train", config, after, setting), config, steps, after)
        plan.jobs.setdefault(job.key, job)
        after = job.key
        keys.append(after)
    plan.stages[row.name, seed] = keys
    for variant in experiment.tests.values():
        for test_set in experiment.sets.values():
            if test_set.of is None and (not row.tests or variant.name in row.tests):
                job = _test(experiment, row, seed, test_set, variant, str(after), setting)
                plan.jobs.setdefault(job.key, job)
                plan.tests[row.name, seed, variant.name, test_set.name] = job.key


def _test(
    experiment: Experiment,
    row: Row,
    seed: int,
    test_set: TestSet,
    variant: TestVariant,
    after: str,
    setting: Setting,
) -> Job:
    recipe = setting.compose(f"{setting.scale}/{test_set.recipe}")
    config = {"data": copy.deepcopy(dict(recipe["data"]))}
    name_parts(config["data"])
    options = {"root": f"<{test_set.part}>", "test_views": variant.views, "batch_size": 1, "seed": 0}
    options = {f"data.init_args.{key}": value for key, value in {**options, **variant.overrides}.items()}
    scaled = experiment.overrides[setting.scale].items()  # pictures have the size that they had in training
    for key, value in {**{key: value for key, value in scaled if key.startswith("data.")}, **options}.items():
        set_dotted(config, key, value)
    title = f"{row.name}: test {test_set.name}, {variant.name}, seed {seed}"
    describes = {**_description("test", config, after, setting), "protocol": variant.protocol}
    return Job("test", title, describes, config, 0, after, variant.protocol)


def _description(kind: str, config: Mapping[str, Any], after: str | None, setting: Setting) -> dict[str, Any]:
    parts = sorted(_parts_named(config["data"]))
    without = "test" if kind == "train" else None  # more people to test on make no training stale
    return {
        "kind": kind,
        "config": config,
        "after": after,
        "data": {part: setting.digest(part, without) for part in parts},
        "code": setting.code.training if kind == "train" else setting.code.test,
    }


def _parts_named(data: Any) -> set[str]:
    if isinstance(data, Mapping):
        root = data.get("root")
        own = {root.strip("<>")} if isinstance(root, str) and root.startswith("<") else set()
        return own.union(*(_parts_named(value) for value in data.values()))
    return set()
