"""One training step of a model of a packaged size, as the training loop runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.benchmarks.models import random_model
from lca_lightning.benchmarks.scenes import random_batch
from lca_lightning.benchmarks.sizes import Size
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rig.loading import load_rig

VIEWS: dict[Size, int] = {"tiny": 4, "small": 4, "base": 8}
TARGETS: dict[Size, int] = {"tiny": 2, "small": 2, "base": 4}
PERCEPTUAL: dict[Size, float] = {"tiny": 0.0, "small": 1.0, "base": 1.0}  # weight of LPIPS-VGG
BETAS, RATE = (0.9, 0.95), 1e-6


class TrainingStep:
    """Forward, loss, backward and AdamW on one batch, again and again.

    Args:
        model: What is trained.
        losses: The objective.
        batch: On the model's device.
        precision: bfloat16 runs in autocast.
    """

    def __init__(
        self, model: AvatarModel, losses: ReconstructionLoss, batch: Batch, precision: torch.dtype
    ) -> None:
        self.model, self.losses, self.batch, self.precision = model.train(), losses, batch, precision
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.05)
        shape = batch.targets.images_BT3HW.shape[:2]
        self._background_BT3 = torch.full((*shape, 3), 0.5, device=batch.targets.w2c_BT44.device)

    def loss(self) -> Tensor:
        """Loss of the batch at the current weights."""
        device = self._background_BT3.device.type
        with torch.autocast(device, self.precision, enabled=self.precision != torch.float32):
            return self.losses(self.model(self.batch, self._background_BT3), self.batch.targets)["total"]

    def backward(self) -> Tensor:
        """Gradients of a fresh loss; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        return loss

    def __call__(self) -> None:
        """One whole step."""
        self.backward()
        self.optimizer.step()

    def loss_and_gradient_norm(self) -> list[Tensor]:
        """Both at step 0 of the schedules, without an update."""
        self.model.step.zero_()
        loss = self.backward().detach()
        norms = [
            parameter.grad.float().norm()
            for parameter in self.model.parameters()
            if parameter.grad is not None
        ]
        return [loss, torch.stack(norms).norm()]


def make_step(
    size: Size, device: torch.device, views: int, precision: torch.dtype, compiled: bool
) -> TrainingStep:
    """A step of a packaged size on random photos and targets.

    Args:
        size: Of model and pictures.
        device: Where it runs.
        views: Reference views, each with a face.
        precision: float32, or bfloat16 for autocast.
        compiled: Whether the model compiles its parts.

    Raises:
        MissingAssetError: LPIPS has no weights on this machine (small and base).
    """
    return step_of(random_model(size, device, compile=compiled), size, views, precision)


def step_of(model: AvatarModel, size: Size, views: int, precision: torch.dtype) -> TrainingStep:
    """A step of a model that is there already; arguments and errors as for `make_step`."""
    device = model.anchor_fingerprint_A3.device
    losses = ReconstructionLoss(LossConfig(perceptual_weight=PERCEPTUAL[size])).to(device)
    batch = random_batch(load_rig(model.config.rig), size, 1, views, TARGETS[size]).to(device)
    return TrainingStep(model, losses, batch, precision)
