"""Recipes: found by name from anywhere, listed and printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lca_lightning.cli import recipe_files
from lca_lightning.cli.main import main
from lca_lightning.composition import compose
from lca_lightning.errors import UsageError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = recipe_files.find_recipe("tiny/posttrain.yaml")
    assert packaged.is_relative_to(recipe_files.packaged_root())
    elsewhere = write(tmp_path / "elsewhere" / "tiny" / "posttrain.yaml", "a: 1")
    monkeypatch.setenv("LCA_CONFIG_PATH", str(elsewhere.parent.parent))
    assert recipe_files.find_recipe("tiny/posttrain") == elsewhere
    local = write(tmp_path / "tiny" / "posttrain.yaml", "a: 2")
    assert recipe_files.find_recipe("tiny/posttrain.yaml") == local


def test_unknown_recipe_names_the_nearest_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="did you mean 'tiny/posttrain'.*tiny/pretrain"):
        recipe_files.find_recipe("tiny/postrain.yaml")
    with pytest.raises(SystemExit) as stop:
        main(["recipes", "tiny/postrain.yaml"])
    assert stop.value.code == 2


def test_listing_and_printing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes"])
    listing = capsys.readouterr().out
    for name in recipe_files.recipe_names():
        comment = recipe_files.first_comment(recipe_files.packaged_root() / f"{name}.yaml")
        assert comment and name in listing and comment in listing
    main(["recipes", "tiny/posttrain"])
    assert capsys.readouterr().out == recipe_files.find_recipe("tiny/posttrain").read_text(encoding="utf-8")
    main(["recipes", "tiny/posttrain", "--composed"])
    composed = yaml.safe_load(capsys.readouterr().out)
    assert composed == compose(recipe_files.find_recipe("tiny/posttrain"))
    assert composed["model"]["avatar"]["width"]
