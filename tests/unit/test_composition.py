"""Files composed of parts: laid down in order, merged, overridden."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_lightning.composition import compose, merge
from lca_lightning.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_parts_are_mounted_merged_and_overridden(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "size.yaml", "width: 8\nlayers: 2\n")
    write(tmp_path / "parts" / "root.yaml", "trainer: {max_steps: 5, callbacks: [a, b]}\n")
    recipe = write(
        tmp_path / "recipes" / "r.yaml",
        "parts:\n  model.avatar: ../parts/size.yaml\n  .: ../parts/root.yaml\n"
        "model: {avatar: {layers: 4}}\ntrainer: {callbacks: [c]}\n",
    )
    assert compose(recipe) == {
        "model": {"avatar": {"width": 8, "layers": 4}},
        "trainer": {"max_steps": 5, "callbacks": ["c"]},
    }


def test_parts_may_have_parts_but_no_cycles(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "parts: {x: b.yaml}\n")
    write(tmp_path / "b.yaml", "parts: {y: c.yaml}\n")
    write(tmp_path / "c.yaml", "z: 1\n")
    assert compose(tmp_path / "a.yaml") == {"x": {"y": {"z": 1}}}
    write(tmp_path / "c.yaml", "parts: {z: a.yaml}\n")
    with pytest.raises(ConfigError, match="contains itself"):
        compose(tmp_path / "a.yaml")


def test_another_class_starts_afresh() -> None:
    base = {"class_path": "A", "init_args": {"old": 1}}
    assert merge(base, {"class_path": "B", "init_args": {"new": 2}}) == {
        "class_path": "B",
        "init_args": {"new": 2},
    }
    assert merge(base, {"init_args": {"new": 2}})["init_args"] == {"old": 1, "new": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must be a YAML mapping"),
        ("a: [1\n", "is not YAML"),
        ("parts: {a: gone.yaml}\n", "gone.yaml"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(write(tmp_path / "r.yaml", text))
