"""The average holds a second set of trained weights and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from lca_lightning.augmentation import AugmentationConfig
from lca_lightning.losses.reconstruction import LossConfig
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.training.callbacks.averaging import AveragedWeights
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig
from tests.unit.training import tiny_module

SIZES = {"width": 16, "heads": 2, "layers": 1, "anchors": 64, "gaussians_per_anchor": 1, "decoder_hidden": 8}


def networks(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The two frozen networks of a run."""
    assert isinstance(module, LCALightningModule) and module.losses.perceptual is not None
    return module.model.backbone.network, module.losses.perceptual.network


def test_frozen_networks_are_shared_not_copied() -> None:
    module = LCALightningModule(
        AvatarModelConfig(backbone="random-tiny", **SIZES),
        LossConfig(perceptual_net="alex"),
        OptimizerConfig(),
        AugmentationConfig(),
    )
    averaging = AveragedWeights()
    averaging.setup(SimpleNamespace(), module, "fit")  # type: ignore[arg-type]
    averaged = averaging._average_model
    assert averaged is not None
    for ours, theirs in zip(networks(module), networks(averaged.module), strict=True):
        assert ours is theirs
    trained = sum(parameter.numel() for parameter in module.parameters())
    assert sum(parameter.numel() for parameter in averaged.parameters()) == trained
    assert not {id(p) for p in averaged.parameters()} & {id(p) for p in module.parameters()}


def test_young_averages_are_short_and_old_ones_as_asked() -> None:
    """A constant 1 after a start at 0: what is left of the start is the product of the decays."""
    averaging = AveragedWeights(decay=0.5)
    mean, left = torch.zeros(1), 1.0
    for count in range(1, 20):
        averaging._average([mean], [torch.ones(1)], count)
        left *= min(0.5, (1 + count) / (10 + count))
        assert torch.allclose(mean, torch.tensor([1 - left]), atol=1e-6)


def test_without_a_decay_it_is_the_mean_of_all_steps() -> None:
    averaging = AveragedWeights(decay=None)
    values = torch.linspace(-1, 3, 9).square()
    mean = values[:1].clone()  # the first update copies
    for count, value in enumerate(values[1:], start=1):
        averaging._average([mean], [value[None]], count)
        assert torch.allclose(mean, values[: count + 1].mean(), atol=1e-6)


def test_the_average_follows_the_weights_to_their_device_unless_told_otherwise() -> None:
    for device, expected in ((None, "meta"), ("cpu", "cpu")):
        module = tiny_module.module()
        averaging = AveragedWeights(device=device)
        averaging.setup(SimpleNamespace(), module, "fit")  # type: ignore[arg-type]
        if device is None:
            module.to("meta")  # Lightning moves the model after setup; this device needs no hardware
        averaging.on_fit_start(SimpleNamespace(), module)  # type: ignore[arg-type]
        assert averaging._average_model is not None
        assert {weight.device.type for weight in averaging._average_model.parameters()} == {expected}
