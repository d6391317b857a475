"""The code that results depend on: its digest, and a frozen copy that the child processes run from.

A training runs for hours while people go on working in the tree. Each call of ``lca experiment`` therefore
copies the packages to ``OUT/code/<digest>`` and children import them from there; results carry the digest of
what ran.

Two digests are taken of the copy, over the syntax trees without docstrings, so that comments and layout do
not count:

* **training**: everything that the weights depend on. Left out are what only watches or reports
  (`WATCHING`), metrics, the avatar, export, inspection, synthesis, importers, benchmarks, other commands.
* **test**: the same plus metrics and what collects them.

Docs, tests and recipes are in neither; a recipe counts through the configuration it gives.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lca_lightning.errors import ConfigError, DataError
from lca_lightning.training.provenance import code_revision
from lca_lightning.writing import write_failure, write_text

PACKAGES = ("lca_lightning", "lca_data_modules", "lca_configs", "lca_experiments")
TRAINING = (
    "batch.py", "weights.py", "kernels", "geometry", "rig", "rendering", "model", "losses", "datasets",
    "augmentation", "training", "cli/lightning_cli.py", "cli/config_parsing.py", "cli/callback_list.py",
)  # fmt: skip
"""Files and folders of ``lca_lightning`` that weights depend on, beside all of ``lca_data_modules``."""
WATCHING = (
    "training/evaluation.py", "training/pictures.py", "training/provenance.py", "training/flops.py",
    "training/cost.py", "training/checkpoint_writing.py", "training/checkpoint_shards.py",
    "training/run_guide.py", "training/run_listing.py", "training/run_record.py", "training/callbacks",
    "datasets/schema",
)  # fmt: skip
"""Of those, what only watches, checks or writes down; of the callbacks, averaging of weights alone counts."""
_COUNTED = ("training/callbacks/averaging.py",)
TESTING = ("metrics", "training/evaluation.py", "reports/results.py", "reports/metrics_files.py")
"""What the scores depend on besides: how they are measured, collected and written."""
_DATA = (".npz", ".npy", ".safetensors", ".json")
_REVISION = "revision.json"  # of the tree that a copy was made of
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "pretrained_models", "results", ".*")


@dataclass(frozen=True)
class CodeCopy:
    """A frozen copy of the packages.

    Attributes:
        folder: Where it is; a place for ``PYTHONPATH``.
        name: Digest of all its files, short.
        training: Digest of what weights depend on.
        test: Digest of what scores depend on.
        revision: Git ``revision`` and whether it was ``dirty`` when it was copied; empty where not known.
    """

    folder: Path
    name: str
    training: str
    test: str
    revision: Mapping[str, object] = field(default_factory=dict)


def freeze_code(out: Path, chosen: str | None = None) -> CodeCopy:
    """Copy the packages as they are now, or take an earlier copy.

    Args:
        out: Folder of the experiments.
        chosen: Name of an earlier copy to go on with, None for the present code.

    Raises:
        ConfigError: There is no such copy; names those there are.
        DataError: The copy cannot be written.
    """
    copies = out / "code"
    if chosen is not None:
        known = sorted(path.name for path in copies.glob("[!.]*")) if copies.is_dir() else []
        matching = [name for name in known if name.startswith(chosen)]
        if len(matching) != 1:
            raise ConfigError(
                f"{copies} has no one copy of code {chosen!r}; there are {', '.join(known) or 'none'}."
            )
        return describe_code(copies / matching[0])
    try:
        copies.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=copies) as temporary:
            fresh = Path(temporary) / "packages"
            for package in PACKAGES:
                shutil.copytree(_installed(package), fresh / package, ignore=_LEFT_OUT)
            place = copies / digest_of_files(sorted(fresh.rglob("*")), fresh)[:12]
            if not place.is_dir():
                _rename(fresh, place)
            present = code_revision()
            revision = {"revision": present["revision"], "dirty": present["dirty"]}
            write_text(place / _REVISION, json.dumps(revision) + "\n")
    except OSError as error:
        raise DataError(
            f"Cannot copy the code to {copies} ({write_failure(error)}); choose another --out."
        ) from error
    return describe_code(place)


def describe_code(folder: Path) -> CodeCopy:
    """Take the digests of a copy.

    Args:
        folder: With the packages in it.
    """
    package = folder / "lca_lightning"
    watching = {path for name in WATCHING for path in _sources(package / name)}
    watching -= {path for name in _COUNTED for path in _sources(package / name)}
    modules = _sources(folder / "lca_data_modules")
    training = [path for name in TRAINING for path in _sources(package / name) if path not in watching]
    testing = [path for name in TESTING for path in _sources(package / name)]
    return CodeCopy(
        folder,
        folder.name,
        digest_of_files([*training, *modules], folder),
        digest_of_files([*training, *modules, *testing], folder),
        _read_revision(folder / _REVISION),
    )


def _read_revision(path: Path) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def digest_of_files(paths: list[Path], root: Path) -> str:
    """Digest of sources by their meaning and of other files by their bytes.

    Args:
        paths: Files; folders among them do not count.
        root: Names are taken relative to it.
    """
    total = hashlib.sha256()
    for path in sorted({path for path in paths if path.is_file()}):
        content = path.read_bytes()
        if path.suffix == ".py":
            content = meaning_of(content.decode("utf-8")).encode()
        total.update(f"{path.relative_to(root).as_posix()}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def meaning_of(source: str) -> str:
    """A source without comments, layout and docstrings; unchanged where it is no Python.

    Args:
        source: Text of a module.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            kept = [entry for entry in node.body if not _is_text(entry)]
            node.body = kept or [ast.Pass()]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    """A docstring, of an attribute too."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _sources(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [path for path in place.rglob("*") if path.suffix == ".py" or path.suffix in _DATA]


def _installed(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _rename(fresh: Path, place: Path) -> None:
    try:
        fresh.rename(place)
    except OSError:  # another process made the same copy in the meantime
        if not place.is_dir():
            raise
