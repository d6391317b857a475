"""Large-scale Codec Avatars in PyTorch Lightning: photos in, an animatable 3D Gaussian avatar out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from lca_lightning.avatar.create import AvatarCreator, PhotoFormat, PreparedPhotos
    from lca_lightning.model.avatar_model import AvatarModel
    from lca_lightning.rig.rig import Rig

__version__ = "0.1.0"

__all__ = [
    "Avatar",
    "Camera",
    "contact_sheet",
    "load_avatar",
    "load_model",
    "load_motion",
    "load_rig",
    "turntable",
]

_HOMES = {
    "Avatar": "avatar", "Camera": "avatar", "contact_sheet": "avatar", "load_avatar": "avatar",
    "turntable": "avatar", "load_motion": "motion.retarget", "load_rig": "rig",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import lca_lightning`` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lca_lightning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lca_lightning.{_HOMES[name]}"), name)


def load_model(path: str | Path | None = None, device: str | None = None) -> AvatarCreator:
    """Load a trained model that makes avatars: ``load_model().create("my_photos/")``.

    Args:
        path: Checkpoint written by ``lca fit``, or the name of a model that ships with the package; the small
            demonstration model ``tiny`` when None (see MODEL_CARD.md for what it can and cannot do).
        device: ``cpu`` or ``cuda``; CUDA where there is one when None.

    Returns:
        The model with what finds people in photos.

    Raises:
        CheckpointError: Missing, damaged, or of another format; one sentence.
        MissingAssetError: The backbone's weights are not on this machine.
    """
    from lca_lightning.avatar.create import AvatarCreator, model_from_checkpoint, photo_format_of
    from lca_lightning.avatar.devices import pick_device
    from lca_lightning.pretrained_models import DEFAULT, is_shipped
    from lca_lightning.training.checkpoints import read_checkpoint

    path = DEFAULT if path is None else path
    if isinstance(path, str) and is_shipped(path):
        model, photo_format = _shipped(path)
    else:
        checkpoint = read_checkpoint(path)
        model, photo_format = model_from_checkpoint(checkpoint, str(path)), photo_format_of(checkpoint)
    return AvatarCreator(model.to(pick_device(device)), photo_format, _prepare_photos)


def _shipped(name: str) -> tuple[AvatarModel, PhotoFormat]:
    """A model of the package and how it saw photos."""
    from lca_lightning.avatar.create import model_from_checkpoint, photo_format_from
    from lca_lightning.pretrained_models import read_model, stored_backbone

    shipped = read_model(name)
    settings = shipped.checkpoint["lca"]["model"]
    backbone = stored_backbone(
        settings["backbone"], shipped.backbone, settings["backbone_precision"], settings["backbone_chunk"]
    )
    model = model_from_checkpoint(shipped.checkpoint, f"the shipped model {name!r}", backbone)
    return model, photo_format_from(shipped.description["photos"])


def _prepare_photos(images: Sequence[str | Path | np.ndarray], rig: Rig) -> PreparedPhotos:
    """Find the person in photos and fit one body to all of them, with a progress bar."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from lca_lightning.avatar.avatar import Camera, share_rig
    from lca_lightning.avatar.create import PreparedPhotos, ReferencePhoto
    from lca_lightning.motion.clip import Motion
    from lca_lightning.preprocessing.fitted_clip import PHOTOS
    from lca_lightning.preprocessing.photos import fit_photos

    on_cpu = share_rig(rig).cpu()  # the model's own may be on another device
    with tqdm(total=sum(PHOTOS.steps), desc="fitting the body", unit="step", delay=1) as bar:
        fits = fit_photos(images, on_cpu, bar.update)
    rotations = np.stack([fit.rotations_J3 for fit in fits.photos]).astype(np.float32)
    translation = np.stack([fit.translation_3 for fit in fits.photos]).astype(np.float32)
    gaze = np.stack([fit.gaze_8 for fit in fits.photos]).astype(np.float32)
    cameras = []
    for fit in fits.photos:
        height, width = fit.mask_HW.shape
        w2c, K = (torch.from_numpy(part).float() for part in (fit.w2c_44, fit.K_33))
        cameras.append(Camera(w2c, K, width, height))
    return PreparedPhotos(
        tuple(ReferencePhoto(fit.image_HW3, fit.mask_HW, fit.face_box_4) for fit in fits.photos),
        torch.from_numpy(fits.identity_I).float(),
        fits.hidden_joints,
        Motion(rotations, translation, 1.0, gaze_T8=gaze),
        tuple(cameras),
    )
