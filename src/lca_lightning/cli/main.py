"""Entry point of ``lca``: finds the verb, runs it, and turns errors into one sentence and an exit status."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import lca_lightning
from lca_lightning.errors import LCAError, UsageError
from lca_lightning.writing import FULL_DISK

VERBS = {
    "demo": "run everything once on synthetic people",
    "fit": "train a model from a recipe, or continue a run",
    "validate": "measure a checkpoint on the validation split",
    "test": "measure a checkpoint on the test split and write metrics.json",
    "predict": "render a checkpoint's predictions to PNG files",
    "synthesize": "make a synthetic data set with exact cameras, masks and poses",
    "preprocess": "turn videos into a data set: masks, landmarks, fitted rig",
    "import": "bring a public data set, or your own recordings, into our layout",
    "check-data": "verify a data set and write a report with pictures",
    "show-data": "make a contact sheet of a data set",
    "pack": "pack a data set for streaming from disk or a bucket",
    "migrate-data": "bring an older data set to the present layout",
    "score": "score anybody's images against true ones",
    "experiment": "run a table of experiments, or continue it",
    "analyze": "look inside a trained model: attention maps, token statistics",
    "runs": "list training runs with their scores",
    "create": "make an avatar from photos",
    "animate": "move an avatar by a motion file and write a video",
    "export": "write an avatar in another format",
    "bench": "measure speed against a rival",
    "recipes": "list the packaged recipes, or print one",
    "doctor": "show versions, devices and weights, and what is missing",
}
_MODULES = {"import": "import_data"}  # a module must not have the name of a keyword
_NOT_USABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
TRAINING_VERBS = ("fit", "validate", "test", "predict")


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments as a UsageError instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` shows the arguments)")


def main(args: Sequence[str] | None = None) -> None:
    """Run one ``lca`` command.

    Args:
        args: Words after ``lca``; those of the process when None.

    Raises:
        SystemExit: With 1 when the command failed, 2 on wrong usage, 130 when interrupted, 141 when nobody
            reads the output any more.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is still in the buffer goes nowhere
        status = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
    except KeyboardInterrupt:
        print("lca: interrupted", file=sys.stderr)
        status = 130
    except SystemExit as stop:
        status = _status_of(stop)
    except Exception as error:  # the boundary to the user: every failure becomes one sentence
        status = _report(error, debug)
    if status:
        raise SystemExit(status)


def _dispatch(words: list[str]) -> int:
    """Run the verb named by the first word."""
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        if not words:
            raise UsageError("No command was given; the list above has them all.")
        return 0
    if words[0] == "--version":
        print(f"lca-lightning {lca_lightning.__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"Unknown command {verb!r}{_nearest(verb)}; `lca --help` lists all.")
    module = _load(verb)
    parser = _Parser(prog="lca", description="Large-scale Codec Avatars", add_help=False)
    subparsers = parser.add_subparsers(dest="verb", parser_class=_Parser)
    if verb in TRAINING_VERBS:
        module.add_parser(subparsers, verb)
        return int(module.run(verb, words[1:], subparsers.choices[verb]) or 0)
    module.add_parser(subparsers)
    module.run(parser.parse_args(words))
    return 0


def _status_of(stop: SystemExit) -> int:
    if isinstance(stop.code, str):
        print(f"lca: {stop.code}", file=sys.stderr)
        return 1
    return int(stop.code or 0)


def _load(verb: str) -> ModuleType:
    name = "fit_and_test" if verb in TRAINING_VERBS else _MODULES.get(verb, verb.replace("-", "_"))
    return importlib.import_module(f"lca_lightning.cli.{name}")


def _nearest(verb: str) -> str:
    found = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
    return f", did you mean {found[0]!r}?" if found else ""


def _overview() -> str:
    """Text of ``lca --help``, without importing any verb."""
    lines = [f"  {verb:<14}{summary}" for verb, summary in VERBS.items()]
    return "\n".join(
        [
            "usage: lca COMMAND [arguments] [--debug]",
            "",
            "Photos in, an animatable 3D Gaussian avatar out (Large-scale Codec Avatars).",
            "",
            *lines,
            "",
            "`lca COMMAND --help` explains a command, --debug shows tracebacks, `lca --version` the version.",
        ]
    )


def _report(error: Exception, debug: bool) -> int:
    """Print one sentence about ``error`` and return the exit status."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, LCAError):
        print(f"lca: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        where = f" while writing {error.filename}" if error.filename else ""
        print(f"lca: no space left on the device{where}; free some or choose another place", file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.errno in _NOT_USABLE and error.filename:
        print(f"lca: cannot use {error.filename} ({error.strerror}); choose another place", file=sys.stderr)
        return 1
    hint = "" if debug else " (run again with --debug for the traceback)"
    first_line = (str(error).strip() or "no message").splitlines()[0]
    print(f"lca: unexpected {type(error).__name__}: {first_line}{hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
