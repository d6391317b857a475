"""3D Gaussian splatting PLY files as common viewers read them (layout of Kerbl et al. 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lca_lightning.errors import DataError
from lca_lightning.rendering.renderer import Gaussians
from lca_lightning.writing import write_atomically

# Zeroth spherical-harmonic basis function: colour = 0.5 + C0 * f_dc.
_SH_C0 = 0.28209479177387814
_NAMES = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
    "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
# Logits of 0 and 1 are infinite; viewers show no difference beyond this.
_OPACITY_MARGIN = 1e-7


def write_ply(gaussians: Gaussians, path: str | Path) -> Path:
    """Write a cloud as a binary little-endian splatting PLY, atomically.

    Args:
        gaussians: Means and standard deviations in metres, quaternions wxyz, sRGB colours in [0, 1].
        path: The file.

    Returns:
        The path.

    Raises:
        DataError: The colours are not RGB, or the file cannot be written.
    """
    if gaussians.colors_GC.shape[1] != 3:
        raise DataError(f"A PLY holds RGB colours, got {gaussians.colors_GC.shape[1]} channels.")
    opacity = gaussians.opacities_G.double().clamp(_OPACITY_MARGIN, 1 - _OPACITY_MARGIN)
    columns = torch.cat(
        [
            gaussians.means_G3.double(),
            torch.zeros(len(opacity), 3, dtype=torch.float64, device=opacity.device),
            (gaussians.colors_GC.double() - 0.5) / _SH_C0,
            torch.logit(opacity)[:, None],
            gaussians.scales_G3.double().clamp(min=1e-12).log(),
            torch.nn.functional.normalize(gaussians.quaternions_G4.double(), dim=-1),
        ],
        dim=1,
    )
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(opacity)}"]
    header += [*(f"property float {name}" for name in _NAMES), "end_header", ""]
    content = "\n".join(header).encode("ascii") + columns.detach().cpu().numpy().astype("<f4").tobytes()
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_ply(path: str | Path) -> Gaussians:
    """Read a splatting PLY; view-dependent colour coefficients are left out.

    Args:
        path: A binary little-endian PLY with the properties that `write_ply` writes, in any order.

    Returns:
        The cloud on the CPU, sRGB colours.

    Raises:
        DataError: Missing, damaged or another kind of PLY.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    head, separator, body = content.partition(b"end_header\n")
    lines = head.decode("ascii", errors="replace").split("\n")
    words = [line.split() for line in lines]
    names = [entry[2] for entry in words if entry[:2] == ["property", "float"]]
    counts = [int(entry[2]) for entry in words if entry[:2] == ["element", "vertex"] and entry[2].isdigit()]
    known = lines[0] == "ply" and "format binary_little_endian 1.0" in lines and separator
    if not known or not counts or not set(_NAMES) <= set(names):
        raise DataError(f"{path} is not a Gaussian splatting PLY.")
    if len(body) != 4 * counts[0] * len(names):
        raise DataError(f"{path} is cut off: {len(body)} bytes of {4 * counts[0] * len(names)}.")
    table = torch.from_numpy(np.frombuffer(body, "<f4").reshape(counts[0], len(names)).copy())
    column = {name: table[:, index] for index, name in enumerate(names)}

    def stack(*wanted: str) -> torch.Tensor:
        return torch.stack([column[name] for name in wanted], dim=1)

    return Gaussians(
        stack("x", "y", "z"),
        stack("rot_0", "rot_1", "rot_2", "rot_3"),
        stack("scale_0", "scale_1", "scale_2").exp(),
        column["opacity"].sigmoid(),
        0.5 + _SH_C0 * stack("f_dc_0", "f_dc_1", "f_dc_2"),
    )
