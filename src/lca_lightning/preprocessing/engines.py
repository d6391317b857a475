"""Where clips run: processes of this machine, or the workers of a Ray cluster."""

from __future__ import annotations

import os
import queue
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, Protocol

from lca_lightning.errors import ConfigError, DeviceError, MissingAssetError
from lca_lightning.preprocessing.clip_process import CRASHED, ClipJob, ClipProcess, Outcome, Progress
from lca_lightning.preprocessing.clips import Clip

ENGINES = ("local", "ray")
# Pictures never pass through Ray's object store: the smallest one it takes is enough.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
# Clips handed to a cluster beyond its cores, so that no core waits for the next one.
_QUEUED_PER_CORE = 2


class Engine(Protocol):
    """What runs clips. At most ``room`` of them are handed over at a time."""

    @property
    def room(self) -> int: ...

    def submit(self, clip: Clip) -> None: ...

    def finished(self, timeout: float) -> list[tuple[Clip, Outcome]]: ...

    def close(self) -> None: ...


def make_engine(
    name: str, job: ClipJob, workers: int, address: str | None = None, progress: Progress | None = None
) -> Engine:
    """An engine by its name.

    Args:
        name: ``local`` or ``ray``.
        job: What to run.
        workers: Clips side by side on this machine.
        address: Of a Ray cluster, ``auto`` for the one this machine belongs to; None starts one here.
        progress: Called with the progress inside clips; local engine only.

    Raises:
        ConfigError: Another name.
        MissingAssetError: Ray is not installed.
        DeviceError: There is no Ray cluster at the address.
    """
    if name == "local":
        return LocalEngine(job, workers, progress)
    if name == "ray":
        return RayEngine(job, workers, address)
    raise ConfigError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")


class LocalEngine:
    """One process per worker, each watched by a thread.

    Args:
        job: What to run.
        workers: Clips side by side.
        progress: Called from the watching threads.
    """

    def __init__(self, job: ClipJob, workers: int, progress: Progress | None = None) -> None:
        self._processes = [ClipProcess(job, progress) for _ in range(workers)]
        self._idle: queue.SimpleQueue[ClipProcess] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._pool = ThreadPoolExecutor(workers)
        self._running: dict[Future[Outcome], Clip] = {}

    @property
    def room(self) -> int:
        """How many more clips may be handed over."""
        return len(self._processes) - len(self._running)

    def submit(self, clip: Clip) -> None:
        """Hand over a clip."""
        self._running[self._pool.submit(self._run, clip)] = clip

    def _run(self, clip: Clip) -> Outcome:
        process = self._idle.get()
        try:
            return process.run(clip)
        finally:
            self._idle.put(process)

    def finished(self, timeout: float) -> list[tuple[Clip, Outcome]]:
        """Clips that came to an end; waits for one at most so many seconds."""
        done = wait(self._running, timeout, FIRST_COMPLETED).done
        return [(self._running.pop(future), future.result()) for future in done]

    def close(self) -> None:
        """Kill what still runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()
        self._pool.shutdown(wait=True)


class RayEngine:
    """Clips as Ray tasks; inside each task the clip runs in a child process, as on one machine.

    Args:
        job: What to run; paths must mean the same on every node.
        workers: Cores of the cluster that is started here when there is no address.
        address: Of a running cluster.

    Raises:
        MissingAssetError: Ray is not installed.
        DeviceError: No cluster at the address.
    """

    def __init__(self, job: ClipJob, workers: int, address: str | None = None) -> None:
        self._ray = _import_ray()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._connect(workers, address)
        # A crash is counted and tried again by the caller, who knows for which clip.
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_run_in_task)
        options = job.options  # workers need not run in this folder
        paths = {name: getattr(options, name) for name in ("out", "estimator_weights", "body_fits")}
        places = {name: path.absolute() for name, path in paths.items() if path is not None}
        self._job = self._ray.put(replace(job, options=replace(options, **places)))
        self._running: dict[Any, Clip] = {}

    def _connect(self, workers: int, address: str | None) -> None:
        quiet = {"log_to_driver": False, "configure_logging": False}
        try:
            if address is None:
                self._ray.init(
                    num_cpus=workers,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    **quiet,
                )
            else:
                self._ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise DeviceError(
                f"No Ray cluster answers at {address or 'this machine'} ({str(error).splitlines()[0]}); "
                "start one with `ray start --head`, or leave out --address to use this machine alone."
            ) from error

    @property
    def room(self) -> int:
        """How many more clips may be handed over; grows with the cluster."""
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        return _QUEUED_PER_CORE * max(1, cores) - len(self._running)

    def submit(self, clip: Clip) -> None:
        """Hand over a clip."""
        videos = tuple(video.absolute() for video in clip.videos)
        calibration = clip.calibration and clip.calibration.absolute()
        sent = replace(clip, videos=videos, calibration=calibration)
        self._running[self._task.remote(self._job, sent)] = clip

    def finished(self, timeout: float) -> list[tuple[Clip, Outcome]]:
        """Clips that came to an end; waits for one at most so many seconds."""
        running = list(self._running)
        done, _ = self._ray.wait(running, num_returns=1, timeout=timeout)
        return [(self._running.pop(reference), self._outcome(reference)) for reference in done]

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            said = str(error).splitlines() or [""]
            return Outcome(None, CRASHED, f"its Ray worker was lost ({type(error).__name__}: {said[0]})")

    def close(self) -> None:
        """Cancel what still runs and leave the cluster; one that was started here ends."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._owned:
            self._ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # silences a notice about future defaults
    try:
        import ray
    except ImportError as error:
        raise MissingAssetError(
            "--engine ray needs Ray, which is not installed: pip install 'lca-lightning[ray]'."
        ) from error
    return ray


_process: tuple[ClipJob, ClipProcess] | None = None


def _run_in_task(job: ClipJob, clip: Clip) -> Outcome:
    """Run one clip in the child process that this Ray worker keeps for the job."""
    global _process
    if _process is None or _process[0] != job:
        if _process is not None:
            _process[1].close()
        _process = (job, ClipProcess(job))
    return _process[1].run(clip)
