"""Put a trained model into the package, with where it comes from and how it scores, and renew MODEL_CARD.md.

    python scripts/package_model.py runs/tiny/posttrain/X/best.ckpt --name tiny \\
        --run runs/tiny/pretrain/Y runs/tiny/posttrain/X --metrics runs/tiny/posttrain/X/test/metrics.json

The checkpoint's own run folder is taken where `--run` says nothing. Scores must be those of this very
checkpoint. Scores by body type, skin tone and clothing are computed from the metrics.csv beside each
metrics.json, for people of the synthetic benchmarks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lca_lightning.avatar import turntable_images
from lca_lightning.avatar.create import create_avatar, model_from_checkpoint, photo_format_of
from lca_lightning.batch import References
from lca_lightning.errors import LCAError, UsageError
from lca_lightning.experiments.store import read_record
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.pretrained_models.packaging import stored_tensors, write_model
from lca_lightning.reports.model_card import insert_generated
from lca_lightning.reports.slices import slice_scores, subject_scores
from lca_lightning.synthesis.benchmarks import benchmark_labels
from lca_lightning.training.checkpoints import read_checkpoint
from lca_lightning.training.provenance import data_digest
from lca_lightning.writing import write_text

CARD = Path(__file__).parents[1] / "MODEL_CARD.md"
SLICED = ("masked/psnr", "masked/lpips")


def package(
    checkpoint_path: Path,
    name: str,
    runs: Sequence[Path] = (),
    data: Sequence[str] = (),
    metrics: Sequence[Path] = (),
    folder: Path | None = None,
    half: bool = True,
) -> dict[str, Any]:
    """Write a checkpoint into the package.

    Args:
        checkpoint_path: The checkpoint.
        name: What the model will be called.
        runs: Folders of the runs that led to it, in order; its own when there are none.
        data: NAME=ROOT of training data, for runs that recorded none.
        metrics: Files metrics.json of tests of this checkpoint.
        folder: Where to write; the package's own folder when None.
        half: Store trained weights as float16.

    Returns:
        The description that was written.

    Raises:
        LCAError: The checkpoint, its run or its metrics cannot be used; one sentence.
    """
    checkpoint = read_checkpoint(checkpoint_path)
    model = model_from_checkpoint(checkpoint, str(checkpoint_path))
    digest = hashlib.sha256(checkpoint_path.read_bytes()).hexdigest()
    tests = [read_test(path, digest) for path in metrics]
    facts: dict[str, Any] = {
        "training": {
            "checkpoint_sha256": digest,
            "step": int(checkpoint.get("global_step", 0)),
            "runs": run_facts(runs or [checkpoint_path.parent], data, checkpoint),
        },
        "results": [result for test in tests for result in test.get("results", [])],
        "cost": next((test["cost"] for test in tests if test.get("cost")), {}),
        "slices": [table for path in metrics for table in slice_tables(path)],
    }
    rounding = rounding_psnr(model) if half else math.inf
    written = write_model(model, name, asdict(photo_format_of(checkpoint)), facts, folder, half, rounding)
    return json.loads(written[1].read_text(encoding="utf-8"))


def run_facts(runs: Sequence[Path], data: Sequence[str], checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Recipe, length, code and data of each run, without the folders of this machine.

    Raises:
        UsageError: Nothing says what the model was trained on.
    """
    facts = []
    for run in runs:
        if (run / "run.json").is_file():
            record = json.loads((run / "run.json").read_text(encoding="utf-8"))
            keys = ("recipe", "steps", "seconds", "versions")
            found = {key: record[key] for key in keys if record.get(key) is not None}
            stage = read_record(run / "stage.json")
            if stage:  # of an experiment, whose file names the stage better than the folder does
                found["recipe"] = stage["title"]
            sets = {
                data_name(entry["root"]): {"digest": entry["digest"]} for entry in record["data"].values()
            }
            facts.append({**found, "code": record.get("git", {}), "data": sets})
    if not facts:
        facts = [{"steps": int(checkpoint.get("global_step", 0)), "data": {}}]
    for entry in data:
        set_, _, root = entry.partition("=")
        facts[-1]["data"][set_] = {"digest": data_digest(root)}
    if not any(run["data"] for run in facts):
        raise UsageError(
            "No run.json says what the model was trained on; name the runs with --run, or the data with "
            "--data NAME=ROOT."
        )
    return facts


def data_name(root: str) -> str:
    """The last two folders of a data set's place: its benchmark and kind, nothing else of this machine."""
    return "/".join(Path(root).parts[-2:]).lstrip("/")


def read_test(path: Path, digest: str) -> dict[str, Any]:
    """A metrics.json of this checkpoint.

    Raises:
        UsageError: It measured another checkpoint.
    """
    test = json.loads(path.read_text(encoding="utf-8"))
    if test.get("checkpoint_sha256") != digest:
        raise UsageError(f"{path} measured another checkpoint; run `lca test` on this one again.")
    return test


def slice_tables(metrics: Path) -> Iterator[dict[str, Any]]:
    """Scores by slice of every set and number of views, from the table beside a metrics.json."""
    results = json.loads(metrics.read_text(encoding="utf-8"))["results"]
    tests = dict.fromkeys((result["set"], result["views"]) for result in results)
    protocols = {result["protocol"] for result in results}
    for test_set, views in tests:
        for score in SLICED:
            if score.partition("/")[0] not in protocols:
                continue
            scores = subject_scores(metrics.with_name("metrics.csv"), score, test_set, views)
            labels = benchmark_labels(scores)
            if len(labels) >= 3:
                slices = [asdict(entry) for entry in slice_scores(scores, labels)]
                yield {"set": test_set, "views": views, "score": score, "slices": slices}


@torch.no_grad()
def rounding_psnr(model: AvatarModel) -> float:
    """How close pictures made with the stored weights come to those with the full ones, in dB."""
    generator = torch.Generator().manual_seed(0)
    size = model.backbone.patch * 4
    blobs = torch.nn.functional.interpolate(
        torch.rand(8, 3, 4, 4, generator=generator), (size, size), mode="bicubic"
    ).clamp(0, 1)
    seen = torch.ones(1, 4, dtype=torch.bool)
    references = References(blobs[None, :4], blobs[None, 4:], seen, seen)
    full = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stored = stored_tensors(model)
    pictures = []
    for state in ({name: stored[f"model.{name}"] for name in full}, full):  # the model leaves as it came
        model.load_state_dict(state)
        pictures.append(torch.stack(turntable_images(create_avatar(model, references), 4)))
    error = (pictures[0] - pictures[1]).square().mean()
    return float(-10 * torch.log10(error.clamp(min=1e-12)))


def main(args: Sequence[str] | None = None) -> None:
    """Package a checkpoint from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--run", type=Path, nargs="+", default=[], help="run folders, pretraining first")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=ROOT", help="data no run.json names")
    parser.add_argument("--metrics", type=Path, nargs="+", default=[], help="metrics.json of its tests")
    parser.add_argument("--float32", action="store_true", help="store trained weights unrounded")
    parser.add_argument("--out", type=Path, default=None, help="another folder than the package's own")
    parser.add_argument("--card", type=Path, default=CARD, help="the model card to renew")
    options = parser.parse_args(args)
    try:
        description = package(
            options.checkpoint, options.name, options.run, options.data, options.metrics, options.out,
            not options.float32,
        )  # fmt: skip
        card = insert_generated(options.card.read_text(encoding="utf-8"), description)
        write_text(options.card, card)
    except LCAError as error:
        raise SystemExit(f"package_model: {error}") from error
    weights = description["weights"]
    rounding = f", pictures within {weights['rounding_psnr']} dB" if "rounding_psnr" in weights else ""
    print(f"{options.name}: {weights['bytes'] / 2**20:.1f} MiB{rounding}; {options.card} renewed.")


if __name__ == "__main__":
    main()
