"""How severe a low overlap is."""

from __future__ import annotations

import pytest

from lca_lightning.inspection.camera_check import CameraCheck
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.results import CameraResult, CheckOptions, SequenceResult


@pytest.mark.parametrize(
    ("cameras", "overlap", "severities"),
    [
        (1, 0.71, []),
        (1, 0.6, ["warning"]),
        (1, 0.5, ["error"]),
        (2, 0.71, []),
        (2, 0.69, ["error"]),
    ],
)
def test_only_a_single_camera_may_blame_clothes(cameras: int, overlap: float, severities: list[str]) -> None:
    results = {f"cam{number}": CameraResult(f"cam{number}", {0: overlap}) for number in range(cameras)}
    findings = Findings("take")
    sequence = SequenceResult("take", cameras=results)
    CameraCheck(sequence, results["cam0"], None, None, CheckOptions(minimum_iou=0.7), findings).report()
    assert [found.severity for found in findings.all] == severities
    assert all(found.check == "overlap" for found in findings.all)
