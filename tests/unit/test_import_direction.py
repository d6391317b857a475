"""Imports point one way; read from the syntax trees, so lazy imports inside functions count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lca_lightning"
BASE = {"errors", "batch", "writing", "kernels", "plugins", "safe_pickle", "pickled_arrays"} | {
    "child_processes",
    "composition",
}
BODY = BASE | {"geometry", "rig", "weights"}
ALLOWED = {
    "errors": set(),
    "batch": {"errors"},
    "writing": {"errors"},
    "kernels": {"errors"},
    "plugins": {"errors"},
    "composition": {"errors"},
    "pickled_arrays": {"errors"},
    "child_processes": set(),
    "safe_pickle": {"errors", "pickled_arrays"},
    "geometry": BASE,
    "weights": set(),
    "rig": BASE | {"geometry", "weights"},
    "rendering": BASE | {"geometry"},
    "model": BODY | {"rendering"},
    "losses": BODY | {"rendering", "model"},
    "metrics": BODY | {"rendering", "model", "losses"},
    "datasets": BODY,
    "motion": BODY,
    "avatar": BODY | {"motion", "rendering", "model", "datasets"},
    "export": BODY | {"motion", "rendering", "model", "datasets", "avatar"},
    "calibration": BASE | {"geometry"},
    "augmentation": BODY,
    "inspection": BODY | {"rendering", "datasets", "reports"},
    "importers": BODY | {"rendering", "datasets", "calibration", "preprocessing"},
    "preprocessing": BODY | {"rendering", "datasets", "calibration"},
    "synthesis": BODY | {"motion", "rendering", "datasets"},
    "analysis": BODY | {"rendering", "model", "losses", "metrics", "datasets", "avatar"},
    "reports": BODY | {"rendering", "metrics", "datasets"},
    "training": BODY | {"rendering", "model", "losses", "metrics", "datasets", "augmentation", "reports"},
    "pretrained_models": BODY | {"model", "training"},
    "experiments": BODY
    | {"metrics", "datasets", "synthesis", "reports", "training", "lca_configs", "lca_experiments"},
    "benchmarks": BODY
    | {"motion", "rendering", "model", "losses", "datasets", "avatar", "synthesis"}
    | {"lca_configs", "lca_data_modules"},
}


def imported_parts(path: Path) -> set[str]:
    """Top parts of `lca_lightning` and other first-party packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "lca_lightning":
                names = [f"lca_lightning.{alias.name}" for alias in node.names]
        for name in names:
            pieces = name.split(".")
            if (
                pieces[0] == "lca_lightning"
                and len(pieces) > 1
                and (SOURCE / pieces[1]).exists() | (SOURCE / f"{pieces[1]}.py").exists()
            ):
                found.add(pieces[1])
            elif pieces[0] in ("lca_configs", "lca_data_modules", "lca_experiments", "lightning"):
                found.add(pieces[0])
    return found


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_stands_before_it(part: str) -> None:
    folder = SOURCE / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{part}.py"]
    assert files
    lightning_parts = {"lightning"} if part in ("training", "metrics") else set()
    for path in files:
        extra = imported_parts(path) - ALLOWED[part] - {part} - lightning_parts
        assert not extra, f"{path.relative_to(ROOT)} must not import {sorted(extra)}"


def test_data_modules_never_see_model_or_training() -> None:
    for path in (ROOT / "data_modules").glob("*.py"):
        extra = imported_parts(path) - BODY - {"datasets", "augmentation", "lightning", "lca_data_modules"}
        assert not extra, f"{path.name} must not import {sorted(extra)}"


def test_every_part_is_under_the_rule() -> None:
    parts = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - set(ALLOWED) <= {"__init__", "__main__", "cli"}
