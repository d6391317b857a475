"""``lca fit | validate | test | predict``: cheap help pages, then LightningCLI."""

from __future__ import annotations

import argparse
from typing import Any

_DESCRIPTIONS = {
    "fit": "Train a model from a recipe, or continue a run that stopped.",
    "validate": "Measure a checkpoint on the validation split of a data set.",
    "test": "Measure a checkpoint on the test split: RUN/test/metrics.{json,csv,md} and report.html.",
    "predict": "Render every target frame with a checkpoint to RUN/predictions/*.png.",
}
_EXAMPLES = {
    "fit": """\
examples:
  lca synthesize --out people                                  # some data to learn from
  lca fit --config tiny/pretrain.yaml --data.init_args.root people
  lca fit --config tiny/posttrain.yaml --data.init_args.root studio --model.init_from RUN/last.ckpt
  lca fit --ckpt_path RUN/last.ckpt                            # continue exactly where it stopped
""",
    "validate": "examples:\n  lca validate --ckpt_path RUN/best.ckpt\n",
    "test": """\
examples:
  lca test --ckpt_path RUN/best.ckpt                           # on the data it was trained with
  lca test --ckpt_path RUN/best.ckpt --data.init_args.root other_data
  lca test --ckpt_path RUN/best.ckpt --data StudioDataModule --data.init_args.root studio
  lca test --ckpt_path RUN/best.ckpt --protocol masked,composite,lhm --views 1,8
  lca test --config tiny/posttrain.yaml                        # the untrained model, as a lower bound
""",
    "predict": "examples:\n  lca predict --ckpt_path RUN/best.ckpt\n",
}
_ONLY = {
    "--model.init_from": ("fit",),
    "--trainer.max_steps": ("fit",),
    "--protocol": ("test",),
    "--views": ("test",),
}
_COMMON = """\
Every key of a recipe is an option: `lca {verb} --config NAME --print_config` shows the resolved
configuration, `lca {verb} --help=full` lists all keys with their types, `lca recipes` lists the recipes.
Data roots come from --data.init_args.root or the environment variable LCA_DATA.
"""


def add_parser(subparsers: Any, verb: str) -> None:
    """Register the help page of a training command.

    Args:
        subparsers: Where to register it.
        verb: One of fit, validate, test, predict.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        verb,
        description=_DESCRIPTIONS[verb],
        epilog=_EXAMPLES[verb] + "\n" + _COMMON.format(verb=verb),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checkpoint = "continue this run, exactly" if verb == "fit" else "checkpoint to use; enough on its own"
    options = {
        "--config": ("RECIPE", "recipe or file; repeat to compose"),
        "--ckpt_path": ("FILE", checkpoint),
        "--model.init_from": ("FILE", "start from this checkpoint's weights only"),
        "--trainer.max_steps": ("N", "number of optimiser steps"),
        "--protocol": ("NAMES", "masked, composite, lhm, with commas between (masked)"),
        "--views": ("N,N", "numbers of reference views, each tested on the same frames (test_views)"),
        "--data": ("CLASS", "data module (that of the checkpoint or recipe)"),
        "--data.init_args.root": ("DIR", "data set to use (default: $LCA_DATA)"),
        "--run_dir": ("DIR", "run directory (default: runs/RECIPE/TIME, or that of --ckpt_path)"),
        "--trainer.accelerator": ("NAME", "auto, cpu or cuda (default: auto)"),
        "--seed_everything": ("N", "seed of everything random"),
    }
    for option, (metavar, text) in options.items():
        if verb in _ONLY.get(option, (verb,)):
            parser.add_argument(option, metavar=metavar, help=text)
    parser.add_argument("--print_config", action="store_true", help="show the resolved configuration")


def run(verb: str, words: list[str], parser: argparse.ArgumentParser) -> int:
    """Print the cheap help page, or hand the words to LightningCLI.

    Args:
        verb: One of fit, validate, test, predict.
        words: Everything after the verb.
        parser: The help page's parser.

    Returns:
        The exit status.
    """
    if not words or any(word in ("-h", "--help") for word in words):
        print(parser.format_help())
        return 0 if words else 2
    words = ["--help" if word == "--help=full" else word for word in words]

    from lca_lightning.cli.lightning_cli import run_training_command

    return run_training_command(verb, words)
