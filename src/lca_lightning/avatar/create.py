"""From photos to an avatar: the same cuts as in training, one pass through encoder and canonical decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch import Tensor

import lca_lightning
from lca_lightning.avatar.avatar import Avatar, Camera, Origin, Surface, share_rig
from lca_lightning.avatar.photo_files import list_photos
from lca_lightning.batch import References
from lca_lightning.datasets.crops import crop_frame, replace_background
from lca_lightning.datasets.format import mask_box
from lca_lightning.datasets.samples import stack_references
from lca_lightning.errors import CheckpointError, ConfigError, DataError
from lca_lightning.model.avatar_model import AvatarModel, build_avatar_model
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig

IdentityChoice = Literal["fit", "neutral"]
IDENTITY_CHOICES: tuple[IdentityChoice, ...] = ("fit", "neutral")


@dataclass(frozen=True)
class ReferencePhoto:
    """One photo with the person found in it.

    Args:
        image_HW3: uint8 sRGB, any size.
        mask_HW: uint8, 255 on the person.
        face_box_4: Left, top, right, bottom of the face in pixels, None or NaN where no face is seen.
    """

    image_HW3: np.ndarray
    mask_HW: np.ndarray
    face_box_4: np.ndarray | None = None


@dataclass(frozen=True)
class PreparedPhotos:
    """What is known of a person after looking at all photos.

    Args:
        photos: The photos in order.
        identity_I: The rig's identity values fitted over all photos; None for the neutral body.
        joints_at_prior: Joints that no photo showed.
        poses: The person's pose in each photo, if known, one frame per photo.
        cameras: The camera of each photo, if known.
    """

    photos: tuple[ReferencePhoto, ...]
    identity_I: Tensor | None = None
    joints_at_prior: tuple[str, ...] = ()
    poses: Motion | None = None
    cameras: tuple[Camera, ...] = ()


@dataclass(frozen=True)
class PhotoFormat:
    """How a model saw photos in training.

    Args:
        image_size: Height and width of body pictures in pixels.
        face_size: Height and width of face close-ups in pixels.
        background: Grey value in [0, 1] behind the person.
    """

    image_size: tuple[int, int]
    face_size: tuple[int, int]
    background: float


Photo = str | Path | np.ndarray
Photos = str | Path | Sequence[Photo]
PhotoPreparer = Callable[[Sequence[Photo], Rig], PreparedPhotos]


class AvatarCreator:
    """A trained model that turns photos into avatars.

    Args:
        model: The trained model, in evaluation mode.
        photo_format: How it saw photos in training.
        prepare: Finds the person, their face and their identity in photos.
    """

    def __init__(self, model: AvatarModel, photo_format: PhotoFormat, prepare: PhotoPreparer) -> None:
        self.model, self.photo_format, self._prepare = model, photo_format, prepare

    def create(self, images: Photos, identity: IdentityChoice = "fit") -> Avatar:
        """Make an avatar from photos of one person.

        Args:
            images: A folder of photos; or files, folders and uint8 sRGB pictures ``(H, W, 3)``, sizes may
                differ.
            identity: ``fit`` one body to all photos, or ``neutral`` for the average one.

        Returns:
            The avatar, on the model's device.

        Raises:
            DataError: No photo, too many, an unreadable one, no person in one, or more than one person.
        """
        return self.create_prepared(self.prepare(images, identity), identity)

    def prepare(self, images: Photos, identity: IdentityChoice = "fit") -> PreparedPhotos:
        """Only find the person, face and body in photos; see `create` for the arguments and errors."""
        if identity not in IDENTITY_CHOICES:
            raise ConfigError(f"identity must be one of {', '.join(IDENTITY_CHOICES)}, got {identity!r}.")
        photos, most = _each_photo(images), self.model.config.max_views
        if len(photos) > most:
            raise DataError(
                f"{len(photos)} photos were given, but this model takes at most {most}; "
                "choose sharp ones from different sides."
            )
        prepared = self._prepare(photos, self.model.rig)
        return prepared if identity == "fit" else replace(prepared, identity_I=None)

    def create_prepared(self, prepared: PreparedPhotos, identity: str = "given") -> Avatar:
        """Make an avatar from photos whose person, face and identity are known already."""
        references = build_references(prepared.photos, self.photo_format)
        origin = Origin(len(prepared.photos), identity, prepared.joints_at_prior, lca_lightning.__version__)
        return create_avatar(self.model, references, prepared.identity_I, origin)


def _each_photo(images: Photos) -> list[Photo]:
    """Folders become their photos; pictures in memory stay where they are in the order."""
    photos: list[Photo] = []
    for image in [images] if isinstance(images, (str, Path)) else images:
        photos += [image] if isinstance(image, np.ndarray) else list_photos([image])
    return photos


def build_references(photos: Sequence[ReferencePhoto], photo_format: PhotoFormat) -> References:
    """Cut person and face out of each photo as training does.

    Args:
        photos: Photos of one person; their sizes may differ.
        photo_format: Sizes and background of training.

    Returns:
        References with ``B = 1``.

    Raises:
        DataError: No photo, or an empty mask.
    """
    if not photos:
        raise DataError("An avatar needs at least one photo.")
    crops = []
    for number, photo in enumerate(photos, 1):
        box = mask_box(photo.mask_HW)
        if not np.isfinite(box).all():
            raise DataError(f"There is no person in photo {number}.")
        sizes = (photo_format.image_size, photo_format.face_size)
        # Intrinsics play no part in references: their place is kept by the identity.
        crops.append(crop_frame(photo.image_HW3, photo.mask_HW, np.eye(3), box, photo.face_box_4, *sizes))
    return stack_references(crops, photo_format.face_size, photo_format.background)


def photo_views(
    prepared: PreparedPhotos, size: tuple[int, int] = (512, 384)
) -> Iterator[tuple[Tensor, Camera | None, Motion | None]]:
    """Photos cut around the person over white, with the camera of the cut and the pose where they are known.

    Args:
        prepared: The photos.
        size: Height and width of the cuts in pixels.

    Yields:
        Picture ``(3, H, W)``, camera and pose.
    """
    for index, photo in enumerate(prepared.photos):
        camera = prepared.cameras[index] if prepared.cameras else None
        K_33 = np.eye(3) if camera is None else camera.K_33.numpy()
        crop = crop_frame(photo.image_HW3, photo.mask_HW, K_33, mask_box(photo.mask_HW), None, size, size)
        picture = replace_background(crop.image_HW3, crop.mask_HW, 1.0)
        if camera is not None:
            camera = Camera(camera.w2c_44, torch.from_numpy(crop.K_33), size[1], size[0])
        yield picture, camera, prepared.poses[index] if prepared.poses is not None else None


@torch.no_grad()
def create_avatar(
    model: AvatarModel, references: References, identity_I: Tensor | None = None, origin: Origin | None = None
) -> Avatar:
    """Run the one-time part of the model: encoder, canonical decoder, token projection.

    Args:
        model: The trained model; it is put in evaluation mode.
        references: Photos of one person, ``B = 1``.
        identity_I: The rig's identity values, ``(I,)``; the neutral body when None.
        origin: Kept with the avatar.

    Returns:
        The avatar on the model's device; training or moving the model afterwards does not change it.

    Raises:
        DataError: References of several people.
    """
    model.eval()
    if len(references.view_mask_BV) != 1:
        raise DataError(f"create_avatar takes photos of one person, got {len(references.view_mask_BV)}.")
    device = model.anchor_fingerprint_A3.device
    identity = model.rig.neutral_identity() if identity_I is None else identity_I
    identity_1I = identity.to(device, torch.float32)[None]
    tokens = model.encode(references.to(device))
    canonical = model.canonical(tokens, identity_1I)
    anchors = model.anchors
    return Avatar(
        config=model.config,
        rig=share_rig(model.rig),
        identity_I=identity_1I[0].clone(),
        joints_J3=model.rig.canonical_joints(identity_1I)[0],
        canonical=canonical,
        projected_1AD=model.project_tokens(tokens).float(),
        pose_decoder=copy.deepcopy(model.pose_decoder).eval().requires_grad_(False),
        limits=model.limits,
        surface=Surface(anchors.weights_GJ, anchors.triangle_G, anchors.barycentric_G3, anchors.regions_G),
        origin=origin or Origin(package=lca_lightning.__version__),
        renderer=model.config.renderer,  # type: ignore[arg-type]
    )


def model_from_checkpoint(
    checkpoint: Mapping[str, Any], path: str, backbone: Backbone | None = None
) -> AvatarModel:
    """Rebuild the model a checkpoint describes and fill in its weights.

    Args:
        checkpoint: A checkpoint's content, with the block ``lca``.
        path: For messages.
        backbone: The image encoder where it is at hand, else the one the checkpoint names.

    Returns:
        The model in evaluation mode on the CPU.

    Raises:
        CheckpointError: A configuration value is unknown here or weights do not fit.
        MissingAssetError: The backbone's weights are not on this machine.
    """
    settings = dict(checkpoint["lca"]["model"])
    unknown = set(settings) - {entry.name for entry in fields(AvatarModelConfig)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise CheckpointError(
            f"{path} has model settings this release does not know ({names}); update lca-lightning."
        )
    config = AvatarModelConfig(**settings)
    if backbone is None:
        model = build_avatar_model(config)
    else:
        model = AvatarModel(config, load_rig(config.rig, config.rig_asset), backbone)
    prefix = "model."
    state = {n.removeprefix(prefix): t for n, t in checkpoint["state_dict"].items() if n.startswith(prefix)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"The weights in {path} do not fit their own configuration ({first})."
        ) from error
    return model.eval().requires_grad_(False)


def photo_format_of(checkpoint: Mapping[str, Any]) -> PhotoFormat:
    """How the model of a checkpoint saw photos: from the data module's settings stored with it.

    Args:
        checkpoint: A checkpoint's content.

    Returns:
        Sizes and background; the data modules' defaults where the checkpoint says nothing.
    """
    options: dict[str, Any] = {}
    config = yaml.safe_load(checkpoint.get("lca", {}).get("config") or "") or {}
    if isinstance(config.get("data"), dict):
        options |= config["data"].get("init_args") or {}
    options |= checkpoint.get("datamodule_hyper_parameters") or {}
    return photo_format_from(options)


def photo_format_from(options: Mapping[str, Any]) -> PhotoFormat:
    """Sizes and background out of named options; the data modules' defaults where one is missing.

    Args:
        options: May hold ``image_size``, ``face_size`` and ``background``.
    """
    return PhotoFormat(
        _size(options.get("image_size", (256, 192))),
        _size(options.get("face_size", (128, 128))),
        float(options.get("background", 1.0)),
    )


def _size(value: Sequence[int]) -> tuple[int, int]:
    return int(value[0]), int(value[1])
