"""Writes small BVH files of a standing body for the tests of motion reading and retargeting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]
# name, parent, offset in centimetres; a person in T-pose who faces +z
_TRUNK = [
    ("Hips", "", (0, 95, 0)),
    ("Spine", "Hips", (0, 10, 0)),
    ("Spine1", "Spine", (0, 15, 0)),
    ("Neck", "Spine1", (0, 25, 0)),
    ("Head", "Neck", (0, 10, 2)),
    ("Head end", "Head", (0, 20, 0)),
]
_SIDE = [
    ("Shoulder", "Spine1", (3, 20, 0)),
    ("Arm", "Shoulder", (14, 0, 0)),
    ("ForeArm", "Arm", (28, 0, 0)),
    ("Hand", "ForeArm", (25, 0, 0)),
    ("HandThumb1", "Hand", (4, 0, 3)),
    ("HandThumb1 end", "HandThumb1", (3, 0, 3)),
    ("HandIndex1", "Hand", (9, 0, 3)),
    ("HandIndex1 end", "HandIndex1", (8, 0, 0)),
    ("HandMiddle1", "Hand", (9.5, 0, 1)),
    ("HandMiddle1 end", "HandMiddle1", (8, 0, 0)),
    ("HandPinky1", "Hand", (8, 0, -3)),
    ("HandPinky1 end", "HandPinky1", (6, 0, 0)),
    ("UpLeg", "Hips", (9, -3, 0)),
    ("Leg", "UpLeg", (0, -42, 0)),
    ("Foot", "Leg", (0, -42, -2)),
    ("ToeBase", "Foot", (0, -7, 13)),
    ("ToeBase end", "ToeBase", (0, 0, 7)),
]


class Body:
    """Names, parents and offsets of a T-pose body, and its motion as global rotations.

    Args:
        frames: Number of frames.
    """

    def __init__(self, frames: int) -> None:
        nodes = list(_TRUNK)
        for side, sign in (("Left", 1), ("Right", -1)):
            shared = {"Spine1", "Hips"}
            nodes += [
                (side + name, parent if parent in shared else side + parent, (sign * x, y, z))
                for name, parent, (x, y, z) in _SIDE
            ]
        self.names = [name for name, _, _ in nodes]
        self.parents = [self.names.index(parent) if parent else -1 for _, parent, _ in nodes]
        self.offsets = np.array([offset for _, _, offset in nodes], dtype=float)
        self.local = np.tile(np.eye(3), (frames, len(nodes), 1, 1))
        self.root = np.tile(self.offsets[0], (frames, 1))

    def turn(self, name: str, rotations_T33: Array) -> None:
        """Set a joint's local rotations."""
        self.local[:, self.names.index(name)] = rotations_T33

    def reaxed(self, seed: int) -> Body:
        """The same motion with every bone in its own random axes, so that zero rotations are no pose."""
        axes = Rotation.random(len(self.names), random_state=seed).as_matrix()
        other = Body(len(self.local))
        for joint, parent in enumerate(self.parents):
            before = axes[parent] if parent >= 0 else np.eye(3)
            other.offsets[joint] = before.T @ self.offsets[joint]
            other.local[:, joint] = before.T @ self.local[:, joint] @ axes[joint]
        other.root = self.root.copy()
        return other

    def write(
        self, path: Path, order: str = "ZXY", scale: float = 1.0, z_up: bool = False, dt: float = 0.02
    ) -> Path:
        """Write the file; ``z_up`` turns the whole capture so that z points up."""
        world = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) if z_up else np.eye(3)
        local, root = self.local.copy(), scale * self.root @ world.T
        local[:, 0] = world @ local[:, 0]
        lines = [
            "HIERARCHY",
            *self._node(0, order, scale, 0),
            "MOTION",
            f"Frames: {len(local)}",
            f"Frame Time: {dt}",
        ]
        columns = [root]
        for joint in self._written_order():
            columns.append(Rotation.from_matrix(local[:, joint]).as_euler(order, degrees=True))
        lines += [" ".join(f"{value:.7f}" for value in row) for row in np.concatenate(columns, axis=1)]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _children(self, joint: int) -> list[int]:
        return [index for index, parent in enumerate(self.parents) if parent == joint]

    def _written_order(self, joint: int = 0) -> list[int]:
        below = [index for child in self._children(joint) for index in self._written_order(child)]
        return ([] if self.names[joint].endswith(" end") else [joint]) + below

    def _node(self, joint: int, order: str, scale: float, depth: int) -> list[str]:
        pad, end = "  " * depth, self.names[joint].endswith(" end")
        kind = "ROOT " if depth == 0 else "JOINT "
        offset = " ".join(f"{value * scale:.6f}" for value in self.offsets[joint])
        lines = [
            f"{pad}{'End Site' if end else kind + self.names[joint]}",
            f"{pad}{{",
            f"{pad}  OFFSET {offset}",
        ]
        if not end:
            rotation = " ".join(f"{axis}rotation" for axis in order)
            position = "Xposition Yposition Zposition " if depth == 0 else ""
            lines.append(f"{pad}  CHANNELS {6 if depth == 0 else 3} {position}{rotation}")
        for child in self._children(joint):
            lines += self._node(child, order, scale, depth + 1)
        return [*lines, f"{pad}}}"]


def lively_body(frames: int = 60) -> Body:
    """A body that bends elbows and knees, twists its trunk and walks forward."""
    body = Body(frames)
    phase = np.linspace(0, 4 * np.pi, frames)
    wave, ahead = np.sin(phase), 0.5 - 0.5 * np.cos(phase)

    def about(axis: str, degrees: Array) -> Array:
        return np.asarray(Rotation.from_euler(axis, degrees[:, None], degrees=True).as_matrix())

    body.turn("Hips", about("y", 20 * wave))
    body.turn("Spine1", about("y", -15 * wave) @ about("x", 10 * ahead))
    body.turn("Head", about("y", 20 * wave))
    for side, sign in (("Left", 1), ("Right", -1)):
        body.turn(f"{side}Arm", about("z", -sign * (40 + 20 * wave)) @ about("y", 10 * wave))
        body.turn(f"{side}ForeArm", about("y", -sign * (40 + 40 * ahead)))
        body.turn(f"{side}UpLeg", about("x", -30 * ahead - sign * 20 * wave))
        body.turn(f"{side}Leg", about("x", 25 + 30 * ahead))
    body.root[:, 2] += np.linspace(0, 100, frames)
    return body
