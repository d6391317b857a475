"""The Anny package's own forward pass in the rig frame; as a module it renews the stored values.

`python -m tests.parity.anny_package` writes every 37th vertex of twelve random people to
`tests/parity/data/anny_reference.npz`, which the fast tests compare with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lca_lightning.geometry.rotations import rotation_vector_to_matrix
from lca_lightning.rig.anny import PHENOTYPES, AnnyRig

REFERENCE = Path(__file__).parent / "data" / "anny_reference.npz"
VERTEX_STEP = 37
TO_RIG = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], dtype=torch.float64)


def random_parameters(rig: AnnyRig, count: int, seed: int) -> dict[str, Tensor]:
    """Random people in double precision: identity over its whole bounds, poses of up to 0.6 rad a joint."""
    generator = torch.Generator().manual_seed(seed)
    bounds = rig.identity_bounds().double()
    share = torch.rand(count, rig.identity_size, generator=generator, dtype=torch.float64)
    return {
        "identity": bounds[:, 0] + share * (bounds[:, 1] - bounds[:, 0]),
        "rotations": torch.randn(count, len(rig.joint_names), 3, generator=generator, dtype=torch.float64)
        * 0.35,
        "translation": torch.randn(count, 3, generator=generator, dtype=torch.float64),
        "expression": torch.rand(count, rig.expression_size, generator=generator, dtype=torch.float64),
    }


def package_forward(
    rig: AnnyRig, identity: Tensor, rotations: Tensor, translation: Tensor, expression: Tensor
) -> tuple[Tensor, Tensor]:
    """Vertices ``(B, V, 3)`` and joints ``(B, J, 3)`` in metres, computed by the `anny` package."""
    import anny

    changes = [f"{name}-incr" for name in rig.identity_names[len(PHENOTYPES) :]]
    model = anny.Anny(
        local_changes=changes,
        facial_actions="all",
        phenotypes="all",
        skinning_method="lbs",
        phenotype_blendshapes="original",
    ).double()
    deltas = torch.eye(4, dtype=torch.float64).repeat(*rotations.shape[:2], 1, 1)
    deltas[..., :3, :3] = TO_RIG.T @ rotation_vector_to_matrix(rotations) @ TO_RIG
    deltas[:, 0, :3, 3] = translation @ TO_RIG
    local = {label: identity[:, rig.identity_names.index(label.removesuffix("-incr"))] for label in changes}
    output = model(
        pose_parameters=deltas,
        phenotype_kwargs={name: identity[:, i] for i, name in enumerate(PHENOTYPES)},
        local_changes_kwargs={label: local[label] for label in model.local_change_labels},
        facial_actions={name: expression[:, i] for i, name in enumerate(rig.expression_names)},
    )
    return output["vertices"] @ TO_RIG.T, output["bone_poses"][..., :3, 3] @ TO_RIG.T


def main() -> None:
    """Renew the stored reference values."""
    rig = AnnyRig()
    parameters = random_parameters(rig, 12, seed=7)
    vertices, joints = package_forward(rig, **parameters)
    REFERENCE.parent.mkdir(exist_ok=True)
    arrays = {name: value.numpy() for name, value in parameters.items()}
    np.savez_compressed(
        REFERENCE, vertices=vertices[:, ::VERTEX_STEP].numpy(), joints=joints.numpy(), **arrays
    )
    print(f"wrote {REFERENCE.name} ({REFERENCE.stat().st_size / 1e3:.0f} kB)")


if __name__ == "__main__":
    main()
