"""Signals are remembered, not obeyed on the spot; a second Ctrl-C is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lca_lightning.training.callbacks.interruption import STOPPING, StopRequest

ALONE = SimpleNamespace(world_size=1, is_global_zero=True)
OTHER = SimpleNamespace(world_size=2, is_global_zero=False)


@pytest.fixture
def request_to_stop() -> Iterator[StopRequest]:
    """Listening, and given back at the end."""
    stop = StopRequest()
    stop.listen()
    yield stop
    stop.release()


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    stop = StopRequest()
    stop.listen()
    stop.listen()  # again, after somebody else took a signal over
    assert [signal.getsignal(number) for number in STOPPING] != before
    stop.release()
    assert [signal.getsignal(number) for number in STOPPING] == before


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_waits_for_the_end_of_the_step(request_to_stop: StopRequest, number: signal.Signals) -> None:
    assert request_to_stop.agree(ALONE, True) == (0, 1)
    os.kill(os.getpid(), number)
    assert request_to_stop.agree(ALONE, False) == (number, 0)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stopped:
        request_to_stop.leave(ALONE, number)
    if number != signal.SIGINT:
        assert stopped.value.code == 128 + number
    assert request_to_stop.agree(ALONE) == (0,)


def test_only_the_first_process_reports_a_failure(request_to_stop: StopRequest) -> None:
    for number in STOPPING:
        with pytest.raises(SystemExit) as stopped:
            request_to_stop.leave(OTHER, number)
        assert stopped.value.code == 0


def test_a_second_interrupt_is_obeyed(
    request_to_stop: StopRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert "Ctrl-C again" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.getsignal(signal.SIGINT)  # handlers run between two steps of the interpreter
