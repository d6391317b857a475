"""Blur, noise and compression against scipy, statistics and Pillow's JPEG."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.augmentation.compression import compress
from lca_lightning.augmentation.configuration import DegradationConfig
from lca_lightning.augmentation.degradation import blur, hashed_noise
from lca_lightning.batch import Batch
from lca_lightning.rig.anny import AnnyRig
from tests.unit.augmentation.scenes import make_batch


def smooth_image(height: int, width: int) -> torch.Tensor:
    """A colourful picture with large and small structures."""
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 5, width), indexing="ij")
    image = torch.stack([(x + y).sin(), (x * y).cos(), (3 * x).sin() * (7 * y).cos()])
    return 0.5 + 0.4 * image


def test_blur_equals_scipys() -> None:
    images = torch.rand(3, 2, 24, 30)
    sigma = torch.tensor([0.0, 0.8, 2.0])
    blurred = blur(images, sigma, 2.0)
    assert torch.equal(blurred[0], images[0])
    for index in (1, 2):
        expected = gaussian_filter(
            images[index].numpy(),
            (0, float(sigma[index]), float(sigma[index])),
            mode="nearest",
            radius=(0, 6, 6),
        )
        np.testing.assert_allclose(blurred[index].numpy(), expected, atol=2e-6)


def test_noise_is_normal_independent_and_of_its_seed_alone() -> None:
    seeds = torch.tensor([1, 2, 2**31 - 1])
    noise = hashed_noise(seeds, (3, 100, 100))
    flat = noise.flatten(1).double()
    assert flat.mean(1).abs().max() < 0.02 and (flat.std(1) - 1).abs().max() < 0.02
    assert (flat**4).mean(1).sub(3).abs().max() < 0.15  # a normal's kurtosis
    assert torch.corrcoef(flat).sub(torch.eye(3)).abs().max() < 0.02
    for shift in (1, 100, 10000):  # neighbours in rows, columns and channels
        assert (flat[:, shift:] * flat[:, :-shift]).mean().abs() < 0.02
    assert torch.equal(hashed_noise(seeds[1:2], (3, 100, 100))[0], noise[1])


def test_compression_loses_what_jpeg_loses() -> None:
    image = smooth_image(48, 72)[None]
    pixels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    exact = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    errors = []
    for quality in (10, 30, 60, 90):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
        theirs = torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)[None] / 255
        ours = compress(exact, torch.tensor([float(quality)]))
        errors.append(float((ours - exact).abs().mean()))
        assert (ours - theirs).abs().mean() < 0.1 * (theirs - exact).abs().mean() + 1.5 / 255, quality
        residual = torch.corrcoef(torch.stack([(ours - exact).flatten(), (theirs - exact).flatten()]))[0, 1]
        assert quality > 60 or residual > 0.9, quality
    assert errors == sorted(errors, reverse=True)
    odd = smooth_image(21, 35)[None]  # no multiple of eight
    assert (compress(odd, torch.tensor([90.0])) - odd).abs().mean() < 0.02


def degraded(batch: Batch, **options: object) -> Batch:
    config = DegradationConfig(probability=1.0, **options)  # type: ignore[arg-type]
    return Augmentation(AugmentationConfig(degradation=config), None)(batch, "0/0/0")  # type: ignore[arg-type]


def test_only_the_person_suffers_in_references(rig: AnnyRig) -> None:
    batch = make_batch(rig)
    new = degraded(batch)
    matte = batch.references.body_mattes_BV1HW
    assert matte is not None and new.targets.images_BT3HW is batch.targets.images_BT3HW
    change = (new.references.body_BV3HW - batch.references.body_BV3HW).abs()
    assert change[(matte > 0.9).expand_as(change)].mean() > 0.02
    assert change[(matte < 1e-3).expand_as(change)].max() < 1e-3
    without = replace(batch, references=replace(batch.references, body_mattes_BV1HW=None))
    assert (degraded(without).references.body_BV3HW - batch.references.body_BV3HW)[..., 0, 0].abs().max() > 0


def test_targets_suffer_only_where_asked_and_never_under_known_light(rig: AnnyRig) -> None:
    batch, lit = make_batch(rig), make_batch(rig, lit=True)
    assert (
        degraded(batch, where="both").targets.images_BT3HW - batch.targets.images_BT3HW
    ).abs().mean() > 0.01
    assert degraded(lit, where="both").targets.images_BT3HW is lit.targets.images_BT3HW
    harmless = degraded(batch, blur=0.0, noise=0.0, lowest_quality=100.0)
    torch.testing.assert_close(harmless.references.body_BV3HW, batch.references.body_BV3HW)
