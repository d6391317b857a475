"""Digests of data and code: the same for the same content anywhere, another one after any change."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lca_lightning
from lca_lightning.datasets.format import write_dataset_header
from lca_lightning.errors import DataError
from lca_lightning.training import provenance
from lca_lightning.training.provenance import code_digest, code_revision, data_digest, library_versions

VIDEO_BYTES = 300_000


def write_folder(root: Path, sequences: int) -> Path:
    """A data set in outline: what the digest reads is there, nothing can be decoded."""
    write_dataset_header(root, kind="wild", rig="anny", licence="CC0", provenance="test")
    for number in range(sequences):
        folder = root / "sequences" / f"take-{number:05d}"
        (folder / "videos").mkdir(parents=True)
        (folder / "sequence.json").write_text(json.dumps({"subject": f"p{number}"}))
        (folder / "signals.safetensors").write_bytes(bytes([number % 256]) * 200_000)
        (folder / "videos" / "camera.mp4").write_bytes(bytes([number % 251]) * VIDEO_BYTES)
    return root


def change_byte(path: Path, place: int) -> None:
    """Flip one byte without changing the size."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_copy_has_the_same_digest_and_files_of_ours_do_not_count(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 3)
    digest = data_digest(root)
    assert len(digest) == 64 and digest == data_digest(str(root))
    shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert data_digest(tmp_path / "elsewhere" / "copy") == digest
    (root / ".lca_index.npz").write_bytes(b"index")
    (root / "sequences" / ".unfinished").mkdir()
    (root / "sequences" / "notes.txt").write_text("not a sequence")
    assert data_digest(root) == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda take: change_byte(take / "sequence.json", 3),
        lambda take: change_byte(take / "signals.safetensors", 100_000),
        lambda take: change_byte(take / "videos" / "camera.mp4", 0),
        lambda take: change_byte(take / "videos" / "camera.mp4", VIDEO_BYTES - 1),
        lambda take: (take / "videos" / "camera.mp4").write_bytes(bytes(VIDEO_BYTES + 1)),
        lambda take: (take / "videos" / "camera.mp4").rename(take / "videos" / "other.mp4"),
        lambda take: (take / "masks").mkdir() or (take / "masks" / "camera.mkv").write_bytes(b""),
        lambda take: take.rename(take.with_name("renamed")),
        lambda take: shutil.rmtree(take),
        lambda take: (take.parents[1] / "dataset.json").write_text(
            (take.parents[1] / "dataset.json").read_text().replace("wild", "studio")
        ),
    ],
    ids=["json", "signals", "head", "tail", "size", "name", "mask", "sequence", "fewer", "header"],
)
def test_every_change_shows(tmp_path: Path, change: Callable[[Path], object]) -> None:
    root = write_folder(tmp_path / "data", 2)
    before = data_digest(root)
    change(root / "sequences" / "take-00001")
    assert data_digest(root) != before


def test_a_split_can_be_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 4)
    for number, split in enumerate(("train", "val", "test")):
        text = json.dumps({"subject": f"p{number}", "split": split})
        (root / "sequences" / f"take-{number:05d}" / "sequence.json").write_text(text)
    whole, trained = data_digest(root), data_digest(root, without="test")
    assert whole != trained
    change_byte(root / "sequences" / "take-00002" / "signals.safetensors", 0)
    assert data_digest(root, without="test") == trained and data_digest(root) != whole
    for counted in (0, 1, 3):  # the last one names no split: it counts
        change_byte(root / "sequences" / f"take-{counted:05d}" / "signals.safetensors", 0)
        assert data_digest(root, without="test") != trained
        trained = data_digest(root, without="test")


def test_two_hundred_sequences_take_less_than_a_second(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", 200)
    times = []
    for _ in range(3):  # the machine may be busy
        start = time.perf_counter()
        data_digest(root)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0


def test_of_very_many_sequences_a_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "data", 12)
    whole = data_digest(root)
    monkeypatch.setattr(provenance, "ALL_SEQUENCES", 10)
    monkeypatch.setattr(provenance, "SAMPLE", 3)  # numbers 0, 4 and 8
    sampled = data_digest(root)
    assert sampled != whole
    change_byte(root / "sequences" / "take-00005" / "signals.safetensors", 0)
    assert data_digest(root) == sampled
    change_byte(root / "sequences" / "take-00004" / "signals.safetensors", 0)
    assert data_digest(root) != sampled
    (root / "sequences" / "take-00011").rename(root / "sequences" / "take-00012")
    assert data_digest(root) != sampled


def test_a_pack_is_known_by_its_description(tmp_path: Path) -> None:
    chunks = [{"filename": "chunk-000000.bin", "bytes": 3, "sha256": "ab"}]
    description = {"format": "lca-pack", "version": 1, "header": {"kind": "wild"}, "index_sha256": "cd"}
    description |= {"chunks": chunks, "skipped": {}}

    def digest(**changes: object) -> str:
        (tmp_path / "pack.json").write_text(json.dumps(description | changes))
        return data_digest(tmp_path)

    assert digest() == digest(skipped={"take": "a message with a path"})
    different = {digest(), digest(index_sha256="ce"), digest(chunks=[]), digest(header={"kind": "studio"})}
    assert len(different) == 4
    (tmp_path / "pack.json").write_text("{")
    with pytest.raises(DataError, match="pack the data again"):
        data_digest(tmp_path)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="lca synthesize"):
            data_digest(place)


def test_a_checkout_has_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(lca_lightning, "__file__", str(package / "__init__.py"))
    assert provenance._git_state(package) == (None, None)

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    assert provenance._git_state(package) == (
        None,
        None,
    )  # somebody's checkout, which does not hold the package
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert provenance._git_state(package) == (git("rev-parse", "HEAD"), False)
    (package / "__init__.py").write_text("changed = True")
    assert provenance._git_state(package) == (git("rev-parse", "HEAD"), True)


def test_the_code_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = code_revision()
    assert set(revision) == {"revision", "dirty", "package", "digest"}
    assert revision["package"] == lca_lightning.__version__ and revision["digest"] == code_digest()
    assert code_digest(("model",)) not in (code_digest(), code_digest(("model", "losses")))
    copy = tmp_path / "lca_lightning"
    shutil.copytree(Path(lca_lightning.__file__).parent / "model", copy / "model")
    monkeypatch.setattr(lca_lightning, "__file__", str(copy / "__init__.py"))
    same = code_digest.__wrapped__(("model",))
    assert same == code_digest(("model",))
    (copy / "model" / "tokens.py").write_text("# changed")
    assert code_digest.__wrapped__(("model",)) != same


def test_versions_are_those_of_what_is_imported() -> None:
    versions = library_versions()
    assert versions["torch"] == torch.__version__.split("+")[0]
    assert versions["lca-lightning"] == lca_lightning.__version__ and "python" in versions
