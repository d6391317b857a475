"""Where a run writes: one directory per run, the same for all its processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lca_lightning.errors import ConfigError

RUNS = Path("runs")
_SHARED = "LCA_RUN_DIR"


def choose_run_directory(asked: str | None, ckpt_path: str | None, label: str) -> Path:
    """Choose the run directory and make it known to the processes this one starts.

    Args:
        asked: ``--run_dir``, or None.
        ckpt_path: Checkpoint given; its own run directory is reused.
        label: Recipe name, for a new run.

    Returns:
        ``asked``, the checkpoint's run, or a new ``runs/<label>/<SLURM job id or time>``; not created yet.

    Raises:
        ConfigError: Several processes were started from outside and nothing says where to write.
    """
    if asked:
        directory = Path(asked)
    elif ckpt_path and (Path(ckpt_path).parent / "config.yaml").is_file():
        directory = Path(ckpt_path).parent
    elif "SLURM_JOB_ID" in os.environ:
        directory = RUNS / label / os.environ["SLURM_JOB_ID"]
    elif "LOCAL_RANK" in os.environ:
        if _SHARED not in os.environ:
            raise ConfigError("Several processes need one run directory: give --run_dir DIR.")
        directory = Path(os.environ[_SHARED])
    else:
        directory = _unused(RUNS / label / time.strftime("%Y%m%d-%H%M%S"))
    os.environ[_SHARED] = str(directory)
    return directory


def _unused(directory: Path) -> Path:
    """Append -2, -3, ... until no such directory exists."""
    candidate, count = directory, 1
    while candidate.exists():
        count += 1
        candidate = directory.with_name(f"{directory.name}-{count}")
    return candidate
