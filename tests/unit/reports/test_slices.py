"""Slices: means as the protocols average, intervals as scipy's bootstrap, small groups not scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lca_lightning.errors import DataError
from lca_lightning.reports.model_card import BEGIN, END, generated_part, insert_generated
from lca_lightning.reports.slices import bootstrap_interval, slice_scores, subject_scores

HEAD = "set,views,task,subject,frame,angle,masked/psnr"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = """\
wild,4,novel_view,ann,s/c/0,10,20
wild,4,novel_view,ann,s/c/1,10,30
wild,4,novel_view,bob,s/c/0,,10
wild,4,novel_view,bob,s/c/1,,nan
wild,4,novel_view,eve,s/c/0,,
wild,1,novel_view,ann,s/c/0,10,5
studio,4,self_reenactment,dan,s/c/0,3,15
"""
    path = tmp_path / "metrics.csv"
    path.write_text(f"{HEAD}\n{rows}")
    return path


def test_mean_of_each_subject(table: Path) -> None:
    assert subject_scores(table, "masked/psnr", "wild", 4) == {"ann": 25.0, "bob": 10.0}
    assert subject_scores(table, "masked/psnr", "wild") == {"ann": pytest.approx(55 / 3), "bob": 10.0}
    assert subject_scores(table, "masked/psnr", "studio") == {"dan": 15.0}
    for problem, message in (
        (("masked/psnr", "nowhere"), "no row of the set 'nowhere'"),
        (("lhm/psnr", None), "no column 'lhm/psnr'"),
    ):
        with pytest.raises(DataError, match=message):
            subject_scores(table, *problem)
    with pytest.raises(DataError, match="lca test"):
        subject_scores(table.with_name("nothing.csv"), "masked/psnr")


def test_slices_group_people_and_leave_small_groups_unscored() -> None:
    scores = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0, "stranger": 99.0}
    labels = {name: {"hat": "with" if name == "d" else "without", "bag": "with"} for name in "abcd"}
    everybody, hat, bare = slice_scores(scores, labels)
    assert (everybody.kind, everybody.subjects, everybody.mean) == ("all", 4, 25.0)
    assert (hat.label, hat.subjects, hat.mean, hat.low) == ("with", 1, None, None)
    assert (bare.label, bare.subjects, bare.mean) == ("without", 3, 20.0)
    assert bare.low is not None and bare.high is not None and 10 <= bare.low < 20 < bare.high <= 30


def test_the_interval_is_that_of_scipy_and_does_not_depend_on_the_order() -> None:
    values = np.random.default_rng(4).normal(20, 3, 15)
    low, high = bootstrap_interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.12)
    assert bootstrap_interval(values[::-1]) == (low, high)
    exact = 1.96 * values.std() / np.sqrt(len(values))  # the normal limit
    assert high - low == pytest.approx(2 * exact, rel=0.08)


def test_the_card_keeps_what_people_wrote() -> None:
    description = {
        "name": "tiny", "package": "1", "licence": "Apache-2.0", "limits": ["It is small."],
        "weights": {"bytes": 2**20, "precision": "float16", "parameters": 1000, "frozen_parameters": 10},
        "lca": {"model": {"backbone": "random-tiny", "rig": "anny", "anchors": 8, "gaussians_per_anchor": 2}},
        "photos": {"image_size": [256, 192], "face_size": [128, 128]},
        "training": {"checkpoint_sha256": "a" * 64, "runs": [{"data": {"wild": {"digest": "b" * 64}}}]},
        "slices": [{"set": "wild", "views": 4, "score": "masked/psnr", "slices": [
            {"kind": "hat", "label": "with", "subjects": 1, "mean": None, "low": None, "high": None},
            {"kind": "hat", "label": "without", "subjects": 5, "mean": 20.456, "low": 19.0, "high": 21.0},
        ]}],
    }  # fmt: skip
    begin = BEGIN.format(name="tiny")
    card = insert_generated(f"before\n{begin}\nolder\n{END}\nafter\n", description)
    assert card.startswith("before\n") and card.endswith("\nafter\n") and "older" not in card
    assert insert_generated(card, description) == card
    text = generated_part(description)
    assert "| hat | with | 1 |  |  |" in text and "| hat | without | 5 | 20.46 | 19.00 to 21.00 |" in text
    assert "- It is small." in text and "Not measured." in text
    with pytest.raises(DataError, match="once each"):
        insert_generated(f"{END}\n{begin}", description)
