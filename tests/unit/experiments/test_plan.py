"""Plans: what is trained once, and what a change of configuration, data or code leaves valid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lca_lightning.errors import UsageError
from lca_lightning.experiments.code_copy import CodeCopy
from lca_lightning.experiments.declaration import find_experiment, read_experiment
from lca_lightning.experiments.plan import Plan, Setting, make_plan

STUDIO = {"class_path": "lca_data_modules.StudioDataModule", "init_args": {"root": "data/studio"}}
WILD = {"class_path": "lca_data_modules.InTheWildDataModule", "init_args": {"root": "data/wild"}}
DATA = {
    "pretrain": WILD,
    "posttrain": STUDIO,
    "studio_only": STUDIO,
    "mixed": {
        "class_path": "lca_data_modules.MixtureDataModule",
        "init_args": {"sources": {"videos": WILD, "studio": STUDIO}},
    },
}


def compose(name: str) -> Mapping[str, Any]:
    recipe = name.split("/")[1]
    decay = {"layer_decay": 0.65} if recipe == "posttrain" else {}
    return {"model": {"optimizer": decay}, "data": DATA[recipe], "trainer": {"val_check_interval": 5}}


def plan(name: str, training: str = "t", test: str = "t", rate: float = 0, **digests: str) -> Plan:
    def with_rate(recipe: str) -> Mapping[str, Any]:
        return {
            **compose(recipe),
            "model": {"optimizer": {**compose(recipe)["model"]["optimizer"], "rate": rate}},
        }

    experiment = read_experiment(find_experiment(name))
    code = CodeCopy(Path("code"), "c", training, test)

    def digest(part: str, without: str | None) -> str:
        whole = digests.get(part, part)
        return digests.get(f"{part}_without_{without}", whole) if without else whole

    setting = Setting("tiny", (0, 1), list(experiment.rows), with_rate, digest, code)
    return make_plan(experiment, setting)


def kinds(plan_: Plan, other: Plan) -> set[str]:
    """Titles of jobs of one plan that the other does not have."""
    return {job.title for key, job in plan_.jobs.items() if key not in other.jobs}


def test_rows_take_equal_steps_and_each_seed_is_a_job_of_its_own() -> None:
    made = plan("table1")
    for row in ("in_the_wild", "studio", "mixed", "pre_post"):
        for seed in (0, 1):
            assert sum(made.jobs[key].steps for key in made.stages[row, seed]) == 900
    assert [made.jobs[key].steps for key in made.stages["pre_post", 0]] == [810, 90]
    lengths = [
        made.jobs[key].config["model"]["optimizer"].get("total_steps") for key in made.stages["pre_post", 0]
    ]
    assert lengths == [900, None]  # stage one follows the schedule of a row of its own
    assert len(made.jobs) == 2 * (6 + 10)


def test_a_training_that_only_goes_on_longer_continues_the_shorter_one() -> None:
    made = plan("table1")
    for seed in (0, 1):
        (alone,), (first, second) = made.stages["in_the_wild", seed], made.stages["pre_post", seed]
        assert made.beginnings[alone] == first and second not in made.beginnings
    assert len(made.beginnings) == 2
    assert not plan("table3").beginnings  # other data are another course


def test_a_stage_shared_by_rows_or_tables_is_one_job() -> None:
    decay, table = plan("s1_decay"), plan("table1")
    assert len({keys[0] for (_, seed), keys in decay.stages.items() if seed == 0}) == 1
    assert decay.stages["gamma_065", 0] == table.stages["pre_post", 0]
    assert decay.stages["gamma_085", 0][1] != table.stages["pre_post", 0][1]


def test_the_post_training_hangs_on_the_pre_training() -> None:
    made = plan("table1")
    first, second = (made.jobs[key] for key in made.stages["pre_post", 0])
    assert (
        second.after == first.key
        and made.jobs[made.tests["pre_post", 0, "views4", "wild"]].after == second.key
    )


def test_new_studio_data_leave_what_never_reads_them() -> None:
    changed = kinds(plan("table1", studio="new"), plan("table1"))
    assert not any(title.startswith(("in_the_wild: pretrain", "pre_post: pretrain")) for title in changed)
    assert {"studio: studio_only, seed 0", "mixed: mixed, seed 1", "pre_post: posttrain, seed 0"} <= changed
    assert "in_the_wild: test studio, views4, seed 0" in changed
    assert "in_the_wild: test wild, views4, seed 0" not in changed
    assert "studio: test wild, views4, seed 0" in changed  # its checkpoint is another one


def test_new_test_people_leave_all_trainings() -> None:
    changed = kinds(plan("table1", studio="new", studio_without_test="studio"), plan("table1"))
    assert changed and all(": test studio" in title for title in changed)


def test_code_and_configuration_invalidate() -> None:
    before = plan("table1")
    assert not kinds(plan("table1"), before)
    assert len(kinds(plan("table1", training="new", test="new"), before)) == len(before.jobs)
    assert len(kinds(plan("table1", rate=1.0), before)) == len(before.jobs)
    only_tests = kinds(plan("table1", test="new"), before)
    assert only_tests and all(": test " in title for title in only_tests)


def test_pictures_are_tested_at_the_size_of_training() -> None:
    made = plan("table1")
    sizes = {
        (job.kind, *(tuple(job.config["data"]["init_args"][f"{name}_size"]) for name in ("image", "face")))
        for job in made.jobs.values()
    }
    assert sizes == {("train", (192, 144), (64, 64)), ("test", (192, 144), (64, 64))}


def test_folders_are_no_part_of_a_result() -> None:
    made = plan("table1")
    mixed = made.jobs[made.stages["mixed", 0][0]]
    sources = mixed.config["data"]["init_args"]["sources"]
    assert {name: source["init_args"]["root"] for name, source in sources.items()} == {
        "videos": "<wild>",
        "studio": "<studio>",
    }
    assert set(mixed.describes["data"]) == {"wild", "studio"}


def test_what_is_not_there_yet_is_reported_not_run() -> None:
    made = plan("s3_deformer")
    assert not made.jobs and "needs the deformer" in made.waiting["deformer"]


def test_an_unknown_row_is_refused() -> None:
    experiment = read_experiment(find_experiment("table1"))
    setting = Setting("tiny", (0,), ["best"], compose, str, CodeCopy(Path(), "c", "t", "t"))
    with pytest.raises(UsageError, match="no row 'best'; it has in_the_wild"):
        make_plan(experiment, setting)
