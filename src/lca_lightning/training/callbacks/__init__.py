"""What happens around a run: checkpoints, configuration, progress, pictures."""

from __future__ import annotations
