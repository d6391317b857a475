"""Parser errors as one sentence, with the nearest known key where a key is unknown."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lca_lightning.errors import UsageError

_UNKNOWN_KEY = (
    r"[Uu]nrecognized arguments?: (\S+)",
    r"does not accept option ['\"]([\w.\-]+)",
    r"Option ['\"]([\w.\-]+)['\"] is not accepted",
    r"Key ['\"]?([\w.]+)['\"]? is not expected",
)
_NOISE = (
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value",
    "Problem with",
    "Parser key",
    "Expected a path",
)


def usage_error(message: str, verb: str, known: Iterable[str], classes: Iterable[str] = ()) -> UsageError:
    """Turn a parser's message into one sentence.

    Args:
        message: The parser's message, maybe of many lines.
        verb: Command, for the way out.
        known: Dotted keys that exist.
        classes: Names of the data modules.
    """
    for pattern in _UNKNOWN_KEY:
        found = re.search(pattern, message)
        if found:
            key = found.group(1).split("=")[0].lstrip("-")
            near = nearest(key, known)
            hint = f", did you mean {near!r}?" if near else "."
            return UsageError(f"Unknown key {key!r}{hint} `lca {verb} --help=full` lists all keys.")
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    if not keys:
        lines = " ".join(line.strip() for line in message.splitlines())
        return UsageError(f"{lines[:400].rstrip('.')}; `lca {verb} --help` shows the arguments.")
    key = keys[0] if len(keys) == 1 else f"{keys[0]}.init_args.{keys[-1]}"
    return UsageError(f"{key}: {_reason(message, list(classes))}; `lca {verb} --help=full` lists all keys.")


def _reason(message: str, classes: list[str]) -> str:
    """What the parser expected and what it got, without its bookkeeping."""
    missing = re.search(r"Expected a dot import path string: (\S+)", message)
    if missing:
        name = missing.group(1)
        near = nearest(name, classes)
        hint = f", did you mean {near!r}?" if near else f", there are {', '.join(classes)}" if classes else ""
        return f"there is no class {name!r}{hint}"
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE) and "NoneType" not in line]
    given = re.search(r"Given value: (?!NestedArg|\{)(.+)", message)
    reasons = list(dict.fromkeys(line.rstrip(".") for line in kept))
    text = " or ".join(reasons) if reasons else "is not valid"
    text = re.sub(r"(?:a )?<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("Expected", "expected")
    text = re.sub(r"(?:a )?(?:typing\.)?Literal\[([^\]]*)\]", r"one of \1", text)
    return text.replace(". Got value:", ", got") + (f", got {given.group(1)}" if given else "")


def known_keys(parser: Any, modules: Mapping[str, type]) -> list[str]:
    """List the dotted keys of a command.

    Args:
        parser: Parser of the command.
        modules: Data modules by name: their arguments are keys under ``data.init_args``.
    """
    keys = [action.dest for action in parser._actions if action.dest != "help"]
    for module in modules.values():
        # a class passes on to its base what it does not name itself
        written = [vars(kind)["__init__"] for kind in module.__mro__ if "__init__" in vars(kind)]
        signatures = [inspect.signature(function) for function in written]
        kept = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = [part for signature in signatures for part in signature.parameters.values()]
        names = [part.name for part in parameters if part.kind in kept and part.name != "self"]
        keys += [f"data.init_args.{name}" for name in names]
    return list(dict.fromkeys(keys))


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key most like ``key``: as a whole, else by its last part."""
    names = list(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return close[0]
    by_end = {name.rsplit(".", 1)[-1]: name for name in reversed(names)}
    close = difflib.get_close_matches(key.rsplit(".", 1)[-1], by_end, n=1, cutoff=0.6)
    return by_end[close[0]] if close else None
