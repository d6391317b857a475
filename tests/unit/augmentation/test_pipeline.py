"""The pipeline is a function of batch and place, whatever the processes, the precision or the padding."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.augmentation.configuration import BackgroundConfig
from lca_lightning.batch import Batch
from lca_lightning.errors import DataError
from lca_lightning.rig.anny import AnnyRig
from tests.unit.augmentation.scenes import EVERYTHING, make_batch
from tests.unit.augmentation.test_flipping import tensors

CLOSE = dict(rtol=0.0, atol=2e-5)


@pytest.fixture(scope="module")
def augmentation(rig: AnnyRig) -> Augmentation:
    return Augmentation(EVERYTHING, rig)


def assert_equal(one: Batch, other: Batch) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], **CLOSE, msg=name)


def test_processes_and_batch_sizes_change_nothing(rig: AnnyRig, augmentation: Augmentation) -> None:
    parts = [make_batch(rig, seed=seed) for seed in range(4)]
    whole = augmentation(Batch.collate(parts), "0/5/0", 0)
    pairs = [augmentation(Batch.collate(parts[at : at + 2]), "0/5/0", at) for at in (0, 2)]
    single = [augmentation(part, "0/5/0", sample) for sample, part in enumerate(parts)]
    assert_equal(whole, Batch.collate(pairs))
    assert_equal(whole, Batch.collate(single))


def test_padding_views_change_nothing_and_stay_empty(rig: AnnyRig, augmentation: Augmentation) -> None:
    batch = make_batch(rig, subjects=2)
    padded = replace(batch, references=batch.references.pad_views(5))
    for step in range(3):
        plain, wide = (augmentation(one, f"0/{step}/0") for one in (batch, padded))
        torch.testing.assert_close(wide.references.body_BV3HW[:, :2], plain.references.body_BV3HW, **CLOSE)
        assert not wide.references.body_BV3HW[:, 2:].any() and not wide.references.face_BV3hw[:, 2:].any()
        torch.testing.assert_close(wide.targets.images_BT3HW, plain.targets.images_BT3HW, **CLOSE)


@pytest.mark.parametrize("place", ["1/5/0", "0/6/0", "0/5/1"])
def test_seed_step_part_and_sample_each_matter(place: str, rig: AnnyRig, augmentation: Augmentation) -> None:
    batch = make_batch(rig)
    first = augmentation(batch, "0/5/0").references.body_BV3HW
    assert (augmentation(batch, place).references.body_BV3HW - first).abs().max() > 0.05
    assert (augmentation(batch, "0/5/0", 1).references.body_BV3HW - first).abs().max() > 0.05


def test_the_global_generator_plays_no_part_and_input_is_left_alone(
    rig: AnnyRig, augmentation: Augmentation
) -> None:
    batch, copy = make_batch(rig, lit=True), make_batch(rig, lit=True)
    torch.manual_seed(0)
    first = augmentation(batch, "0/5/0")
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)
    assert_equal(augmentation(batch, "0/5/0"), first)
    assert_equal(batch, copy)


def test_autocast_does_not_touch_cameras_or_colours(rig: AnnyRig, augmentation: Augmentation) -> None:
    batch = make_batch(rig)
    plain = augmentation(batch, "0/5/0")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = augmentation(batch, "0/5/0")
    assert_equal(mixed, plain)


def test_values_stay_in_range_and_finite_over_many_steps(rig: AnnyRig, augmentation: Augmentation) -> None:
    plain, lit = make_batch(rig, subjects=2), make_batch(rig, subjects=2, lit=True)
    changed = 0
    for step in range(12):
        for batch in (plain, lit):
            new = augmentation(batch, f"0/{step}/0")
            assert all(torch.isfinite(tensor).all() for tensor in tensors(new).values())
            for images in (new.references.body_BV3HW, new.references.face_BV3hw, new.targets.images_BT3HW):
                assert images.min() >= -1e-5 and images.max() <= 1 + 1e-5
            changed += int((new.targets.K_BT33 != batch.targets.K_BT33).any())
    assert changed > 12


def test_a_test_on_another_machine_needs_no_backgrounds(rig: AnnyRig) -> None:
    background = BackgroundConfig(probability=1.0, kinds=("pictures",), pictures="nowhere/to/be/found")
    elsewhere = Augmentation(AugmentationConfig(background=background), rig)
    for use in (elsewhere.prepare, lambda: elsewhere(make_batch(rig), "0/0/0")):
        with pytest.raises(DataError, match="There is no folder nowhere/to/be/found"):
            use()


def test_nothing_configured_returns_the_batch_itself(rig: AnnyRig) -> None:
    batch = make_batch(rig)
    assert Augmentation(AugmentationConfig(), rig)(batch, "0/0/0") is batch


def test_no_value_of_the_device_is_read(
    rig: AnnyRig, augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors on this device have no values, so whatever would wait for a device fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know the device
    batch = make_batch(rig, subjects=2, lit=True)
    with pytest.raises(RuntimeError, match="meta"):
        bool((batch.to("meta").identity_BI > 0).any())
    new = augmentation(batch.to("meta"), "0/5/0")
    assert new.references.body_BV3HW.device.type == "meta"
    assert new.references.body_BV3HW.shape == batch.references.body_BV3HW.shape
