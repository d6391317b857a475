"""The command line's contract: exit statuses, one-sentence errors, fast help, no traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from lca_lightning import __version__
from lca_lightning.cli import main as entry
from lca_lightning.cli.main import TRAINING_VERBS, VERBS, main
from lca_lightning.errors import DataError


def status_of(words: list[str]) -> int:
    """Run the command line in this process and return its exit status."""
    try:
        main(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_package_exports_the_function() -> None:
    assert entry is main


def test_main_returns_none_on_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) is None
    assert __version__ in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from lca_lightning.cli import main; main(['recipes', 'tiny/pretrain'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_overview_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_no_words_is_wrong_usage() -> None:
    assert status_of([]) == 2


def test_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["synthesise"]) == 2
    assert "'synthesize'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["recipes", "doctor", *TRAINING_VERBS])
def test_help_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([verb, "--help"]) == 0
    assert f"lca {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--help"], ["fit", "--help"], ["recipes", "--help"], ["doctor", "--help"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    heavy = "{'torch', 'lightning', 'transformers', 'numpy', 'jsonargparse'}"
    code = (
        "import sys\nfrom lca_lightning.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    )
    started = time.perf_counter()
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (
        time.perf_counter() - started < 5.0
    )  # an idle machine takes 0.1 s; only heavy imports reach seconds


def test_wrong_argument_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["recipes", "--nonsense"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--nonsense" in err and "--help" in err


def failing(error: BaseException) -> object:
    """A verb module whose run raises."""

    class Module:
        @staticmethod
        def add_parser(subparsers: object) -> None:
            subparsers.add_parser("recipes")  # type: ignore[attr-defined]

        @staticmethod
        def run(namespace: object) -> None:
            raise error

    return Module


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DataError("No videos in x."), 1, "lca: No videos in x.\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/a.mp4"), 1, "no space left"),
        (RuntimeError("boom\nsecond line"), 1, "unexpected RuntimeError: boom (run again with --debug"),
        (SystemExit("stopped by hand"), 1, "stopped by hand"),
        (SystemExit(3), 3, ""),
    ],
)
def test_errors_become_a_sentence_and_a_status(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = sys.modules["lca_lightning.cli.main"]
    monkeypatch.setattr(module, "_load", lambda verb: failing(error))
    assert status_of(["recipes"]) == status
    err = capsys.readouterr().err
    assert text in err and "Traceback" not in err


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys.modules["lca_lightning.cli.main"], "_load", lambda verb: failing(DataError("bad"))
    )
    assert status_of(["recipes", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
