"""One number for what a synthetic data set says about its pictures: two machines can compare it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.numpy import load

from lca_lightning.errors import DataError
from lca_lightning.synthesis.fit_noise import TRUTH_FILE

# Measured in the rendered pictures, so equal only where the same renderer made them.
_MEASURED = ("person_boxes/", "sharpness/")


def metadata_digest(root: str | Path) -> str:
    """SHA-256 of everything in a data set, or a benchmark of several, that does not come from its pictures.

    Args:
        root: A data set, or a folder of data sets.

    Returns:
        64 hexadecimal digits over ``dataset.json``, ``sequence.json``, the true rig values and the stored
        ones without what was measured in the pictures, in the order of their paths.

    Raises:
        DataError: There is no data set.
    """
    root = Path(root)
    headers = sorted(root.glob("dataset.json")) + sorted(root.glob("*/dataset.json"))
    if not headers:
        raise DataError(f"There is no data set in {root}; make one with `lca synthesize --out DIR`.")
    total = hashlib.sha256()
    for header in headers:
        total.update(header.read_bytes())
        for folder in sorted((header.parent / "sequences").glob("[!.]*")):
            total.update(folder.name.encode())
            total.update((folder / "sequence.json").read_bytes())
            for name in ("signals.safetensors", TRUTH_FILE):
                if (folder / name).is_file():
                    _add_arrays(total, folder / name)
    return total.hexdigest()


def _add_arrays(total: hashlib._Hash, path: Path) -> None:
    for name, array in sorted(load(path.read_bytes()).items()):
        if not name.startswith(_MEASURED):
            total.update(f"{name} {array.dtype} {array.shape}".encode())
            total.update(array.tobytes())
