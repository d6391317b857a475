"""The three sizes that benchmarks run at, from the packaged recipes, and what the user asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
import yaml

from lca_lightning.errors import DeviceError, UsageError
from lca_lightning.model.configuration import AvatarModelConfig

Size = Literal["tiny", "small", "base"]
SIZES: tuple[Size, ...] = ("tiny", "small", "base")


@dataclass(frozen=True)
class Pictures:
    """Height and width in pixels of body pictures (targets have the same) and of face close-ups."""

    body: tuple[int, int]
    face: tuple[int, int]


PICTURES: dict[Size, Pictures] = {
    "tiny": Pictures((256, 192), (128, 128)),
    "small": Pictures((512, 384), (256, 256)),
    "base": Pictures((1024, 768), (512, 512)),
}


@dataclass(frozen=True)
class BenchOptions:
    """What the command line asks of a benchmark.

    Args:
        device: Where to measure.
        size: Model and picture size; the benchmark's own default when None.
        rounds: Timed turns of each side.
        views: Reference views where a benchmark encodes photos; its own default when None.
        compile: Whether ``torch.compile`` may be used where both sides gain from it.
        data: A data set of our layout where a benchmark reads one; else it makes one.
        json: Where the report goes; a benchmark that writes more files puts them beside it.
    """

    device: torch.device
    size: Size | None = None
    rounds: int = 21
    views: int | None = None
    compile: bool = True
    data: Path | None = None
    json: Path | None = None

    def size_or(self, on_cpu: Size, on_cuda: Size = "base") -> Size:
        """The size asked for, or the default of the device."""
        return self.size or (on_cuda if self.device.type == "cuda" else on_cpu)

    @property
    def on_cuda(self) -> bool:
        """Whether tensors live on a CUDA device."""
        return self.device.type == "cuda"


def load_config(size: Size) -> AvatarModelConfig:
    """The packaged model of a size.

    Args:
        size: ``tiny``, ``small`` or ``base``.
    """
    source = resources.files("lca_configs").joinpath("model", f"{size}.yaml")
    return AvatarModelConfig(**yaml.safe_load(source.read_text(encoding="utf-8")))


def pick_device(name: str) -> torch.device:
    """The device named on the command line.

    Args:
        name: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.

    Raises:
        DeviceError: CUDA was asked for where there is none.
        UsageError: Another name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, got {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("There is no CUDA device on this machine; leave --device out to measure the CPU.")
    return torch.device(name)
