"""On what something was measured: device, versions, date, and how busy the machine was."""

from __future__ import annotations

import datetime
import os
import platform
import time
from importlib import metadata
from pathlib import Path

import torch

import lca_lightning

PACKAGES = ("torch", "gsplat", "numba", "transformers", "av")


def device_name(device: torch.device) -> str:
    """Model of the GPU, or of the processor with the number of threads torch may use."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return cpu_name()


def cpu_name() -> str:
    """Processor model and the number of threads torch may use."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return f"{model}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of this package, Python, what the timings depend on, and CUDA where there is one."""
    found = {"lca-lightning": lca_lightning.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    if torch.cuda.is_available():
        found["cuda"] = str(torch.version.cuda)
    return found


def today() -> str:
    """The date, ``YYYY-MM-DD``."""
    return datetime.date.today().isoformat()


class Neighbours:
    """Watches, from its making on, how many cores other processes keep busy."""

    def __init__(self) -> None:
        self._started, self._others = time.perf_counter(), _others_seconds()

    def busy_cores(self) -> float | None:
        """Cores they kept busy on average so far; None where the system does not say."""
        now = _others_seconds()
        if now is None or self._others is None:
            return None
        return max(0.0, now - self._others) / max(1e-3, time.perf_counter() - self._started)


def _others_seconds() -> float | None:
    """Seconds of work of all cores but for this process and its children, from Linux' /proc/stat."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    user, nice, system, _idle, _wait, *interrupts = map(int, path.read_text().split("\n", 1)[0].split()[1:8])
    everything = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return everything - sum(os.times()[:4])
