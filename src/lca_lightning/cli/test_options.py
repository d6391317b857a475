"""``--protocol`` and ``--views`` of ``lca test``."""

from __future__ import annotations

from typing import Any

from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.metrics.protocol import PROTOCOLS


def add_test_options(parser: Any) -> None:
    """Add the options to a parser."""
    parser.add_argument("--protocol", type=str, default=PROTOCOLS[0], help="protocols, with commas between")
    parser.add_argument(
        "--views", type=int | str | None, default=None, help="numbers of reference views, with commas between"
    )


def chosen_protocols(text: str) -> tuple[str, ...]:
    """Protocols named on the command line.

    Raises:
        UsageError: One is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise UsageError(
            f"There is no protocol {unknown[0] if unknown else text!r}; --protocol takes"
            f" {', '.join(PROTOCOLS)}, with commas between several."
        )
    return tuple(dict.fromkeys(names))


def chosen_views(text: int | str | None, most: int) -> tuple[int, ...]:
    """Numbers of reference views named on the command line, none where nothing is said.

    Args:
        text: Numbers with commas between.
        most: Reference views that the model takes.

    Raises:
        UsageError: Something else than positive numbers.
        ConfigError: More views than the model takes.
    """
    if text is None:
        return ()
    try:
        views = [int(part) for part in str(text).split(",")]
    except ValueError:
        views = [0]
    if min(views) < 1:
        raise UsageError(f"--views takes positive numbers with commas between, such as 1,8; got {text!r}.")
    if max(views) > most:
        raise ConfigError(
            f"--views asks for {max(views)} reference views but the model takes at most {most}"
            " (model.avatar.max_views); ask for fewer."
        )
    return tuple(dict.fromkeys(views))
