"""Finds legs and arms by the shape of a skeleton whose joint names say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_LEG = ("upper_leg", "lower_leg", "foot", "toe")
_ARM = ("upper_arm", "lower_arm", "hand")
# Two branches are a pair when their bones' total lengths agree to this share.
_PAIR_TOLERANCE = 0.2


def limbs_by_shape(parents: Sequence[int], is_end: Sequence[bool], positions_N3: Array) -> dict[str, int]:
    """Limb parts of a standing person with y up, from the tree and one posture alone.

    Args:
        parents: Parent index per joint, -1 for a root, parents first.
        is_end: True for end sites.
        positions_N3: Joint positions in one frame.

    Returns:
        ``"upper_leg.L"`` and so on to joints; empty without a pair of legs whose feet point forward.
    """
    children: list[list[int]] = [[] for _ in parents]
    for joint, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(joint)
    branches = [joint for joint in range(len(parents)) if len(children[joint]) > 1]
    legs = _lowest_pair(branches, children, parents, positions_N3)
    if legs is None:
        return {}
    hips, left_leg, right_leg = legs
    chains = [_chain(leg, children, is_end) for leg in (left_leg, right_leg)]
    if any(not _hangs(chain, positions_N3) for chain in chains):
        return {}
    ahead = sum(_forward(chain, children, positions_N3) for chain in chains)
    side = np.cross([0.0, 1.0, 0.0], ahead)
    if np.linalg.norm(side) < 1e-6 * np.abs(positions_N3).max():
        return {}
    found: dict[str, int] = {}
    arms = _arm_pair(hips, {left_leg, right_leg}, children, parents, positions_N3)
    for pair, names in (((left_leg, right_leg), _LEG), (arms or (), _ARM)):
        ordered = sorted(pair, key=lambda joint: -float(positions_N3[_tip(joint, children)] @ side))
        for letter, first in zip("LR", ordered, strict=False):
            chain = _chain(first, children, is_end)
            if names is _ARM and len(chain) > 3:  # a collar bone comes first
                found[f"clavicle.{letter}"], chain = chain[0], chain[1:]
            found |= {f"{name}.{letter}": joint for name, joint in zip(names, chain, strict=False)}
    return found


def _length(joint: int, children: list[list[int]], parents: Sequence[int], positions: Array) -> float:
    """Total length of the longest path from a joint's parent down through it."""
    own = float(np.linalg.norm(positions[joint] - positions[parents[joint]]))
    return own + max((_length(child, children, parents, positions) for child in children[joint]), default=0.0)


def _tip(joint: int, children: list[list[int]]) -> int:
    """First leaf below a joint."""
    while children[joint]:
        joint = children[joint][0]
    return joint


def _chain(joint: int, children: list[list[int]], is_end: Sequence[bool]) -> list[int]:
    """Joints from the first of a limb down to where it branches or ends, the branching one included."""
    chain = [joint]
    while len(children[joint]) == 1 and not is_end[children[joint][0]]:
        joint = children[joint][0]
        chain.append(joint)
    return chain


def _pairs(
    joint: int, children: list[list[int]], parents: Sequence[int], positions: Array
) -> list[tuple[int, int]]:
    """Children of equal length and depth."""
    lengths = {child: _length(child, children, parents, positions) for child in children[joint]}
    return [
        (first, second)
        for first in lengths
        for second in lengths
        if first < second
        and abs(lengths[first] - lengths[second]) <= _PAIR_TOLERANCE * max(lengths[first], 1e-9)
    ]


def _lowest_pair(
    branches: list[int], children: list[list[int]], parents: Sequence[int], positions: Array
) -> tuple[int, int, int] | None:
    """The joint and the two like branches below it whose tips lie lowest."""
    candidates = [(j, *pair) for j in branches for pair in _pairs(j, children, parents, positions)]
    if not candidates:
        return None
    # The hips are the topmost joint with such a pair: toes of one foot come later.
    lowest = min(float(positions[_tip(pair[1], children), 1]) for pair in candidates)
    span = float(np.ptp(positions[:, 1]))
    low = [
        pair
        for pair in candidates
        if all(positions[_tip(joint, children), 1] < lowest + 0.15 * span for joint in pair[1:])
    ]
    return low[0] if low else None


def _arm_pair(
    hips: int, legs: set[int], children: list[list[int]], parents: Sequence[int], positions: Array
) -> tuple[int, int] | None:
    """The longest pair of like branches above the hips."""
    above = [child for child in children[hips] if child not in legs]
    for joint in above:
        above.extend(children[joint])
    found = [pair for joint in above for pair in _pairs(joint, children, parents, positions)]
    return max(found, key=lambda pair: _length(pair[0], children, parents, positions), default=None)


def _hangs(chain: list[int], positions: Array) -> bool:
    """Whether a leg has a knee and an ankle and points down."""
    leg = positions[chain[min(2, len(chain) - 1)]] - positions[chain[0]]
    return len(chain) > 2 and -float(leg[1]) > 0.7 * float(np.linalg.norm(leg))


def _forward(chain: list[int], children: list[list[int]], positions: Array) -> Array:
    """Horizontal direction in which a leg's foot points."""
    foot = chain[2] if len(chain) > 2 else chain[-1]
    direction = positions[_tip(foot, children)] - positions[foot]
    return np.asarray(direction * [1.0, 0.0, 1.0])
