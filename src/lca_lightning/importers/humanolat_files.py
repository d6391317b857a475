"""Files of HumanOLAT: cameras, lamps, which lamp burns in which picture, 2D and 3D body annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError
from lca_lightning.importers.reading import read_json_file
from lca_lightning.importers.source import FloatArray, SmplBody

WHITE_PICTURE = 0  # then two gradients and ten environments, which no list of lamps describes
FIRST_LAMP = 14  # the picture under all lamps that opens the lamp sequence
CYCLE = 21  # pictures from one under all lamps to the next
ALL_LAMPS = -1
MILLIMETRES = 0.001


def read_calibration(
    path: Path, sizes: dict[str, tuple[int, int]], center_3: FloatArray
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Cameras of a ``.calib`` file.

    Intrinsics are divided by the picture's width, extrinsics in millimetres. The pictures are undistorted
    already, so the file's distortion is not used. Extrinsics that look away from the middle of the lamps are
    taken for camera to world.

    Args:
        path: The file; its cameras come in the order ``Cam01``, ``Cam02``, ...
        sizes: Width and height of the cameras that have pictures.
        center_3: Middle of the lamps, metres.

    Returns:
        Intrinsics in pixels ``(3, 3)`` and world to camera ``(4, 4)`` in metres by camera.

    Raises:
        DataError: The file is broken, or its cameras look at the lamps in neither reading.
    """
    extrinsics, intrinsics = _matrices(path, "extrinsic", 4), _matrices(path, "intrinsic", 3)
    if len(extrinsics) != len(intrinsics) or not extrinsics:
        raise DataError(
            f"{path} holds {len(intrinsics)} intrinsics and {len(extrinsics)} extrinsics; get it again."
        )
    given = []
    for rows in extrinsics:
        matrix = np.vstack([rows, [0, 0, 0, 1]])
        matrix[:3, 3] *= MILLIMETRES
        given.append(matrix)
    inverted = [np.linalg.inv(matrix) for matrix in given]
    poses = max((given, inverted), key=lambda readings: _looking_at(readings, center_3))
    if _looking_at(poses, center_3) < 0.75:
        raise DataError(f"The cameras of {path} do not look at the lamps; the file is broken.")
    found = {}
    for number, (pose, K_33) in enumerate(zip(poses, intrinsics, strict=True), 1):
        name = f"Cam{number:02d}"
        if name in sizes:
            scaled = K_33.copy()
            scaled[:2] *= sizes[name][0]
            found[name] = (scaled, pose)
    return found


def _matrices(path: Path, key: str, columns: int) -> list[FloatArray]:
    """The three rows after each line that says ``key``."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        starts = [i for i, line in enumerate(lines) if line.split()[:1] == [key] and "time" not in line]
        blocks = [[_numbers(row)[:columns] for row in lines[i + 1 : i + 4]] for i in starts]
        arrays = [np.array(block, np.float64) for block in blocks]
        if any(array.shape != (3, columns) for array in arrays):
            raise ValueError(f"a {key} is not 3x{columns}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no complete calibration ({error}); get it again.") from error
    return arrays


def _numbers(line: str) -> list[float]:
    return [float(word) for word in line.strip().strip("#").split()]


def _looking_at(poses: list[FloatArray], center_3: FloatArray) -> float:
    """Share of cameras that stand in different places and have the middle of the lamps before them."""
    centers = np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])
    if len(poses) > 2 and np.linalg.norm(centers - centers.mean(0), axis=1).max() < 0.5:
        return 0.0
    seen = [pose[:3, :3] @ center_3 + pose[:3, 3] for pose in poses]
    return float(np.mean([point[2] > 0.7 * np.linalg.norm(point) for point in seen]))


def read_lamps(path: Path) -> FloatArray:
    """Lamp positions of a ``.pc`` file, lines ``v x y z``, metres, ``(L, 3)``."""
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        lamps = np.array([[float(word) for word in row[1:4]] for row in rows if row[:1] == ["v"]])
    except (OSError, ValueError) as error:
        raise DataError(f"The lamp positions {path} cannot be read ({error}); get them again.") from error
    if lamps.ndim != 2 or lamps.shape[1:] != (3,):
        raise DataError(f"{path} holds no lamp positions; get it again.")
    return lamps


def read_lamp_order(path: Path, lamps: int) -> list[int]:
    """Which lamp burns first, second, ...; the file counts from 1."""
    try:
        order = [int(line) - 1 for line in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise DataError(f"The lamp order {path} cannot be read ({error}); get it again.") from error
    if sorted(order) != list(range(lamps)):
        raise DataError(f"{path} does not name each of the {lamps} lamps once; get it again.")
    return order


def light_sequence(order: list[int]) -> list[tuple[int, int]]:
    """Which lamp burns in which picture.

    Args:
        order: Lamps in the order they flash.

    Returns:
        Pairs of picture number and lamp, `ALL_LAMPS` for even light; pictures under gradients and
        environments are left out.
    """
    pairs, picture = [(WHITE_PICTURE, ALL_LAMPS)], FIRST_LAMP
    waiting = list(order)
    while waiting:
        # The lamp sequence opens with even light, and every 21st picture from its start is even again.
        even = picture == FIRST_LAMP or (picture - FIRST_LAMP + 1) % CYCLE == 0
        pairs.append((picture, ALL_LAMPS if even else waiting.pop(0)))
        picture += 1
    return pairs


def read_openpose(folder: Path, camera: str) -> FloatArray | None:
    """2D joints ``(25, 3)`` (x, y, confidence) of the first person, None where there are none."""
    number = camera.removeprefix("Cam")
    for name in (number, camera, str(int(number)), f"{int(number):03d}"):
        path = folder / name / "000_keypoints.json"
        if path.is_file():
            people = read_json_file(path).get("people", [])
            if not people:
                return None
            values = np.array(people[0].get("pose_keypoints_2d", []), np.float64)
            if values.size != 75:
                raise DataError(f"{path} holds {values.size} values, not 75 of 25 joints.")
            return values.reshape(25, 3)
    return None


def read_smplx(path: Path, turn_33: FloatArray, frames: int) -> SmplBody | None:
    """EasyMocap's SMPL-X: ``Rh`` and ``Th`` move the posed body as a whole, about the origin.

    Args:
        path: The JSON file.
        turn_33: From the set's world to ours.
        frames: Frames to repeat the still pose for.

    Returns:
        The body, None without the file.
    """
    if not path.is_file():
        return None
    known = read_json_file(path)
    try:
        person = (known["annots"] if isinstance(known, dict) else known)[0]
        poses = np.array(person["poses"], np.float64).reshape(-1)
        world = np.eye(4)
        turn = Rotation.from_rotvec(np.array(person["Rh"], np.float64).reshape(3)).as_matrix()
        world[:3, :3] = turn_33 @ turn
        world[:3, 3] = turn_33 @ np.array(person["Th"], np.float64).reshape(3)
        body = poses[3:66].reshape(21, 3)
        betas = np.array(person["shapes"], np.float64).reshape(-1)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no SMPL-X result of EasyMocap ({error}); get it again.") from error
    still = np.zeros((frames, 3))
    return SmplBody(
        "smplx", "neutral", betas, still, np.repeat(body[None], frames, 0), still, world_from_model_44=world
    )
