"""The published schemas accept what the writer writes, and nothing else that readers would trip over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from lca_lightning.datasets.format import (
    CameraRecord,
    SequenceWriter,
    Signals,
    StageLights,
    write_dataset_header,
)
from lca_lightning.datasets.records import COLORS, CONSENTS, KINDS, LAYERS, SPLITS
from lca_lightning.datasets.schema_check import SCHEMAS, read_schema, schema_violations

FRAMES, HEIGHT, WIDTH = 2, 6, 8


def write_sequence(root: Path, **options: Any) -> dict[str, Any]:
    camera = CameraRecord("front", WIDTH, HEIGHT, np.diag([9.0, 9.0, 1.0]), np.eye(4))
    common: dict[str, Any] = {"subject": "ann", "split": "train", "fps": 29.97, "rig": "anny"}
    common |= {"licence": "CC0-1.0", "provenance": "a test", "kind": "wild"}
    with SequenceWriter(root, "take", cameras=[camera], **common, **options) as writer:
        deep = options.get("color") == "linear"
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint16 if deep else np.uint8)
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        layers = {name: np.zeros((HEIGHT, WIDTH, 3), np.uint16) for name in options.get("layers", ())}
        for _ in range(FRAMES):
            writer.add_frame("front", image, mask, layers)
        rows = {"rotations_TJ3": (FRAMES, 3, 3), "translation_T3": (FRAMES, 3), "expression_TE": (FRAMES, 2)}
        arrays = {name: np.zeros(shape, np.float32) for name, shape in rows.items()}
        gaze = np.zeros((FRAMES, 8), np.float32)
        signals = Signals(
            np.zeros(4, np.float32), **arrays, gaze_T8=gaze, frame_valid_T=np.ones(FRAMES, bool)
        )
        folder = writer.finish(signals, {"silhouette_iou": 0.9})
    return dict(json.loads((folder / "sequence.json").read_text()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_valid_themselves(name: str) -> None:
    Draft202012Validator.check_schema(read_schema(name))


def test_the_schemas_name_the_same_words_as_the_readers() -> None:
    header, sequence = (read_schema(name)["properties"] for name in SCHEMAS)
    assert header["kind"]["enum"] == list(KINDS)
    assert header["consent"]["enum"] == sequence["consent"]["enum"] == list(CONSENTS)
    assert sequence["split"]["enum"] == list(SPLITS)
    assert sequence["color"]["enum"] == list(COLORS)
    assert sequence["layers"]["items"]["enum"] == list(LAYERS)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"consent": "participant"},
        {"color": "linear", "linear_white": 4.0},
        {"color": "linear", "layers": ("albedo", "normal"), "consent": "synthetic"},
    ],
)
def test_what_the_writer_writes_is_valid(tmp_path: Path, options: dict[str, Any]) -> None:
    values = write_sequence(tmp_path, **options)
    assert schema_violations("sequence", values) == []
    assert schema_violations("dataset", json.loads((tmp_path / "dataset.json").read_text())) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_valid_header(tmp_path: Path, kind: str) -> None:
    write_dataset_header(
        tmp_path, kind=kind, rig="mhr", licence="x", provenance="y", consent="source_licence"
    )
    assert schema_violations("dataset", json.loads((tmp_path / "dataset.json").read_text())) == []


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no subject": (lambda values: values.pop("subject"), "subject"),
    "unknown split": (lambda values: values.update(split="dev"), "split"),
    "frames as text": (lambda values: values.update(frames="12"), "frames"),
    "no frames": (lambda values: values.update(frames=0), "frames"),
    "negative rate": (lambda values: values.update(fps=-30), "fps"),
    "distorted": (lambda values: values.update(undistorted=False), "undistorted"),
    "no cameras": (lambda values: values.update(cameras={}), "cameras"),
    "camera name with a slash": (lambda values: values["cameras"].update({"a/b": {}}), "cameras"),
    "K of two rows": (lambda values: values["cameras"]["front"]["K"].pop(), "cameras.front.K"),
    "w2c with text": (
        lambda values: values["cameras"]["front"]["w2c"][0].__setitem__(0, "1"),
        "cameras.front.w2c[0][0]",
    ),
    "width of a half": (lambda values: values["cameras"]["front"].update(width=7.5), "cameras.front.width"),
    "linear without white": (lambda values: values.update(color="linear"), "linear_white"),
    "white without linear": (lambda values: values.update(linear_white=2.0), "color"),
    "unknown layer": (lambda values: values.update(layers=["depth"]), "layers[0]"),
    "a layer twice": (lambda values: values.update(layers=["albedo", "albedo"]), "layers"),
    "unknown consent": (lambda values: values.update(consent="yes"), "consent"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_departures_are_named_with_their_place(tmp_path: Path, name: str) -> None:
    values = write_sequence(tmp_path)
    change, place = CHANGES[name]
    change(values)
    violations = schema_violations("sequence", values)
    assert violations and any(place in violation for violation in violations)
    assert all(len(violation) < 260 for violation in violations)


def test_the_page_names_every_key_and_array() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data_format.md").read_text()
    camera = read_schema("sequence")["$defs"]["camera"]["properties"]
    for key in (*(key for name in SCHEMAS for key in read_schema(name)["properties"]), *camera):
        assert f"`{key}`" in page, key
    rows = np.zeros((FRAMES, 1, 3), np.float32)
    lights = StageLights(rows[0], rows, np.ones(FRAMES, bool))
    per_camera = {name: {"x": rows} for name in ("face_boxes", "person_boxes", "sharpness")}
    signals = Signals(rows, rows, rows, rows, rows, np.ones(FRAMES, bool), **per_camera, lights=lights)
    for array in signals.to_arrays():
        assert f"`{array.replace('/x', '/<camera>')}`" in page, array
