"""What the CPU renderer promises beside its values: memory, threads, forks, dtypes, caches."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lca_lightning.kernels import compilation
from lca_lightning.kernels.threads import balanced_bounds, even_bounds, run_chunks
from lca_lightning.rendering import Gaussians, choose_renderer
from lca_lightning.rendering.cpu.autograd import Cloud, View, make_plan
from tests.parity.rendering_scenes import HEIGHT, NAMES, WIDTH, gradients, make_scene, render


def plan_sizes(gaussians: int, side: int) -> tuple[int, int, int]:
    """Bytes of the plan, peak bytes traced over forward and backward, intersections."""
    scene = make_scene(gaussians=gaussians, cameras=1)
    leaves = [scene[name].requires_grad_(name != "K") for name in NAMES]
    plan = make_plan(Cloud.of(tuple(leaves)), View(side, side, False))
    tracemalloc.start()
    out = choose_renderer("cpu")(Gaussians(*leaves[:5]), leaves[5], leaves[6], side, side, leaves[7])
    out.color_TCHW.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return plan.bytes, peak, len(plan.slots)


def test_memory_is_linear_in_gaussians_plus_intersections() -> None:
    plan_sizes(10, 64)  # compiles
    for gaussians, side in ((2_000, 64), (20_000, 64), (20_000, 256)):
        held, peak, intersections = plan_sizes(gaussians, side)
        pixels = side * side
        assert held < 80 * gaussians + 8 * intersections + pixels
        # Tables and gradients per Gaussian, ten floats of gradient an intersection, images a pixel.
        assert peak < 400 * gaussians + 64 * intersections + 80 * pixels + 200_000
        assert intersections > gaussians / 4


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    scene = make_scene(gaussians=5000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = gradients(choose_renderer("cpu"), scene)
        torch.set_num_threads(4)
        four = gradients(choose_renderer("cpu"), scene)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one[0], four[0], strict=True))
    for name in one[1]:
        if name in ("w2c", "background"):  # sums over Gaussians or pixels, whose order may differ
            assert torch.allclose(one[1][name], four[1][name], rtol=1e-4)
        else:
            assert torch.equal(one[1][name], four[1][name])


def test_two_threads_may_render_at_once() -> None:
    scene = make_scene(gaussians=2000)
    expected = render(choose_renderer("cpu"), scene)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            if not all(
                torch.equal(a, b)
                for a, b in zip(render(choose_renderer("cpu"), scene), expected, strict=True)
            ):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def _render_in_child(scene: dict[str, Tensor], threads: int, queue: multiprocessing.Queue[float]) -> None:
    torch.set_num_threads(threads)
    queue.put(float(render(choose_renderer("cpu"), scene)[0].sum()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_renders_after_its_parent_did() -> None:
    scene = make_scene(gaussians=2000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = float(render(choose_renderer("cpu"), scene)[0].sum())  # the parent's threads exist now
    finally:
        torch.set_num_threads(before)
    context = multiprocessing.get_context("fork")
    for threads in (1, 2):
        queue: multiprocessing.Queue[float] = context.Queue()
        child = context.Process(target=_render_in_child, args=(scene, threads, queue))
        child.start()
        assert queue.get(timeout=60) == pytest.approx(expected, rel=1e-4)
        child.join(60)
        assert child.exitcode == 0


def test_chunks_are_run_once_each_and_errors_come_back() -> None:
    seen: list[int] = []
    run_chunks(seen.append, 100)
    assert sorted(seen) == list(range(100))
    with pytest.raises(ZeroDivisionError):
        run_chunks(lambda number: 1 // (number - 3), 8)
    for count in (0, 1, 5, 100_000):
        bounds = even_bounds(count, 100)
        assert bounds[0] == 0 and bounds[-1] == count and (bounds[1:] >= bounds[:-1]).all()
    starts = torch.tensor([0, 0, 900, 910, 1000, 1000]).numpy()
    bounds = balanced_bounds(starts)
    assert bounds[0] == 0 and bounds[-1] == 5 and (bounds[1:] >= bounds[:-1]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_come_back_as_they_came(dtype: torch.dtype) -> None:
    scene = {name: tensor.to(dtype) for name, tensor in make_scene(gaussians=200).items()}
    images, found = gradients(choose_renderer("cpu"), scene)
    assert {image.dtype for image in images} == {dtype} and {g.dtype for g in found.values()} == {dtype}
    single = {name: tensor.float() for name, tensor in scene.items()}
    assert (images[0].float() - render(choose_renderer("cpu"), single)[0]).abs().max() < 0.05


def test_non_contiguous_and_partial_gradients() -> None:
    scene = make_scene(gaussians=200)
    expected, all_gradients = gradients(choose_renderer("cpu"), scene)
    strided = {
        name: t.transpose(0, -1).contiguous().transpose(0, -1) if t.dim() > 1 else t
        for name, t in scene.items()
    }
    assert torch.equal(render(choose_renderer("cpu"), strided)[0], expected[0])
    only = dict(scene, means=scene["means"].clone().requires_grad_())
    color = render(choose_renderer("cpu"), only)[
        0
    ]  # gradients of alpha and depth are missing, not zero tensors
    color.sum().backward()
    assert only["means"].grad is not None and bool(only["means"].grad.any())
    assert set(all_gradients) == set(NAMES) - {"K"}


def test_second_derivatives_are_refused() -> None:
    scene = make_scene(gaussians=20)
    scene["means"].requires_grad_()
    (gradient,) = torch.autograd.grad(
        render(choose_renderer("cpu"), scene)[0].square().sum(), scene["means"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_private_cache_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = compilation.private_cache_folder()
    assert folder is not None and stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)  # somebody else could have planted an index there
    assert compilation.private_cache_folder() is None
    monkeypatch.setattr(compilation.tempfile, "gettempdir", lambda: str(tmp_path / "absent"))
    assert compilation.private_cache_folder() is None


def test_kernels_compile_where_numba_finds_no_cache_folder(tmp_path: Path) -> None:
    script = (
        "import numba.core.caching as c\n"
        "for name in dir(c):\n"
        "    if name.endswith('CacheLocator') and 'UserProvided' not in name:\n"
        "        getattr(c, name).from_function = classmethod(lambda cls, *a: None)\n"
        "from lca_lightning.rendering.cpu.tiles import _sort_by_depth\n"
        "import numpy as np\n"
        "print(_sort_by_depth(np.array([3, 1, 2], np.int32), np.arange(3, dtype=np.int32), 3).tolist())\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[1, 2, 0]", done.stderr
    assert list(tmp_path.glob("lca-lightning-kernels-*/**/*.nbi"))


def test_image_sizes_from_one_pixel() -> None:
    scene = make_scene(gaussians=50)
    cloud = Gaussians(*(scene[name] for name in NAMES[:5]))
    whole = choose_renderer("cpu")(cloud, scene["w2c"], scene["K"], WIDTH, HEIGHT)
    for width, height in ((1, 1), (16, 16), (17, 1), (33, 47)):
        part = choose_renderer("cpu")(cloud, scene["w2c"], scene["K"], width, height)
        # Cropping only changes where the Jacobian is held, which matters off screen.
        assert (part.alpha_T1HW - whole.alpha_T1HW[..., :height, :width]).abs().mean() < 0.02
