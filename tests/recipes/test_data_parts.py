"""Parts for mixtures and light stages really run fit, validate and test at a size of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from lca_lightning.cli import recipe_files
from tests.cli.commands import SMALL_DATA, lca, small

CONFIGS = recipe_files.packaged_root()
SHARED = ("image_size", "face_size", "views", "targets_per_sample", "num_workers")


def recipe(folder: Path, part: str) -> Path:
    """A recipe that trains as `tiny/posttrain` does, on other data."""
    parts = {".": str(CONFIGS / "tiny" / "posttrain.yaml"), "data": str(CONFIGS / "data" / f"{part}.yaml")}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"parts": parts}))
    return path


def test_a_mixture_trains_validates_and_tests(tmp_path: Path, wild_root: Path, studio_root: Path) -> None:
    words = [word for word in small(tmp_path) if not word.startswith("--data.")]
    words += [f"--data.init_args.{name}={SMALL_DATA[name]}" for name in SHARED]
    for name, root in (("videos", wild_root), ("studio", studio_root)):
        source = f"--data.init_args.sources.{name}.init_args"
        words += [f"{source}.root={root}", f"{source}.test_views=1", f"{source}.test_targets=2"]
        words += [f"{source}.test_frame_fraction=0.25"]
    words += ["--data.init_args.same_people=false", "--data.init_args.weights.studio=0.25"]
    run = ["--config", str(recipe(tmp_path, "tiny_mixed")), *words, "--run_dir", str(tmp_path / "run")]
    assert lca("fit", *run) == 0
    checkpoint = ["--ckpt_path", str(tmp_path / "run" / "last.ckpt")]
    for verb in ("validate", "test", "predict"):
        assert lca(verb, *checkpoint) == 0
    metrics = json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())
    sets = {result["set"]: result for result in metrics["results"] if result["task"] == "all"}
    assert set(sets) == {"videos", "studio"} and all(found["subjects"] == 1 for found in sets.values())
    assert (tmp_path / "run" / "predictions" / "studio").is_dir()
    assert lca("fit", *checkpoint, "--trainer.max_steps=6") == 0


def test_wrong_roots_of_sources_are_named(tmp_path: Path, wild_root: Path, capsys) -> None:
    words = [word for word in small(tmp_path) if not word.startswith("--data.")]
    words += [f"--data.init_args.sources.videos.init_args.root={wild_root}"]
    words += [f"--data.init_args.sources.studio.init_args.root={tmp_path}/nowhere"]
    assert lca("fit", "--config", str(recipe(tmp_path, "tiny_mixed")), *words) == 1
    assert "nowhere" in capsys.readouterr().err
    words += ["--data.init_args.weights.nobody=1.0"]
    words[-2] = f"--data.init_args.sources.studio.init_args.root={wild_root}"
    assert lca("fit", "--config", str(recipe(tmp_path, "tiny_mixed")), *words) == 1
    assert "unknown source 'nobody'" in capsys.readouterr().err
