"""Train the image encoder `synthetic-tiny` on synthetic people and put it into the package.

    lca synthesize --kind wild --subjects 400 --frames 8 --seed 7001 --size 256x192 --samples 16 \\
        --fit-noise 0 --test-subjects 0 --val-subjects 20 --out encoder_people
    python scripts/train_synthetic_encoder.py encoder_people

At laptop size it stands where Sapiens stands in the paper: a vision transformer taught on pictures of people
beforehand and frozen afterwards. The values of each patch token say what is seen in that patch: the
colours and the coverage of its 4x4 cells, and where on the body's surface its visible points lie in the rest
pose, as a mean of Fourier features. The values left over are free; all together must name the piece of the
surface. Nobody of the benchmarks is among these people: the seeds differ.
"""

from __future__ import annotations

import argparse
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from lca_lightning.augmentation.recoloring import bend_channels
from lca_lightning.datasets.crops import cut_intrinsics, face_square, snap
from lca_lightning.datasets.frame_store import FrameStore, Shot
from lca_lightning.datasets.reader import open_dataset
from lca_lightning.inspection.body import PosedBody, rig_of
from lca_lightning.model.bundled_encoders import ASSETS, BUNDLED, SYNTHETIC_TINY, untrained_network
from lca_lightning.model.pretrained import IMAGENET
from lca_lightning.model.tokens import fourier_features
from lca_lightning.rendering.mesh import visible_triangles
from lca_lightning.rig.rig import Rig

BODY, FACE, PATCH, CELLS = (192, 144), (64, 64), 16, 4  # pixels, and cells along a side of a patch
BANDS, PIECES = 4, 96
PACKAGED = ASSETS / SYNTHETIC_TINY
COLORS, COVERAGE, CODE = 3 * CELLS**2, CELLS**2, 3 + 6 * BANDS


@dataclass
class Pictures:
    """Cuts of one size with what their pixels show.

    Args:
        rgba_n4HW: uint8 sRGB and the person mask.
        surface_n3HW: Rest-pose position of the visible point of the body, metres, float16; NaN where none is.
    """

    rgba_n4HW: Tensor
    surface_n3HW: Tensor


def read_people(root: Path, split: str) -> tuple[Pictures, Pictures]:
    """Bodies and faces of a data set with exact rig values, cut as data modules cut them."""
    dataset = open_dataset(root)
    rig = rig_of(dataset.rig)
    store = FrameStore(BODY, FACE, cache_bytes=0)
    bodies: list[tuple[np.ndarray, np.ndarray]] = []
    faces: list[tuple[np.ndarray, np.ndarray]] = []
    for sequence in tqdm(dataset.sequences(split), desc=f"reading {split}", unit="person"):
        signals = sequence.signals
        posed = PosedBody(rig, signals)
        for name, camera in sequence.cameras.items():
            shots = [Shot(name, int(frame)) for frame in np.flatnonzero(signals.frame_valid_T)]
            for shot, cut in zip(shots, store.get(sequence, shots), strict=True):
                seen = visible_surface(rig, posed, shot.frame, camera.w2c_44, cut.K_33, BODY)
                bodies.append((cut.body_4HW, seen))
                if cut.face_4hw is not None:
                    box = snap(face_square(signals.face_boxes[name][shot.frame]))
                    K_33 = cut_intrinsics(camera.K_33, box, FACE)
                    seen = visible_surface(rig, posed, shot.frame, camera.w2c_44, K_33, FACE)
                    faces.append((cut.face_4hw, seen))
    return _stack(bodies), _stack(faces)


def visible_surface(
    rig: Rig, posed: PosedBody, frame: int, w2c_44: np.ndarray, K_33: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Rest-pose position of what each pixel sees of the body, to the size of a triangle, float16 metres."""
    intrinsics_33 = np.asarray(K_33, np.float64)
    seen_HW = visible_triangles(posed.vertices(frame), posed.faces_F3, w2c_44, intrinsics_33, *size)
    centres_F3 = rig.template_vertices_V3.numpy()[posed.faces_F3].mean(1)
    points_HW3 = np.where(seen_HW[..., None] >= 0, centres_F3[seen_HW], np.nan)
    return points_HW3.astype(np.float16).transpose(2, 0, 1)


def _stack(rows: list[tuple[np.ndarray, np.ndarray]]) -> Pictures:
    rgba, surface = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return Pictures(rgba, surface)


def prepared(rgba_n4HW: Tensor, surface_n3HW: Tensor, draws: torch.Generator | None) -> tuple[Tensor, ...]:
    """Pictures over white, masks and positions, 99 where there is none; moved and recoloured by ``draws``."""
    pixels = rgba_n4HW.float() / 255
    mask = pixels[:, 3:]
    premultiplied, surface = torch.cat([pixels[:, :3] * mask, mask], 1), surface_n3HW.float().nan_to_num(99.0)
    if draws is not None:
        count, (height, width) = len(pixels), pixels.shape[-2:]

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(count).uniform_(low, high, generator=draws)

        scale, angle, mirror = uniform(-0.3, 0.3).exp(), uniform(-0.2, 0.2), uniform(-1, 1).sign()
        along, across, aspect = scale * angle.cos(), scale * angle.sin(), width / height
        grid = functional.affine_grid(
            torch.stack(
                [
                    torch.stack([along * mirror, -across / aspect, uniform(-0.2, 0.2)], 1),
                    torch.stack([across * mirror * aspect, along, uniform(-0.15, 0.15)], 1),
                ],
                1,
            ),
            [count, 1, height, width],
            align_corners=False,
        )
        premultiplied = functional.grid_sample(premultiplied, grid, align_corners=False)
        surface = (
            functional.grid_sample(surface - 99, grid, mode="nearest", align_corners=False) + 99
        )  # zeros outside become "none"
        surface = surface * torch.stack([mirror, torch.ones(count), torch.ones(count)], 1)[..., None, None]
    mask = premultiplied[:, 3:]
    colors = (premultiplied[:, :3] / mask.clamp_min(1e-3)).clamp(0, 1)
    if draws is not None:
        channels = torch.stack([torch.randperm(3, generator=draws) for _ in range(len(colors))])
        gammas = 2.0 ** torch.empty(len(colors), 3).uniform_(-1, 1, generator=draws)
        colors = bend_channels(colors[:, None], channels, gammas)[:, 0]
        light = 1.3 ** torch.empty(len(colors), 1, 1, 1).uniform_(-1, 1, generator=draws)
        colors = (colors * light + 0.02 * torch.randn(colors.shape, generator=draws)).clamp(0, 1)
    return mask * colors + (1 - mask), mask, surface


def cells_of(values_ncHW: Tensor) -> Tensor:
    """Values grouped by patch and cell, ``(n, patches, cells, c)``."""
    count, channels, height, width = values_ncHW.shape
    rows, columns = height // CELLS, width // CELLS
    grid = values_ncHW.view(count, channels, rows, CELLS, columns, CELLS)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, CELLS**2, channels)


class Teacher(nn.Module):
    """The encoder and what its tokens must say.

    Args:
        pieces_P3: Centres of the pieces of the surface, metres.
    """

    pieces_P3: Tensor

    def __init__(self, pieces_P3: Tensor) -> None:
        super().__init__()
        architecture = BUNDLED[SYNTHETIC_TINY]
        self.network = untrained_network(architecture)
        self.pieces = nn.Linear(architecture.width, len(pieces_P3))
        self.register_buffer("pieces_P3", pieces_P3)

    def forward(self, pictures_n3HW: Tensor, mask_n1HW: Tensor, surface_n3HW: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, and under ``correct`` how often the right piece is named first."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        tokens = self.network((pictures_n3HW - mean) / std, interpolate_pos_encoding=True).last_hidden_state
        tokens = tokens[:, 1:]
        colors, coverage, code, _ = tokens.split([COLORS, COVERAGE, CODE, tokens.shape[-1] - 91], -1)
        true_colors = cells_of(functional.avg_pool2d(pictures_n3HW, PATCH // CELLS)).flatten(-2)
        true_coverage = cells_of(functional.avg_pool2d(mask_n1HW, PATCH // CELLS)).flatten(-2)
        # four points a cell
        points = torch.stack([surface_n3HW[:, :, row::4, column::4] for row in (1, 3) for column in (1, 3)])
        points = torch.cat([cells_of(part) for part in points], 2)
        seen = (points[..., 0].abs() < 50).float()
        weight = seen.sum(-1)
        features = fourier_features(torch.where(seen[..., None] > 0, points, torch.zeros(())), BANDS)
        true_code = (features * seen[..., None]).sum(2) / points.shape[2]  # nothing seen is a code of zero
        owner = torch.cdist(points.flatten(0, 2), self.pieces_P3).argmin(-1).view(seen.shape)
        shares = torch.zeros(*weight.shape, len(self.pieces_P3)).scatter_add_(-1, owner, seen)
        shares = shares / weight.clamp_min(1)[..., None]
        logits, body = self.pieces(tokens), (weight > 0).float()
        named = -(shares * logits.log_softmax(-1)).sum(-1)
        return {
            "colors": functional.smooth_l1_loss(colors, 4 * (true_colors - 0.5), beta=0.2),
            "coverage": functional.smooth_l1_loss(coverage, 2 * true_coverage - 1, beta=0.2),
            "code": functional.mse_loss(code, 1.5 * true_code),
            "pieces": (named * body).sum() / body.sum(),
            "correct": ((logits.argmax(-1) == shares.argmax(-1)) * body).sum() / body.sum(),
        }


WEIGHTS = {"colors": 1.0, "coverage": 1.0, "code": 4.0, "pieces": 0.3}


def train(root: Path, steps: int, batch: int, rate: float) -> nn.Module:
    """Train on the data set's training people and print the terms for the others."""
    draws = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    learned, held = read_people(root, "train"), read_people(root, "val")
    points = learned[0].surface_n3HW.permute(0, 2, 3, 1).reshape(-1, 3)[::53].float()
    pieces = kmeans2(points[~points[:, 0].isnan()].numpy()[:40000], PIECES, seed=0, minit="++")[0]
    teacher = Teacher(torch.from_numpy(pieces).float())
    optimizer = torch.optim.AdamW(teacher.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    progress = tqdm(range(1, steps + 1), unit="step")
    for step in progress:
        total = torch.zeros(())
        for share, pictures in zip((1.0, 0.5), learned, strict=True):
            rows = torch.randint(len(pictures.rgba_n4HW), (batch,), generator=draws)
            terms = teacher(*prepared(pictures.rgba_n4HW[rows], pictures.surface_n3HW[rows], draws))
            total = total + share * sum(weight * terms[name] for name, weight in WEIGHTS.items())
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps:
            with torch.no_grad():
                for name, pictures in zip(("bodies", "faces"), held, strict=True):
                    terms = teacher(*prepared(pictures.rgba_n4HW[::2], pictures.surface_n3HW[::2], None))
                    shown = ", ".join(f"{key} {float(value):.4f}" for key, value in terms.items())
                    progress.write(f"step {step}, held-out {name}: {shown}")
    return teacher.network.eval()


def write(network: Any, folder: Path) -> None:
    """Write a folder as ``transformers`` reads it, weights in half precision, under another name first."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    network.half().save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def main() -> None:
    """Read the arguments, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, help="data set of synthetic people with exact rig values")
    parser.add_argument(
        "--out", type=Path, default=PACKAGED, help="folder of the encoder (the package's own)"
    )
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps (4000)")
    parser.add_argument("--batch", type=int, default=24, help="bodies and as many faces in a step (24)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (1e-3)")
    arguments = parser.parse_args()
    write(train(arguments.root, arguments.steps, arguments.batch, arguments.rate), arguments.out)
    print(f"Wrote {arguments.out}.")


if __name__ == "__main__":
    main()
