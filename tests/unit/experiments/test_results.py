"""From finished tests to the table, with numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lca_lightning.experiments.code_copy import CodeCopy
from lca_lightning.experiments.curves import draw_curves
from lca_lightning.experiments.declaration import Experiment, find_experiment, read_experiment
from lca_lightning.experiments.documentation import write_page
from lca_lightning.experiments.html_page import html_page
from lca_lightning.experiments.plan import Plan, Setting, make_plan
from lca_lightning.experiments.results import collect, read_results, write_results
from lca_lightning.experiments.store import Store
from lca_lightning.experiments.tables import legend, markdown
from tests.unit.experiments.test_plan import compose

FACTS = {
    "steps": 3000,
    "code": {"training": "c" * 64, "revision": "abc", "dirty": False},
    "data": {"name": "lca-synth-tiny", "digests": {"studio": "d" * 64}},
}
# psnr of subjects a and b for (row, seed)
PSNR = {("mixed", 0): (20, 24), ("mixed", 1): (22, 26), ("pre_post", 0): (21, 25), ("pre_post", 1): (24, 28)}


def finished(store: Store, plan: Plan, key: str, rows: list[str]) -> None:
    """Write what a finished test leaves."""
    folder = store.folder(plan.jobs[key]) / "test"
    folder.mkdir(parents=True)
    header = "set,views,task,subject,frame,angle,masked/psnr,masked/lpips,masked/l1_full"
    (folder / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
    store.write(plan.jobs[key], status="finished", seconds=1.0)


def planned(name: str) -> tuple[Experiment, Plan]:
    experiment = read_experiment(find_experiment(name))
    code = CodeCopy(Path(), "c", "t", "t")
    return experiment, make_plan(
        experiment, Setting("tiny", (0, 1), list(experiment.rows), compose, lambda part, _: part, code)
    )


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    experiment, plan = planned("table1")
    store = Store(tmp_path)
    for (row, seed), (a, b) in PSNR.items():
        rows = [f"wild,4,all,a,a/{n},10,{a + n},0.1,0.01" for n in (-1, 1)] + [
            f"wild,4,all,b,b/0,10,{b},0.3,0.03"
        ]
        finished(store, plan, plan.tests[row, seed, "views4", "wild"], rows)
    return collect(experiment, plan, store, "tiny", FACTS)


def test_lines_hold_means_over_subjects_then_seeds_with_spread(results: dict[str, Any]) -> None:
    lines = {line["row"]: line["sets"]["wild"] for line in results["lines"]}
    psnr = lines["mixed"]["scores"]["psnr"]
    assert psnr["seeds"] == {"0": 22.0, "1": 24.0}  # by subject, although a has two frames
    assert psnr["mean"] == 23.0 and psnr["deviation"] == pytest.approx(2**0.5)
    assert psnr["subjects"] == {"a": 21.0, "b": 25.0}
    assert lines["mixed"]["frames"] == 3 and not lines["studio"]["scores"]


def test_the_comparison_pairs_subjects(results: dict[str, Any]) -> None:
    (entry,) = results["comparisons"]  # only these two rows are finished, and only in the wild
    assert (entry["first"], entry["second"]) == ("pre_post/views4", "mixed/views4")
    assert (entry["set"], entry["subjects"]) == ("wild", 2)
    assert (entry["low"], entry["difference"], entry["high"]) == pytest.approx((1.5, 1.5, 1.5))


def test_the_table_shows_ours_beside_the_papers(results: dict[str, Any], tmp_path: Path) -> None:
    text = markdown(results)
    assert "| 23.00 ± 1.41 (28.00) |" in text and "– (26.63)" in text
    assert "[+1.500, +1.500]" in text
    assert "Not run yet: Capture-Studio, In-the-Wild, Pre/Post, last weights." in text
    assert "seeds 0, 1; protocol masked" in text
    page = html_page(results)
    assert "<td class=number>23.00 ± 1.41 (28.00)</td>" in page
    assert len(results["notes"]) == 2 and all(note in text and note in page for note in results["notes"])


def test_the_devices_are_named(results: dict[str, Any]) -> None:
    assert "Trained on" not in markdown(results)  # runs of earlier versions do not know
    results["rows"][0]["devices"] = ["1 x NVIDIA H200, precision bf16-mixed"]
    results["rows"][1]["devices"] = ["1 x cpu, precision 32-true"]
    assert (
        "- Trained on 1 x NVIDIA H200, precision bf16-mixed and on 1 x cpu, precision 32-true."
        in markdown(results)
    )


def test_seeds_that_were_not_run_are_not_said_to_be(results: dict[str, Any]) -> None:
    results["seeds"] = [0, 1, 2]
    text = markdown(results)
    assert "seeds 0, 1; protocol masked" in text and "Mixed (seed 2)" in text


def test_brackets_are_explained_where_there_are_any(results: dict[str, Any]) -> None:
    assert "in brackets the paper's number" in legend(results)
    for line in results["lines"]:
        for entry in line["sets"].values():
            entry["paper"] = []
    assert legend(results) == "Mean ± standard deviation over seeds."


def test_the_page_is_made_of_stored_results_alone(results: dict[str, Any], tmp_path: Path) -> None:
    stored = write_results(results, tmp_path / "results" / "tiny" / "table1.json")
    assert read_results(stored)["comparisons"] == results["comparisons"]
    page = write_page(tmp_path / "results", tmp_path / "docs" / "experiments.md")
    text = page.read_text()
    assert "23.00 ± 1.41 (28.00)" in text and "seeds 0, 1" in text
    assert "needs the deformer, not available yet" in text
    assert "Behind its file: 900 optimiser steps are declared now; seed 2 not run yet." in text
    assert write_page(tmp_path / "results", page).read_text() == text


def test_far_frames_are_the_same_for_all_tests(tmp_path: Path) -> None:
    experiment, plan = planned("references")
    store = Store(tmp_path)
    one = ["s,1,all,a,a/0,120,10,0,0", "s,1,all,a,a/1,100,12,0,0", "s,1,all,a,a/2,20,30,0,0"]
    four = ["s,4,all,a,a/0,40,15,0,0", "s,4,all,a,a/2,10,31,0,0", "s,4,all,a,a/3,95,5,0,0"]
    for seed in (0, 1):
        finished(store, plan, plan.tests["pre_post", seed, "own1", "studio"], one)
        finished(store, plan, plan.tests["pre_post", seed, "own4", "studio"], four)
    collected = collect(experiment, plan, store, "tiny", FACTS)
    lines = {line["test"]: line["sets"]["studio_far"] for line in collected["lines"]}
    assert lines["own1"]["scores"]["psnr"]["mean"] == 10.0  # a/1 is no target of the test with four views
    assert lines["own4"]["scores"]["psnr"]["mean"] == 15.0
    assert lines["own4"]["frames"] == 1
    lines = {line["test"]: line["sets"]["studio"] for line in collected["lines"]}
    assert lines["own1"]["scores"]["psnr"]["mean"] == 20.0  # a/0 and a/2, which both tests have
    assert lines["own4"]["scores"]["psnr"]["mean"] == 23.0
    (entry,) = (entry for entry in collected["comparisons"] if entry["set"] == "studio")
    assert entry["difference"] == 3.0


def test_rows_are_compared_when_they_have_the_same_seeds(tmp_path: Path) -> None:
    experiment, plan = planned("table1")
    store = Store(tmp_path)
    for row, seed in (("mixed", 0), ("mixed", 1), ("pre_post", 0)):
        rows = ["wild,4,all,a,a/0,10,20,0,0"]
        finished(store, plan, plan.tests[row, seed, "views4", "wild"], rows)
    collected = collect(experiment, plan, store, "tiny", FACTS)
    assert not collected["comparisons"]
    absent = "Capture-Studio, In-the-Wild, Pre/Post (ours) (seed 1), Pre/Post, last weights"
    assert f"Not run yet: {absent}." in markdown(collected)


def test_curves_stay_inside_their_drawing() -> None:
    drawing = draw_curves(
        "val/psnr", {"a": {"steps": [1, 50], "values": [3.0, float("nan")]}}, {"a": "A & B"}
    )
    assert drawing.startswith("<svg") and "A &amp; B" in drawing and "nan" not in drawing
