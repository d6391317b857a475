"""The composite and LHM protocols against scikit-image, torchmetrics, lpips, Pillow, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from lca_lightning.errors import MissingAssetError, ShapeError
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.composite import CompositeProtocol
from lca_lightning.metrics.lhm import LHMProtocol
from lca_lightning.metrics.protocol import ScoredFrames
from tests.unit.losses.test_squeeze import place_trunk

from .own_lpips import distance, own_lpips
from .scored import make_scored


def on_white(picture_3HW: Tensor, mask_1HW: Tensor) -> np.ndarray:
    """Channels last, outside the mask white."""
    return np.where(mask_1HW.numpy() > 0.5, picture_3HW.numpy(), 1.0).transpose(1, 2, 0).astype(np.float64)


def pair(frames: ScoredFrames) -> tuple[np.ndarray, np.ndarray]:
    mask = frames.masks_BT1HW[0, 0]
    return on_white(frames.predicted_BT3HW[0, 0], mask), on_white(frames.images_BT3HW[0, 0], mask)


def as_batch(picture_HW3: np.ndarray) -> Tensor:
    return torch.from_numpy(picture_HW3.transpose(2, 0, 1)[None]).float()


@pytest.mark.parametrize("row", [0, 3])
def test_composite_equals_scikit_image_and_torchmetrics(row: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    frames = make_scored(row)
    got = CompositeProtocol(lpips=False).score(frames)
    predicted, image = pair(frames)
    psnr = metrics.peak_signal_noise_ratio(image, predicted, data_range=1.0)
    ssim = metrics.structural_similarity(
        image, predicted, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert float(got["psnr"]) == pytest.approx(psnr, abs=1e-4)
    assert float(got["ssim"]) == pytest.approx(ssim, abs=2e-5)
    theirs = (as_batch(predicted), as_batch(image))
    assert float(got["psnr"]) == pytest.approx(
        float(peak_signal_noise_ratio(*theirs, data_range=1.0)), abs=1e-3
    )
    _, library = structural_similarity_index_measure(*theirs, data_range=1.0, return_full_image=True)
    assert float(got["ssim"]) == pytest.approx(float(library[..., 5:-5, 5:-5].mean()), abs=1e-6)
    assert 0.1 < float(got["ssim"]) < 0.999


def test_composite_lpips_equals_the_package() -> None:
    try:
        network, own = LPIPS("alex"), own_lpips("alex")
    except MissingAssetError as error:
        pytest.skip(str(error))
    frames = make_scored(4, height=64, width=64)
    expected = distance(own, *pair(frames))
    assert expected > 0.01
    got = CompositeProtocol(lpips=network).score(frames)
    assert float(got["lpips"]) == pytest.approx(expected, abs=1e-5)


def test_composite_by_hand() -> None:
    """A quarter of the picture is masked in and off by 0.2: mean squared error 0.01, 20 dB."""
    images = torch.full((1, 1, 3, 40, 40), 0.5)
    mask = torch.zeros(1, 1, 1, 40, 40)
    mask[..., :20, :20] = 1.0
    soiled = torch.where(mask > 0.5, images + 0.2, torch.zeros(()))  # black outside must not count
    frames = make_scored(0, 40, 40, predicted_BT3HW=soiled, images_BT3HW=images, masks_BT1HW=mask)
    assert float(CompositeProtocol(lpips=False).score(frames)["psnr"]) == pytest.approx(20.0, abs=1e-4)


def test_composite_sees_nothing_outside_the_mask_and_lhm_does() -> None:
    frames = make_scored(1)
    floaters = torch.where(frames.masks_BT1HW > 0.5, frames.predicted_BT3HW, torch.zeros(()))
    clean = torch.where(frames.masks_BT1HW > 0.5, frames.predicted_BT3HW, torch.ones(()))
    soiled, white = (make_scored(1, predicted_BT3HW=part) for part in (floaters, clean))
    composite, lhm = CompositeProtocol(lpips=False), LHMProtocol(lpips=False)
    torch.testing.assert_close(composite.score(soiled), composite.score(white))
    assert float(lhm.score(soiled)["psnr"]) < float(lhm.score(white)["psnr"]) - 5


def test_lhm_at_its_own_width_equals_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    frames = make_scored(2, height=64, width=512)
    got = LHMProtocol(lpips=False).score(frames)
    image = on_white(frames.images_BT3HW[0, 0], frames.masks_BT1HW[0, 0])
    predicted = frames.predicted_BT3HW[0, 0].numpy().transpose(1, 2, 0).astype(np.float64)
    psnr = metrics.peak_signal_noise_ratio(image, predicted, data_range=1.0)
    ssim = metrics.structural_similarity(
        image, predicted, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert float(got["psnr"]) == pytest.approx(psnr, abs=1e-4)
    assert float(got["ssim"]) == pytest.approx(ssim, abs=2e-5)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (700, 900)])
def test_lhm_compares_at_width_512(height: int, width: int) -> None:
    """The resize agrees with Pillow's, channel by channel, growing and shrinking."""
    frames = make_scored(1, height, width)
    size = (512, 512 * height // width)
    image = on_white(frames.images_BT3HW[0, 0], frames.masks_BT1HW[0, 0]).astype(np.float32)
    predicted = frames.predicted_BT3HW[0, 0].numpy().transpose(1, 2, 0)
    resized = [
        np.stack(
            [
                np.asarray(Image.fromarray(picture[..., channel]).resize(size, Image.Resampling.BILINEAR))
                for channel in range(3)
            ],
            -1,
        ).astype(np.float64)
        for picture in (predicted, image)
    ]
    expected = -10 * np.log10(np.mean((resized[0] - resized[1]) ** 2))
    got = LHMProtocol(lpips=False).score(frames)
    assert float(got["psnr"]) == pytest.approx(expected, abs=1e-3)


def test_lhm_lpips_is_squeezenet_at_that_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingAssetError, match="squeezenet1_1"):
        LHMProtocol()
    place_trunk(tmp_path)
    frames = make_scored(3, height=80, width=64)
    image = on_white(frames.images_BT3HW[0, 0], frames.masks_BT1HW[0, 0])
    expected = distance(own_lpips("squeeze"), frames.predicted_BT3HW[0, 0].numpy().transpose(1, 2, 0), image)
    assert expected > 1e-3
    got = LHMProtocol(width=64).score(frames)
    assert float(got["lpips"]) == pytest.approx(expected, rel=1e-4)


def test_small_pictures_are_refused() -> None:
    with pytest.raises(ShapeError, match="20 x 24 pixels are too small"):
        CompositeProtocol(lpips=False).update(make_scored(0, 24, 20))


def test_a_perfect_picture_is_finite() -> None:
    frames = make_scored(0)
    perfect = make_scored(0, predicted_BT3HW=frames.images_BT3HW)
    got = CompositeProtocol(lpips=False).score(perfect)
    assert float(got["psnr"]) == pytest.approx(100.0)
    assert float(got["ssim"]) == pytest.approx(1.0, abs=1e-6)
