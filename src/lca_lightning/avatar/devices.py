"""Where an avatar lives."""

from __future__ import annotations

import torch

from lca_lightning.errors import DeviceError, UsageError


def pick_device(name: str | None) -> torch.device:
    """The device a user asked for, or CUDA where there is one.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` or None.

    Returns:
        The device.

    Raises:
        DeviceError: CUDA was asked for where there is none.
        UsageError: No such kind of device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"The device must be cpu or cuda, got {name!r}.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"There is no CUDA device for {name!r} on this machine; leave --device out to use the CPU."
        )
    return device
