"""Errors of a rig fit as estimators make them on real videos: correlated in time, the identity off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lca_lightning.datasets.format import Signals
from lca_lightning.errors import DataError
from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.motion import with_gaze
from lca_lightning.synthesis.precision import stored
from lca_lightning.writing import write_atomically

TRUTH_FILE = "truth.safetensors"
_TRUE_VALUES = ("identity", "rotations", "translation", "expression", "gaze")


@dataclass(frozen=True)
class FitNoise:
    """Standard deviations of a fit's errors at strength one (ours).

    Chosen so that mask and rig overlap as they do after our own fits of real clips, 0.80 to 0.87: joints of a
    fit err together in a way that the picture hardly shows, independent errors of that size would show.

    Attributes:
        body: Joint angles of trunk and limbs, radians per axis.
        fingers: Joint angles of fingers and toes, radians per axis.
        root: Orientation of the root, radians per axis.
        sideways: Position across the view, metres.
        depth: Position along the view, metres; cameras all around know it as well as the rest.
        expression: Coefficients, before clipping to [0, 1].
        gaze: Direction of each eye, radians.
        identity: Share of half the range of each identity value.
        seconds: Time over which errors stay alike.
        jitter: Share of the variance that is independent from frame to frame.
    """

    body: float = 0.012
    fingers: float = 0.10
    root: float = 0.012
    sideways: float = 0.005
    depth: float = 0.02
    expression: float = 0.07
    gaze: float = 0.06
    identity: float = 0.05
    seconds: float = 0.6
    jitter: float = 0.1


def noisy_fit(
    signals: Signals,
    rig: Rig,
    w2c_44: NDArray,
    fps: float,
    strength: float,
    rng: np.random.Generator,
    noise: FitNoise | None = None,
) -> Signals:
    """Signals as an estimator would have found them.

    Args:
        signals: Exact values.
        rig: For joint names and bounds.
        w2c_44: The camera; the error along its view is larger than across it.
        fps: Frames per second.
        strength: Factor on all deviations; 0 gives the exact values back.
        rng: Source of the errors.
        noise: Deviations at strength one.

    Returns:
        The same with errors; boxes stay as they are.
    """
    if strength == 0:
        return signals
    size = noise or FitNoise()
    frames, joints = signals.rotations_TJ3.shape[:2]

    def errors(*shape: int) -> NDArray[np.float64]:
        return strength * correlated_noise((frames, *shape), fps, size.seconds, size.jitter, rng)

    deviation = np.array([_joint_deviation(name, size) for name in rig.joint_names])
    rotations = signals.rotations_TJ3 + deviation[:, None] * errors(joints, 3)
    local = errors(3) * [size.sideways, size.sideways, size.depth]
    translation = signals.translation_T3 + local @ w2c_44[:3, :3]
    expression = np.clip(
        signals.expression_TE + size.expression * errors(signals.expression_TE.shape[1]), 0, 1
    )
    gaze = signals.gaze_T8.astype(np.float64)
    for start in (0, 4):
        direction = gaze[:, start : start + 3] + size.gaze * errors(3)
        gaze[:, start : start + 3] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    bounds = rig.identity_bounds().double().numpy()
    half = 0.5 * (bounds[:, 1] - bounds[:, 0])
    identity = signals.identity_I + strength * size.identity * half * rng.normal(size=len(half))
    return replace(
        signals,
        identity_I=stored(np.clip(identity, bounds[:, 0], bounds[:, 1])),
        rotations_TJ3=with_gaze(rig, stored(rotations), stored(gaze)),
        translation_T3=stored(translation),
        expression_TE=stored(expression),
        gaze_T8=stored(gaze),
    )


def _joint_deviation(name: str, size: FitNoise) -> float:
    if name == "root":
        return size.root
    if name.startswith("eye"):
        return 0.0  # turned by the gaze
    return size.fingers if name.startswith(("finger", "toe", "metacarpal")) else size.body


def correlated_noise(
    shape: tuple[int, ...], fps: float, seconds: float, jitter: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Stationary noise of deviation one: an Ornstein-Uhlenbeck process plus a share of white noise.

    Args:
        shape: Frames first.
        fps: Frames per second.
        seconds: Time after which the correlation has fallen to 1/e.
        jitter: Share of the variance that is white.
        rng: Source of the noise.
    """
    kept = float(np.exp(-1 / (fps * seconds)))
    white = rng.normal(size=shape)
    slow = np.empty(shape)
    slow[0] = white[0]
    for frame in range(1, shape[0]):
        slow[frame] = kept * slow[frame - 1] + np.sqrt(1 - kept**2) * white[frame]
    return np.sqrt(1 - jitter) * slow + np.sqrt(jitter) * rng.normal(size=shape)


def write_truth(sequence: Path, signals: Signals) -> Path:
    """Keep the exact rig values beside a sequence with a noisy fit, for evaluation only.

    Args:
        sequence: Folder of the sequence.
        signals: Exact values.

    Returns:
        The file ``truth.safetensors``.
    """
    arrays = signals.to_arrays()
    content = save({name: arrays[name] for name in _TRUE_VALUES})
    return write_atomically(sequence / TRUTH_FILE, lambda partial: partial.write_bytes(content))


def read_truth(sequence: str | Path) -> dict[str, NDArray]:
    """Exact rig values of a sequence with a noisy fit: identity, rotations, translation, expression, gaze.

    Raises:
        DataError: The sequence has no such file or it is damaged.
    """
    path = Path(sequence) / TRUTH_FILE
    if not path.is_file():
        raise DataError(f"{path} is missing; only synthetic sequences with noisy fits have true values.")
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is damaged; synthesize the sequence again.") from error
