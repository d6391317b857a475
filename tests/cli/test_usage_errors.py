"""Messages of the parser, boiled down."""

from __future__ import annotations

import pytest

from lca_lightning.cli.usage_errors import nearest, usage_error

KNOWN = ["trainer.max_steps", "model.avatar.width", "data.init_args.root", "data.init_args.views"]
NESTED = """Parser key "data":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.datamodule.LightningDataModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'lca_data_modules.InTheWildDataModule':
        {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='views', val='abc')"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("unrecognized arguments: --modle.avatar.width=3", "Unknown key 'modle.avatar.width', did you mean"),
        ("Subcommand 'fit' does not accept option 'trainer.max_step'", "did you mean 'trainer.max_steps'?"),
        (NESTED.format(problem="Option 'rot' is not accepted"), "did you mean 'data.init_args.root'?"),
        (
            NESTED.format(problem="Parser key \"views\":\n  Expected a <class 'tuple'>. Got value: abc"),
            "data.init_args.views: expected tuple, got abc;",
        ),
        (
            NESTED.format(problem="Expected a dot import path string: StudioModule"),
            "there is no class 'StudioModule', did you mean 'StudioDataModule'?",
        ),
        (
            NESTED.format(problem="Expected a dot import path string: Xyzzy"),
            "there is no class 'Xyzzy', there are StudioDataModule, InTheWildDataModule;",
        ),
        (
            "Parser key \"branches\":\n  Expected a typing.Literal['dual', 'static']. Got value: both",
            "branches: expected one of 'dual', 'static', got both;",
        ),
        ("something\nelse happened.", "something else happened; `lca fit --help`"),
    ],
)
def test_one_sentence(message: str, expected: str) -> None:
    text = str(usage_error(message, "fit", KNOWN, ["StudioDataModule", "InTheWildDataModule"]))
    assert expected in text and "\n" not in text


def test_nearest_by_the_whole_key_or_by_its_end() -> None:
    assert nearest("model.avatr.width", KNOWN) == "model.avatar.width"
    assert nearest("rooot", KNOWN) == "data.init_args.root"
    assert nearest("xyzzy", KNOWN) is None
