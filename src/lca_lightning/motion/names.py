"""Finds the parts of a body (hips, left upper arm, ...) among the joints of any motion-capture skeleton.

Names are normalised (namespaces, prefixes, side marks, case) and looked up in lists of the words that Mixamo,
CMU, Biovision, LaFAN, Xsens, BEAT, Rokoko, 3ds Max, Daz, Unreal and SMPL exports use; what no name settles
(spine, neck, chest, missing links) follows from the hierarchy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError
from lca_lightning.motion.topology import limbs_by_shape

Array = NDArray[np.float64]

SIDES = ("L", "R")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_SIDE_WORDS = {"left": "L", "l": "L", "lft": "L", "lt": "L", "right": "R", "r": "R", "rgt": "R", "rt": "R"}
_NOISE = {
    "joint", "jnt", "j", "bone", "b", "bip", "bip01", "def", "mixamorig", "character", "rig", "skel", "avg",
    "in", "hand",
}  # fmt: skip
# In order of preference: a later word is used only where no earlier one occurs on that side.
_WORDS = {
    "upper_leg": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "lower_leg": ("lowleg", "lowerleg", "calf", "shin", "tibia", "knee", "leg"),
    "foot": ("ankle", "foot"),
    "toe": ("toebase", "toe", "toes", "ball", "football", "foot"),
    "upper_arm": ("uparm", "upperarm", "humerus", "shldr", "arm", "shoulder"),
    "lower_arm": ("forearm", "lowarm", "lowerarm", "radius", "elbow"),
    "hand": ("wrist", "hand"),
    "clavicle": ("clavicle", "collar", "collarbone", "clav", "scapula", "shoulder"),
}
_FINGER_WORDS = {
    "thumb": "thumb", "index": "index", "middle": "middle", "mid": "middle", "ring": "ring", "pinky": "pinky",
    "little": "pinky", "pinkie": "pinky",
}  # fmt: skip


@dataclass(frozen=True)
class SkeletonMap:
    """Joint indices of the parts of a body.

    Args:
        hips: Joint that both legs hang from.
        spine: Joints between the hips and the chest, chest included, from below.
        neck: Joints between the chest and the head.
        head: The head, or None.
        limbs: ``"upper_arm.L"`` and so on to a joint.
        fingers: ``"thumb.L"`` and so on to up to three joints from the knuckle outwards.
    """

    hips: int
    spine: tuple[int, ...]
    neck: tuple[int, ...]
    head: int | None
    limbs: dict[str, int]
    fingers: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def chest(self) -> int:
        """The joint the arms and the neck hang from."""
        return self.spine[-1] if self.spine else self.hips


@dataclass(frozen=True)
class _Name:
    side: str
    core: str
    digits: str
    words: frozenset[str]


def map_skeleton(
    names: Sequence[str], parents: Sequence[int], positions_N3: Array | None = None
) -> SkeletonMap:
    """Find the body's parts in a skeleton.

    Args:
        names: Joint names; end sites end in ``" end"`` and are never mapped.
        parents: Parent index per joint, -1 for a root, parents first.
        positions_N3: A posture with y up; then names that say nothing are replaced by the skeleton's shape.

    Returns:
        The parts found; arms, head, hands and fingers may be missing, legs may not.

    Raises:
        DataError: The legs cannot be found; lists some names.
    """
    parsed = [_parse(name) for name in names]
    tree = _Tree(parents, [name.endswith(" end") for name in names])
    limbs: dict[str, int] = {}
    for side in SIDES:
        limbs.update(_find_leg(parsed, tree, side))
        limbs.update(_find_arm(parsed, tree, side))
    if not _has_legs(limbs) and positions_N3 is not None:
        limbs = limbs_by_shape(parents, [name.endswith(" end") for name in names], positions_N3)
    if not _has_legs(limbs):
        shown = ", ".join(name for name in list(names)[:12])
        raise DataError(
            f"No left and right legs among the joints ({shown}, ...); "
            "rename the thighs to LeftUpLeg and RightUpLeg."
        )
    hips = _find_hips(parsed, tree, limbs)
    chest = _find_chest(parsed, tree, limbs, hips)
    head = _find_head(parsed, tree, chest)
    spine = tuple(tree.path(hips, chest)[1:])
    neck = tuple(tree.path(chest, head)[1:-1]) if head is not None else ()
    fingers = {
        f"{finger}.{side}": chain
        for side in SIDES
        if f"hand.{side}" in limbs
        for finger, chain in _find_fingers(parsed, tree, limbs[f"hand.{side}"]).items()
    }
    return SkeletonMap(hips, spine, neck, head, limbs, fingers)


def _has_legs(limbs: dict[str, int]) -> bool:
    return all(f"{part}.{side}" in limbs for part in ("upper_leg", "lower_leg", "foot") for side in SIDES)


def _parse(name: str) -> _Name:
    """Split a name into side, words and digits: ``"mixamorig:LeftUpLeg"`` is L, ``"upleg"``."""
    bare = name.removesuffix(" end").rsplit(":", 1)[-1]
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", bare)
    words = [part.lower() for part in parts if not part.isdigit()]
    digits = [part for part in parts if part.isdigit()]
    side = next((_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS), "")
    words = [word for word in words if word not in _SIDE_WORDS]
    core = "".join(word for word in words if word not in _NOISE) or "".join(
        word for word in words if word == "hand"
    )
    if not side and len(words) == 1 and words[0][:1] in "lr":  # "lfemur", "rhumerus"
        known = {word for group in _WORDS.values() for word in group} | set(_FINGER_WORDS) | {"hipjoint"}
        if words[0][1:] in known:
            side, core = words[0][0].upper(), words[0][1:]
    return _Name(side, core, digits[-1] if digits else "", frozenset(words))


class _Tree:
    """Questions about a hierarchy."""

    def __init__(self, parents: Sequence[int], is_end: Sequence[bool]) -> None:
        self.parents = list(parents)
        self.children: list[list[int]] = [[] for _ in parents]
        for joint, parent in enumerate(parents):
            if parent >= 0 and not is_end[joint]:
                self.children[parent].append(joint)
        self.depth = [len(self.ancestors(joint)) for joint in range(len(parents))]

    def ancestors(self, joint: int) -> list[int]:
        """The joint itself, its parent and so on to the root."""
        chain = [joint]
        while self.parents[chain[-1]] >= 0:
            chain.append(self.parents[chain[-1]])
        return chain

    def common(self, joints: Sequence[int]) -> int | None:
        """Lowest joint that all given ones hang from, themselves excluded."""
        shared = [set(self.ancestors(joint)[1:]) for joint in joints]
        candidates = set.intersection(*shared)
        return max(candidates, key=self.depth.__getitem__) if candidates else None

    def path(self, top: int, bottom: int) -> list[int]:
        """Joints from an ancestor down to a descendant, both included."""
        chain = self.ancestors(bottom)
        return chain[: chain.index(top) + 1][::-1] if top in chain else [top]

    def only_child(self, joint: int) -> int | None:
        """The child with the largest subtree, None at a leaf."""
        children = self.children[joint]
        return max(children, key=self.size) if children else None

    def size(self, joint: int) -> int:
        """Number of joints in a subtree."""
        return 1 + sum(self.size(child) for child in self.children[joint])

    def below(self, joint: int) -> list[int]:
        """Descendants in breadth-first order."""
        result = list(self.children[joint])
        for child in result:
            result.extend(self.children[child])
        return result


def _first(
    parsed: list[_Name], tree: _Tree, part: str, side: str, taken: set[int], under: int | None = None
) -> int | None:
    """Shallowest joint of a side whose core is the most preferred word of a part."""
    allowed = set(tree.below(under)) if under is not None else set(range(len(parsed)))
    for word in _WORDS[part]:
        found = [
            joint
            for joint, name in enumerate(parsed)
            if name.side == side and name.core == word and joint in allowed and joint not in taken
        ]
        if found:
            return min(found, key=tree.depth.__getitem__)
    return None


def _find_leg(parsed: list[_Name], tree: _Tree, side: str) -> dict[str, int]:
    upper = _first(parsed, tree, "upper_leg", side, set())
    if upper is None:
        return {}
    return _follow(parsed, tree, side, "upper_leg", upper, ("lower_leg", "foot", "toe"))


def _find_arm(parsed: list[_Name], tree: _Tree, side: str) -> dict[str, int]:
    upper = _first(parsed, tree, "upper_arm", side, set())
    if upper is None:
        return {}
    found = _follow(parsed, tree, side, "upper_arm", upper, ("lower_arm", "hand"))
    collar = _first(parsed, tree, "clavicle", side, {upper})
    if collar is not None and collar in tree.ancestors(upper):
        found[f"clavicle.{side}"] = collar
    return found


def _follow(
    parsed: list[_Name], tree: _Tree, side: str, start: str, joint: int, rest: Sequence[str]
) -> dict[str, int]:
    """Parts of a limb from its first joint down; one without a known name is the next joint."""
    found = {f"{start}.{side}": joint}
    for part in rest:
        following = _first(parsed, tree, part, side, set(found.values()), under=joint)
        child = tree.only_child(joint) if following is None else following
        if child is None:
            break
        joint = child
        found[f"{part}.{side}"] = joint
    return found


def _find_hips(parsed: list[_Name], tree: _Tree, limbs: dict[str, int]) -> int:
    common = tree.common([limbs["upper_leg.L"], limbs["upper_leg.R"]])
    if common is None:
        raise DataError("The two legs hang from different roots: export one skeleton with one root.")
    named = [
        joint
        for joint in tree.ancestors(common)
        if not parsed[joint].side and parsed[joint].core in ("hips", "pelvis", "hip")
    ]
    return named[0] if named else common


def _find_chest(parsed: list[_Name], tree: _Tree, limbs: dict[str, int], hips: int) -> int:
    arms = [limbs[f"upper_arm.{side}"] for side in SIDES if f"upper_arm.{side}" in limbs]
    heads = [joint for joint, name in enumerate(parsed) if name.core == "head" and not name.side]
    joints = arms + heads[:1] if len(arms) < 2 else arms
    chest = tree.common(joints) if len(joints) > 1 else None
    return chest if chest is not None and hips in tree.ancestors(chest) else hips


def _find_head(parsed: list[_Name], tree: _Tree, chest: int) -> int | None:
    below = tree.below(chest)
    named = [joint for joint in below if parsed[joint].core == "head" and not parsed[joint].side]
    if named:
        return min(named, key=tree.depth.__getitem__)
    necks = [joint for joint in below if "neck" in parsed[joint].core]
    return max(necks, key=tree.depth.__getitem__) if necks else None


def _find_fingers(parsed: list[_Name], tree: _Tree, hand: int) -> dict[str, tuple[int, ...]]:
    """Up to three joints per finger, metacarpals left out."""
    groups: dict[str, list[int]] = {}
    below = tree.below(hand)
    numbered = [parsed[joint].digits for joint in below if parsed[joint].core.startswith("finger")]
    first = 0 if any(digits.startswith("0") for digits in numbered) else 1
    for joint in below:
        name = parsed[joint]
        finger = next((_FINGER_WORDS[word] for word in name.words if word in _FINGER_WORDS), None)
        if finger is None and name.core.startswith("finger") and name.digits:
            order = int(name.digits[0]) - first
            finger = FINGERS[order] if 0 <= order < len(FINGERS) else None
        if finger is not None:
            groups.setdefault(finger, []).append(joint)
    return {finger: _phalanges(parsed, finger, chain) for finger, chain in groups.items()}


def _phalanges(parsed: list[_Name], finger: str, chain: list[int]) -> tuple[int, ...]:
    """The three joints that bend: metacarpals, and unnumbered joints before numbered ones, are palm."""
    bare = [joint for joint in chain if not parsed[joint].words & {"metacarpal", "in", "carpal"}]
    if finger == "thumb" and len(chain) <= 3:
        bare = chain
    numbered = [joint for joint in bare if parsed[joint].digits]
    if numbered and len(numbered) < len(bare) and len(bare) > 3:
        bare = numbered
    return tuple(bare[:3])
