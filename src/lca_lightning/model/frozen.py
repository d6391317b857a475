"""A frozen network that moves with its owner but is invisible to checkpoints, optimisers and DDP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class _Shared:
    """Holds a module outside ``nn.Module`` registration; copies of the owner share it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


class FrozenNetwork(nn.Module):
    """Owner of a network that is never trained, saved, averaged or synchronised.

    The network stays in ``eval()`` whatever ``train()`` is called with, appears neither in ``state_dict`` nor
    in ``parameters()``, and follows ``.to(device)``.

    Args:
        network: The network to freeze.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._shared = _Shared(network.requires_grad_(False).eval())

    @property
    def network(self) -> Any:
        """The frozen network itself."""
        return self._shared.network

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenNetwork:
        super()._apply(fn, recurse)
        self._shared.network._apply(self._placement(fn))
        return self

    def _placement(self, fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """What a move such as ``.to(device)`` does to the network's tensors; subclasses may keep a type."""
        return fn

    @property
    def parameter_count(self) -> int:
        """Number of frozen values."""
        return sum(parameter.numel() for parameter in self._shared.network.parameters())
