"""The test of data modules passes ours and names each rule that a bad one breaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lca_data_modules import InTheWildDataModule, StudioDataModule, check_data_module, failed_rules
from lca_lightning.batch import Batch
from lca_lightning.datasets.samples import SampleSource
from lca_lightning.errors import DataError
from lca_lightning.rig.anny import AnnyRig
from tests.tiny_capture import write_capture

SMALL = dict(image_size=(64, 48), face_size=(32, 32), steps_per_epoch=4, views=(1, 2), targets_per_sample=1)
PEOPLE = {"ann": "train", "bob": "train", "cat": "train", "eve": "val", "fay": "test"}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    return write_capture(tmp_path_factory.mktemp("checked"), rig, PEOPLE, 3, "studio")


@pytest.mark.parametrize("kind", [InTheWildDataModule, StudioDataModule])
def test_our_modules_pass(capture: Path, kind: type) -> None:
    check_data_module(kind(str(capture), batch_size=2, test_views=2, test_targets=2, **SMALL))


class Spoiled(SampleSource):
    """Changes what another source gives."""

    def __init__(self, source: SampleSource, change: Any) -> None:
        self.source, self.change, self.rig = source, change, source.rig

    def sample(self, number: int, views: int) -> Batch:
        return self.change(self.source.sample(number, views), number)


class SpoiledModule(StudioDataModule):
    change: Any = None

    def training_source(self) -> Any:
        return Spoiled(super().training_source(), type(self).change)


def half(batch: Batch, number: int) -> Batch:
    return replace(batch, identity_BI=batch.identity_BI.half())


def moved(batch: Batch, number: int) -> Batch:
    driving = replace(batch.driving, translation_BT3=batch.driving.translation_BT3 + 1.0)
    return replace(batch, driving=driving)


def noisy(batch: Batch, number: int) -> Batch:
    references = batch.references
    return replace(batch, references=replace(references, body_BV3HW=references.body_BV3HW * torch.rand(1)))


def learned(batch: Batch, number: int) -> Batch:
    return replace(batch, identity_BI=batch.identity_BI.clone().requires_grad_())


def bright(batch: Batch, number: int) -> Batch:
    targets = batch.targets
    return replace(batch, targets=replace(targets, images_BT3HW=targets.images_BT3HW * 255))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (half, "identity_BI has type torch.float16, not float32."),
        (moved, "of the rig's joints project onto the person in frame"),
        (noisy, "A second look at the training data gives other batches"),
        (learned, "identity_BI requires gradients"),
        (bright, "targets.images_BT3HW must lie in [0, 1]."),
    ],
)
def test_spoiled_samples_are_found(capture: Path, change: Any, sentence: str) -> None:
    SpoiledModule.change = staticmethod(change)
    failed = failed_rules(SpoiledModule(str(capture), test_views=2, test_targets=2, **SMALL))
    assert any(sentence in text for text in failed), failed
    with pytest.raises(DataError, match="fails .* of its rules"):
        check_data_module(SpoiledModule(str(capture), test_views=2, test_targets=2, **SMALL))


class Alike(StudioDataModule):
    """Every process gets the same samples, and every loader starts at the beginning."""

    def _place(self) -> tuple[int, int]:
        return 0, 1

    def _batches_taken(self) -> int:
        return 0

    def training_subjects(self) -> list[str]:
        return [*super().training_subjects(), "fay"]


def test_processes_resumes_and_leaks_are_found(capture: Path) -> None:
    failed = failed_rules(Alike(str(capture), test_views=2, test_targets=2, **SMALL))
    assert any("Two processes of a run get the same samples" in text for text in failed), failed
    assert any("A run resumed after its first step" in text for text in failed), failed
    assert any("Subject 'fay' is in the training split and in one for evaluation" in text for text in failed)
    assert len(failed) == 3


class Unreadable(StudioDataModule):
    """Its test set cannot be read."""

    def evaluation_sets(self, stage: str) -> Any:
        if stage == "test":
            raise DataError("the disk of the test set is gone")
        return super().evaluation_sets(stage)


def test_evaluation_that_cannot_be_read_is_found(capture: Path) -> None:
    failed = failed_rules(Unreadable(str(capture), test_views=2, test_targets=2, **SMALL))
    assert failed and all("the disk of the test set is gone" in text for text in failed), failed


def test_nothing_to_evaluate_is_no_fault(rig: AnnyRig, tmp_path: Path) -> None:
    write_capture(tmp_path, rig, {"ann": "train", "bob": "train"}, 3, "studio")
    check_data_module(StudioDataModule(str(tmp_path), batch_size=2, **SMALL))


class Broken(StudioDataModule):
    def training_source(self) -> Any:
        raise RuntimeError("no disk")


def test_a_module_that_gives_nothing(capture: Path) -> None:
    assert failed_rules(Broken(str(capture), **SMALL)) == [
        "Training batches cannot be made (RuntimeError: no disk)."
    ]


class Unpicklable(SpoiledModule):
    def training_source(self) -> Any:
        return Spoiled(StudioDataModule.training_source(self), lambda batch, number: batch)


def test_unpicklable_data_is_found(capture: Path) -> None:
    failed = failed_rules(Unpicklable(str(capture), test_views=2, test_targets=2, **SMALL))
    assert any("survives pickling' cannot be tried" in text for text in failed), failed


def test_a_pack_is_read_like_the_folder_it_was_made_from(capture: Path, tmp_path: Path) -> None:
    pytest.importorskip("litdata")
    from lca_lightning.datasets.pack import pack_dataset

    pack_dataset(capture, str(tmp_path / "pack"))
    module = StudioDataModule(str(tmp_path / "pack"), test_views=2, test_targets=2, **SMALL)
    check_data_module(module)
    loaded, folder = module.dataset, StudioDataModule(str(capture), **SMALL).dataset
    assert loaded.index.ids_N.tolist() == folder.index.ids_N.tolist()
    assert sorted(module.training_subjects()) == ["ann", "bob", "cat"]
