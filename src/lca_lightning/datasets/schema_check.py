"""The JSON schemas of the layout, and where a file departs from them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

SCHEMAS = ("dataset", "sequence")
_MOST = 5  # violations listed per file


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``dataset.json`` or ``sequence.json``.

    Args:
        name: ``"dataset"`` or ``"sequence"``.

    Returns:
        The schema; do not change it.
    """
    file = resources.files("lca_lightning.datasets").joinpath("schema", f"{name}.schema.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def schema_violations(name: str, values: Any) -> list[str]:
    """Where values depart from the schema.

    Args:
        name: ``"dataset"`` or ``"sequence"``.
        values: What the JSON file holds, of the present layout.

    Returns:
        At most five sentences, each with the place in the file; empty when the values are valid.
    """
    from jsonschema import Draft202012Validator

    errors = sorted(
        Draft202012Validator(read_schema(name)).iter_errors(values), key=lambda error: error.json_path
    )
    return [f"{_place(error.json_path)}{_shorten(error.message)}" for error in errors[:_MOST]]


def _place(json_path: str) -> str:
    return "" if json_path == "$" else f"{json_path.removeprefix('$.')}: "


def _shorten(message: str, most: int = 160) -> str:
    """A validator's message repeats the value, which may be a whole file."""
    return message if len(message) <= most else f"{message[: most // 2]} ... {message[-most // 2 :]}"
