"""The digest of code: what counts and what does not, and the frozen copy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lca_lightning.errors import ConfigError
from lca_lightning.experiments.code_copy import TESTING, TRAINING, describe_code, freeze_code, meaning_of

SOURCE = '"""Text."""\n\n\ndef double(x: int) -> int:\n    """More text."""\n    return 2 * x\n'


def package(root: Path, **files: str) -> Path:
    content = {
        "lca_lightning/model/decoders.py": SOURCE,
        "lca_lightning/metrics/masked.py": SOURCE,
        "lca_lightning/reports/metrics_files.py": SOURCE,
        "lca_lightning/training/callbacks/progress.py": SOURCE,
        "lca_lightning/training/callbacks/averaging.py": SOURCE,
        "lca_lightning/export/ply.py": SOURCE,
        "lca_lightning/cli/callback_list.py": SOURCE,
        "lca_lightning/model/assets/config.json": "{}",
        "lca_lightning/datasets/schema/sequence.schema.json": "{}",
        "lca_data_modules/studio.py": SOURCE,
    }
    for name, text in {**content, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CHANGED = SOURCE.replace("2 * x", "x + x + 1")


def test_comments_docstrings_and_layout_do_not_count() -> None:
    other = '"""Other."""\n# why\ndef double(x: int) -> int:\n\n    return (2 *\n        x)\n'
    assert meaning_of(SOURCE) == meaning_of(other)
    assert meaning_of(SOURCE) != meaning_of(CHANGED)


@pytest.mark.parametrize(
    ("file", "training", "test"),
    [
        ("lca_lightning/model/decoders.py", True, True),
        ("lca_data_modules/studio.py", True, True),
        ("lca_lightning/training/callbacks/averaging.py", True, True),
        ("lca_lightning/training/new_part.py", True, True),
        ("lca_lightning/cli/callback_list.py", True, True),
        ("lca_lightning/model/assets/config.json", True, True),
        ("lca_lightning/datasets/schema/sequence.schema.json", False, False),
        ("lca_lightning/metrics/masked.py", False, True),
        ("lca_lightning/reports/metrics_files.py", False, True),
        ("lca_lightning/training/callbacks/progress.py", False, False),
        ("lca_lightning/export/ply.py", False, False),
    ],
)
def test_only_code_that_results_depend_on_counts(
    tmp_path: Path, file: str, training: bool, test: bool
) -> None:
    before = describe_code(package(tmp_path / "before"))
    after = describe_code(package(tmp_path / "after", **{file: CHANGED}))
    assert (before.training != after.training, before.test != after.test) == (training, test)


def test_the_copy_stands_alone_and_can_be_chosen_again(tmp_path: Path) -> None:
    copy = freeze_code(tmp_path)
    assert (copy.folder / "lca_lightning" / "cli" / "main.py").is_file()
    assert (copy.folder / "lca_configs" / "tiny" / "pretrain.yaml").is_file()
    assert not list(copy.folder.rglob("__pycache__"))
    assert copy.revision.keys() == {"revision", "dirty"}
    assert freeze_code(tmp_path) == copy and freeze_code(tmp_path, copy.name[:6]) == copy
    assert [path.name for path in (tmp_path / "code").iterdir()] == [copy.name]
    with pytest.raises(ConfigError, match=f"there are {copy.name}"):
        freeze_code(tmp_path, "nothing")


def test_what_a_training_imports_is_counted_or_known_not_to_matter() -> None:
    script = "import sys, lca_lightning.cli.lightning_cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = [name.split(".") for name in done.stdout.split() if name.startswith("lca_lightning.")]
    counted = {Path(part).with_suffix("").as_posix() for part in (*TRAINING, *TESTING)}
    harmless = {
        "errors", "writing", "plugins", "safe_pickle", "pickled_arrays", "child_processes",  # no arithmetic
        "reports",  # what a test writes
        "composition",  # a recipe counts through the configuration it gives
        "cli",  # what sets a training up is counted by name; the others check and word messages
    }  # fmt: skip
    parts = {name[1] for name in loaded}
    assert "model" in parts and "augmentation" in parts
    assert not parts - counted - harmless
