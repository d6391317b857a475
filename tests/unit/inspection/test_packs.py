"""Packs are inspected like the folders they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.pack import pack_dataset
from lca_lightning.inspection.contact_sheet import SheetOptions, write_contact_sheet
from lca_lightning.inspection.dataset_check import check_dataset
from lca_lightning.inspection.results import CheckOptions

QUICK = CheckOptions(sample=2, thumbnails=1, synchronisation=False)


@pytest.fixture
def pack(clean_capture: Path, tmp_path: Path) -> Path:
    """The training sequence in two items of every other frame, the test sequence whole."""
    pack_dataset(clean_capture, str(tmp_path / "pack"), frames_per_item=40)
    return tmp_path / "pack"


def test_a_pack_of_split_sequences_is_clean(clean_capture: Path, pack: Path, tmp_path: Path) -> None:
    result, plain = check_dataset(pack, QUICK), check_dataset(clean_capture, QUICK)
    assert result.findings == plain.findings == []
    assert len(result.sequences) == 3 and {s.origin for s in result.sequences} == {"ann_take", "bob_take"}
    for sequence in result.sequences:
        for camera in sequence.cameras.values():
            assert camera.median_overlap is not None and camera.median_overlap > 0.95
    assert write_contact_sheet(pack, tmp_path / "sheet.png", SheetOptions(2, 2)).is_file()


def test_a_damaged_pack_is_a_list_of_findings(pack: Path) -> None:
    chunk = next(path for path in sorted(pack.rglob("*.bin")))
    content = bytearray(chunk.read_bytes())
    generator = np.random.default_rng(0)
    for place in generator.integers(200, len(content), len(content) // 50):
        content[place] ^= 0xFF
    chunk.write_bytes(content)
    result = check_dataset(pack, QUICK)
    assert len(result.sequences) == 3 and result.counts["error"] >= 1
    chunk.write_bytes(content[: len(content) // 2])
    assert check_dataset(pack, QUICK).counts["error"] >= 1
