"""Every `lca` command in README and docs exists with the options it is shown with; links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lca_lightning.cli.main import TRAINING_VERBS, VERBS, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Nested keys of recipes are options of the training verbs; recipes' own tests cover them.
NESTED = re.compile(r"--(model|data|trainer|image_grids|last_checkpoint|best_checkpoint)\.")


def commands() -> list[tuple[str, str]]:
    """Commands in code blocks as (page, command)."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|sh|)\n(.*?)```", page.read_text(), flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("lca "):
                    found.append((page.name, line.split("  #")[0].split(" #")[0].strip()))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_command_exists(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    verb = words[1]
    assert verb in VERBS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        try:
            main([verb, "--help"])
        except SystemExit as stop:
            assert not stop.code
    shown = capsys.readouterr().out
    for word in words[2:]:
        option = word.split("=")[0]
        if option.startswith("--") and not (verb in TRAINING_VERBS and NESTED.match(option)):
            assert option in shown, f"{page}: {verb} has no {option}"


def test_there_are_commands_to_test() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
