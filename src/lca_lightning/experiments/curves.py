"""Curves over the steps of trainings, read from their logs, and drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from lca_lightning.experiments.plan import Plan
from lca_lightning.experiments.store import Store

_POINTS = 60  # of a stored curve
_COLORS = ("#3b6fb6", "#d0743c", "#2f8f4e", "#8a56ac", "#b7791f", "#c0392b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 300, 58, 40, 34


def collect_curves(
    tags: Sequence[str], plan: Plan, store: Store
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Logged values of each row over its optimiser steps, averaged over seeds.

    Args:
        tags: Names of logged values.
        plan: The jobs.
        store: Where results are kept.

    Returns:
        Tag to row to ``steps`` and ``values``; rows whose trainings are not finished are absent.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    rows = dict.fromkeys(row for row, _ in plan.stages)
    for tag in tags:
        for row in rows:
            keys = [stages for (name, _), stages in plan.stages.items() if name == row]
            seeds = [_over_stages(tag, stages, plan, store) for stages in keys]
            curve = _averaged([seed for seed in seeds if len(seed)])
            if curve:
                found.setdefault(tag, {})[row] = curve
    return found


def read_scalars(folder: Path, tag: str) -> np.ndarray:
    """Steps and values of a logged value.

    Args:
        folder: Of TensorBoard's files.
        tag: Name of the value.

    Returns:
        ``(N, 2)``, of increasing steps; a step logged twice, after a resume, has its last value.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    if tag not in events.Tags()["scalars"]:
        return np.zeros((0, 2))
    by_step = {event.step: event.value for event in sorted(events.Scalars(tag), key=lambda e: e.wall_time)}
    return np.array(sorted(by_step.items()), float)


def _over_stages(tag: str, keys: Sequence[str], plan: Plan, store: Store) -> np.ndarray:
    """A value over all stages of a row; empty where one is not finished."""
    if any(store.state(plan.jobs[key]) != "done" for key in keys):
        return np.zeros((0, 2))
    parts, before = [], 0
    for key in keys:
        job = plan.jobs[key]
        part = read_scalars(store.folder(job) / "tensorboard", tag)
        part[:, 0] += before
        parts.append(part)
        before += job.steps
    return np.concatenate(parts)


def _averaged(seeds: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Mean over seeds at the steps that all of them have, in means of neighbouring points."""
    if not seeds:
        return {}
    steps_N = np.array(sorted(set.intersection(*(set(seed[:, 0]) for seed in seeds))))
    if not len(steps_N):
        return {}
    values_N = np.mean([seed[np.isin(seed[:, 0], steps_N), 1] for seed in seeds], axis=0)
    parts = np.array_split(np.arange(len(steps_N)), min(_POINTS, len(steps_N)))
    return {
        "steps": [float(steps_N[part].mean()) for part in parts],
        "values": [float(values_N[part].mean()) for part in parts],
    }


def draw_curves(
    tag: str, curves: Mapping[str, Mapping[str, Sequence[float]]], titles: Mapping[str, str]
) -> str:
    """A drawing of one value of all rows.

    Args:
        tag: Name of the value.
        curves: Row to its ``steps`` and ``values``.
        titles: Row to its text.

    Returns:
        SVG.
    """
    steps = [step for curve in curves.values() for step in curve["steps"]]
    values = [value for curve in curves.values() for value in curve["values"] if np.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.05 or 1.0
    low, high, last = low - margin, high + margin, max([*steps, 1.0])
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' "
        f"font-family='system-ui, sans-serif' font-size='12' role='img' aria-label='{escape(tag)}'>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='white'/>",
        f"<text x='{_LEFT}' y='14' font-weight='600'>{escape(tag)}</text>",
    ]
    parts += _grid(low, high, last)
    for number, (row, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        points = " ".join(
            f"{_x(step, last):.1f},{_y(value, low, high):.1f}"
            for step, value in zip(curve["steps"], curve["values"], strict=True)
            if np.isfinite(value)
        )
        parts.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='2'/>")
        parts.append(
            f"<text x='{_LEFT + 8 + 240 * (number % 2)}' y='{30 + 14 * (number // 2)}' fill='{color}'>"
            f"{escape(titles.get(row, row))}</text>"
        )
    return "".join([*parts, "</svg>"])


def _grid(low: float, high: float, last: float) -> list[str]:
    """Lines and numbers of both axes."""
    parts = []
    for value in np.linspace(low, high, 5):
        y = _y(float(value), low, high)
        parts.append(f"<line x1='{_LEFT}' x2='{_WIDTH - 10}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{value:.3g}</text>")
    for step in np.linspace(0, last, 5):
        x = _x(float(step), last)
        parts.append(f"<text x='{x:.1f}' y='{_HEIGHT - 20}' text-anchor='middle'>{step:.0f}</text>")
    parts.append(f"<text x='{_WIDTH / 2}' y='{_HEIGHT - 4}' text-anchor='middle'>optimiser step</text>")
    return parts


def _x(step: float, last: float) -> float:
    return _LEFT + step / last * (_WIDTH - _LEFT - 24)


def _y(value: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP - 12)
