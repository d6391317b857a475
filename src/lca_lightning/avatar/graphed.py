"""An avatar whose frames replay one CUDA graph: the host launches once instead of some hundred times."""

from __future__ import annotations

from dataclasses import fields

import torch

from lca_lightning.avatar.avatar import Avatar, PosedAvatar
from lca_lightning.batch import Driving
from lca_lightning.errors import DeviceError

WARM_UP_FRAMES = 3  # CUDA's libraries choose their algorithms before the capture


class GraphedAvatar:
    """Poses an avatar by replaying a captured graph of decoding, correction and skinning.

    Args:
        avatar: An avatar on a CUDA device.
        example: Driving signals of any one frame, for the shapes.
        correctives: Whether pose, expression and gaze correct the Gaussians.

    Raises:
        DeviceError: The avatar is not on a CUDA device.
    """

    def __init__(self, avatar: Avatar, example: Driving, correctives: bool = True) -> None:
        if avatar.device.type != "cuda":
            raise DeviceError(
                f"CUDA graphs need an avatar on a CUDA device, this one is on {avatar.device}; "
                "use avatar.to('cuda'), or animate it directly."
            )
        self.avatar = avatar
        self._driving = example.to(avatar.device)._map(torch.Tensor.clone)
        side = torch.cuda.Stream(avatar.device)
        side.wait_stream(torch.cuda.current_stream(avatar.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_FRAMES):
                avatar.animate(self._driving, correctives)
        torch.cuda.current_stream(avatar.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._posed = avatar.animate(self._driving, correctives)

    @torch.no_grad()
    def animate(self, frame: Driving) -> PosedAvatar:
        """Bring the avatar to one frame.

        Args:
            frame: Driving signals with ``B = T = 1``; on the avatar's device nothing waits for the host.

        Returns:
            The posed avatar; its tensors are overwritten by the next call.
        """
        for field in fields(Driving):
            getattr(self._driving, field.name).copy_(getattr(frame, field.name), non_blocking=True)
        self._graph.replay()
        return self._posed
