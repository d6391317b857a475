"""What all protocols share: means by subject, frames that come twice, missing scores, rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lca_lightning.errors import ConfigError, DataError, NonFiniteError, ShapeError
from lca_lightning.metrics.masked import MaskedProtocol
from lca_lightning.metrics.protocol import PROTOCOLS, Protocol, average_rows, build_protocol

from .scored import make_scored


def filled(name: str = "masked") -> Protocol:
    """Five frames of two subjects, two of them twice."""
    metric = build_protocol(name, lpips=False)
    for row in (0, 1, 2, 3, 4, 4, 0):
        metric.update(make_scored(row))
    return metric


@pytest.mark.parametrize("name", PROTOCOLS)
def test_means_by_subject_over_distinct_frames(name: str) -> None:
    metric = filled(name)
    rows = {frame: scores for _, frame, scores in metric.rows()}
    psnr = [rows[f"clip/front/{row}"]["psnr"] for row in range(5)]
    got = metric.compute()
    expected = (sum(psnr[:3]) / 3 + sum(psnr[3:]) / 2) / 2
    assert len(set(psnr)) == 5 and float(got["psnr"]) == pytest.approx(expected, abs=1e-9)
    assert (int(got["frames"]), int(got["subjects"]), int(got["frames_without_mask"])) == (5, 2, 0)
    assert [frame[-1] for _, frame, _ in metric.rows()] == list("0123440")  # rows are all that was scored
    assert metric.name == name and not metric.state_dict()


def test_average_of_rows_equals_compute() -> None:
    metric = filled()
    metric.update(replace(make_scored(7), masks_BT1HW=torch.zeros(1, 1, 1, 48, 40)))
    got, expected = average_rows(metric.rows()), metric.compute()
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(float(value), abs=1e-12), name
    assert average_rows([]) == {"frames": 0, "subjects": 0, "frames_without_mask": 0}


def test_regions_are_scored_inside_the_mask_and_left_out_where_unseen() -> None:
    mask = torch.zeros(1, 2, 1, 40, 40)
    mask[..., 10:30, 10:30] = 1.0
    images = torch.full((1, 2, 3, 40, 40), 0.5)
    face = torch.zeros(1, 2, 1, 40, 40, dtype=torch.bool)
    face[0, 0, ..., 5:20, 10:30] = True  # half of it above the mask, where the error is large
    predicted = images + 0.01
    predicted[..., 10:20, :] = 0.6
    predicted[..., :10, :] = 1.0
    frames = replace(
        make_scored(0, 40, 40), predicted_BT3HW=predicted, images_BT3HW=images, masks_BT1HW=mask,
        alphas_BT1HW=mask, regions={"face": face}, frames=(("a", "b"),),
    )  # fmt: skip
    metric = MaskedProtocol(lpips=False)
    metric.update(frames)
    first, second = (scores for _, _, scores in metric.rows())
    assert first["psnr_face"] == pytest.approx(20.0, abs=1e-4)
    assert first["l1_face"] == pytest.approx(0.1, abs=1e-6)
    assert math.isnan(second["psnr_face"]) and math.isnan(first["psnr_hands"])
    got = metric.compute()
    assert float(got["psnr_face"]) == pytest.approx(20.0, abs=1e-4)  # the frame without a face does not count
    assert "psnr_hands" not in got and int(got["frames"]) == 2


def test_angles_fall_into_bins() -> None:
    metric = MaskedProtocol(lpips=False)
    angles = {0: 0.0, 1: 29.9, 2: 30.0, 3: 180.0, 4: float("nan")}
    for row, angle in angles.items():
        metric.update(make_scored(row, angles_BT=torch.tensor([[angle]])))
    psnr = [scores["psnr"] for _, _, scores in metric.rows()]
    got = metric.compute()
    bins = {name: float(value) for name, value in got.items() if name.startswith("psnr_angle")}
    assert bins.keys() == {"psnr_angle_0_30", "psnr_angle_30_60", "psnr_angle_90_180"}
    assert bins["psnr_angle_0_30"] == pytest.approx((psnr[0] + psnr[1]) / 2, abs=1e-9)
    assert bins["psnr_angle_30_60"] == pytest.approx(psnr[2], abs=1e-9)
    assert bins["psnr_angle_90_180"] == pytest.approx(psnr[3], abs=1e-9)


def test_unknown_opacity_leaves_its_scores_out() -> None:
    metric = MaskedProtocol(lpips=False)
    metric.update(make_scored(0, alphas_BT1HW=None))
    got = metric.compute()
    assert "alpha_iou" not in got and "energy_outside" not in got and "psnr" in got


def test_a_batch_answers_for_itself_and_counts() -> None:
    metric = filled()
    before = metric.compute()
    own = metric(make_scored(3))
    assert own["psnr"] == pytest.approx(metric.rows()[3][2]["psnr"]) and own["frames"] == 1
    torch.testing.assert_close(metric.compute(), before)
    metric.reset()
    assert metric.rows() == []


def test_empty_masks_and_nothing_at_all() -> None:
    metric = MaskedProtocol(lpips=False)
    metric.update(make_scored(0, masks_BT1HW=torch.full((1, 1, 1, 48, 40), 0.4)))
    assert all(math.isnan(value) for value in metric.rows()[0][2].values())
    with pytest.raises(DataError, match="every mask of it is empty"):
        metric.compute()


def test_predictions_that_are_not_finite_are_refused() -> None:
    broken = make_scored(1).predicted_BT3HW.clone()
    broken[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="ann, clip/front/1"):
        MaskedProtocol(lpips=False).update(make_scored(1, predicted_BT3HW=broken))


def test_different_sizes_and_unknown_names_are_refused() -> None:
    with pytest.raises(ShapeError, match="predicted_BT3HW must have shape"):
        make_scored(0, predicted_BT3HW=torch.rand(1, 1, 3, 40, 48))
    with pytest.raises(ShapeError, match="face"):
        make_scored(0, regions={"face": torch.ones(1, 1, 1, 4, 4)})
    with pytest.raises(ConfigError, match="There is no protocol 'ours'; choose from masked, composite, lhm"):
        build_protocol("ours")
