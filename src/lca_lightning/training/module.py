"""The LightningModule: wires model, losses, metrics and optimiser together; no maths of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import write_png
from lca_lightning.errors import CheckpointError, ConfigError, NonFiniteError
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.model.avatar_model import AvatarOutput, build_avatar_model
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.training.checkpoints import (
    BLOCK,
    check_block,
    check_fresh,
    check_shapes,
    initialise,
    make_block,
)
from lca_lightning.training.draws import StepDraws, draw_step, seed_of, step_place
from lca_lightning.training.evaluation import Evaluation, item_places, scored_frames, take_pictures
from lca_lightning.training.flops import StepFlopCounter, step_shape
from lca_lightning.training.gradients import gradient_norms
from lca_lightning.training.guard import Attempt, NonFiniteGuard
from lca_lightning.training.optim import (
    OptimizerConfig,
    build_optimizer,
    freeze_by_gamma,
    keep_configured_rates,
    parameter_groups,
)
from lca_lightning.training.pictures import Rendered


class LCALightningModule(pl.LightningModule):
    """Trains, tests and renders an avatar model.

    Args:
        avatar: Sizes of the model, its rig, backbone and renderer.
        losses: Weights of the loss terms.
        optimizer: Learning rate, its schedule and layer-wise decay.
        augmentation: What is changed in training batches.
        init_from: Checkpoint whose weights the model starts from; step, optimiser and configuration are not
            taken (`--ckpt_path` does that).
        fresh: Parts of the model that start anew all the same, e.g. decoders that a later stage replaces.

    Raises:
        ConfigError: ``fresh`` names no part of the model.
    """

    def __init__(
        self,
        avatar: AvatarModelConfig,
        losses: LossConfig,
        optimizer: OptimizerConfig,
        augmentation: AugmentationConfig,
        init_from: str | None = None,
        fresh: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.avatar, self.optimizer_config, self.init_from = avatar, optimizer, init_from
        self.run_config = ""
        self.model = build_avatar_model(avatar)
        self.fresh = tuple(fresh or ())
        check_fresh(self.model, self.fresh)
        self.augmentation = Augmentation(augmentation, self.model.rig)
        self.losses = ReconstructionLoss(losses)
        self.validation_scores = MaskedProtocol(lpips=False)
        self.evaluation = Evaluation()
        self.rendered: tuple[Batch, Rendered] | None = None  # the last batch, as it was learned from
        self.guard = NonFiniteGuard(optimizer.nonfinite_patience)
        self.flops = StepFlopCounter(eager=avatar.compile)
        freeze_by_gamma(self.model, optimizer.layer_decay)

    def setup(self, stage: str) -> None:
        """Start from another run's weights unless a checkpoint will be restored; load what a stage needs."""
        if stage == "fit":
            self.augmentation.prepare()
        if self.init_from and not self.trainer.ckpt_path:
            report = initialise(self.model, self.init_from, self.avatar.rig, fresh=self.fresh)
            self.print(f"Initialised from {self.init_from}: {report}.")

    def configure_optimizers(self) -> Any:
        """AdamW with the schedule stepped after every optimiser step."""
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):  # a run until somebody or trainer.max_time ends it
            if self.optimizer_config.total_steps is None:
                raise ConfigError(
                    "A run without trainer.max_steps or trainer.max_epochs needs model.optimizer.total_steps,"
                    " the length of its schedule."
                )
            steps = self.optimizer_config.total_steps
        optimizer, schedule = build_optimizer(
            self.model, self.avatar.layers, self.optimizer_config, int(steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Say how large the model is."""
        counts = self.model.parameter_counts()
        text = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
        self.print(f"Parameters: {text}; {self.avatar.gaussians} Gaussians; run {self._directory()}.")
        if self.losses.perceptual is not None:
            self.print(f"Perceptual loss: {self.losses.perceptual.net} ({self.losses.perceptual.source}).")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the global generator too: nothing of ours draws from it, but other people's code may."""
        torch.manual_seed(seed_of(f"{self._place(batch_idx)}/process {self.global_rank}"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Render the batch's targets and return the total loss."""
        place, first = self._place(batch_idx), self.global_rank * batch.size
        frames = batch.targets.w2c_BT44.shape[1]
        draws = draw_step(place, first, batch.size, frames, self.avatar.identity_dropout)
        batch = self.augmentation(batch, place, first)
        self.flops.look_up(step_shape(batch), lambda: self._losses(batch, draws)[1]["total"], self.model)
        try:
            output, terms = self._losses(batch, draws)
        except NonFiniteError as error:
            self.flops.current = None
            failure = str(error).split(";")[0].rstrip(".")
            loss = self.guard.give_up(Attempt(batch, draws, {}, failure=failure), self.model.parameters())
            self._log_terms({"total": loss.detach()}, batch.size)
            return loss
        detached = {name: value.detach() for name, value in terms.items()}
        self.rendered = batch, Rendered.of(output)
        self._log_terms(detached, batch.size)
        return self.guard.watch(Attempt(batch, draws, detached, self.rendered[1]), terms["total"])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradients before they are clipped; drop them if they are not finite."""
        norms = gradient_norms(self.model)
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        folder = self._directory() / "nonfinite"
        warning = self.guard.check(norms, self.model, self.global_step, folder)
        if warning:
            self.print(warning)
        if every and (self.global_step + 1) % every == 0:
            logged = {f"train/gradient_norm/{name}": norm for name, norm in norms.items()}
            self.log_dict({**logged, "train/skipped_steps": float(self.guard.skipped)}, batch_size=1)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure the batch."""
        self._measure(self.validation_scores, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores over the whole validation set."""
        self.log_dict({f"val/{name}": value for name, value in _means(self.validation_scores).items()})

    def on_test_epoch_start(self) -> None:
        """Learn the names of the test sets."""
        loaders = self._test_loaders()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        names = getattr(data, "evaluation_names", None) or [f"set {n + 1}" for n in range(len(loaders))]
        self.evaluation.begin(names, [loader.dataset for loader in loaders])
        batches = self.trainer.num_test_batches
        self.evaluation.note_limits(names, batches, [len(loader) for loader in loaders])

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the batch."""
        places = item_places(self._test_loaders()[dataloader_idx], dataloader_idx, batch_idx, batch.size)
        self.evaluation.add(self.model, batch, self.model(batch, render_canonical=False), places)

    def on_test_epoch_end(self) -> None:
        """Log the means; after the last pass write metrics.json, metrics.csv, metrics.md and report.html."""
        wanted = self.evaluation.end_pass()
        self.log_dict({f"test/{name}": value for name, value in self.evaluation.means().items()})
        if not self.trainer.is_global_zero:
            return
        with self.trainer.precision_plugin.forward_context():
            take_pictures(self.model, [loader.dataset for loader in self._test_loaders()], wanted)
        if self.evaluation.complete:
            folder = self._directory() / "test"
            self.evaluation.write(folder, str(self.trainer.ckpt_path or ""), self.model)

    def _test_loaders(self) -> list[Any]:
        loaders = self.trainer.test_dataloaders
        return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Write each animated frame as PNG, over white."""
        images_BT3HW = self.model(batch).animated.images_BT3HW
        for names, images_T3HW in zip(batch.frames, images_BT3HW, strict=True):
            for name, image_3HW in zip(names, images_T3HW, strict=True):
                write_png(image_3HW, self._directory() / "predictions" / f"{name}.png")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the model and the run in the checkpoint."""
        checkpoint[BLOCK] = make_block(
            rig=self.avatar.rig,
            anchors=self.avatar.anchors,
            backbone=self.avatar.backbone,
            model=self.avatar,
            config=self.run_config,
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another format, rig or size before anything is copied."""
        path = str(self.trainer.ckpt_path)
        self.evaluation.step = int(checkpoint.get("global_step", 0))
        check_block(checkpoint.get(BLOCK), path, rig=self.avatar.rig, anchors=self.avatar.anchors)
        check_shapes(self.state_dict(), checkpoint["state_dict"], path)
        if self.trainer.state.fn == TrainerFn.FITTING:
            if not checkpoint.get("optimizer_states"):
                raise CheckpointError(
                    f"{path} holds weights only, so that no run can continue from it; start a new one by"
                    " --model.init_from."
                )
            groups = parameter_groups(self.model, self.avatar.layers, self.optimizer_config)
            keep_configured_rates(checkpoint, groups, self.optimizer_config.betas, path)

    def _measure(self, scores: MaskedProtocol, batch: Batch) -> None:
        output = self.model(batch)
        self.rendered = batch, Rendered.of(output)
        scores.update(scored_frames(batch, output))

    def _place(self, batch_idx: int) -> str:
        return step_place(self.global_step, batch_idx % self.trainer.accumulate_grad_batches)

    def _losses(self, batch: Batch, draws: StepDraws) -> tuple[AvatarOutput, dict[str, Tensor]]:
        background_BT3 = draws.background_BT3.to(batch.targets.images_BT3HW)
        on_template_B = draws.on_template_B.to(self.device)
        wanted = self.losses.config.canonical_weight > 0
        output = self.model(batch, background_BT3, on_template_B, render_canonical=wanted)
        return output, self.losses(output, batch.targets)

    def _log_terms(self, terms: dict[str, Tensor], batch_size: int) -> None:
        named = {f"train/{name}": value for name, value in terms.items() if name != "total"}
        rate = self.trainer.optimizers[0].param_groups[-1]["lr"]
        self.log_dict(
            {**named, "train/loss": terms["total"], "train/learning_rate": rate}, batch_size=batch_size
        )

    def _directory(self) -> Path:
        return Path(self.trainer.default_root_dir)


def _means(scores: MaskedProtocol) -> dict[str, float]:
    """Mean scores over all processes; the metric starts afresh."""
    means = {name: float(value) for name, value in scores.compute().items()}  # the same on all processes
    scores.reset()
    return means
