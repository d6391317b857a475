"""Parts of other packages: found by name, never in the place of ours, refused with the package's name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lca_lightning import plugins
from lca_lightning.errors import ConfigError

GROUP = "lca_lightning.parts"
SHIPPED = {"path": "pathlib:Path", "lost": "lca_no_such_module:Part"}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lca_raising_part.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {
        "decimal": "decimal:Decimal",
        "path": "decimal:Decimal",
        "raising": "lca_raising_part:Part",
        "nameless": "decimal:NoSuchPart",
    }
    found = [EntryPoint(name, value, GROUP) for name, value in points.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == GROUP else [])


def find(name: str) -> object:
    return plugins.find_plugin(name, SHIPPED, GROUP, "part")


def test_ours_theirs_and_paths_are_found_and_ours_keep_their_names() -> None:
    from decimal import Decimal
    from fractions import Fraction

    assert find("decimal") is Decimal and find("fractions:Fraction") is Fraction
    assert find("path") is Path
    assert set(plugins.installed_plugins(GROUP, SHIPPED)) == {"decimal", "raising", "nameless"}
    assert "path" in plugins.installed_plugins(GROUP)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("decimel", "no part 'decimel', did you mean 'decimal'.*decimal, lost, nameless, path, raising, or"),
        ("qqqq", "no part 'qqqq'; choose one of"),
        ("raising", "'raising' of package lca_raising_part cannot be imported .RuntimeError: no licence"),
        ("nameless", "'nameless' of package decimal cannot be imported"),
        ("lost", "'lost' cannot be imported .*lca_no_such_module.*install its package"),
        ("decimal:NoSuchPart", "cannot be imported .*correct module:Class"),
        ("lca_raising_part:Part", "no licence"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find(name)
