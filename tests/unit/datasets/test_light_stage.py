"""Interpolated poses against closed forms."""

from __future__ import annotations

import numpy as np

from lca_lightning.datasets.light_stage import interpolate_signals
from lca_lightning.datasets.signals import Signals


def test_a_steady_motion_is_recovered_between_fitted_frames():
    """Constant turning speed, velocity and change of expression; frames between are garbage on disk."""
    frames, speed = 13, np.array([[0.0, 0.05, 0.0], [0.03, -0.02, 0.04]])
    time_T = np.arange(frames, dtype=float)
    rotations = time_T[:, None, None] * speed[None]
    translation = time_T[:, None] * np.array([0.01, 0.0, -0.02])
    expression = time_T[:, None] * np.array([0.1])
    angle = 0.02 * time_T
    gaze = np.zeros((frames, 8))
    gaze[:, 0], gaze[:, 2], gaze[:, 3] = np.sin(angle), np.cos(angle), 1.0
    fitted = np.arange(frames) % 4 == 0
    damaged = [
        np.where(fitted[(...,) + (None,) * (a.ndim - 1)], a, 99.0)
        for a in (rotations, translation, expression, gaze)
    ]
    signals = Signals(np.zeros(2), *damaged, np.ones(frames, bool))
    asked = np.array([0, 1, 6, 11, 12])
    found = interpolate_signals(signals, fitted, asked)
    for values, truth, tolerance in zip(
        found, (rotations, translation, expression, gaze), (1e-9, 1e-9, 1e-9, 1e-5), strict=True
    ):
        np.testing.assert_allclose(values, truth[asked], atol=tolerance)


def test_large_turns_go_the_short_way_and_ends_hold():
    rotations = np.zeros((5, 1, 3))
    rotations[0, 0, 1], rotations[4, 0, 1] = np.radians(170), np.radians(-170)
    zeros = np.zeros((5, 3)), np.zeros((5, 1)), np.zeros((5, 8))
    signals = Signals(np.zeros(1), rotations, *zeros, np.ones(5, bool))
    fitted = np.array([True, False, False, False, True])
    middle = interpolate_signals(signals, fitted, np.array([2]))[0][0, 0]
    assert abs(abs(middle[1]) - np.pi) < 1e-9  # 20 degrees through the back, not 340 through the front
    early = interpolate_signals(signals, np.arange(5) == 4, np.array([0, 3]))[0]
    np.testing.assert_allclose(early[:, 0], rotations[[4, 4], 0])


def test_gaze_is_known_only_between_two_known_directions():
    zeros = np.zeros((3, 1, 3)), np.zeros((3, 3)), np.zeros((3, 1))
    gaze = np.zeros((3, 8))
    gaze[:, 2], gaze[:, 6], gaze[0, 3], gaze[:, 7] = 1.0, 1.0, 1.0, 1.0
    signals = Signals(np.zeros(1), *zeros, gaze, np.ones(3, bool))
    found = interpolate_signals(signals, np.array([True, False, True]), np.arange(3))[3]
    np.testing.assert_array_equal(found[:, [3, 7]], [[1, 1], [0, 1], [0, 1]])
