"""``lca experiment``: from an experiment's file to its table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca_lightning.errors import UsageError
from lca_lightning.experiments.benchmark_data import BenchmarkData
from lca_lightning.experiments.code_copy import CodeCopy, freeze_code
from lca_lightning.experiments.configuration import Compose
from lca_lightning.experiments.declaration import SCALES, Experiment, find_experiment, read_experiment
from lca_lightning.experiments.documentation import drawings
from lca_lightning.experiments.estimates import Estimates, duration
from lca_lightning.experiments.html_page import html_page
from lca_lightning.experiments.plan import Job, Plan, Setting, make_plan
from lca_lightning.experiments.results import collect, read_results, write_results
from lca_lightning.experiments.runner import Machine, Outcome, Runner, StageError
from lca_lightning.experiments.store import Store, read_record, what_changed
from lca_lightning.experiments.tables import markdown
from lca_lightning.writing import refuse_unwritable, write_text

SLOTS = "plan.json"


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        file: Path or name of the experiment.
        scale: ``tiny`` or ``small``.
        out: Folder of all experiments.
        data: Folder of the benchmark, None for the usual one.
        seeds: None for those of the file.
        rows: None for all.
        jobs: Processes at a time.
        device: ``auto``, ``cpu`` or ``cuda``.
        minutes: Time limit, None for none.
        code: Name of an earlier copy of the code to go on with.
        stored: Folder for a copy of the results, None for none.
    """

    file: str
    scale: str
    out: Path = Path("experiments_output")
    data: Path | None = None
    seeds: Sequence[int] | None = None
    rows: Sequence[str] | None = None
    jobs: int = 1
    device: str = "auto"
    minutes: float | None = None
    code: str | None = None
    stored: Path | None = None


class Session:
    """One call of ``lca experiment``.

    Args:
        request: What is asked for.
        compose: Gives a recipe by its name, with its parts put together.
        say: Prints a line.

    Raises:
        LCAError: The file, the scale, the data or the folder cannot be used.
    """

    def __init__(self, request: Request, compose: Compose, say: Callable[[str], None] = print) -> None:
        _check(request)
        refuse_unwritable(request.out / "stages")
        self.request, self.compose, self.say = request, compose, say
        self.experiment: Experiment = read_experiment(find_experiment(request.file))
        self.code: CodeCopy = freeze_code(request.out, request.code)
        self.data = BenchmarkData(f"{self.experiment.data}-{request.scale}", request.data)
        self.store = Store(request.out)
        self.folder = request.out / self.experiment.name / request.scale

    def plan(self) -> Plan:
        """What has to be run, with the present configuration, data and code."""
        request = self.request
        seeds = self.experiment.seeds if request.seeds is None else request.seeds
        return self._plan(seeds, list(self.experiment.rows) if request.rows is None else request.rows)

    def _plan(self, seeds: Sequence[int], rows: Sequence[str]) -> Plan:
        setting = Setting(self.request.scale, seeds, rows, self.compose, self.data.digest, self.code)
        return make_plan(self.experiment, setting)

    def dry_run(self) -> None:
        """Print every job with its hash and state, and the time that is left."""
        plan = self.plan()
        self.data.refuse_missing(_parts(plan))
        earlier = _read_slots(self.folder / SLOTS)
        slots = {key: slot for slot, key in _slots(plan).items()}
        for job in plan.jobs.values():
            state = self.store.state(job)
            before = earlier.get(slots.get(job.key, ""))
            if state == "missing" and before not in (None, job.key):
                state = f"stale ({self._change(job, str(before))})"
            self.say(f"{job.key}  {state:<30}  {job.title}" + (f", {job.steps} steps" if job.steps else ""))
        for row, reason in plan.waiting.items():
            self.say(f"{'-' * 16}  {'not available yet':<30}  {row}: {reason}")
        absent = self.data.missing(_parts(plan))
        if absent:
            self.say(
                f"Data to be made first in {self.data.folder}: {', '.join(absent)}; hashes change with it."
            )
        seconds = Estimates(plan, self.store, self.request.jobs).seconds()
        left = "not known before the first stage has run" if seconds is None else f"about {duration(seconds)}"
        self.say(f"Code {self.code.name}; {len(plan.jobs)} trainings and tests; time left: {left}.")

    def run(self) -> Outcome:
        """Make the data, run what is missing, write the results.

        Raises:
            StageError: Trainings or tests failed; the others were run.
        """
        self._make_data()
        plan = self.plan()
        for row, reason in plan.waiting.items():
            self.say(f"{row}: not available yet; {reason}.")
        request = self.request
        seconds = None if request.minutes is None else 60.0 * request.minutes
        machine = Machine(self.data.folder, self.code, request.jobs, request.device, seconds)
        write_text(
            self.folder / SLOTS, json.dumps({**_read_slots(self.folder / SLOTS), **_slots(plan)}, indent=1)
        )
        outcome = Runner(plan, self.store, machine, self.say).run()
        self.write()
        if outcome.failures and outcome.stopped is None:
            raise StageError("\n".join(outcome.failures.values()))
        return outcome

    def write(self) -> dict[str, Any]:
        """Write ``results.json``, ``table.md`` and ``table.html`` of what is finished, now or earlier.

        The whole table is written, whichever of its rows and seeds this call ran.
        """
        seeds = sorted({*self.experiment.seeds, *(self.request.seeds or ())})
        plan = self._plan(seeds, list(self.experiment.rows))
        results = collect(self.experiment, plan, self.store, self.request.scale, self._facts(plan))
        # tables show what is stored, so that a page made of it later has the same last digits
        results = read_results(write_results(results, self.folder / "results.json"))
        pictures = drawings(results)
        names = [
            write_text(self.folder / f"{tag.replace('/', '_')}.svg", text).name
            for tag, text in pictures.items()
        ]
        write_text(self.folder / "table.md", markdown(results, pictures=names))
        write_text(self.folder / "table.html", html_page(results, list(pictures.values())))
        if self.request.stored is not None:
            write_results(results, self.request.stored / self.request.scale / f"{self.experiment.name}.json")
        return results

    def _make_data(self) -> None:
        parts = _parts(self.plan())
        self.data.refuse_missing(parts)
        absent = self.data.missing(parts)
        if absent:
            log = self.request.out / "data_log.txt"
            self.say(f"Making {self.data.name} in {self.data.folder} ({', '.join(absent)}); see {log}.")
            self.data.make(self.code, 1, log)
            self.data = BenchmarkData(self.data.name, self.data.given)  # digests of what is there now

    def _facts(self, plan: Plan) -> dict[str, Any]:
        codes = {"training": self.code.training, "test": self.code.test, "copy": self.code.name}
        return {
            "steps": self.experiment.steps[self.request.scale],
            "code": {**codes, **self.code.revision},
            "data": {
                "name": self.data.name,
                "digests": {part: self.data.digest(part) for part in _parts(plan)},
            },
        }

    def _change(self, job: Job, before: str) -> str:
        kind = "stages" if job.kind == "train" else "tests"
        record = read_record(self.store.out / kind / before / "stage.json")
        return f"{what_changed(record['describes'], job.describes)} changed" if record else "never finished"


def _check(request: Request) -> None:
    if request.scale not in SCALES:
        raise UsageError(f"--scale is one of {', '.join(SCALES)}, not {request.scale!r}.")
    if request.jobs < 1 or (request.minutes is not None and request.minutes <= 0):
        raise UsageError("--jobs must be at least 1 and --time_limit positive.")


def _parts(plan: Plan) -> list[str]:
    return sorted({part for job in plan.jobs.values() for part in job.describes["data"]})


def _slots(plan: Plan) -> dict[str, str]:
    """Key of every place of the table, to notice later what has become stale."""
    slots = {
        f"{row}/{seed}/stage{i}": k for (row, seed), keys in plan.stages.items() for i, k in enumerate(keys)
    }
    return slots | {"/".join(map(str, place)): key for place, key in plan.tests.items()}


def _read_slots(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
