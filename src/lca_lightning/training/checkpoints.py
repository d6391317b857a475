"""The versioned ``lca`` block of checkpoints, safe reading, and weights-only initialisation.

A checkpoint is Lightning's own file plus the entry ``lca``: format name and version, package version, rig
name, anchor count, backbone name, the model configuration as plain values, and the run's resolved YAML.
Everything in it loads with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lca_lightning
from lca_lightning.errors import CheckpointError, ConfigError
from lca_lightning.training.checkpoint_shards import checkpoint_source

FORMAT = "lca-checkpoint"
VERSION = 1
BLOCK = "lca"
_TRAINING_STATE = (
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "loops",
    "averaging_state",
    "current_model_state",
)
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
)


@dataclass(frozen=True)
class MatchReport:
    """Which weights of a checkpoint found their place in a model.

    Args:
        matched: Names copied.
        missing: Names of the model that the checkpoint lacks, left as they were.
        unexpected: Names of the checkpoint that the model lacks.
        resized: Names present on both sides with different shapes, left as they were.
        fresh: Names of parts that start anew on purpose, whatever the checkpoint has.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    resized: tuple[str, ...]
    fresh: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for label in ("missing", "unexpected", "resized"):
            names = getattr(self, label)
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            parts.append(f"{len(names)} {label}" + (f" ({shown})" if names else ""))
        if self.fresh:
            heads = ", ".join(dict.fromkeys(name.split(".")[0] for name in self.fresh))
            parts.append(f"{len(self.fresh)} fresh ({heads})")
        if len(self.missing) + len(self.resized) > len(self.matched):
            parts.append("MOST OF THE MODEL STARTS ANEW, is the checkpoint of another size (configs/model)?")
        return "; ".join(parts)


def make_block(*, rig: str, anchors: int, backbone: str, model: Any, config: str) -> dict[str, Any]:
    """Describe a model so that its checkpoint can be understood without the run.

    Args:
        rig: Rig name.
        anchors: Number of anchors ``A``.
        backbone: Name the backbone was loaded by.
        model: Model configuration, a dataclass of plain values.
        config: Resolved YAML of the run.

    Returns:
        The block, plain values only.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "package": lca_lightning.__version__,
        "rig": rig,
        "anchors": int(anchors),
        "backbone": backbone,
        "model": plain(asdict(model) if is_dataclass(model) and not isinstance(model, type) else model),
        "config": config,
    }


def plain(value: Any) -> Any:
    """Turn nested mappings and sequences into dicts, lists and scalars that load with ``weights_only``."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read one of our checkpoints without executing anything from it.

    Args:
        path: File written by ``lca fit``, in one piece or the list of its shards.

    Returns:
        Lightning's checkpoint, with a block of a known version.

    Raises:
        CheckpointError: No such file, not a checkpoint, one of another format or version, or incomplete.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"No checkpoint at {path}; `lca fit` writes last.ckpt to its run directory.")
    try:
        with warnings.catch_warnings():  # torch comments on pickles that it then refuses
            warnings.simplefilter("ignore", UserWarning)
            checkpoint = torch.load(checkpoint_source(path), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of lca-lightning, or is damaged; use a .ckpt of `lca fit`."
        ) from error
    block = checkpoint.get(BLOCK) if isinstance(checkpoint, Mapping) else None
    check_block(block, str(path))
    return dict(checkpoint)


def weights_of(checkpoint: Mapping[str, Any], half: bool = False) -> dict[str, Any]:
    """A checkpoint without the state of its training; of a run that averages its weights, the average.

    Args:
        checkpoint: Content of a checkpoint.
        half: Round its large tensors to half precision; a model copies them into its own type.
    """
    kept = {key: value for key, value in checkpoint.items() if key not in _TRAINING_STATE}
    if half:
        state: Mapping[str, Tensor] = kept["state_dict"]
        kept["state_dict"] = {
            name: tensor.half() if _may_be_rounded(name, tensor) else tensor for name, tensor in state.items()
        }
    return kept


def _may_be_rounded(name: str, tensor: Tensor) -> bool:
    """Matrices of weights; not counters, nor the anchors by which a checkpoint is recognised."""
    return tensor.dtype == torch.float32 and tensor.ndim > 1 and not name.endswith("anchor_fingerprint_A3")


def check_block(block: Any, path: str, rig: str | None = None, anchors: int | None = None) -> None:
    """Refuse a checkpoint of another format, version, rig or anchor count.

    Args:
        block: The checkpoint's ``lca`` entry, or None.
        path: For the message.
        rig: Rig of the model that will receive the weights; any when None.
        anchors: Anchors of that model; any when None.

    Raises:
        CheckpointError: Says what differs and the way out.
    """
    if not isinstance(block, Mapping) or block.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by lca-lightning; use a .ckpt of `lca fit`.")
    if block.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {block.get('version')} (lca-lightning {block.get('package')}),"
            f" this lca-lightning reads version {VERSION}; use the release that wrote it."
        )
    if rig is not None and block.get("rig") != rig:
        raise CheckpointError(
            f"{path} was trained on the rig {block.get('rig')!r}, the model uses {rig!r};"
            f" set `model.avatar.rig: {block.get('rig')}` or use another checkpoint."
        )
    if anchors is not None and block.get("anchors") != anchors:
        raise CheckpointError(
            f"{path} has {block.get('anchors')} anchors, the model {anchors};"
            " give the model the checkpoint's configuration."
        )


def part_names(model: nn.Module) -> list[str]:
    """Parts of a model that can be trained, by name: encoder, decoders and so on."""
    return [name for name, part in model.named_children() if any(True for _ in part.parameters())]


def check_fresh(model: nn.Module, fresh: Sequence[str]) -> None:
    """Refuse names that are no part of the model.

    Args:
        model: The avatar model.
        fresh: Parts that shall start anew.

    Raises:
        ConfigError: Names the unknown one and lists the parts there are.
    """
    known = part_names(model)
    unknown = [name for name in fresh if name not in known]
    if unknown:
        raise ConfigError(
            f"model.fresh names {unknown[0]!r}, which is no part of this model; choose from"
            f" {', '.join(known)}."
        )


def initialise(
    model: nn.Module, path: str | Path, rig: str, prefix: str = "model.", fresh: Sequence[str] = ()
) -> MatchReport:
    """Copy the weights of a checkpoint into a model, nothing else (no optimiser, no step, no configuration).

    Args:
        model: The avatar model.
        path: Checkpoint of another run, e.g. of pretraining.
        rig: The model's rig, which must be the checkpoint's.
        prefix: Where the model sits in the checkpoint's names.
        fresh: Parts of the model that keep their own weights, e.g. heads of another kind or size.

    Returns:
        What matched.

    Raises:
        CheckpointError: Unreadable, another format or rig, or nothing matches.
        ConfigError: ``fresh`` names no part of the model.
    """
    check_fresh(model, fresh)
    checkpoint = read_checkpoint(path)
    check_block(checkpoint[BLOCK], str(path), rig=rig)
    theirs: dict[str, Tensor] = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    ours = model.state_dict()
    anew = tuple(name for name in ours if name.split(".")[0] in fresh)
    theirs = {name: tensor for name, tensor in theirs.items() if name.split(".")[0] not in fresh}
    shared = [name for name in ours if name in theirs]
    resized = tuple(name for name in shared if ours[name].shape != theirs[name].shape)
    matched = tuple(name for name in shared if name not in set(resized))
    if not matched:
        raise CheckpointError(f"Nothing in {path} fits the model; is it the same size (configs/model)?")
    model.load_state_dict({name: theirs[name] for name in matched}, strict=False)
    missing = tuple(name for name in ours if name not in theirs and name not in anew)
    unexpected = tuple(name for name in theirs if name not in ours)
    return MatchReport(matched, missing, unexpected, resized, anew)


def check_shapes(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights that do not fit the model, in one sentence rather than a page.

    Args:
        ours: The model's state.
        theirs: The checkpoint's.
        path: For the message.

    Raises:
        CheckpointError: Names the first difference.
    """
    for name in [*ours, *theirs]:
        wanted = tuple(ours[name].shape) if name in ours else "nothing"
        got = tuple(theirs[name].shape) if name in theirs else "nothing"
        if wanted != got:
            raise CheckpointError(
                f"{path} does not fit the model: {name} is {got} there and {wanted} here; use the"
                " checkpoint's own configuration, or start from its weights by model.init_from."
            )
