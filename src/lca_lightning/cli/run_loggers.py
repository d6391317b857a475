"""Loggers that a configuration names: is their package here, and do they write into the run directory."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lca_lightning.errors import MissingAssetError


@contextlib.contextmanager
def refusals_of_loggers() -> Iterator[None]:
    """Turn what Weights & Biases refuses, such as a run without a login, into one sentence.

    Raises:
        MissingAssetError: It refused; says how to log in or to do without.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("wandb."):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise MissingAssetError(
            f"Weights & Biases does not take this run ({reason}); run `wandb login` once, or keep its files"
            " here with --trainer.logger.init_args.offline=true."
        ) from error


def prepare_loggers(loggers: Any, run_directory: Path) -> None:
    """Check the loggers of a configuration and let them write to the run.

    Args:
        loggers: ``trainer.logger`` as parsed: one with ``class_path``, a list of them, a bool or None.
        run_directory: Where the run writes.

    Raises:
        MissingAssetError: Weights & Biases is asked for and not installed.
    """
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if not str(getattr(logger, "class_path", "")).endswith(".WandbLogger"):
            continue
        if importlib.util.find_spec("wandb") is None:
            raise MissingAssetError(
                "Logging to Weights & Biases needs its package: pip install 'lca-lightning[wandb]'."
            )
        run_directory.mkdir(parents=True, exist_ok=True)  # it takes the temporary folder otherwise
        logger.init_args["save_dir"] = str(run_directory)
        if logger.init_args.get("name") is None:
            logger.init_args["name"] = "/".join(run_directory.parts[-2:])
        if logger.init_args.get("id") is None:  # in the checkpoints: a resumed run goes on with its curves
            origin = f"{socket.gethostname()}:{run_directory.absolute()}:{time.time()}"
            logger.init_args["id"] = hashlib.sha256(origin.encode()).hexdigest()[:12]
