"""The ``lca`` command: one light file a verb, heavy packages imported only when a verb runs."""

from __future__ import annotations

from lca_lightning.cli.main import main

__all__ = ["main"]
