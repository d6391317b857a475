"""The child process in which clips run: one JSON line in per clip, progress and one result line out.

It ends with everything it started as soon as its parent is gone, so that a killed run leaves nothing behind
that still writes.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from lca_lightning.errors import LCAError
from lca_lightning.preprocessing.clips import Clip, PreprocessOptions

LONGEST_DETAIL = 2000


def main() -> None:
    """Serve clips until the parent closes standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print must not end up among the answers
    process = _find(sys.argv[1])
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, requests), daemon=True).start()
    while True:
        _answer(answers, _serve(process, json.loads(requests.get()), answers))


def _find(name: str) -> Callable[..., Any]:
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)


def _listen(lines: IO[str], requests: queue.SimpleQueue[str]) -> None:
    for line in lines:
        requests.put(line)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _answer(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message, default=str) + "\n")


def _serve(process: Callable[..., Any], request: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    def progress(stage: str, done: int, total: int) -> None:
        _answer(answers, {"progress": [stage, done, total]})

    clip, options = Clip.from_json(request["clip"]), PreprocessOptions.from_json(request["options"])
    try:
        result = process(clip, options, request["cameras_at_once"], progress if request["watched"] else None)
    except LCAError as error:  # one that concerns a single clip has become the reason of its result
        return {"stop": str(error)}
    except Exception as error:
        where = traceback.format_exc()[-LONGEST_DETAIL:]
        return {"crash": f"{type(error).__name__}: {error}", "detail": where}
    return {"result": {"id": result.id, "reason": result.reason, "summary": result.summary}}


if __name__ == "__main__":
    main()
