"""Errors of fits: sized and correlated as said, reproducible, with the truth kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.format import Signals
from lca_lightning.errors import DataError
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.synthesis.fit_noise import (
    TRUTH_FILE,
    FitNoise,
    correlated_noise,
    noisy_fit,
    read_truth,
    write_truth,
)
from lca_lightning.synthesis.motion import procedural_motion

W2C = np.array([[0.0, 0, 1, 0], [0, -1, 0, 0], [1, 0, 0, 3], [0, 0, 0, 1]])  # looks along world x


@pytest.fixture(scope="module")
def exact(rig: AnnyRig) -> Signals:
    motion = procedural_motion(rig, rig.neutral_identity(), 60, 10.0, np.random.default_rng(0))
    assert motion.expression_TE is not None and motion.gaze_T8 is not None
    return Signals(
        rig.neutral_identity().numpy(), motion.rotations_TJ3, motion.translation_T3, motion.expression_TE,
        motion.gaze_T8, np.ones(60, bool), {"camera": np.full((60, 4), 3.0, np.float32)},
    )  # fmt: skip


def test_noise_has_deviation_one_and_the_correlation_asked_for() -> None:
    noise = correlated_noise((400, 500), 10.0, 0.6, 0.1, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0.9 * np.exp(-1 / 6), abs=0.02)
    assert (noise[60:] * noise[:-60]).mean() == pytest.approx(0, abs=0.02)


def test_errors_have_the_sizes_of_their_kind(rig: AnnyRig, exact: Signals) -> None:
    size = FitNoise()
    fits = [noisy_fit(exact, rig, W2C, 10.0, 1.0, np.random.default_rng(seed)) for seed in range(12)]
    turns = np.stack([fit.rotations_TJ3 - exact.rotations_TJ3 for fit in fits])
    assert turns[:, :, rig.joint_names.index("lowerleg01.L")].std() == pytest.approx(size.body, rel=0.25)
    assert turns[:, :, rig.joint_names.index("root")].std() == pytest.approx(size.root, rel=0.25)
    shifts = np.stack([fit.translation_T3 - exact.translation_T3 for fit in fits])
    assert shifts[..., 0].std() == pytest.approx(size.depth, rel=0.4)  # along the view
    assert shifts[..., 1:].std() == pytest.approx(size.sideways, rel=0.4)
    for fit in fits:
        assert fit.expression_TE.min() >= 0 and fit.expression_TE.max() <= 1
        assert np.linalg.norm(fit.gaze_T8[:, 4:7], axis=1) == pytest.approx(1, abs=1e-4)
        assert 0 < np.abs(fit.identity_I - exact.identity_I).max() < 0.3
        assert np.array_equal(fit.face_boxes["camera"], exact.face_boxes["camera"])
        bounds = rig.identity_bounds().numpy()
        assert (fit.identity_I >= bounds[:, 0]).all() and (fit.identity_I <= bounds[:, 1]).all()


def test_no_strength_gives_the_exact_values(rig: AnnyRig, exact: Signals) -> None:
    assert noisy_fit(exact, rig, W2C, 10.0, 0.0, np.random.default_rng(0)) is exact


def test_truth_is_read_back_and_damage_is_said(tmp_path: Path, exact: Signals) -> None:
    with pytest.raises(DataError, match="only synthetic sequences"):
        read_truth(tmp_path)
    write_truth(tmp_path, exact)
    truth = read_truth(tmp_path)
    assert set(truth) == {"identity", "rotations", "translation", "expression", "gaze"}
    assert np.array_equal(truth["rotations"], exact.rotations_TJ3)
    (tmp_path / TRUTH_FILE).write_bytes(b"nothing of use")
    with pytest.raises(DataError, match="damaged"):
        read_truth(tmp_path)
