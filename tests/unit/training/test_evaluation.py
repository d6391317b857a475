"""Collecting the rows of a test: once each, told apart by task, from any order of processes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils import data as torch_data

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.errors import DataError
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.training import evaluation
from lca_lightning.training.cost import CostMeter
from lca_lightning.training.evaluation import Evaluation, Place, item_places
from tests.unit.training.tiny_module import module, quiet_trainer


@pytest.fixture(autouse=True)
def without_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "build_protocol", lambda name, **_: MaskedProtocol(lpips=False))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return module().model.eval()


@torch.no_grad()
def scored(model: torch.nn.Module, *batches: Batch) -> Evaluation:
    """An evaluation of some batches, one item each."""
    found = Evaluation()
    found.begin(["studio"], [SimpleNamespace(views=1)])
    for item, batch in enumerate(batches):
        found.add(model, batch, model(batch, render_canonical=False), [Place(0, item)])
    return found


def test_a_frame_seen_twice_counts_once(model: torch.nn.Module, batch: Batch) -> None:
    once, twice = scored(model, batch), scored(model, batch, batch)
    for found in (once, twice):
        found.end_pass()
    assert repr(twice.results.frames) == repr(once.results.frames)  # NaN is not equal to itself
    assert len(once.results.frames) == len(set(batch.frames[0]))
    assert twice.means() == once.means() and once.complete


def test_tasks_follow_the_cameras_of_the_references(model: torch.nn.Module, batch: Batch) -> None:
    camera = batch.frames[0][0].split("/")[1]
    frames = (tuple(f"take/{name}/00000{n}" for n, name in enumerate([camera, "other"])),)
    known = replace(batch, frames=frames, reference_shots=((f"take/{camera}/000007",),))
    found = scored(model, known)
    found.end_pass()
    assert {f.frame: f.task for f in found.results.frames} == {
        frames[0][0]: "self_reenactment",
        frames[0][1]: "novel_view",
    }
    unknown = scored(model, replace(known, reference_shots=None))
    unknown.end_pass()
    assert [summary.task for summary in unknown.results.summaries()] == ["all"]
    assert "tasks are not told apart" in unknown.results.notes()[0]


def test_a_set_that_is_tested_in_part_is_noted_once() -> None:
    found = Evaluation()
    for _ in range(2):  # as every pass does
        found.note_limits(["wild", "studio"], [2, 7], [6, 7])
    assert len(found.remarks) == 1
    assert found.remarks[0].startswith("wild: only 2 of 6 batches were tested (trainer.limit_test_batches)")


def test_nothing_to_score_is_an_error(model: torch.nn.Module, batch: Batch) -> None:
    empty = replace(batch, targets=replace(batch.targets, masks_BT1HW=0 * batch.targets.masks_BT1HW))
    with pytest.raises(DataError, match="every mask is empty; check"):
        scored(model, empty).end_pass()
    with pytest.raises(DataError, match="the test set is empty"):
        scored(model).end_pass()
    renamed = replace(empty, frames=(tuple(f"{name}x" for name in batch.frames[0]),))
    some = scored(model, batch, renamed)
    some.end_pass()
    [summary] = [s for s in some.results.summaries() if s.task == "all"]
    assert summary.frames_without_mask == len(batch.frames[0]) and summary.frames == len(set(batch.frames[0]))


def test_items_are_found_again_on_every_process(data: StudioDataModule) -> None:
    sampler = [4, 5, 6, 7, 8]
    loader = SimpleNamespace(sampler=sampler, batch_size=2)
    assert item_places(loader, 3, 1, 2) == [Place(3, 6), Place(3, 7)]
    assert item_places(loader, 3, 2, 1) == [Place(3, 8)]


def test_cost_is_measured_in_parts_and_within_its_share(model: torch.nn.Module, batch: Batch) -> None:
    meter = CostMeter()
    assert meter.cost(model) == {}
    meter.begin()
    meter._began -= 1000.0  # a long test: its share allows more subjects
    for _ in range(20):
        meter.watch(model, batch, views=1)
    meter.watch(model, batch, views=4)
    cost = meter.cost(model)
    assert len(meter.seconds[1]["create"]) == 8 and cost["views"] == 4 and cost["measured_subjects"] == 1
    assert cost["frame_ms"] == pytest.approx(cost["decode_ms"] + cost["skin_ms"] + cost["raster_ms"])
    assert cost["gaussians"] == 128 and cost["parameters"] == sum(p.numel() for p in model.parameters())
    assert set(cost["create_seconds_by_views"]) == {"1", "4"} and cost["device"] == "cpu"
    short = CostMeter()
    short.begin()
    for _ in range(5):
        short.watch(model, batch, views=1)
    assert len(short.seconds[1]["create"]) < 5


def test_a_module_tests_itself_without_the_command_line(data: StudioDataModule, tmp_path: Path) -> None:
    class HeldOut(StudioDataModule):
        """The training subject again, which has no split of its own."""

        def evaluation_sets(self, stage: str) -> dict[str, torch_data.Dataset[Batch]]:
            return {"one/test": _Items([next(iter(self.train_dataloader()))])}

        def setup(self, stage: str | None = None) -> None:
            """Nothing to check."""

    held_out = HeldOut(data.hparams["root"], image_size=(64, 48), face_size=(32, 32), views=(1,))
    for _ in range(2):  # a test after a test starts afresh
        [logged] = quiet_trainer(tmp_path, 1).test(module(), datamodule=held_out, verbose=False)
    assert not math.isnan(logged["test/one/masked/psnr"])
    assert (tmp_path / "test" / "report.html").read_text().count("<section>") >= 1


class _Items(torch_data.Dataset[Batch]):
    def __init__(self, items: list[Batch]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]
