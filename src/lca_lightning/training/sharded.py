"""AdamW whose averages are spread over the processes (ZeRO stage 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import AdamW


class ShardedAdamW(ZeroRedundancyOptimizer):
    """Each process updates its share of the parameters and sends them to the others.

    Weights and gradients stay whole on every process, so clipping and logging work as ever. The state in a
    checkpoint is that of plain AdamW: it continues on any number of processes, sharded or not. Lightning
    calls ``consolidate_state_dict`` on all processes and writes ``state_dict`` on the first.

    Args:
        groups: AdamW parameter groups over all trainable parameters, the same on every process.
        **options: AdamW's defaults (``lr``, ``betas``).
    """

    def __init__(self, groups: Iterable[dict[str, object]], **options: Any) -> None:
        super().__init__(list(groups), optimizer_class=AdamW, **options)

    def state_dict(self) -> dict[str, Any]:
        """Hand out the consolidated state and forget it: kept, it would be a second copy in main memory."""
        state = super().state_dict()
        self._all_state_dicts: list[dict[str, Any]] = []
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process' share of a whole state.

        Args:
            state_dict: State of AdamW over all parameters; it is not changed.
        """
        super().load_state_dict({**state_dict, "state": dict(state_dict["state"])})
        self.state.clear()  # the share lives in the local optimiser; this would be a second, stale copy
