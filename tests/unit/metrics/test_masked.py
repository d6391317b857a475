"""The masked protocol against plain numpy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lca_lightning.errors import DataError, MissingAssetError
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.metrics.protocol import ScoredFrames

from .own_lpips import distance, own_lpips
from .scored import make_scored

SUBJECTS = ("ann", "ann", "ann", "bob", "bob")


def make_frames(count: int = 5) -> dict[str, Tensor]:
    """Random images of 12 x 10 pixels with rectangular masks."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(count, 1, 1, 12, 10)
    for index in range(count):
        masks[index, ..., 2 : 8 + index % 3, 1 : 6 + index % 4] = 0.9
    return {
        "predicted": torch.rand(count, 1, 3, 12, 10, generator=generator),
        "alphas": torch.rand(count, 1, 1, 12, 10, generator=generator),
        "images": torch.rand(count, 1, 3, 12, 10, generator=generator),
        "masks": masks,
    }


def update(metric: MaskedProtocol, frames: dict[str, Tensor], rows: list[int]) -> None:
    """Score the rows, one batch each."""
    for row in rows:
        one = {name: part[row : row + 1] for name, part in frames.items()}
        metric.update(scored(one, SUBJECTS[row], row))


def scored(frames: dict[str, Tensor], subject: str, row: int) -> ScoredFrames:
    """One row for one subject."""
    parts = (frames[name] for name in ("predicted", "alphas", "images", "masks"))
    return ScoredFrames(*parts, (subject,), ((f"clip/front/{row}",),))


def numpy_scores(frames: dict[str, Tensor], row: int) -> dict[str, float]:
    """The formulas of the protocol, written once more with loops over pixels."""
    predicted, alpha, image, mask = (
        frames[name][row, 0].numpy().astype(np.float64) for name in ("predicted", "alphas", "images", "masks")
    )
    absolute = squared = area = both = either = outside = energy = 0.0
    height, width = mask.shape[1:]
    for y in range(height):
        for x in range(width):
            inside = mask[0, y, x] > 0.5
            covered = alpha[0, y, x] > 0.5
            area += inside
            both += inside and covered
            either += inside or covered
            energy += alpha[0, y, x]
            outside += 0.0 if inside else alpha[0, y, x]
            if inside:
                absolute += np.abs(predicted[:, y, x] - image[:, y, x]).sum()
                squared += ((predicted[:, y, x] - image[:, y, x]) ** 2).sum()
    return {
        "psnr": -10 * np.log10(squared / (3 * area)), "l1": absolute / (3 * area),
        "l1_full": absolute / (3 * height * width), "alpha_iou": both / either,
        "energy_outside": outside / energy,
    }  # fmt: skip


def expected_means(frames: dict[str, Tensor]) -> dict[str, float]:
    """Mean by subject, then over subjects."""
    rows = [numpy_scores(frames, row) for row in range(5)]
    return {
        name: float(np.mean([np.mean([row[name] for row in part]) for part in (rows[:3], rows[3:])]))
        for name in rows[0]
    }


def assert_scores(got: dict[str, Tensor], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-5), name


def test_equals_numpy_with_means_by_subject() -> None:
    frames, metric = make_frames(), MaskedProtocol(lpips=False)
    update(metric, frames, [0, 1, 2, 3, 4])
    got = metric.compute()
    assert_scores(got, expected_means(frames))
    assert (int(got["frames"]), int(got["subjects"]), int(got["frames_without_mask"])) == (5, 2, 0)


def test_constant_error_by_hand() -> None:
    metric = MaskedProtocol(lpips=False)
    masks = torch.zeros(1, 1, 1, 4, 4)
    masks[..., :2, :] = 1.0
    images = torch.full((1, 1, 3, 4, 4), 0.5)
    predicted = torch.full((1, 1, 3, 4, 4), 0.6)
    predicted[..., 2:, :] = 1.0  # outside the mask: must not count
    alphas = torch.zeros(1, 1, 1, 4, 4)
    alphas[..., 1:3, :] = 0.8
    metric.update(ScoredFrames(predicted, alphas, images, masks, ("ann",), (("clip/front/0",),)))
    expected = {"psnr": 20.0, "l1": 0.1, "l1_full": 0.05, "alpha_iou": 4 / 12, "energy_outside": 0.5}
    assert_scores(metric.compute(), expected)


def test_repeated_frames_count_once_and_empty_masks_not_at_all() -> None:
    frames = make_frames()
    metric = MaskedProtocol(lpips=False)
    update(metric, frames, [0, 1, 2, 3, 4, 4, 4, 0])
    empty = {name: value[:1] for name, value in frames.items()} | {"masks": torch.zeros(1, 1, 1, 12, 10)}
    metric.update(scored(empty, "cy", 0))
    got = metric.compute()
    assert_scores(got, expected_means(frames))
    assert (int(got["frames"]), int(got["subjects"]), int(got["frames_without_mask"])) == (5, 2, 1)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_perfect_image_is_finite_and_nothing_is_an_error() -> None:
    metric = MaskedProtocol(lpips=False)
    with pytest.raises(DataError, match="No frame was evaluated"):
        metric.compute()
    frames = make_frames(1)
    metric.update(scored(frames | {"predicted": frames["images"]}, "ann", 0))
    assert float(metric.compute()["psnr"]) == pytest.approx(100.0)


def test_lpips_ignores_what_lies_outside_the_mask() -> None:
    try:
        network = LPIPS("alex")
    except MissingAssetError as error:
        pytest.skip(str(error))
    metric = MaskedProtocol(lpips=network, lpips_size=64)
    frames = make_frames(1)
    soiled = torch.where(frames["masks"] > 0.5, frames["images"], torch.zeros(()))
    metric.update(scored(frames | {"predicted": soiled}, "ann", 0))
    assert float(metric.compute()["lpips"]) == pytest.approx(0.0, abs=1e-6)
    metric.reset()
    update(metric, frames, [0])
    assert float(metric.compute()["lpips"]) > 0.05
    assert not metric.state_dict()


def test_equals_scikit_image_on_the_masked_pixels() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    frames = make_frames(1)
    inside = frames["masks"][0, 0, 0].numpy() > 0.5
    predicted, image = (frames[name][0, 0].numpy()[:, inside] for name in ("predicted", "images"))
    metric = MaskedProtocol(lpips=False)
    update(metric, frames, [0])
    expected = metrics.peak_signal_noise_ratio(image, predicted, data_range=1.0)
    assert float(metric.compute()["psnr"]) == pytest.approx(expected, abs=1e-5)


def test_lpips_equals_the_package_on_a_crop_by_pillow() -> None:
    """Mask box and a tenth around it; outside the mask and beyond the picture all is white."""
    try:
        network, own = LPIPS("alex"), own_lpips("alex")
    except MissingAssetError as error:
        pytest.skip(str(error))
    frames = make_scored(4, height=90, width=70)
    inside = frames.masks_BT1HW[0, 0, 0].numpy() > 0.5
    rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = math.ceil(max(bottom - top, right - left) * 1.1)
    corner = ((left + right - side) // 2, (top + bottom - side) // 2)
    crops = []
    for picture in (frames.predicted_BT3HW, frames.images_BT3HW):
        white = np.where(inside, picture[0, 0].numpy(), 1.0).astype(np.float32)
        square = np.ones((3, 3 * 90, 3 * 90), np.float32)
        square[:, 90:180, 90:160] = white
        square = square[:, 90 + corner[1] :, 90 + corner[0] :][:, :side, :side]
        channels = [Image.fromarray(part).resize((64, 64), Image.Resampling.BILINEAR) for part in square]
        crops.append(np.stack([np.asarray(part) for part in channels], -1))
    expected = distance(own, *crops)
    assert expected > 0.01
    got = MaskedProtocol(lpips=network, lpips_size=64).score(frames)
    assert float(got["lpips"]) == pytest.approx(expected, rel=1e-3)
