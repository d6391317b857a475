"""Several sources in one run: shares, shared options, evaluation, and what does not go together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from lca_data_modules import (
    InTheWildDataModule,
    MixtureDataModule,
    StudioDataModule,
    check_data_module,
    failed_rules,
)
from lca_lightning.datasets.samples import EvaluationSamples
from lca_lightning.errors import ConfigError, DataError
from lca_lightning.rig.anny import AnnyRig
from tests.tiny_capture import write_capture
from tests.unit.data_modules.test_configuration import build
from tests.unit.data_modules.test_resume import Recorder

SMALL = dict(image_size=(64, 48), face_size=(32, 32), steps_per_epoch=8, views=(1, 2), targets_per_sample=1)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mixed")
    people = {"ann": "train", "bob": "train", "eve": "test"}
    return {
        "videos": write_capture(folder / "videos", rig, people, 1, "wild"),
        "studio": write_capture(folder / "studio", rig, {"cat": "train", "dan": "test"}, 3, "studio"),
    }


def mixture(roots: dict[str, Path], **options) -> MixtureDataModule:
    sources = {
        "videos": InTheWildDataModule(str(roots["videos"]), image_size=(32, 32), test_views=2),
        "studio": StudioDataModule(str(roots["studio"]), test_views=2),
    }
    return MixtureDataModule(sources, **{**SMALL, **options})


def test_samples_come_from_all_sources_in_their_share(roots) -> None:
    module = mixture(roots, weights={"videos": 3.0, "studio": 1.0}, batch_size=4)
    module.setup("fit")
    samples = module.train_dataloader().dataset
    names = Counter(samples.source.schedule.place(number)[0] for number in range(4096))
    assert names == {0: 3072, 1: 1024}
    batches = list(module.train_dataloader())
    people = Counter(subject for batch in batches for subject in batch.subjects)
    assert set(people) == {"ann", "bob", "cat"} and people["cat"] < 16
    for batch in batches:
        assert batch.targets.images_BT3HW.shape == (4, 1, 3, 64, 48)  # the mixture's size, not the source's


def test_sources_share_the_memory_for_cuts(roots) -> None:
    def source() -> InTheWildDataModule:
        return InTheWildDataModule(str(roots["videos"]), frame_cache_mb=48, test_views=2)

    inner = MixtureDataModule({"a": source(), "b": source()}, **SMALL)
    module = MixtureDataModule({"inner": inner, "c": source(), "d": source()}, num_workers=2, **SMALL)
    mixed = module.training_source()
    held = [source.builder.store.cache_bytes for source in (*mixed.sources[0].sources, *mixed.sources[1:])]
    assert held == [7 * 2**19, 7 * 2**19, 7 * 2**20, 7 * 2**20]  # of each of two processes
    for samples in module.evaluation_sets("test").values():
        while not isinstance(samples, EvaluationSamples):
            samples = samples.samples
        held.append(samples.builder.store.cache_bytes)
    assert len(held) == 8 and 2 * sum(held) == 48 * 2**20


def test_a_mixture_passes_the_test_of_data_modules(roots) -> None:
    check_data_module(mixture(roots, batch_size=2))


def test_every_source_is_evaluated_or_the_named_one(roots) -> None:
    module = mixture(roots)
    module.setup("test")
    loaders = module.test_dataloader()
    assert [{batch.subjects[0] for batch in loader} for loader in loaders] == [{"eve"}, {"dan"}]
    named = mixture(roots, evaluate="studio")
    named.setup("test")
    assert {batch.subjects[0] for batch in named.test_dataloader()} == {"dan"}


def test_a_source_without_weight_is_only_evaluated(roots) -> None:
    module = mixture(roots, weights={"videos": 1.0}, batch_size=4)
    module.setup("fit")
    assert {name for batch in module.train_dataloader() for name in batch.subjects} == {"ann", "bob"}
    assert len(module.val_dataloader()) == 2


def test_a_mixture_inside_a_mixture(roots) -> None:
    inner = mixture(roots, image_size=(40, 40))
    outer = MixtureDataModule({"inner": inner}, **{**SMALL, "targets_per_sample": 2, "seed": 3})
    outer.setup("fit")
    batch = next(iter(outer.train_dataloader()))
    assert batch.targets.images_BT3HW.shape == (1, 2, 3, 64, 48)  # the outermost decides
    seeds = {module.hparams["seed"] for module in (outer, inner, *inner.sources.values())}
    assert len(seeds) == 4


def test_a_source_that_cannot_be_read_is_not_passed_over(roots, tmp_path) -> None:
    trained_only = mixture(roots, weights={"videos": 1.0})
    broken = trained_only.sources["studio"]
    broken.hparams["root"] = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere"):
        trained_only.evaluation_sets("test")


def test_from_a_configuration_and_its_checkpoint(roots, tmp_path) -> None:
    sources = {
        name: {"class_path": kind, "init_args": {"root": str(roots[name])}}
        for name, kind in (("videos", "InTheWildDataModule"), ("studio", "StudioDataModule"))
    }
    options = {"sources": sources, "weights": {"videos": 0.5, "studio": 0.5}, **SMALL}
    module = build({"class_path": "MixtureDataModule", "init_args": options})
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=2, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(Recorder(), module)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    stored = torch.load(tmp_path / "run.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert stored["sources"]["videos"]["init_args"]["root"] == str(roots["videos"])
    assert stored["sources"]["studio"]["class_path"].endswith("StudioDataModule")


def test_sources_that_do_not_go_together(roots, tmp_path, rig) -> None:
    leak = {**roots, "studio": write_capture(tmp_path / "leak", rig, {"eve": "train"}, 3, "studio")}
    with pytest.raises(DataError, match="'eve' is trained on in source studio and held out in source videos"):
        mixture(leak).setup("fit")
    mixture(leak, same_people=False).setup("fit")
    assert any("same splits" in text for text in failed_rules(mixture(leak)))
    other = tmp_path / "other"
    write_capture(other, rig, {"zoe": "train"}, 3, "studio")
    header = other / "dataset.json"
    header.write_text(header.read_text().replace('"anny"', '"mhr"'))
    with pytest.raises(ConfigError, match="videos and studio are for different rigs, 'anny' and 'mhr'"):
        mixture({**roots, "studio": other}).setup("fit")


def test_what_one_source_holds_out_is_not_trained_on_by_another_of_the_same_data(roots) -> None:
    root = str(roots["videos"])
    held = InTheWildDataModule(root, test_frame_fraction=0.25)
    both = {"held": held, "all": InTheWildDataModule(root)}
    with pytest.raises(ConfigError, match="held and all read the same data .* give both the same"):
        MixtureDataModule(both, **SMALL).setup("fit")
    MixtureDataModule(both, weights={"held": 1.0}, **SMALL).setup("fit")  # the other one does not train
    same = {**both, "all": InTheWildDataModule(root, test_frame_fraction=0.25)}
    MixtureDataModule(same, **SMALL).setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"studoi": 1.0}}, "unknown source 'studoi'; the sources are videos, studio"),
        ({"weights": {"videos": 0.0}}, "sum to zero"),
        ({"weights": {"videos": -1.0}}, "must not be negative"),
        ({"evaluate": "nothing"}, "evaluate names the unknown source 'nothing'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_impossible_mixtures(roots, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        mixture(roots, **options)
