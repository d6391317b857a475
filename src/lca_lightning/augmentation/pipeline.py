"""All changes of a training batch, in order, as a function of the batch and its place in the run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lca_lightning.augmentation.backdrop import Backdrop, color_behind
from lca_lightning.augmentation.backgrounds import (
    Backgrounds,
    behind_references,
    behind_targets,
    draw_backgrounds,
    paint_backgrounds,
)
from lca_lightning.augmentation.colors import distort_colors, draw_colors
from lca_lightning.augmentation.configuration import AugmentationConfig
from lca_lightning.augmentation.degradation import degrade, draw_degradation
from lca_lightning.augmentation.draws import draw_generators, draw_uniform
from lca_lightning.augmentation.flipping import flip
from lca_lightning.augmentation.picture_bank import PictureBank
from lca_lightning.augmentation.recoloring import draw_recoloring, recolor
from lca_lightning.augmentation.reframing import draw_frames, reframe
from lca_lightning.batch import Batch, References
from lca_lightning.errors import ConfigError
from lca_lightning.rig.mirroring import RigMirror
from lca_lightning.rig.rig import Rig


class Augmentation:
    """Changes whole batches on their device.

    Recolours, flips, cuts anew, distorts colours, exchanges backgrounds, degrades. What is drawn for a sample
    follows from the place and the sample's number alone; draws are made on the CPU, so no device is waited
    for, and precision is float32 also under autocast.

    Args:
        config: What is done, and how often.
        rig: Rig of the batches; its left and right are needed for flips.
    """

    def __init__(self, config: AugmentationConfig, rig: Rig) -> None:
        self.config, self._rig = config, rig
        self._mirror: RigMirror | None = None
        self._bank: PictureBank | None = None
        self._ready = False

    def prepare(self) -> None:
        """Get ready what a run needs, at its start and not for a test: the rig's sides, the backgrounds.

        Raises:
            ConfigError: Flips are asked for and the rig has no mirror image.
            DataError: The folder of backgrounds cannot be used.
        """
        background = self.config.background
        if self.config.flip_probability > 0:
            self._mirror = RigMirror(self._rig)
        if background.probability > 0 and "pictures" in background.kinds:
            self._bank = PictureBank(str(background.pictures), background.keep)
        self._ready = True

    @torch.no_grad()
    def __call__(self, batch: Batch, place: str, first_sample: int = 0) -> Batch:
        """Change a batch.

        Args:
            batch: Samples ``first_sample`` to ``first_sample + B - 1`` of a global batch.
            place: The run's seed, the step and the accumulation part.
            first_sample: ``rank * B``.

        Returns:
            The changed batch; the batch itself where nothing is changed.

        Raises:
            ConfigError: Backgrounds of references are to change, and the data gives no mattes.
        """
        if not self._ready:
            self.prepare()
        samples, given = range(first_sample, first_sample + batch.size), batch
        with torch.autocast(batch.identity_BI.device.type, enabled=False):
            batch = self._recolor(batch, place, samples)
            batch = self._flip(batch, place, samples)
            batch = self._reframe(batch, place, samples)
            batch = self._distort(batch, place, samples)
            batch = self._put_behind(batch, place, samples)
            batch = self._degrade(batch, place, samples)
            return _without_absent(batch, given)

    def _recolor(self, batch: Batch, place: str, samples: range) -> Batch:
        if self.config.recolor_probability == 0 or batch.lighting is not None:
            return batch
        return recolor(batch, draw_recoloring(self.config, draw_generators(place, samples, "recoloring")))

    def _flip(self, batch: Batch, place: str, samples: range) -> Batch:
        if self._mirror is None:
            return batch
        chosen = draw_uniform(place, samples, "flip", 1, 1)[:, 0, 0] < self.config.flip_probability
        if not chosen.any():
            return batch
        return flip(batch, self._mirror, chosen.to(batch.identity_BI.device, non_blocking=True))

    def _reframe(self, batch: Batch, place: str, samples: range) -> Batch:
        config = self.config.reframing
        if config.probability == 0 and config.crop_probability == 0:
            return batch
        views, frames = batch.references.body_BV3HW.shape[1], batch.targets.images_BT3HW.shape[1]
        bodies = draw_frames(config, place, samples, "bodies", views, crops=True)
        faces = draw_frames(config, place, samples, "faces", views, crops=False)
        targets = draw_frames(config, place, samples, "targets", frames, crops=True)
        return reframe(batch, bodies, faces, targets, *_colors_behind(batch.references))

    def _distort(self, batch: Batch, place: str, samples: range) -> Batch:
        config, both = self.config.colors, self.config.colors.where == "both"
        if config.probability == 0 or (both and batch.lighting is not None):
            return batch
        change = draw_colors(config, place, samples, 1 if both else batch.references.body_BV3HW.shape[1])
        return distort_colors(batch, change, *_backdrops(batch.references), both)

    def _put_behind(self, batch: Batch, place: str, samples: range) -> Batch:
        config, device = self.config.background, batch.identity_BI.device
        if config.probability == 0:
            return batch
        if config.where in ("references", "both"):
            drawn = draw_backgrounds(
                config, place, samples, "references", batch.references.body_BV3HW.shape[1]
            )
            if drawn is not None:
                batch = replace(batch, references=self._behind_references(batch, drawn.to(device)))
        if config.where in ("targets", "both"):
            drawn = draw_backgrounds(config, place, samples, "targets", batch.targets.images_BT3HW.shape[1])
            if drawn is not None:
                drawn = drawn.to(device)
                batch = behind_targets(batch, self._paint(drawn, batch.targets.images_BT3HW), drawn.chosen_BN)
        return batch

    def _behind_references(self, batch: Batch, drawn: Backgrounds) -> References:
        references = batch.references
        body, face = _backdrops(references)
        if body is None or face is None:
            raise ConfigError(
                "Backgrounds of references can only be exchanged where the data module gives mattes: fill "
                "References.body_mattes_BV1HW, or set model.augmentation.background.where=targets."
            )
        pictures = (references.body_BV3HW, references.face_BV3hw)
        masks = (references.view_mask_BV, references.view_mask_BV & references.face_mask_BV)
        changed = [
            behind_references(images, backdrop, self._paint(drawn, images), drawn.chosen_BN & present)
            for images, backdrop, present in zip(pictures, (body, face), masks, strict=True)
        ]
        return replace(references, body_BV3HW=changed[0], face_BV3hw=changed[1])

    def _paint(self, drawn: Backgrounds, images: Tensor) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        return paint_backgrounds(drawn, self.config.background.kinds, self._bank, size)

    def _degrade(self, batch: Batch, place: str, samples: range) -> Batch:
        config, device = self.config.degradation, batch.identity_BI.device
        if config.probability == 0:
            return batch
        references, targets = batch.references, batch.targets
        images = {
            "bodies": (references.body_BV3HW, references.body_mattes_BV1HW),
            "faces": (references.face_BV3hw, references.face_mattes_BV1hw),
        }
        if config.where == "both" and batch.lighting is None:
            images["targets"] = (targets.images_BT3HW, None)
        changed = {}
        for kind, (pictures, mattes) in images.items():
            drawn = draw_degradation(config, place, samples, kind, pictures.shape[1])
            changed[kind] = pictures if drawn is None else degrade(pictures, mattes, drawn.to(device), config)
        return replace(
            batch,
            references=replace(references, body_BV3HW=changed["bodies"], face_BV3hw=changed["faces"]),
            targets=replace(targets, images_BT3HW=changed.get("targets", targets.images_BT3HW)),
        )


def _without_absent(batch: Batch, given: Batch) -> Batch:
    """Leave padding views and missing faces as they were given."""
    new, old = batch.references, given.references
    if new is old:
        return batch
    body = new.view_mask_BV[..., None, None, None]
    face = (new.view_mask_BV & new.face_mask_BV)[..., None, None, None]
    references = replace(
        new,
        body_BV3HW=torch.where(body, new.body_BV3HW, old.body_BV3HW),
        face_BV3hw=torch.where(face, new.face_BV3hw, old.face_BV3hw),
    )
    return replace(batch, references=references)


def _colors_behind(references: References) -> tuple[Tensor, Tensor]:
    """Colours behind bodies and faces."""
    return (
        color_behind(references.body_BV3HW, references.body_mattes_BV1HW),
        color_behind(references.face_BV3hw, references.face_mattes_BV1hw),
    )


def _backdrops(references: References) -> tuple[Backdrop | None, Backdrop | None]:
    """Mattes and colours of bodies and faces, None where mattes are unknown."""
    mattes = (references.body_mattes_BV1HW, references.face_mattes_BV1hw)
    colors = _colors_behind(references)
    return tuple(
        None if matte is None else Backdrop(matte, color) for matte, color in zip(mattes, colors, strict=True)
    )  # type: ignore[return-value]
