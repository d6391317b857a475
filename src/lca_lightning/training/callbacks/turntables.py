"""A short turn around one held-out person's avatar after every validation: the eye sees what scores hide."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import to_uint8
from lca_lightning.datasets.video_writer import VideoWriter
from lca_lightning.errors import LCAError
from lca_lightning.geometry.rotations import rotation_vector_to_matrix
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.training.callbacks.logged_pictures import log_picture, log_video

_COLUMNS = 4


class Turntables(pl.Callback):
    """Writes ``turntables/STEP.mp4`` and logs a sheet of its views as ``validation/turntable``.

    Shown is the first person of the validation, the same one every time, in the pose of its first target and
    from that target's camera, which then circles around. The weights are those that validation measures.
    Training does not notice: nothing is drawn at random, and the generators are put back all the same. A
    picture that cannot be made is reported, and the run goes on.

    Args:
        every_n_validations: Validations between two turntables, 0 for none.
        views: Pictures of a full turn.
        fps: Pictures per second of the video.
    """

    def __init__(self, every_n_validations: int = 1, views: int = 16, fps: float = 8.0) -> None:
        self.every_n_validations, self.views, self.fps = every_n_validations, views, fps
        self._validations = 0

    def state_dict(self) -> dict[str, int]:
        """Validations so far, so that a resumed run keeps the rhythm."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the first person of the validation."""
        if batch_idx or dataloader_idx or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validations += 1
        if not self.every_n_validations or self._validations % self.every_n_validations:
            return
        if trainer.is_global_zero and self.views > 0:
            try:
                with isolate_rng(), trainer.precision_plugin.forward_context():
                    images_N3HW = turn_around(pl_module.model, batch, self.views)  # type: ignore[arg-type]
                self._show(trainer, images_N3HW)
            except (LCAError, torch.OutOfMemoryError) as error:
                pl_module.print(f"No turntable at step {trainer.global_step}: {error}")

    def _show(self, trainer: pl.Trainer, images_N3HW: Tensor) -> None:
        step = trainer.global_step
        path = Path(trainer.default_root_dir) / "turntables" / f"{step:07d}.mp4"
        height, width = images_N3HW.shape[-2:]
        with VideoWriter(path, self.fps, width, height) as video:
            for image_3HW in images_N3HW:
                video.add(to_uint8(image_3HW))
        log_picture(trainer.loggers, "validation/turntable", contact_sheet(images_N3HW), step)
        log_video(trainer.loggers, "validation/turn", path, step)


@torch.no_grad()
def turn_around(model: AvatarModel, batch: Batch, views: int) -> Tensor:
    """Render the first subject of a batch from all sides.

    Args:
        model: In evaluation mode.
        batch: Whose first subject and first target frame are shown.
        views: Number of cameras ``N`` on the circle; the first is the target's own.

    Returns:
        Float sRGB over white, ``(N, 3, H, W)``, on the batch's device.
    """
    tokens = model.encode(batch.references)
    canonical = model.canonical(tokens, batch.identity_BI)
    animated = model.animated(canonical, model.project_tokens(tokens), batch.driving)
    cloud = model.pose(animated, batch.identity_BI, batch.driving)[0][0]
    center_3 = batch.driving.translation_BT3[0, 0]
    w2c_N44 = circle_around(batch.targets.w2c_BT44[0, 0], center_3, views)
    height, width = batch.targets.images_BT3HW.shape[-2:]
    K_N33 = batch.targets.K_BT33[0, 0].expand(views, 3, 3)
    white_N3 = torch.ones_like(w2c_N44[:, 0, :3])
    with torch.autocast(w2c_N44.device.type, enabled=False):
        return model.renderer(w2c_N44.device)(cloud, w2c_N44, K_N33, width, height, white_N3).color_TCHW


def circle_around(w2c_44: Tensor, center_3: Tensor, count: int) -> Tensor:
    """Turn a camera around a vertical axis, counter-clockwise seen from above, in even steps.

    Args:
        w2c_44: World to camera, metres, ``(4, 4)``; the first of the cameras.
        center_3: Point of the axis, metres.
        count: Number of cameras ``N`` on the full circle.

    Returns:
        World to camera, ``(N, 4, 4)``.
    """
    angle_N = torch.arange(count).to(w2c_44) * (2 * torch.pi / count)
    axis_N3 = torch.stack([torch.zeros_like(angle_N), -angle_N, torch.zeros_like(angle_N)], dim=-1)
    rotation_N33 = rotation_vector_to_matrix(axis_N3)  # the world turns against the camera
    turn_N44 = torch.eye(4).to(w2c_44).repeat(count, 1, 1)
    turn_N44[:, :3, :3] = rotation_N33
    turn_N44[:, :3, 3] = center_3 - rotation_N33 @ center_3
    return w2c_44 @ turn_N44


def contact_sheet(images_N3HW: Tensor, tiles: int = 8) -> Tensor:
    """Lay out up to ``tiles`` of the views in rows of four.

    Args:
        images_N3HW: The views.
        tiles: Views at most, evenly spread over the turn.

    Returns:
        Float sRGB, ``(3, rows H, 4 W)`` on the CPU, white where there is no view.
    """
    count = len(images_N3HW)
    chosen = images_N3HW[[index * count // min(tiles, count) for index in range(min(tiles, count))]]
    chosen = chosen.float().cpu().clamp(0.0, 1.0)
    missing = -len(chosen) % min(_COLUMNS, len(chosen))
    padded = torch.cat([chosen, torch.ones(missing, *chosen.shape[1:])])
    rows = padded.split(min(_COLUMNS, len(chosen)))
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
