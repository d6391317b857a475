"""Data modules of other packages on the command line; the example package really installs and trains."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from lca_data_modules.plugins import installed_plugins, plugin_class_path, with_plugins
from lca_lightning.errors import ConfigError
from tests.cli.commands import SMALL_MODEL, SMALL_RUN, lca

EXAMPLE = Path(__file__).parents[2] / "examples" / "lca_data_example"
PATH = "lca_data_example.photo_folder.PhotoFolderDataModule"


def metadata(folder: Path, name: str, target: str) -> None:
    """What an installer leaves of a package with one entry point."""
    info = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[lca_lightning.data_modules]\n{target}\n")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example as if it were installed, and a package that does not import."""
    name = "photo_folder = lca_data_example.photo_folder:PhotoFolderDataModule"
    metadata(tmp_path / "site", "lca-data-example", name)
    metadata(tmp_path / "site", "lca-broken", "broken = lca_broken_package:Module")
    metadata(tmp_path / "site", "lca-greedy", "StudioDataModule = lca_broken_package:MixtureDataModule")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    importlib.invalidate_caches()


def test_short_names_become_dotted_paths(plugin: None) -> None:
    assert {"photo_folder", "PhotoFolderDataModule", "broken"} <= set(installed_plugins())
    assert plugin_class_path("photo_folder") == plugin_class_path("PhotoFolderDataModule") == PATH
    for ours in ("StudioDataModule", "MixtureDataModule"):
        assert ours not in installed_plugins() and plugin_class_path(ours) == ours
    assert with_plugins(["--data", "photo_folder", "--x=1"]) == ["--data", PATH, "--x=1"]
    assert with_plugins(["--data.class_path=photo_folder"]) == [f"--data.class_path={PATH}"]
    with pytest.raises(ConfigError, match="'broken' of package lca-broken cannot be imported"):
        plugin_class_path("broken")


@pytest.mark.parametrize("name", ["photo_folder", PATH])
def test_a_plugin_is_named_on_the_command_line(
    plugin: None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", "tiny/posttrain", "--data", name, "--data.init_args.folder", "photos"]
    assert lca("fit", *words, "--print_config") == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert data["class_path"].endswith("PhotoFolderDataModule") and data["init_args"]["folder"] == "photos"


def test_a_plugin_is_named_in_a_recipe_and_in_a_mixture(
    plugin: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"class_path": "photo_folder", "init_args": {"folder": "photos"}}
    mixture = {"class_path": "MixtureDataModule", "init_args": {"sources": {"own": source}}}
    for number, data in enumerate((source, mixture)):
        recipe = tmp_path / f"mine{number}.yaml"
        recipe.write_text(yaml.safe_dump({"data": data}))
        assert lca("fit", "--config", "tiny/posttrain", "--config", str(recipe), "--print_config") == 0
        assert "PhotoFolderDataModule" in capsys.readouterr().out


def test_an_unknown_name_is_refused(plugin: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca("fit", "--config", "tiny/posttrain", "--data", "photo_foldr") == 2
    assert "photo_foldr" in capsys.readouterr().err
    assert lca("fit", "--config", "tiny/posttrain", "--data", "broken") == 1
    assert "repair or uninstall" in capsys.readouterr().err


def test_help_documents_every_option_of_every_data_module(capsys: pytest.CaptureFixture[str]) -> None:
    from lca_data_modules import DATA_MODULES

    for name in DATA_MODULES:
        assert lca("fit", f"--data.help={name}") == 0
        text = capsys.readouterr().out
        for option in ("batch_size BATCH_SIZE", "Decides every draw, together with the step."):
            assert option in text
        if name != "MixtureDataModule":
            for option in (
                "references.far_apart",
                "targets.other_cameras",
                "--data.fraction",
                "Train on this share",
            ):
                assert option in text, (name, option)


@pytest.mark.slow
def test_the_example_installs_and_trains(tmp_path: Path) -> None:
    site, photos = tmp_path / "site", tmp_path / "photos"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "-q"]
    if int(version("setuptools").split(".")[0]) >= 71:  # older ones cannot make wheels by themselves
        install.append("--no-build-isolation")
    copy = tmp_path / "package"  # building leaves files behind
    subprocess.run(["cp", "-r", str(EXAMPLE), str(copy)], check=True)
    subprocess.run([*install, "--target", str(site), str(copy)], check=True, timeout=300)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{copy / 'tests'}", "OMP_NUM_THREADS": "1"}
    people = "{'ann': 'train', 'bob': 'train', 'eve': 'test'}"
    write = f"from test_photo_folder import *; write_photos(Path({str(photos)!r}), {people})"
    subprocess.run([sys.executable, "-c", write], check=True, env=environment, timeout=300)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests")]
    subprocess.run(tests, check=True, env=environment, timeout=600, cwd=tmp_path)
    options = {f"model.avatar.{name}": value for name, value in SMALL_MODEL.items()} | SMALL_RUN
    options |= {"data.init_args.folder": photos, "data.init_args.image_size": "[64,48]"}
    options |= {"data.init_args.face_size": "[32,32]", "data.init_args.views": "[1,2]"}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = str(Path(sys.executable).with_name("lca"))
    run = [command, "fit", "--config", "tiny/posttrain", "--data", "photo_folder"]
    folder = tmp_path / "run"
    subprocess.run([*run, *words, "--run_dir", str(folder)], check=True, env=environment, timeout=900)
    checkpoint = ["--ckpt_path", str(folder / "last.ckpt")]
    test = [command, "test", *checkpoint]
    subprocess.run(test, check=True, env=environment, timeout=900)
    assert json.loads((folder / "test" / "metrics.json").read_text())["results"][0]["subjects"] == 1
