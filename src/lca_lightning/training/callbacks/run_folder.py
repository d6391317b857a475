"""Keeps a run directory's account of itself: ``run.json`` for programs, ``README.md`` for people."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer

from lca_lightning.errors import ConfigError, DataError
from lca_lightning.training.provenance import code_revision, data_digest, library_versions
from lca_lightning.training.run_guide import write_guide
from lca_lightning.training.run_record import living_owner, read_run, this_process, time_text, write_run

BEAT_SECONDS = 20.0
_COUNTS = ("val/frames", "val/subjects", "val/frames_without_mask")
_KEPT = ("recipe", "started", "seconds", "scores", "starts", "git", "data")  # goes on with a checkpoint


class RunFolder(pl.Callback):
    """Records where a run comes from, how far it is, its scores, and how it ended; on the first process.

    Part of that is in the checkpoints too, so that a run that is resumed anywhere keeps its history, and
    says so when its data or its code are no longer those it was trained with. What a killed write left behind
    is removed.

    Args:
        command: Words the run was started with.
        recipe: Name of the recipe; ``run`` where none was named, a resumed run then keeps its own.
        data_roots: Root of each data set by name.
    """

    def __init__(self, command: str, recipe: str, data_roots: Mapping[str, str]) -> None:
        self.command, self.recipe, self.data_roots = command, recipe, dict(data_roots)
        self.record: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        self._folder = Path()
        self._origin: dict[str, Any] = {}
        self._started = self._beat = 0.0
        self._complained = False

    @property
    def state_key(self) -> str:
        """Name of the entry in checkpoints."""
        return "RunFolder"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the record."""
        self._count_seconds()
        return {name: self.record[name] for name in _KEPT if name in self.record}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the record of the run that goes on."""
        self._before = dict(state_dict)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave a folder alone that somebody else is writing to.

        Raises:
            ConfigError: Another process of this machine is training into it.
        """
        self._folder = Path(trainer.default_root_dir)
        owner = living_owner(read_run(self._folder)) if stage == "fit" and trainer.is_global_zero else None
        if owner is not None:
            raise ConfigError(
                f"Process {owner} is training into {self._folder}; stop it, or give another --run_dir."
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the record once a checkpoint has been accepted."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        _remove_leftovers(self._folder)
        data = {name: {"root": root, "digest": _digest(root)} for name, root in self.data_roots.items()}
        git, before = code_revision(), self._before
        scores = dict(before.get("scores", {}))
        if Path(trainer.ckpt_path or "").parent.absolute() != self._folder.absolute():
            scores.pop("best", None)  # best.ckpt is another folder's
        warning = changed_since(before, data, git)
        if warning:
            pl_module.print(warning)
        now, self._started = time_text(), time.monotonic()
        start = {"at": now, "step": 0, "command": self.command, "code": git["revision"] or git["digest"]}
        start["device"] = _device(trainer)
        self.record = {
            "recipe": before.get("recipe", self.recipe) if self.recipe == "run" else self.recipe,
            "command": self.command,
            "resume": f"lca fit --ckpt_path {self._folder / 'last.ckpt'}",
            "started": before.get("started", now),
            "finished": None,
            "status": "running",
            "error": None,
            "steps": 0,
            "total_steps": trainer.max_steps if (trainer.max_steps or 0) > 0 else None,
            "seconds": float(before.get("seconds", 0.0)),
            "heartbeat": now,
            "process": this_process(),
            "scores": scores,
            "git": git,
            "data": data,
            "versions": library_versions(),
            "starts": [*before.get("starts", []), start],
        }
        self._write(guide=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the step the run starts at and its length, which are known now."""
        if self.record:
            total = trainer.estimated_stepping_batches
            self.record["total_steps"] = None if total == float("inf") else int(total)
            self.record["steps"] = self.record["starts"][-1]["step"] = trainer.global_step
            self._write(guide=True)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Give a sign of life now and then."""
        self._sign_of_life(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Give a sign of life now and then."""
        self._sign_of_life(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the scores; the best are those of ``best.ckpt``."""
        metrics = trainer.callback_metrics.items()
        values = {n: float(v) for n, v in metrics if n.startswith("val/") and n not in _COUNTS}
        if not self.record or trainer.sanity_checking or not values:
            return
        scores, entry = self.record["scores"], {"step": trainer.global_step, **values}
        scores["last"] = entry
        monitors = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
        best = next(monitors, None)
        name, lower = (best.monitor or "", best.mode == "min") if best else ("", False)
        if name in values:
            past = scores.get("best", {}).get(name)
            if past is None or (values[name] < past if lower else values[name] > past):
                scores["best"] = entry
        self._note(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The run is over: it is done, or its time was."""
        total, timers = self.record.get("total_steps"), _timers_at_their_end(trainer)
        if timers and (total is None or trainer.global_step < total):
            self._end(trainer, "interrupted", "the time limit was reached")
        else:
            self._end(trainer, "finished")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Ctrl-C and signals interrupt a run, anything else is a failure."""
        if isinstance(exception, KeyboardInterrupt):
            self._end(trainer, "interrupted", "Ctrl-C")
        elif isinstance(exception, SystemExit):
            reason = (
                f"a signal (exit status {exception.code})" if exception.code else "its slice of time ended"
            )
            self._end(trainer, "interrupted", reason)
        else:
            message = (str(exception).strip() or "no message").splitlines()[0]
            self._end(trainer, "failed", f"{type(exception).__name__}: {message}")

    def _end(self, trainer: pl.Trainer, status: str, error: str | None = None) -> None:
        if self.record and self.record["status"] == "running":
            self.record |= {"status": status, "error": error, "finished": time_text()}
            self._note(trainer, guide=True)

    def _sign_of_life(self, trainer: pl.Trainer) -> None:
        if self.record and time.monotonic() - self._beat > BEAT_SECONDS:
            self._note(trainer)

    def _note(self, trainer: pl.Trainer, guide: bool = False) -> None:
        self.record |= {"steps": trainer.global_step, "heartbeat": time_text()}
        self._write(guide)

    def _count_seconds(self) -> None:
        if self.record:
            now = time.monotonic()
            self.record["seconds"] = round(self.record["seconds"] + now - self._started, 3)
            self._started = now

    def _write(self, guide: bool = False) -> None:
        """Write the files; a full disk must not end a run that could go on until its next checkpoint."""
        self._count_seconds()
        self._beat = time.monotonic()
        try:
            write_run(self._folder, self.record)
            if guide:
                write_guide(self._folder, self.record)
        except DataError as error:
            if not self._complained:
                self._complained = True
                print(f"The record of this run is not up to date: {error}")


def changed_since(before: Mapping[str, Any], data: Mapping[str, Any], git: Mapping[str, Any]) -> str | None:
    """One sentence for a resumed run whose data or code are not those it was trained with so far.

    Args:
        before: What the checkpoint kept; may be empty.
        data: ``root`` and ``digest`` of each data set now.
        git: Output of `code_revision` now.

    Returns:
        The sentence, None where nothing changed or nothing is known.
    """
    changes = []
    for name, entry in before.get("data", {}).items():
        digest = data.get(name, {}).get("digest")
        if entry.get("digest") != digest:
            changes.append(f"other data ({name}: {_short(entry.get('digest'))}, now {_short(digest)})")
    changes += [f"no data {name}" for name in data if "data" in before and name not in before["data"]]
    past = before.get("git", {})
    if past and past.get("digest") != git["digest"]:
        names = [_short(entry["revision"] or entry["digest"]) for entry in (past, git)]
        changes.append(f"other code ({names[0]}, now {names[1]}{' with changes' if git['dirty'] else ''})")
    if not changes:
        return None
    return f"Warning: so far this run was trained with {' and '.join(changes)}; its results will mix both."


def data_roots(data: Any, name: str = "data") -> dict[str, str]:
    """Root of each data set that a configuration of data names: ``data``, or the sources of a mixture.

    Args:
        data: ``class_path`` and ``init_args`` of a data module, None for none.
        name: What to call a single one.
    """
    arguments = (data.get("init_args") if data else None) or {}
    found = {name: str(arguments["root"])} if arguments.get("root") else {}
    for source, inner in (arguments.get("sources") or {}).items():
        found |= data_roots(inner, source if name == "data" else f"{name}/{source}")
    return found


def _device(trainer: pl.Trainer) -> str:
    """What a run computes on, and how precisely, in words."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.world_size} x {name}, precision {trainer.precision}"


def _digest(root: str) -> str | None:
    """Digest of a data set; None for data of a plug-in that are not of our layout."""
    try:
        return data_digest(root)
    except DataError:
        return None


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:8]


def _timers_at_their_end(trainer: pl.Trainer) -> bool:
    timers = (callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return any((timer.time_remaining() or 1.0) <= 0 for timer in timers)


def _remove_leftovers(folder: Path) -> None:
    """Remove files that a killed process had half written; the name says which process it was."""
    for path in folder.glob(".*.partial-*"):
        owner = path.name.rpartition("partial-")[2].split(".")[0]
        if owner != str(os.getpid()):
            with contextlib.suppress(OSError):  # it takes room, no more
                path.unlink()
