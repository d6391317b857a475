"""Score the simplest avatar there is: the mesh of the fitted rig in the best constant colour per body region.

The colours are fitted to the very frames that are scored, so this flatters the baseline. The numbers compare
with `lca test` on the same data options:

    python scripts/painted_rig_baseline.py ROOT --train_cameras cam01 cam02 cam03 --test_cameras cam04
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor
from tqdm import tqdm

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.geometry.cameras import project_points
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.metrics.protocol import ScoredFrames
from lca_lightning.rendering.mesh import rasterise_mesh
from lca_lightning.rig import REGIONS, Rig, RigPose, load_rig

SAMPLES = 4  # per pixel and axis


def render_regions(rig: Rig, batch: Batch) -> Tensor:
    """Share of each region in each pixel, ``(T, R, H, W)``, one subject; they sum to the mesh's coverage."""
    driving, targets = batch.driving, batch.targets
    pose = RigPose(driving.rotations_BTJ3[0], driving.translation_BT3[0])
    vertices_TV3 = rig.posed_vertices(batch.identity_BI, pose, driving.expression_BTE[0])
    height, width = (SAMPLES * side for side in targets.images_BT3HW.shape[-2:])
    finer = torch.tensor([[SAMPLES], [SAMPLES], [1.0]])
    pixels_TV2, depth_TV = project_points(vertices_TV3, targets.w2c_BT44[0], targets.K_BT33[0] * finer)
    faces_F3 = rig.faces_F3[rig.visible_faces_F]
    region_F = rig.regions_V[faces_F3[:, 0]]
    shares = []
    for pixels_V2, depth_V in zip(pixels_TV2, depth_TV, strict=True):
        index_HW = rasterise_mesh(pixels_V2.numpy(), depth_V.numpy(), faces_F3.numpy(), height, width)
        index_HW = torch.from_numpy(index_HW).long()
        region_HW = torch.where(index_HW >= 0, region_F[index_HW], -1)
        one_hot_RHW = region_HW == torch.arange(len(REGIONS))[:, None, None]
        shares.append(torch.nn.functional.avg_pool2d(one_hot_RHW.float(), SAMPLES))
    return torch.stack(shares)


def best_colors(batches: list[Batch], shares: list[Tensor]) -> Tensor:
    """Least-squares sRGB colour of each region over the person's pixels, ``(R, 3)``.

    Solves ``share * colour + (1 - coverage) * white = image``.
    """
    gram, moment = torch.zeros(len(REGIONS), len(REGIONS)), torch.zeros(len(REGIONS), 3)
    for batch, shares_TRHW in zip(batches, shares, strict=True):
        inside = batch.targets.masks_BT1HW[0, :, 0] > 0.5
        rows = shares_TRHW.movedim(1, -1)[inside]
        uncovered = 1 - shares_TRHW.sum(1, keepdim=True)
        wanted = (batch.targets.images_BT3HW[0] - uncovered).movedim(1, -1)[inside]
        gram += rows.T @ rows
        moment += rows.T @ wanted
    return torch.linalg.lstsq(gram, moment, driver="gelsd").solution.clamp(0, 1)


def main() -> None:
    """Print the masked scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--train_cameras", nargs="+")
    parser.add_argument("--test_cameras", nargs="+")
    parser.add_argument("--test_frame_fraction", type=float, default=0.2)
    parser.add_argument("--image_size", type=int, nargs=2, default=[256, 192])
    data = StudioDataModule(**vars(parser.parse_args()), face_size=[128, 128], num_workers=0)
    data.setup("test")
    rig = load_rig()
    batches = [batch for batch in tqdm(data.test_dataloader(), desc="read")]
    with torch.no_grad():
        shares = [render_regions(rig, batch) for batch in tqdm(batches, desc="render the rig")]
    colors = best_colors(batches, shares)
    scores = MaskedProtocol()
    for batch, shares_TRHW in zip(batches, shares, strict=True):
        alphas = shares_TRHW.sum(1, keepdim=True)
        images = torch.einsum("trhw,rc->tchw", shares_TRHW, colors) + (1 - alphas)
        targets = batch.targets
        scores.update(
            ScoredFrames(images[None], alphas[None], targets.images_BT3HW, targets.masks_BT1HW,
                         batch.subjects, batch.frames)
        )  # fmt: skip
    values = {name: round(float(value), 4) for name, value in scores.compute().items()}
    print(json.dumps({"baseline": "rig in the best colour per region", **values}, indent=1))


if __name__ == "__main__":
    main()
