"""A person of known shape and pose, for writing small sets in the layouts that others document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.importers.smpl_family import BodyModel, body_in_world
from lca_lightning.importers.source import Importer, MeshBody, SmplBody, SourceTake
from lca_lightning.importers.upright import world_turn
from tests.unit.importers.views import overlap, silhouette


@dataclass(frozen=True)
class Truth:
    """Parameters in a source's world, and where the vertices are in ours."""

    model: BodyModel
    up: str
    betas: np.ndarray
    orientation_T3: np.ndarray
    pose_TJ3: np.ndarray
    translation_T3: np.ndarray
    hands_T2: np.ndarray
    vertices_TV3: np.ndarray

    def about_origin(self) -> tuple[np.ndarray, np.ndarray]:
        """``Rh`` and ``Th``: the same bodies turned about the model's origin."""
        pelvis = self.model.regressor_JV[0] @ (
            self.model.template_V3 + self.model.shapes_V3S[..., : len(self.betas)] @ self.betas
        )
        turned = Rotation.from_rotvec(self.orientation_T3).apply(pelvis)
        return self.orientation_T3, self.translation_T3 + pelvis - turned


def make_truth(model: BodyModel, frames: int, up: str, pca: int = 0, from_mean: bool = False) -> Truth:
    """Somebody who stands in our world's middle and moves, described in a world with another up axis."""
    generator, joints = np.random.default_rng(3), 23 if model.kind == "smpl" else 21
    turn = world_turn(up)
    pose = generator.normal(size=(frames, joints, 3)) * 0.12
    hands = generator.normal(size=(frames, 2, pca or 45)) * 0.2
    ours = np.array([[0.0, 0.4 + 0.5 * frame, 0.0] for frame in range(frames)])
    theirs = (Rotation.from_matrix(turn[:3, :3].T) * Rotation.from_rotvec(ours)).as_rotvec()
    betas = np.array([0.6, -0.4])
    pelvis = model.regressor_JV[0] @ (model.template_V3 + model.shapes_V3S[..., :2] @ betas)
    place = np.array([[0.1 * frame, 0.9, -0.1] for frame in range(frames)])
    shift = place @ turn[:3, :3] - pelvis
    body = SmplBody(
        model.kind, "neutral", betas, theirs, pose, shift, hands[:, 0], hands[:, 1],
        world_from_model_44=turn, hands_from_mean=from_mean,
    )  # fmt: skip
    return Truth(model, up, betas, theirs, pose, shift, hands, body_in_world(model, body)[0])


def source_pose(camera: CalibratedCamera, up: str) -> np.ndarray:
    """World to camera of the source's world."""
    return camera.w2c_44 @ world_turn(up)


def only_take(importer: Importer) -> SourceTake:
    """The one take of a small set; a broken one fails with its reason."""
    (take,) = importer.takes()
    assert isinstance(take, SourceTake), take
    return take


def source_overlaps(
    importer: Importer, model: BodyModel | None, vertices_TV3: np.ndarray | None = None
) -> list[float]:
    """How well the body covers the masks as the importer describes both, over all cameras and frames.

    Args:
        importer: Of one take.
        model: For bodies given as parameters.
        vertices_TV3: Vertices to use instead of the importer's body.
    """
    take = only_take(importer)
    frames: Sequence[int] = range(take.frame_count)
    if vertices_TV3 is None:
        body = importer.body(take, frames)
        assert isinstance(body, (MeshBody, SmplBody)) and model is not None
        vertices_TV3 = body.vertices_TV3 if isinstance(body, MeshBody) else body_in_world(model, body)[0]
        faces = model.faces_F3
    else:
        assert model is not None
        faces = model.faces_F3
    found = []
    for camera in take.cameras:
        K = camera.K_33.copy()
        K[:2, 2] += 0.5 - importer.pixel_center
        for frame, (image, mask) in enumerate(importer.frames(take, camera, frames)):
            assert mask is not None and image.shape == (camera.height, camera.width, 3)
            seen = silhouette(
                vertices_TV3[frame], faces, K, camera.w2c_44, camera.width, camera.height, camera.distortion_N
            )
            found.append(overlap(seen, mask >= 128))
            colour = image[(mask >= 128)].astype(float).mean(0)
            assert colour[0] > 180 and colour[2] < 100, f"the orange person came out as {colour}"
    return found
