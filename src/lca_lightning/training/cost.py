"""What an avatar costs to make and to animate, measured on a few subjects while a test goes on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lca_lightning.batch import Batch, Driving, References, Targets
from lca_lightning.model.avatar_model import AvatarModel

SUBJECTS = 8  # measured at most for one number of references
SHARE = 0.05  # of the time of a test that measuring may take, once there is a first value
FRAMES = 2  # timed frames of a subject
PARTS = ("create", "decode", "skin", "raster")
_Result = TypeVar("_Result")
_Record = TypeVar("_Record", References, Driving, Targets)


class CostMeter:
    """Times creation and frames beside a test, on the process that owns it.

    The forward pass that a test makes anyway warms everything up but a frame of its own, which is made once
    before the clock starts; the device is waited for before each look at the clock.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, list[float]]] = {}
        self._began, self._spent = time.perf_counter(), 0.0

    def begin(self) -> None:
        """Start the clock of a pass over the data."""
        self._began, self._spent = time.perf_counter(), 0.0

    @torch.no_grad()
    def watch(self, model: AvatarModel, batch: Batch, views: int) -> None:
        """Measure the first subject of a batch that the model has just rendered, unless enough is known.

        Args:
            model: In evaluation mode.
            batch: On the model's device.
            views: Reference views asked for; values are kept apart by it.
        """
        known = self.seconds.setdefault(views, {part: [] for part in PARTS})
        measured = len(known["create"])
        if measured >= SUBJECTS or (measured and self._spent > SHARE * (time.perf_counter() - self._began)):
            return
        began = time.perf_counter()
        for part, values in _measure(model, batch).items():
            known[part] += values
        self._spent += time.perf_counter() - began

    def cost(self, model: AvatarModel) -> dict[str, Any]:
        """Medians for the largest number of references, and sizes of the model; empty if none were taken."""
        if not self.seconds:
            return {}
        views = max(self.seconds)
        parts = {part: statistics.median(values) for part, values in self.seconds[views].items()}
        frame = {f"{part}_ms": 1e3 * parts[part] for part in PARTS[1:]}
        counts = model.parameter_counts()
        return {
            "create_seconds": parts["create"],
            **frame,
            "frame_ms": sum(frame.values()),
            "gaussians": model.config.gaussians,
            "parameters": counts["trained"],
            "frozen_parameters": counts["frozen backbone"],
            "device": _device_name(model.anchor_fingerprint_A3.device),
            "views": views,
            "measured_subjects": len(self.seconds[views]["create"]),
            "create_seconds_by_views": {
                str(count): statistics.median(values["create"]) for count, values in self.seconds.items()
            },
        }


def _measure(model: AvatarModel, batch: Batch) -> dict[str, list[float]]:
    """Seconds of each part: creation once, frames one at a time after a first one that does not count."""
    device = batch.identity_BI.device
    references, identity_1I = _part_of(batch.references, slice(0, 1)), batch.identity_BI[:1]
    (canonical, projected), create = _timed(device, _create, model, references, identity_1I)
    seconds: dict[str, list[float]] = {"create": [create], **{part: [] for part in PARTS[1:]}}
    for number, frame in enumerate((0, *range(min(FRAMES, batch.targets.w2c_BT44.shape[1])))):
        place = (slice(0, 1), slice(frame, frame + 1))
        driving, targets = _part_of(batch.driving, place), _part_of(batch.targets, place)
        attributes, decode = _timed(device, model.animated, canonical, projected, driving)
        clouds, skin = _timed(device, model.pose, attributes, identity_1I, driving)
        _, raster = _timed(device, _render, model, clouds, targets)
        if number:
            for part, value in zip(PARTS[1:], (decode, skin, raster), strict=True):
                seconds[part].append(value)
    return seconds


def _create(model: AvatarModel, references: References, identity_1I: Tensor) -> tuple[Any, Tensor]:
    tokens = model.encode(references)
    return model.canonical(tokens, identity_1I), model.project_tokens(tokens)


def _render(model: AvatarModel, clouds: Any, targets: Targets) -> Any:
    with torch.autocast(targets.w2c_BT44.device.type, enabled=False):
        return model.render(clouds, targets, torch.ones_like(targets.images_BT3HW[..., 0, 0]))


def _timed(device: torch.device, work: Callable[..., _Result], *arguments: Any) -> tuple[_Result, float]:
    """A result and the seconds it took."""
    _wait_for(device)
    began = time.perf_counter()
    result = work(*arguments)
    _wait_for(device)
    return result, time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _part_of(record: _Record, place: Any) -> _Record:
    """The same record with every tensor cut to some rows and frames."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return replace(record, **{name: value[place] for name, value in values.items() if value is not None})


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
