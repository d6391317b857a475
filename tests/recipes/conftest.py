"""The captures of the command tests."""

from __future__ import annotations

from tests.cli.conftest import one_thread, studio_root, wild_root

__all__ = ["one_thread", "studio_root", "wild_root"]
