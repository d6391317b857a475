"""Degenerate input is culled or refused; nothing crashes and nothing becomes NaN."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lca_lightning.errors import ConfigError, DeviceError, LCAError, NonFiniteError, ShapeError
from lca_lightning.rendering import Gaussians, choose_renderer
from tests.parity.rendering_scenes import DIFFERENTIABLE, HEIGHT, NAMES, WIDTH, gradients, make_scene, render

RENDERERS = ("cpu", "reference")


def assert_finite(images: list[Tensor], found: dict[str, Tensor]) -> None:
    assert all(bool(torch.isfinite(image).all()) for image in images)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found.values())


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize(
    "what",
    ["behind", "on the camera", "far", "off screen", "no size", "flat", "needle", "no direction", "invisible"]
    + ["huge", "opaque"],
)
def test_bad_gaussians_never_spoil_the_good_ones(renderer: str, antialiased: bool, what: str) -> None:
    scene = make_scene(gaussians=60, cameras=1)
    bad = slice(0, 20)
    if what in ("behind", "on the camera", "far", "off screen"):
        z = {"behind": -1.0, "on the camera": 0.0, "far": 2e10, "off screen": 1.0}[what]
        local = torch.tensor([100.0 if what == "off screen" else 0.0, 0.0, z])
        inverse = torch.linalg.inv(scene["w2c"][0])
        scene["means"][bad] = inverse[:3, :3] @ local + inverse[:3, 3]
    elif what == "no direction":
        scene["quaternions"][bad] = 0
    elif what == "invisible":
        scene["opacities"][bad] = 0
    elif what == "opaque":
        scene["opacities"][bad] = 50.0
    else:
        sizes = {
            "no size": [0.0, 0, 0],
            "flat": [0.1, 0.1, 0],
            "needle": [1e-20, 3.0, 0],
            "huge": [1e25, 1e25, 1e25],
        }
        scene["scales"][bad] = torch.tensor(sizes[what])
    images, found = gradients(choose_renderer(renderer, antialiased=antialiased), scene)
    assert_finite(images, found)
    if what in ("behind", "on the camera", "far", "off screen", "invisible"):
        kept = {name: tensor[20:] if name in NAMES[:5] else tensor for name, tensor in scene.items()}
        for image, expected in zip(images, gradients(choose_renderer(renderer, False), kept)[0], strict=True):
            if not antialiased:
                assert torch.equal(image, expected) or (image - expected).abs().max() < 1e-6
        assert not any(bool(found[name][bad].any()) for name in NAMES[:5])


def test_no_direction_is_the_identity_and_stays_put() -> None:
    scene = make_scene(gaussians=30, cameras=1)
    scene["quaternions"][:] = 0
    unit = dict(scene, quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(30, 1))
    for name in RENDERERS:
        images, found = gradients(choose_renderer(name), scene)
        expected, _ = gradients(choose_renderer(name), unit)
        assert all((a - b).abs().max() < 1e-6 for a, b in zip(images, expected, strict=True))
        assert not found["quaternions"].any()


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(("gaussians", "cameras"), [(0, 1), (5, 0), (0, 0), (1, 1)])
def test_empty_scenes_give_the_background(renderer: str, gaussians: int, cameras: int) -> None:
    scene = make_scene(gaussians=max(gaussians, 1), cameras=max(cameras, 1))
    scene = {name: t[:gaussians] if name in NAMES[:5] else t[:cameras] for name, t in scene.items()}
    images, found = gradients(choose_renderer(renderer), scene)
    assert [tuple(image.shape) for image in images] == [(cameras, c, HEIGHT, WIDTH) for c in (3, 1, 1)]
    assert_finite(images, found)
    if gaussians == 0:
        assert torch.equal(images[0], scene["background"][:, :, None, None].expand_as(images[0]))
        assert not images[1].any() and not images[2].any()


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_name(renderer: str, name: str, value: float) -> None:
    scene = make_scene(gaussians=4, cameras=1)
    scene[name].view(-1)[-1] = value
    with pytest.raises(NonFiniteError, match=name):
        render(choose_renderer(renderer), scene)


def test_wrong_shapes_are_refused_by_name() -> None:
    scene = make_scene(gaussians=4, cameras=1)
    fields = [scene[name] for name in NAMES[:5]]
    for index, name in enumerate(("means_G3", "quaternions_G4", "scales_G3", "opacities_G", "colors_GC")):
        wrong = [field[:-1].unsqueeze(0) if i == index else field for i, field in enumerate(fields)]
        with pytest.raises(ShapeError, match=name):
            Gaussians(*wrong)
    cloud = Gaussians(*fields)
    for renderer in RENDERERS:
        draw = choose_renderer(renderer)
        with pytest.raises(ShapeError, match="w2c_T44"):
            draw(cloud, scene["w2c"][0], scene["K"], WIDTH, HEIGHT)
        with pytest.raises(ShapeError, match="K_T33"):
            draw(cloud, scene["w2c"], scene["K"].repeat(2, 1, 1), WIDTH, HEIGHT)
        with pytest.raises(ShapeError, match="background_TC"):
            draw(cloud, scene["w2c"], scene["K"], WIDTH, HEIGHT, scene["background"][:, :2])
        with pytest.raises(ShapeError, match="1x1"):
            draw(cloud, scene["w2c"], scene["K"], 0, HEIGHT)
        with pytest.raises(LCAError, match="focal"):
            draw(cloud, scene["w2c"], scene["K"] * 0, WIDTH, HEIGHT)


def test_choice_of_renderer() -> None:
    assert type(choose_renderer("auto", "cpu")).__name__ == "CPURenderer"
    with pytest.raises(ConfigError, match="reference"):
        choose_renderer("opengl")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="CUDA"):
        choose_renderer("gsplat", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="choose 'cpu' or 'auto'"):
            choose_renderer("gsplat")
        assert type(choose_renderer("auto")).__name__ == "CPURenderer"


@settings(max_examples=40, deadline=None)
@given(
    exponents=st.lists(st.floats(-30, 30), min_size=6, max_size=6),
    seed=st.integers(0, 2**31),
    antialiased=st.booleans(),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
def test_any_finite_cloud_gives_finite_images_and_gradients(
    exponents: list[float], seed: int, antialiased: bool, width: int, height: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    shapes = [(6, 3), (6, 4), (6, 3), (6,), (6, 2)]
    tensors = [torch.randn(shape, generator=random) for shape in shapes]
    for row, exponent in enumerate(exponents):
        tensors[row % 5][row] *= 10.0 ** (exponent if row % 5 < 3 else exponent / 10)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    K = torch.tensor([[[30.0, 0, width / 2], [0, 30.0, height / 2], [0, 0, 1]]])
    w2c = torch.eye(4)[None].clone().requires_grad_()
    out = choose_renderer("cpu", antialiased=antialiased)(Gaussians(*leaves), w2c, K, width, height)
    images = [out.color_TCHW, out.alpha_T1HW, out.depth_T1HW]
    assert all(bool(torch.isfinite(image).all()) for image in images)
    assert bool((out.alpha_T1HW >= 0).all()) and bool((out.alpha_T1HW <= 1).all())
    found = torch.autograd.grad(images, [*leaves, w2c], [torch.ones_like(image) for image in images])
    assert not any(bool(torch.isnan(gradient).any()) for gradient in found)


def test_all_gradients_are_named() -> None:
    assert set(DIFFERENTIABLE) == set(NAMES) - {"K"}
