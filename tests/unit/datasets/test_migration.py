"""Drafts of version 1 become final: purely, repeatedly, resumably; newer versions are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lca_lightning.datasets import migration
from lca_lightning.datasets.migration import (
    DRAFT,
    STEPS,
    layout_number,
    migrate_dataset,
    migrate_header,
    migrate_sequence,
)
from lca_lightning.datasets.records import FORMAT_VERSION
from lca_lightning.datasets.schema_check import schema_violations
from lca_lightning.errors import DataError

# as the first writer of version 1 wrote them
HEADER = {
    "format": "lca-dataset",
    "version": 1,
    "kind": "studio",
    "rig": "anny",
    "licence": "CC0-1.0",
    "provenance": "own recording",
    "units": "metres",
    "color_space": "srgb",
}
SEQUENCE = {
    "subject": "ann",
    "split": "train",
    "fps": 30.0,
    "licence": "CC0-1.0",
    "provenance": "own recording",
    "frames": 12,
    "undistorted": True,
    "cameras": {
        "cam01": {
            "width": 640,
            "height": 480,
            "K": [[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]],
            "w2c": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]],
        }
    },
    "quality": {"silhouette_iou": 0.9},
}


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        (folder / "sequence.json").write_text(json.dumps(SEQUENCE))
    (tmp_path / "sequences" / ".d.partial-1").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps(HEADER))
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_steps_lead_from_the_draft_to_the_present_without_a_gap() -> None:
    assert [step.source for step in STEPS] == list(range(DRAFT, FORMAT_VERSION))
    assert [step.target for step in STEPS] == list(range(DRAFT + 1, FORMAT_VERSION + 1))


def test_drafts_become_valid_and_keep_their_values() -> None:
    header, sequence = copy.deepcopy(HEADER), copy.deepcopy(SEQUENCE)
    new_header, new_sequence = migrate_header(header), migrate_sequence(sequence)
    assert header == HEADER and sequence == SEQUENCE  # pure
    assert schema_violations("dataset", new_header) == [] == schema_violations("sequence", new_sequence)
    assert new_header["consent"] == new_sequence["consent"] == "unknown"
    assert "color_space" not in new_header and new_sequence["color"] == "srgb"
    for key, value in SEQUENCE.items():
        assert new_sequence[key] == value
    assert migrate_header(new_header) == new_header and migrate_sequence(new_sequence) == new_sequence


def test_a_data_set_is_migrated_once(draft: Path) -> None:
    before = contents(draft)
    planned = migrate_dataset(draft, dry_run=True)
    assert contents(draft) == before and len(planned.changed) == 4
    done = migrate_dataset(draft)
    assert done == planned and done.source == DRAFT and done.changed[-1] == draft / "dataset.json"
    after = contents(draft)
    assert all(
        not schema_violations("sequence", json.loads(after[f"sequences/{n}/sequence.json"])) for n in "abc"
    )
    again = migrate_dataset(draft)
    assert again.changed == () and again.source == FORMAT_VERSION and contents(draft) == after


def test_an_interrupted_migration_goes_on(draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def fail_at_second(path: Path, text: str) -> None:
        if written:
            raise DataError("the disk is full")
        written.append(path)
        path.write_text(text)

    monkeypatch.setattr(migration, "write_text", fail_at_second)
    with pytest.raises(DataError, match="disk is full"):
        migrate_dataset(draft)
    assert layout_number(json.loads((draft / "dataset.json").read_text())) == DRAFT
    monkeypatch.undo()
    assert [path.parent.name for path in migrate_dataset(draft).changed[:-1]] == ["b", "c"]


def test_an_older_sequence_in_a_present_data_set_is_found(draft: Path) -> None:
    migrate_dataset(draft)
    (draft / "sequences" / "b" / "sequence.json").write_text(json.dumps(SEQUENCE))
    assert migrate_dataset(draft).changed == (draft / "sequences" / "b" / "sequence.json",)


def test_unreadable_sequences_are_left_and_named(draft: Path) -> None:
    (draft / "sequences" / "b" / "sequence.json").write_text("{")
    result = migrate_dataset(draft)
    assert result.unreadable == (draft / "sequences" / "b" / "sequence.json",)
    assert (draft / "sequences" / "b" / "sequence.json").read_text() == "{"


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 99])
def test_newer_versions_are_refused(draft: Path, version: int) -> None:
    (draft / "dataset.json").write_text(json.dumps({**HEADER, "version": version}))
    with pytest.raises(DataError, match=f"version {version} .* install a newer lca-lightning"):
        migrate_dataset(draft)


@pytest.mark.parametrize("version", [None, "1", -1, True, 1.0])
def test_versions_that_are_no_numbers_are_refused(version: Any) -> None:
    with pytest.raises(DataError, match="no valid version"):
        layout_number({**HEADER, "version": version})


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset.json"):
        migrate_dataset(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(DataError, match="pack its source again"):
        migrate_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": "other"}')
    with pytest.raises(DataError, match="does not describe"):
        migrate_dataset(tmp_path)
