"""Reads Biovision (BVH) motion files: hierarchy, channels in any order, forward kinematics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError

Array = NDArray[np.float64]
_CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation", "scale")}


@dataclass(frozen=True)
class BvhJoint:
    """One node of the hierarchy.

    Args:
        name: As the file spells it; end sites are called ``"<parent> end"``.
        parent: Index of the parent, -1 for a root.
        offset_3: From the parent in file units.
        channels: Lower-case channel names in file order.
        first_channel: Column of the first channel in a frame's values.
        is_end: True for an End Site.
    """

    name: str
    parent: int
    offset_3: tuple[float, float, float]
    channels: tuple[str, ...]
    first_channel: int
    is_end: bool


@dataclass(frozen=True)
class BvhClip:
    """A parsed motion file.

    Args:
        joints: Parents before children.
        values_TC: Channel values, degrees and file units, NaN frames already held, ``(T, C)``.
        fps: Frames per second.
        held_frames: Frames with non-finite values that repeat the last good frame.
    """

    joints: tuple[BvhJoint, ...]
    values_TC: Array
    fps: float
    held_frames: int

    @property
    def parents(self) -> list[int]:
        """Parent index of each joint."""
        return [joint.parent for joint in self.joints]

    def rest_positions(self) -> Array:
        """Joint positions ``(N, 3)`` with every rotation zero, root at its offset, file units."""
        positions = np.zeros((len(self.joints), 3))
        for index, joint in enumerate(self.joints):
            base = positions[joint.parent] if joint.parent >= 0 else 0.0
            positions[index] = base + np.asarray(joint.offset_3)
        return positions

    def forward_kinematics(self) -> tuple[Array, Array]:
        """World pose of every joint in every frame.

        Returns:
            Rotations ``(T, N, 3, 3)`` and positions ``(T, N, 3)`` in file axes and units.
        """
        frames, count = len(self.values_TC), len(self.joints)
        rotations, positions = np.empty((frames, count, 3, 3)), np.empty((frames, count, 3))
        for index, joint in enumerate(self.joints):
            local, shift = self._local_rotation(joint), self._local_shift(joint)
            if joint.parent < 0:
                rotations[:, index], positions[:, index] = local, shift
                continue
            base = rotations[:, joint.parent]
            rotations[:, index] = base @ local
            positions[:, index] = positions[:, joint.parent] + (base @ shift[..., None])[..., 0]
        return rotations, positions

    def _local_rotation(self, joint: BvhJoint) -> Array:
        """Product of the joint's rotation channels in file order, ``(T, 3, 3)``."""
        columns = [i for i, name in enumerate(joint.channels) if name.endswith("rotation")]
        if not columns:
            return np.broadcast_to(np.eye(3), (len(self.values_TC), 3, 3)).copy()
        result = np.eye(3)
        for i in columns:
            angles = self.values_TC[:, joint.first_channel + i]
            result = (
                result @ Rotation.from_euler(joint.channels[i][0], angles[:, None], degrees=True).as_matrix()
            )
        return np.asarray(result)

    def _local_shift(self, joint: BvhJoint) -> Array:
        """Translation from the parent, ``(T, 3)``: position channels where the file has them."""
        offset = np.asarray(joint.offset_3)
        shift = np.tile(offset, (len(self.values_TC), 1))
        columns = {name[0]: i for i, name in enumerate(joint.channels) if name.endswith("position")}
        if not columns:
            return shift
        channel = np.zeros_like(shift)
        for axis, i in columns.items():
            channel[:, "xyz".index(axis)] = self.values_TC[:, joint.first_channel + i]
        # Most exporters repeat the offset in the channels; a few write differences from it.
        differences = np.abs(channel).max() < 0.1 * np.linalg.norm(offset)
        return shift + channel if differences and joint.parent >= 0 else channel


def load_bvh(path: str | Path) -> BvhClip:
    """Read a BVH file.

    Args:
        path: The file.

    Returns:
        The clip; frames with NaN or infinite values hold the last good frame and are counted.

    Raises:
        DataError: Missing, empty, truncated or not a BVH; names the file and the line.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"Cannot read the motion file {path} ({error.strerror}); check the path.") from error
    return _Parser(path.name, text).parse()


class _Parser:
    """Walks the lines once; every complaint carries the line number."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines: Iterator[tuple[int, str]] = (
            (number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        )
        self.number = 0
        self.joints: list[BvhJoint] = []
        self.channel_count = 0

    def fail(self, problem: str) -> DataError:
        """The error that names the file, the line and the way out."""
        if ";" not in problem:
            problem = f"{problem.rstrip('.')}; export it again."
        return DataError(f"{self.name}, line {self.number}: {problem}")

    def next_line(self, wanted: str) -> str:
        """The next line that is not blank; ``wanted`` is named when the file ends before it."""
        try:
            self.number, line = next(self.lines)
        except StopIteration:
            raise self.fail(f"the file is cut off, {wanted} is missing; export it again.") from None
        return line

    def parse(self) -> BvhClip:
        """Read the hierarchy, the header of the motion and its frames."""
        self.number, first = next(self.lines, (1, ""))
        if first.split()[:1] != ["HIERARCHY"]:
            raise self.fail("not a BVH file, the first word must be HIERARCHY; give a .bvh or .npz motion.")
        self._parse_hierarchy()
        frames = self._header_number(r"Frames\s*:\s*(\S+)", "Frames: N")
        frame_time = self._header_number(r"Frame\s*Time\s*:\s*(\S+)", "Frame Time: seconds")
        if frames < 1 or frames != int(frames):
            raise self.fail("the file holds no frames; export it again with its motion.")
        if not 1e-4 < frame_time < 10:
            raise self.fail(f"the frame time {frame_time} s is not between 0.0001 and 10 seconds.")
        values = np.stack([self._frame(index, int(frames)) for index in range(int(frames))])
        values, held = hold_last_good_frame(values, self.name)
        return BvhClip(tuple(self.joints), values, 1.0 / frame_time, held)

    def _header_number(self, pattern: str, wanted: str) -> float:
        line = self.next_line(f"'{wanted}'")
        match = re.fullmatch(pattern, line, flags=re.IGNORECASE)
        try:
            return float(match.group(1)) if match else float("no number")
        except ValueError:
            raise self.fail(f"expected '{wanted}', got '{line[:40]}'.") from None

    def _parse_hierarchy(self) -> None:
        """Read nodes until MOTION."""
        stack: list[int] = []
        pending = -1
        while True:
            line = self.next_line("the MOTION section").replace("{", " { ").replace("}", " } ")
            words = line.split()
            while words:
                word = words.pop(0).upper()
                if word == "MOTION":
                    if stack or not self.joints:
                        raise self.fail("a brace of the hierarchy is not closed before MOTION.")
                    return
                if word in ("ROOT", "JOINT", "END"):
                    pending = self._add_joint(word, words, stack)
                elif word == "{":
                    if pending < 0:
                        raise self.fail("a brace opens without a joint.")
                    stack.append(pending)
                    pending = -1
                elif word == "}":
                    if not stack:
                        raise self.fail("a brace closes that was never opened.")
                    stack.pop()
                elif word in ("OFFSET", "CHANNELS") and stack:
                    self._set_field(word, words, stack[-1])
                else:
                    raise self.fail(f"unknown word '{word[:40]}' in the hierarchy.")

    def _add_joint(self, word: str, words: list[str], stack: list[int]) -> int:
        parent = stack[-1] if stack else -1
        if (parent < 0) != (word == "ROOT"):
            raise self.fail(f"{word} stands in the wrong place of the hierarchy.")
        # The name is the rest of the line up to a brace, so that names with blanks work.
        end = words.index("{") if "{" in words else len(words)
        name = "_".join(words[:end])
        del words[:end]
        if word == "END":
            name = f"{self.joints[parent].name} end"
        elif not name:
            raise self.fail("a joint has no name.")
        self.joints.append(BvhJoint(name, parent, (0.0, 0.0, 0.0), (), self.channel_count, word == "END"))
        return len(self.joints) - 1

    def _set_field(self, word: str, words: list[str], index: int) -> None:
        joint = self.joints[index]
        if word == "OFFSET":
            offset = self._numbers(words[:3], 3, f"OFFSET of {joint.name}")
            del words[:3]
            x, y, z = (float(value) for value in offset)
            self.joints[index] = BvhJoint(
                joint.name, joint.parent, (x, y, z), joint.channels, joint.first_channel, joint.is_end
            )
            return
        count = words.pop(0) if words else ""
        channels = tuple(part.lower() for part in words[: int(count)]) if count.isdigit() else ()
        if not count.isdigit() or len(channels) != int(count) or not set(channels) <= _CHANNELS:
            raise self.fail(f"CHANNELS of {joint.name} must be a count and that many channel names.")
        del words[: int(count)]
        self.joints[index] = BvhJoint(
            joint.name, joint.parent, joint.offset_3, channels, self.channel_count, joint.is_end
        )
        self.channel_count += len(channels)

    def _numbers(self, words: list[str], count: int, what: str) -> Array:
        if len(words) != count:
            raise self.fail(f"{what} has {len(words)} values, expected {count}.")
        try:
            return np.array(words, dtype=np.float64)
        except ValueError:
            pass  # A word is no number: find it, allowing Windows' spelling of NaN.
        cleaned = ["nan" if "#" in part else part for part in words]
        try:
            return np.array(cleaned, dtype=np.float64)
        except ValueError:
            raise self.fail(f"{what} has a value that is not a number.") from None

    def _frame(self, index: int, frames: int) -> Array:
        line = self.next_line(f"frame {index + 1} of {frames}")
        return self._numbers(line.split(), self.channel_count, f"frame {index + 1} of {frames}")


def hold_last_good_frame(values_TC: Array, name: str) -> tuple[Array, int]:
    """Replace frames that hold NaN or infinity by the last good one (the first good one at the start).

    Args:
        values_TC: Values per frame, ``(T, C)``.
        name: File name for the error.

    Returns:
        Finite values and the number of frames replaced.

    Raises:
        DataError: No frame is finite.
    """
    good = np.isfinite(values_TC).all(axis=1)
    if not good.any():
        raise DataError(f"{name}: every frame holds NaN or infinite values; export the motion again.")
    last_good = np.maximum.accumulate(np.where(good, np.arange(len(good)), -1))
    last_good[last_good < 0] = np.argmax(good)
    return values_TC[last_good], int((~good).sum())
