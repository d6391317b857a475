"""Recipes: found by name from anywhere, composed of parts, listed and printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lca_lightning.cli import recipe_files
from lca_lightning.cli.main import main
from lca_lightning.errors import ConfigError, UsageError


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


def test_parts_are_mounted_merged_and_overridden(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "size.yaml", "width: 8\nlayers: 2\n")
    write(tmp_path / "parts" / "root.yaml", "trainer: {max_steps: 5, callbacks: [a, b]}\n")
    recipe = write(
        tmp_path / "recipes" / "r.yaml",
        "parts:\n  model.avatar: ../parts/size.yaml\n  .: ../parts/root.yaml\n"
        "model: {avatar: {layers: 4}}\ntrainer: {callbacks: [c]}\n",
    )
    assert recipe_files.compose(recipe) == {
        "model": {"avatar": {"width": 8, "layers": 4}},
        "trainer": {"max_steps": 5, "callbacks": ["c"]},
    }


def test_parts_may_have_parts_but_no_cycles(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "parts: {x: b.yaml}\n")
    write(tmp_path / "b.yaml", "parts: {y: c.yaml}\n")
    write(tmp_path / "c.yaml", "z: 1\n")
    assert recipe_files.compose(tmp_path / "a.yaml") == {"x": {"y": {"z": 1}}}
    write(tmp_path / "c.yaml", "parts: {z: a.yaml}\n")
    with pytest.raises(ConfigError, match="contains itself"):
        recipe_files.compose(tmp_path / "a.yaml")


def test_another_class_starts_afresh() -> None:
    base = {"class_path": "A", "init_args": {"old": 1}}
    assert recipe_files.merge(base, {"class_path": "B", "init_args": {"new": 2}}) == {
        "class_path": "B",
        "init_args": {"new": 2},
    }
    assert recipe_files.merge(base, {"init_args": {"new": 2}})["init_args"] == {"old": 1, "new": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must be a YAML mapping"),
        ("a: [1\n", "is not YAML"),
        ("parts: {a: gone.yaml}\n", "gone.yaml"),
    ],
)
def test_broken_recipes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_files.compose(write(tmp_path / "r.yaml", text))


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
    assert composed == recipe_files.compose(recipe_files.find_recipe("tiny/posttrain"))
    assert composed["model"]["avatar"]["width"]
