"""The CUDA path of a frame on simulated tensors: nothing is copied from the host, nothing is waited for.

PyTorch's fake tensors have a device and a shape but no memory, so this needs no GPU; it sees every operation
that would synchronise. What the numbers are is checked on a real device by ``make test-gpu``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lca_lightning.avatar import avatar as avatar_module
from lca_lightning.avatar.avatar import Avatar
from lca_lightning.geometry.constants import device_constant
from lca_lightning.model.attributes import CanonicalGaussians
from lca_lightning.motion.clip import Motion

SYNCHRONISING = ("local_scalar_dense", "nonzero", "lift_fresh", "_to_copy", "masked_select", "unique")


class Synchronisations(TorchDispatchMode):
    """Keeps the names of operations that make the host wait or copy from it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        name = str(function)
        moves = "_to_copy" not in name or options.get("device") is not None
        if moves and any(word in name for word in SYNCHRONISING):
            self.seen.append(name)
        return function(*args, **options)


@pytest.fixture
def fresh_constants() -> Iterator[None]:
    """Constants of the simulated device must not outlive the simulation."""
    device_constant.cache_clear()
    yield
    device_constant.cache_clear()


def on_fake_cuda(mode: FakeTensorMode, value: Any) -> Any:
    """A tensor, module or record on the simulated device."""
    if isinstance(value, Tensor):
        return mode.from_tensor(value).to("cuda")
    if isinstance(value, nn.Module):
        return value._apply(lambda tensor: on_fake_cuda(mode, tensor))
    return type(value)(*(on_fake_cuda(mode, getattr(value, name)) for name in value.__dataclass_fields__))


def simulated(mode: FakeTensorMode, avatar: Avatar) -> Avatar:
    """The avatar on the simulated device."""
    return replace(
        avatar,
        rig=on_fake_cuda(mode, avatar_module.share_rig(avatar.rig)),
        identity_I=on_fake_cuda(mode, avatar.identity_I),
        canonical=CanonicalGaussians(
            *(
                on_fake_cuda(mode, getattr(avatar.canonical, name))
                for name in avatar.canonical.__dataclass_fields__
            )
        ),
        projected_1AD=on_fake_cuda(mode, avatar.projected_1AD),
        pose_decoder=on_fake_cuda(mode, avatar.pose_decoder),
        surface=on_fake_cuda(mode, avatar.surface),
    )


def test_a_frame_on_cuda_neither_waits_nor_copies(
    avatar: Avatar, motion: Motion, monkeypatch: pytest.MonkeyPatch, fresh_constants: None
) -> None:
    monkeypatch.setattr(avatar_module, "choose_renderer", lambda *_: None)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    own = replace(avatar, pose_decoder=copy.deepcopy(avatar.pose_decoder))  # modules are moved in place
    one = motion[0].driving(avatar.rig.expression_size)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        there, driving = simulated(mode, own), on_fake_cuda(mode, one)
        there.animate(driving)  # constants and bones are made at the first frame
        with Synchronisations() as watched:
            posed = there.animate(driving)
    assert posed.gaussians.means_G3.device.type == "cuda"
    assert watched.seen == []
