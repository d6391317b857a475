"""Files of experiments: those in the package, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from lca_lightning.composition import compose
from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.experiments.declaration import experiment_names, find_experiment, read_experiment

TABLES = {"table1", "table2", "table3", "s1_decoders", "s1_decay", "s2_scale", "s3_deformer"}
OURS = {"canonical_supervision", "stylised", "references"}


def write(path: Path, **changes: object) -> Path:
    content = compose(find_experiment("table1"))
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_every_table_has_a_file() -> None:
    assert set(experiment_names()) == TABLES | OURS


@pytest.mark.parametrize("name", sorted(TABLES | OURS))
def test_packaged_files_are_right(name: str) -> None:
    experiment = read_experiment(find_experiment(f"experiments/{name}.yaml"))
    assert experiment.seeds == (0, 1, 2) and set(experiment.steps) == {"tiny", "small"}
    assert experiment.expect and experiment.comparisons


def test_rows_of_table_one_are_those_of_the_paper() -> None:
    experiment = read_experiment(find_experiment("table1"))
    assert list(experiment.rows)[:4] == ["in_the_wild", "studio", "mixed", "pre_post"]
    assert all(row.paper for row in list(experiment.rows.values())[:4])
    assert [stage.share for stage in experiment.rows["pre_post"].stages] == [Fraction(9, 10), Fraction(1, 10)]
    assert experiment.rows["pre_post"].paper["views4"]["studio"][2] == 30.514


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rowz": {}}, "unknown key 'rowz'"),
        (
            {"rows": {"a": {"title": "A", "stages": [{"recipe": "pretrain", "share": "1/2"}]}}},
            "sum to 1, not 1/2",
        ),
        (
            {"rows": {"a": {"title": "A", "stages": [{"recipe": "pretrain", "schedule": "ever"}]}}},
            "over the stage or the row, not 'ever'",
        ),
        ({"rows": {"a": {"title": "A", "paper": {"views9": {}}}}}, "unknown test 'views9'"),
        (
            {"rows": {"a": {"title": "A", "paper": {"views4": {"wild": [1]}}}}, "compare": []},
            "3 values, one a col",
        ),
        ({"compare": [{"line": "best", "score": "psnr"}]}, "unknown line 'best'"),
        (
            {"rows": {"a": {"title": "A", "stages": [{"recipe": "pretrain", "share": "1/0"}]}}},
            "such as 5/6, not '1/0'",
        ),
        ({"seeds": 3}, "seeds must be a list of whole numbers such as .0, 1, 2., not 3"),
        ({"seeds": []}, "seeds must be a list"),
        ({"scales": {"tiny": {"steps": "many"}}}, "scales.tiny.steps must be a whole number from 1 on"),
        ({"tests": {"views4": {"title": "T", "views": "all"}}}, "views must be a whole number"),
        (
            {"tests": {"views4": {"title": "T", "views": 4, "protocol": "maskd"}}},
            "no protocol 'maskd'; take masked, composite, lhm",
        ),
        ({"compare": [{"line": "mixed", "score": "pnsr"}]}, "masked has no score 'pnsr'; it has psnr, l1, "),
        (
            {"tests": {"views4": {"title": "T", "views": 4, "protocol": "lhm"}}},
            "lhm has no score 'l1_full'; it has psnr, ssim, lpips",
        ),
        ({"sets": {"far": {"title": "F", "of": "wide", "angle": [1, 2]}}}, "unknown set 'wide'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_experiment(write(tmp_path / "mine.yaml", **changes))


def test_an_unknown_name_lists_the_packaged_ones() -> None:
    for name in ("table9", "mine/table1.yaml", "mine/table1", "experiments/mine/table1.yaml"):
        with pytest.raises(UsageError, match="packaged are .*table1"):
            find_experiment(name)
