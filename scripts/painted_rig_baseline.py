"""Score the simplest avatar there is: the fitted rig in the best constant colour per body region.

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
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.rendering.renderer import Gaussians, choose_renderer
from lca_lightning.rig import REGIONS, Anchors, Rig, RigPose, load_rig, sample_anchors


def render_regions(rig: Rig, anchors: Anchors, batch: Batch) -> tuple[Tensor, Tensor]:
    """Share of each region in each pixel ``(T, R, H, W)`` and alpha ``(T, 1, H, W)``, one subject."""
    driving, targets = batch.driving, batch.targets
    pose = RigPose(driving.rotations_BTJ3[0], driving.translation_BT3[0])
    points_TG3 = anchors.on_mesh(rig.posed_vertices(batch.identity_BI, pose, driving.expression_BTE[0]))
    one_hot = torch.eye(len(REGIONS))[anchors.regions_G]
    scales = anchors.spacing_G.clamp(0.004, 0.03)[:, None].expand(-1, 3)
    turns = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(anchors.gaussian_count, 4)
    opacities = torch.full((anchors.gaussian_count,), 0.95)
    height, width = targets.images_BT3HW.shape[-2:]
    renderer = choose_renderer("auto", points_TG3.device)
    shares, alphas = [], []
    for frame, points_G3 in enumerate(points_TG3):
        cloud = Gaussians(points_G3, turns, scales, opacities, one_hot)
        view = (targets.w2c_BT44[0, frame, None], targets.K_BT33[0, frame, None], width, height)
        rendering = renderer(cloud, *view)
        shares.append(rendering.color_TCHW[0])
        alphas.append(rendering.alpha_T1HW[0])
    return torch.stack(shares), torch.stack(alphas)


def main() -> None:
    """Print the masked scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--train_cameras", nargs="+")
    parser.add_argument("--test_cameras", nargs="+")
    parser.add_argument("--test_frame_fraction", type=float, default=0.2)
    options = vars(parser.parse_args())
    data = StudioDataModule(**options, image_size=[256, 192], face_size=[128, 128], num_workers=0)
    data.setup("test")
    rig = load_rig()
    anchors = sample_anchors(rig, 4096, 8)
    batches = [batch for batch in tqdm(data.test_dataloader(), desc="render the rig")]
    with torch.no_grad():
        rendered = [render_regions(rig, anchors, batch) for batch in batches]
    # Normal equations over the person's pixels: share * colour + (1 - alpha) * white = image.
    gram, moment = torch.zeros(len(REGIONS), len(REGIONS)), torch.zeros(len(REGIONS), 3)
    for batch, (shares, alphas) in zip(batches, rendered, strict=True):
        inside = batch.targets.masks_BT1HW[0, :, 0] > 0.5
        rows = shares.movedim(1, -1)[inside]
        wanted = (batch.targets.images_BT3HW[0] - (1 - alphas)).movedim(1, -1)[inside]
        gram += rows.T @ rows
        moment += rows.T @ wanted
    colors = torch.linalg.lstsq(gram, moment).solution.clamp(0, 1)
    scores = MaskedProtocol()
    for batch, (shares, alphas) in zip(batches, rendered, strict=True):
        images = torch.einsum("trhw,rc->tchw", shares, colors) + (1 - alphas)
        targets = batch.targets
        scores.update(images[None], alphas[None], targets.images_BT3HW, targets.masks_BT1HW, batch.subjects,
                      batch.frames)  # fmt: skip
    values = {name: round(float(value), 4) for name, value in scores.compute().items()}
    print(json.dumps({"baseline": "rig in the best colour per region", **values}, indent=1))


if __name__ == "__main__":
    main()
