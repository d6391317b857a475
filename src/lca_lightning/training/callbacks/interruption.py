"""Signals that ask a run to stop: noticed at the end of an optimiser step, by all processes together."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Remembers Ctrl-C, ``SIGTERM`` and SLURM's warning ``SIGUSR1`` until a checkpoint can be written.

    Lightning's own handlers write a checkpoint, or talk to the other processes, wherever the signal finds the
    program: in the middle of a step, and at another place in every process. That loses bit-equality, and with
    several processes it can hang.
    """

    def __init__(self) -> None:
        self.received = 0
        self._handlers: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Take over the signals; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._handlers.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._note)

    def release(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, _: Any) -> None:
        if number == signal.SIGINT:
            if self.received == signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, b"\nStopping after this step; press Ctrl-C again to stop at once.\n")
        self.received = number

    def agree(self, trainer: pl.Trainer, *flags: bool) -> tuple[int, ...]:
        """Make every process see what any of them saw; all must call this at the same step.

        Args:
            trainer: Whose processes agree.
            *flags: Further yes-or-no questions to settle in the same exchange.

        Returns:
            The signal, 0 for none, and the flags.
        """
        values = [self.received, *map(int, flags)]
        if trainer.world_size > 1:
            tensor = torch.tensor(values, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
            values = tensor.tolist()
        return tuple(values)

    def leave(self, trainer: pl.Trainer, number: int) -> NoReturn:
        """End the run once its state is written.

        Args:
            trainer: The run.
            number: The signal that all processes agreed on.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: With 128 + the signal, as shells count; 0 in all processes but the first, for which a
                failing process would be a reason to kill what is left.
        """
        self.received = 0
        if not trainer.is_global_zero:
            raise SystemExit(0)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
