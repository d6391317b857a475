"""The avatar file: one safetensors file with a JSON header, no pickles (see ``docs/avatar_format.md``)."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lca_lightning.avatar.avatar import Avatar, Origin, Surface, attach_rig
from lca_lightning.errors import CheckpointError, LCAError
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import build_pose_decoder
from lca_lightning.rendering.renderer import RendererName
from lca_lightning.writing import write_atomically

FORMAT, VERSION = "lca-avatar", 1
_CANONICAL = {
    "base": "base_BG3", "offsets": "offsets_BG3", "log_scales": "log_scales_BG3",
    "quaternions": "quaternions_BG4", "opacities": "opacities_BG", "color_logits": "color_logits_BG3",
}  # fmt: skip


def save_avatar(avatar: Avatar, path: str | Path) -> None:
    """Write an avatar under a temporary name, then rename it.

    Args:
        avatar: What to write; everything needed to animate it is stored.
        path: The file, usually ``*.lca``.

    Raises:
        DataError: The folder cannot be written or the disk is full; nothing is left behind.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(avatar).items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "rig": avatar.rig.name,
        "model": asdict(avatar.config),
        "scale_limits": list(avatar.limits),
        "origin": asdict(avatar.origin),
        "checksum": _checksum(tensors),
    }
    metadata = {"lca": json.dumps(header)}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata)))


def load_avatar(
    path: str | Path, device: torch.device | str = "cpu", renderer: RendererName = "auto"
) -> Avatar:
    """Read an avatar file.

    Args:
        path: File written by `save_avatar`.
        device: Where its tensors go.
        renderer: Renderer by name.

    Returns:
        The avatar, bit for bit what was written.

    Raises:
        CheckpointError: Missing, damaged, or of another format, version or rig; one sentence.
    """
    path = Path(path)
    header, tensors = _read(path)
    try:
        avatar = _assemble(header, tensors, renderer)
    except LCAError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason}); create the avatar again.") from error
    return avatar.to(device)


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of an avatar file, checked for format and version.

    Raises:
        CheckpointError: Missing, damaged, or of another format or version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no avatar file {path}; `lca create` makes one from photos.")
    try:
        with safe_open(path, framework="pt") as archive:
            header = json.loads((archive.metadata() or {}).get("lca", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not an avatar file, or is damaged; create the avatar again."
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not an avatar file; give one that `lca create` wrote.")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has avatar version {header.get('version')}, this lca-lightning reads version {VERSION}; "
            "use the release that wrote it."
        )
    return header


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as archive:
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); create the avatar again.") from error
    if header.get("checksum") != _checksum(tensors):
        raise CheckpointError(f"{path} is damaged (its checksum differs); copy it again or create it again.")
    return header, tensors


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of all values in the order of their names."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), value)
    return value


def _tensors(avatar: Avatar) -> dict[str, Tensor]:
    index_GN, weight_GN = _compress_weights(avatar.surface.weights_GJ)
    tensors = {
        "identity": avatar.identity_I,
        "joints": avatar.joints_J3,
        "projected_tokens": avatar.projected_1AD[0],
        "skinning.index": index_GN,
        "skinning.weight": weight_GN,
        "surface.triangle": avatar.surface.triangle_G.to(torch.int32),
        "surface.barycentric": avatar.surface.barycentric_G3,
        "surface.region": avatar.surface.regions_G.to(torch.uint8),
    }
    tensors |= {
        f"canonical.{name}": getattr(avatar.canonical, attribute)[0] for name, attribute in _CANONICAL.items()
    }
    tensors |= {f"pose_decoder.{name}": tensor for name, tensor in avatar.pose_decoder.state_dict().items()}
    return tensors


def _assemble(header: Mapping[str, Any], tensors: Mapping[str, Tensor], renderer: RendererName) -> Avatar:
    known = {entry.name for entry in fields(AvatarModelConfig)}
    config = AvatarModelConfig(**{name: value for name, value in header["model"].items() if name in known})
    rig = attach_rig(header["rig"], tensors["identity"], tensors["joints"], config.rig_asset)
    prefix = "pose_decoder."
    state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    # a single-branch decoder finds its starting sizes among its weights
    decoder = build_pose_decoder(config, rig.signal_size, torch.zeros(config.gaussians))
    decoder.load_state_dict(state)
    canonical = {attribute: tensors[f"canonical.{name}"][None] for name, attribute in _CANONICAL.items()}
    count = config.gaussians
    if any(tensor.shape[1] != count for tensor in canonical.values()):
        raise ValueError(f"it does not hold {count} Gaussians")
    minimum, maximum = header["scale_limits"]
    weights = _expand_weights(tensors["skinning.index"], tensors["skinning.weight"], len(rig.joint_names))
    return Avatar(
        config=config,
        rig=rig,
        identity_I=tensors["identity"],
        joints_J3=tensors["joints"],
        canonical=CanonicalGaussians(**canonical),
        projected_1AD=tensors["projected_tokens"][None],
        pose_decoder=decoder.eval().requires_grad_(False),
        limits=ScaleLimits(float(minimum), float(maximum)),
        surface=Surface(
            weights,
            tensors["surface.triangle"].long(),
            tensors["surface.barycentric"],
            tensors["surface.region"].long(),
        ),
        origin=Origin(**{**header["origin"], "joints_at_prior": tuple(header["origin"]["joints_at_prior"])}),
        renderer=renderer,
    )


def _compress_weights(weights_GJ: Tensor) -> tuple[Tensor, Tensor]:
    """The non-zero skinning weights of each Gaussian, padded with zeros: joints and values, ``(G, N)``."""
    most = max(1, int((weights_GJ != 0).sum(1).max()))
    values, joints = weights_GJ.abs().topk(min(most, weights_GJ.shape[1]), dim=1)
    return joints.to(torch.int16), weights_GJ.gather(1, joints) * (values > 0)


def _expand_weights(index_GN: Tensor, weight_GN: Tensor, joints: int) -> Tensor:
    if not math.isfinite(float(weight_GN.sum())) or int(index_GN.max()) >= joints or int(index_GN.min()) < 0:
        raise ValueError("a skinning weight names no joint of the rig")
    return weight_GN.new_zeros(len(index_GN), joints).scatter_(1, index_GN.long(), weight_GN)
