"""Linear pictures in 16 bits, and what the writer keeps of them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals, StageLights
from lca_lightning.datasets.linear_light import (
    deep_to_linear,
    linear_to_deep,
    linear_to_srgb8,
)
from lca_lightning.errors import DataError

HEIGHT, WIDTH, FRAMES = 33, 47, 3
CAMERA = CameraRecord("cam", WIDTH, HEIGHT, np.array([[50.0, 0, 23.5], [0, 50, 16.5], [0, 0, 1]]), np.eye(4))


def signals(lights: StageLights | None = None) -> Signals:
    zeros = np.zeros((FRAMES, 2, 3))
    return Signals(
        np.zeros(4), zeros, zeros[:, 0], np.zeros((FRAMES, 5)), np.zeros((FRAMES, 8)), np.ones(FRAMES, bool),
        lights=lights,
    )  # fmt: skip


def lights(intensity: float = 2.0) -> StageLights:
    return StageLights(
        np.ones((4, 3)), np.full((FRAMES, 4, 3), intensity), np.array([True, False, False]), 1.5
    )


def writer(root: Path, **options: object) -> SequenceWriter:
    common = dict(subject="ann", split="train", fps=10, cameras=[CAMERA], rig="anny", licence="CC0")
    return SequenceWriter(root, "take", **common, provenance="test", kind="light_stage", **options)


def test_srgb_of_deep_values_is_the_standard_curve() -> None:
    # IEC 61966-2-1 at a few radiances, worked out by hand
    deep = linear_to_deep(np.array([0.0, 0.0031308, 0.2140, 1.0, 3.0]), linear_white=4.0)
    assert linear_to_srgb8(deep, 4.0).tolist() == [0, 10, 127, 255, 255]
    np.testing.assert_allclose(deep_to_linear(deep, 4.0)[[2, 4]], [0.2140, 3.0], atol=4.0 / 65535)


def test_every_bit_of_linear_pictures_and_layers_survives(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 65536, (2, FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint16)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    with writer(tmp_path, color="linear", linear_white=4.0, layers=("albedo",)) as sequence:
        for image, albedo in zip(*pictures, strict=True):
            sequence.add_frame("cam", image, mask, {"albedo": albedo})
        folder = sequence.finish(signals(lights()))
    for path, expected in zip(("videos/cam.mkv", "layers/albedo/cam.mkv"), pictures, strict=True):
        with av.open(str(folder / path)) as container:
            decoded = [frame.to_ndarray() for frame in container.decode(video=0)]
        np.testing.assert_array_equal(np.stack(decoded), expected)


def test_lights_come_back_as_they_went(tmp_path: Path) -> None:
    arrays = signals(lights()).to_arrays()
    back = Signals.from_arrays(arrays).lights
    assert back is not None and back.reference_distance == 1.5
    assert back.fully_lit_T.tolist() == [True, False, False]
    np.testing.assert_array_equal(back.intensities_TL3, lights().intensities_TL3)
    assert Signals.from_arrays(signals().to_arrays()).lights is None


@pytest.mark.parametrize("intensity", [-1.0, float("nan")])
def test_impossible_lights_are_refused(tmp_path: Path, intensity: float) -> None:
    with pytest.raises(DataError, match="lights of sequence take"):
        signals(lights(intensity)).check("take", FRAMES, ["cam"])


def test_a_sharp_frame_measures_sharper_than_its_blurred_copy(tmp_path: Path) -> None:
    checks = np.kron(np.indices((11, 16)).sum(0) % 2, np.ones((3, 3)))[:HEIGHT, :WIDTH]
    sharp = np.repeat((255 * checks)[..., None], 3, -1).astype(np.uint8)
    blurred = ((sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) // 3).astype(np.uint8)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    with writer(tmp_path) as sequence:
        for image, seen in ((sharp, mask), (blurred, mask), (sharp, 0 * mask)):
            sequence.add_frame("cam", image, seen)
        folder = sequence.finish(signals())
    from safetensors.numpy import load_file

    sharpness = load_file(folder / "signals.safetensors")["sharpness/cam"]
    assert sharpness[0] > 2 * sharpness[1] > 0 and np.isnan(sharpness[2])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"color": "xyz"}, "color"),
        ({"consent": "maybe"}, "consent"),
        ({"layers": ("depth",)}, "layers"),
        ({"color": "linear", "linear_white": 0.0}, "linear_white"),
    ],
)
def test_unknown_words_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], match: str
) -> None:
    with pytest.raises(DataError, match=match):
        writer(tmp_path, **options)
    assert not (tmp_path / "dataset.json").exists()


def test_layers_must_come_with_every_frame(tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    with (
        pytest.raises(DataError, match="need the layers"),
        writer(tmp_path, color="linear", layers=("normal",)) as sequence,
    ):
        sequence.add_frame("cam", np.zeros((HEIGHT, WIDTH, 3), np.uint16), mask)
    assert not list((tmp_path / "sequences").iterdir())


def test_a_camera_without_positive_focal_length_is_refused() -> None:
    K_33 = CAMERA.K_33.copy()
    K_33[0, 0] = -50
    with pytest.raises(DataError, match="focal lengths of -50"):
        CameraRecord("cam", WIDTH, HEIGHT, K_33, np.eye(4))


def test_files_open_with_the_first_frame_and_a_finished_camera_takes_no_more(tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with writer(tmp_path) as sequence:
        assert not list(tmp_path.rglob("*.mp4"))
        for _ in range(FRAMES):
            sequence.add_frame("cam", image, mask)
        sequence.finish_camera("cam")
        assert [path.name for path in tmp_path.rglob("*.mp4")] == ["cam.mp4"]
        folder = sequence.finish(signals())
    assert (folder / "masks" / "cam.mkv").is_file()
