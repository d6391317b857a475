"""Names of MHR's joints and of the first of its model parameters, in order (MHR, Apache-2.0, Meta)."""

from __future__ import annotations

_FINGERS = (
    "pinky0 pinky1 pinky2 pinky3 pinky_null ring1 ring2 ring3 ring_null middle1 middle2 middle3 middle_null"
)
_ARM = (
    f"clavicle uparm lowarm wrist_twist wrist {_FINGERS} index1 index2 index3 index_null thumb0 thumb1 thumb2"
)
_ARM += " thumb3 thumb_null " + " ".join(f"lowarm_twist{i}_proc" for i in range(1, 5))
_ARM += " " + " ".join(f"uparm_twist{i}_proc" for i in range(5))
_LEG = "upleg lowleg foot talocrural subtalar transversetarsal ball "
_LEG += " ".join(f"lowleg_twist{i}_proc" for i in range(1, 5)) + " "
_LEG += " ".join(f"upleg_twist{i}_proc" for i in range(5))
_HEAD = (
    "neck neck_twist1_proc neck_twist0_proc head jaw teeth jaw_null tongue0 tongue1 tongue2 tongue3 tongue4"
)

_ARM_POSE = (
    "clavicle_rx clavicle_ry clavicle_rz uparm_twist uparm_ry uparm_rz elbow_bend lowarm_twist wrist_ry "
    "wrist_rz"
)
_LEG_POSE = "upleg_twist upleg_ry upleg_rz knee_bend lowleg_twist foot_bend foot_lean0 foot_lean1 ball_bend"
_HAND_POSE = (
    "thumb0_ry thumb0_rz thumb1_rx thumb1_ry thumb1_rz thumb2_rz thumb3_rz index1_ry ring1_ry pinky1_ry "
    "middle1_ry index1_rz index2_rz index3_rz middle1_rz middle2_rz middle3_rz ring1_rz ring2_rz ring3_rz "
    "pinky1_rz pinky2_rz pinky3_rz index1_rx ring1_rx pinky1_rx middle1_rx"
)
_SPINE_POSE = (
    "spine0_rx_flexible spine_twist0 spine0_ry_flexible spine_lean0 spine0_rz_flexible spine_bend0 "
    "spine1_rx_flexible spine_twist1 spine1_ry_flexible spine_lean1 spine1_rz_flexible spine_bend1 "
    "spine2_rx_flexible spine2_ry_flexible spine2_rz_flexible "
    "spine3_rx_flexible spine3_ry_flexible spine3_rz_flexible"
)
_SCALES = (
    "eye_width eye_height eye_depth spine_length neck_length shoulder_width uparms lowarms r_hands l_hands "
    "hip_width hip_height hip_depth uplegs lowlegs knee_knock ankle_height foot_length r_index1_length"
)


def _prefixed(prefix: str, words: str, suffix: str = "") -> list[str]:
    return [prefix + word + suffix for word in words.split()]


JOINTS = ["body_world", "root", *_prefixed("l_", _LEG), *_prefixed("r_", _LEG)]
JOINTS += [*_prefixed("c_spine", "0 1 2 3"), *_prefixed("r_", _ARM), *_prefixed("l_", _ARM)]
JOINTS += [*_prefixed("c_", _HEAD), "r_eye", "r_eye_null", "l_eye", "l_eye_null", "c_head_null"]

PARAMETERS = [*_prefixed("root_", "tx ty tz rx ry rz"), *_SPINE_POSE.split()]
PARAMETERS += "neck_twist neck_lean neck_bend head_twist head_lean head_bend".split()
for _words in (_ARM_POSE, _LEG_POSE, _HAND_POSE):
    PARAMETERS += _prefixed("r_", _words) + _prefixed("l_", _words)
for _side in "lr":
    PARAMETERS += _prefixed(f"{_side}_", "foot_ry subtalar_rz talocrural_rx ball_rx", "_flexible")
PARAMETERS += _prefixed(
    "", "spine_length neck_length shoulder_width arm_length hip_width leg_length", "_flexible"
)
PARAMETERS += _prefixed("scale_", _SCALES)
