"""Augmentation on CUDA: the numbers of the CPU, and nothing that makes the host wait."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.augmentation import Augmentation
from lca_lightning.rig.anny import AnnyRig
from tests.unit.augmentation.scenes import EVERYTHING, make_batch
from tests.unit.augmentation.test_flipping import tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


@pytest.mark.parametrize("lit", [False, True])
def test_cuda_gives_what_the_cpu_gives_without_waiting(rig: AnnyRig, lit: bool) -> None:
    augmentation, batch = Augmentation(EVERYTHING, rig), make_batch(rig, subjects=3, lit=lit)
    there = batch.to("cuda")
    for step in range(20):  # constants are made at their first use
        augmentation(there, f"0/{step}/0")
    torch.cuda.set_sync_debug_mode("error")
    try:
        changed = [augmentation(there, f"0/{step}/0") for step in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for step, other in enumerate(changed):
        expected = tensors(augmentation(batch, f"0/{step}/0"))
        for name, tensor in tensors(other).items():
            # pictures may be multiplied in TF32 and rounded to another step of the compression; cameras never
            error = (tensor.cpu().float() - expected[name].float()).abs()
            exact = not any(word in name for word in ("images", "body", "face", "albedo", "normals"))
            assert error.max() < 1e-4 if exact else error.mean() < 2e-3, (step, name)
