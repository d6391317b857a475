"""The rig of a sequence, posed in chosen frames and projected into its cameras."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lca_lightning.datasets.signals import Signals
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig

_FRAMES_AT_ONCE = 32


@lru_cache(maxsize=2)
def rig_of(name: str) -> Rig:
    """The rig of that name, loaded once per process."""
    from lca_lightning.rig.loading import load_rig

    return load_rig(name)


class PosedBody:
    """Posed vertices of the frames asked for, computed once.

    Args:
        rig: The rig whose values the signals carry.
        signals: Of the sequence.
    """

    def __init__(self, rig: Rig, signals: Signals) -> None:
        self._rig, self._signals = rig, signals
        self.faces_F3 = rig.faces_F3[rig.visible_faces_F].numpy()
        self._vertices: dict[int, np.ndarray] = {}

    @property
    def fits_rig(self) -> bool:
        """Whether the signals have as many identity values, joints and coefficients as the rig."""
        signals, rig = self._signals, self._rig
        return (
            signals.identity_I.shape == (rig.identity_size,)
            and signals.rotations_TJ3.shape[1] == len(rig.joint_names)
            and signals.expression_TE.shape[1] == rig.expression_size
        )

    def usable(self) -> np.ndarray:
        """Frames that are marked as valid and hold finite values, ``(T,)`` bool."""
        finite = np.isfinite(self._signals.rotations_TJ3).all((1, 2))
        finite &= np.isfinite(self._signals.translation_T3).all(1)
        return finite & np.asarray(self._signals.frame_valid_T, bool)

    def prepare(self, frames: list[int]) -> None:
        """Pose the frames that are not posed yet, several at once."""
        missing = sorted({frame for frame in frames} - set(self._vertices))
        for start in range(0, len(missing), _FRAMES_AT_ONCE):
            chunk = missing[start : start + _FRAMES_AT_ONCE]
            self._vertices.update(zip(chunk, self._pose(chunk), strict=True))

    def vertices(self, frame: int) -> np.ndarray:
        """World vertices of one frame in metres, ``(V, 3)``."""
        self.prepare([frame])
        return self._vertices[frame]

    def forget(self) -> None:
        """Free the posed vertices."""
        self._vertices.clear()

    def _pose(self, frames: list[int]) -> np.ndarray:
        import torch

        from lca_lightning.rig.rig import RigPose

        signals = self._signals
        rotations_TJ3 = torch.from_numpy(signals.rotations_TJ3[frames]).float()
        translation_T3 = torch.from_numpy(signals.translation_T3[frames]).float()
        expression_TE = torch.from_numpy(np.nan_to_num(signals.expression_TE[frames])).float()
        identity_TI = torch.from_numpy(signals.identity_I)[None].float().expand(len(frames), -1)
        with torch.no_grad():
            pose = RigPose(rotations_TJ3, translation_T3)
            return np.asarray(self._rig.posed_vertices(identity_TI, pose, expression_TE).numpy())

    def silhouette(
        self, frame: int, w2c_44: np.ndarray, K_33: np.ndarray, height: int, width: int
    ) -> np.ndarray:
        """Where the body covers the picture, ``(H, W)`` bool."""
        return mesh_silhouette(self.vertices(frame), self.faces_F3, w2c_44, K_33, height, width)
