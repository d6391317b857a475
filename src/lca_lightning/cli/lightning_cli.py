"""LightningCLI with recipes by name, one directory per run, checkpoints that carry their configuration."""

from __future__ import annotations

import argparse
import contextlib
import logging
import shlex
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonargparse
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import lca_data_modules  # also makes the data modules known by their short names
from lca_data_modules.plugins import with_plugins
from lca_lightning.cli.callback_list import last_of_each
from lca_lightning.cli.config_parsing import (
    FROM_CHECKPOINT,
    NOT_STORED,
    RecipeAction,
    checked_file,
    option_values,
    run_label,
)
from lca_lightning.cli.consistency import (
    check_counts,
    check_data,
    check_image_sizes,
    check_precision,
    runs_on_cuda,
)
from lca_lightning.cli.doctor import require_device
from lca_lightning.cli.run_directory import choose_run_directory
from lca_lightning.cli.run_loggers import prepare_loggers, refusals_of_loggers
from lca_lightning.cli.test_options import add_test_options, chosen_protocols, chosen_views
from lca_lightning.cli.usage_errors import known_keys, usage_error
from lca_lightning.errors import ConfigError, LCAError, UsageError
from lca_lightning.rendering.selection import choose_renderer
from lca_lightning.training.callbacks.checkpointing import BestCheckpoint, RollingCheckpoint
from lca_lightning.training.callbacks.data_wait import DataWait
from lca_lightning.training.callbacks.image_grids import ImageGrids
from lca_lightning.training.callbacks.interruption import STOPPING
from lca_lightning.training.callbacks.progress import Progress
from lca_lightning.training.callbacks.run_folder import RunFolder, data_roots
from lca_lightning.training.callbacks.throughput import Throughput
from lca_lightning.training.callbacks.turntables import Turntables
from lca_lightning.training.checkpoint_writing import AtomicCheckpointIO
from lca_lightning.training.checkpoints import BLOCK, check_block, read_checkpoint
from lca_lightning.training.evaluation import FILES, Evaluation
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig
from lca_lightning.writing import refuse_unwritable, write_text

CALLBACKS = {
    "last_checkpoint": RollingCheckpoint,
    "best_checkpoint": BestCheckpoint,
    "image_grids": ImageGrids,
    "turntables": Turntables,
}


_STRICT = {"exit_on_error": False, "allow_abbrev": False}


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` to the run and hands the resolved configuration to the module's checkpoints."""

    def __init__(self, parser: LightningArgumentParser, config: Any, **_: Any) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        stored = config.clone()
        for key in NOT_STORED:
            stored.pop(key, None)
        self.text = parser.dump(stored, skip_none=False, skip_validation=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give every process's module the text, then write the file on one."""
        pl_module.run_config = self.text
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml`` to the run directory, atomically."""
        write_text(Path(trainer.default_root_dir) / "config.yaml", self.text)


class LCALightningCLI(LightningCLI):
    """The training commands.

    Args:
        verb: One of fit, validate, test, predict.
        words: Command line after the verb.
    """

    def __init__(self, verb: str, words: list[str]) -> None:
        self.verb, self.words = verb, words
        self.run_directory = Path()
        self.protocols: tuple[str, ...] = ()
        self.test_views: tuple[int, ...] = ()
        super().__init__(
            model_class=LCALightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=RunConfig,
            seed_everything_default=0,
            trainer_defaults={"enable_model_summary": False},
            parser_kwargs={**_STRICT, verb: dict(_STRICT)},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=[],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Build the parser of the one command that runs: the four together take seconds."""
        return {self.verb: LightningCLI.subcommands()[self.verb]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser whose ``--config`` understands recipes."""
        parser = self.parser_class(**kwargs)
        parser.add_argument("-c", "--config", action=RecipeAction, help="recipe by name or path; repeat it")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run directory and the callbacks every run has."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="run directory")
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        if self.verb == "test":
            add_test_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words; a checkpoint's configuration comes first unless a resumed run names another."""
        words = with_plugins(self.words)
        given = option_values(words, "--ckpt_path")
        named = option_values(words, "--config") + option_values(words, "-c")
        if given and given[-1] not in ("null", "None"):
            read_checkpoint(given[-1])
            if self.verb != "fit" or not named:
                machine = [] if self.verb == "fit" else _THIS_MACHINE
                words = ["--config", f"{FROM_CHECKPOINT}{given[-1]}", *machine, *words]
        elif not named and not any(word.startswith(_SHOWS) for word in words):
            raise UsageError(_NO_RECIPE.format(verb=self.verb))
        try:
            self.config = parser.parse_args([self.verb, *words])
        except (argparse.ArgumentError, jsonargparse.ArgumentError, TypeError) as error:
            modules = lca_data_modules.DATA_MODULES
            keys = known_keys(self._subcommand_parsers[self.verb], modules)
            raise usage_error(str(error), self.verb, keys, modules) from error

    def _parse_ckpt_path(self) -> None:
        """Do not let a checkpoint's hyper-parameters override the recipe and the command line."""

    def before_instantiate_classes(self) -> None:
        """Check the device and the data root, and settle where the run writes."""
        config = self.config[self.verb]
        config.trainer.callbacks = last_of_each(config.trainer.callbacks)
        require_device(str(config.trainer.accelerator))
        check_counts(config.trainer)
        check_precision(config.trainer)
        device = "cuda" if runs_on_cuda(config.trainer.accelerator) else "cpu"
        choose_renderer(config.model.avatar.renderer, device)
        if self.verb == "test":
            self.protocols = chosen_protocols(config.protocol)
            self.test_views = chosen_views(config.views, config.model.avatar.max_views)
        check_data(config)
        if self.verb == "fit" and config.trainer.max_steps > 0:
            OptimizerConfig(**vars(config.model.optimizer)).check_length(config.trainer.max_steps)
        if config.model.init_from and config.ckpt_path:
            both = option_values(self.words, "--model.init_from")
            if both and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
                print(f"Continuing {config.ckpt_path}; model.init_from was read when that run began.")
        elif config.model.init_from:
            source = checked_file(config.model.init_from, "model.init_from")
            check_block(read_checkpoint(source)[BLOCK], str(source), rig=config.model.avatar.rig)
        label = run_label(self.words)
        self.run_directory = choose_run_directory(config.run_dir, config.ckpt_path, label)
        if self.verb != "validate":
            refuse_unwritable(self.run_directory / "tensorboard")
        if self.verb == "fit":
            prepare_loggers(config.trainer.logger, self.run_directory)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer, then compare sizes that only the built parts know."""
        super().instantiate_classes()
        backbone = self.model.model.backbone
        check_image_sizes(backbone.patch, backbone.name, getattr(self.datamodule, "hparams", {}))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Fill in what depends on the machine and the run: precision, logger, directory, progress bar."""
        config = self.config[self.verb].trainer
        kwargs["default_root_dir"] = str(self.run_directory)
        if config.precision is None:
            kwargs["precision"] = "bf16-mixed" if runs_on_cuda(config.accelerator) else "32-true"
        if config.logger is None or config.logger is True:
            logs = TensorBoardLogger(self.run_directory, name="tensorboard", version="")
            kwargs["logger"] = logs if self.verb == "fit" else False
        if config.profiler is None:
            kwargs["profiler"] = DataWait()
        own: list[Callback] = [Throughput()]
        if config.enable_progress_bar is not False:
            own.append(Progress())
        if self.verb == "fit":
            command = shlex.join(["lca", "fit", *self.words])
            own.append(RunFolder(command, run_label(self.words), data_roots(self.config.fit.get("data"))))
        self.trainer_defaults["callbacks"] = own
        trainer = super().instantiate_trainer(**kwargs)
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(self.config[self.verb].last_checkpoint.shard_mib)
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Never unpickle a checkpoint; predictions go to files, not to memory."""
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        arguments["weights_only"] = True
        if arguments.get("ckpt_path"):
            self.model.init_from = None  # the checkpoint goes on from there; the first weights may be gone
        if subcommand == "predict":
            arguments["return_predictions"] = False
        if subcommand == "test":
            arguments["verbose"] = False  # our own table says it all
        return arguments

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, and on Ctrl-C report it as such: Lightning would exit with status 1."""
        handlers = {number: signal.getsignal(number) for number in STOPPING}
        try:
            for _ in self._passes(subcommand):
                super()._run_subcommand(subcommand)
        except SystemExit as stop:
            if self.trainer.interrupted and stop.code == 1:
                raise KeyboardInterrupt from stop
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _passes(self, subcommand: str) -> Iterator[None]:
        """Passes over the data: for a test one for each number of reference views, else one."""
        if subcommand == "test":
            self.model.evaluation = Evaluation(self.protocols, max(1, len(self.test_views)))
        for number, views in enumerate(self.test_views, 1):
            self.datamodule.choose_test_views(views, self.test_views)
            if self.trainer.is_global_zero:
                print(f"Pass {number} of {len(self.test_views)}: reference views {views}.", flush=True)
            yield
        if not self.test_views:
            yield


_EXPECTED = (  # what Lightning warns about and we do on purpose
    "does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed",
    "predict returned None",
    "recommended to use .self.log.*sync_dist=True",  # the metric has synchronised its values already
    "Total length of .list. across ranks is zero",  # no validation split
    "isinstance.treespec, LeafSpec",
    "callbacks used to create the checkpoint need to be provided",  # those of training, in a test
)
# A checkpoint's configuration names machines and loggers of its training, which a test does not need.
_MACHINE = {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": "auto", "logger": "null"}
_THIS_MACHINE = [f"--trainer.{key}={value}" for key, value in _MACHINE.items()]
_SHOWS = ("--help", "--print_config", "--data.help")
_NO_RECIPE = "`lca {verb}` needs --config RECIPE or --ckpt_path FILE; `lca recipes` lists the recipes."


def run_training_command(verb: str, words: list[str]) -> int:
    """Run fit, validate, test or predict.

    Args:
        verb: The command.
        words: Command line after the verb.

    Returns:
        Exit status.

    Raises:
        LCAError: Wrong usage, configuration, data, device or checkpoint.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), _writer_threads_leave_reporting_to_us():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        try:
            with refusals_of_loggers():
                cli = LCALightningCLI(verb, words)
        except SystemExit as stop:  # --help and --print_config end here
            return int(stop.code or 0) if not isinstance(stop.code, str) else 1
        except MisconfigurationException as error:  # Lightning's word for options that it cannot use
            text = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(f"{text}; correct that option under `trainer`.") from error
        except ValueError as error:  # jsonargparse wraps what a class of the recipe refuses
            if isinstance(error.__cause__, LCAError):
                raise error.__cause__ from None
            raise
    if cli.trainer.is_global_zero:
        print(_closing_line(verb, cli))
    return 0


@contextlib.contextmanager
def _writer_threads_leave_reporting_to_us() -> Iterator[None]:
    """TensorBoard's thread prints a traceback when the disk is full, then raises in the main thread too."""
    report = threading.excepthook
    threading.excepthook = lambda failure: None if failure.exc_type is OSError else report(failure)
    try:
        yield
    finally:
        threading.excepthook = report


def _closing_line(verb: str, cli: LCALightningCLI) -> str:
    directory = cli.run_directory
    if verb == "fit":
        best = directory / "best.ckpt"
        checkpoint = best if best.is_file() else directory / "last.ckpt"
        written = f"Wrote {directory}/last.ckpt (step {cli.trainer.global_step})."
        return f"{written} Next: lca test --ckpt_path {checkpoint}"
    if verb == "test":
        table = (directory / "test" / "metrics.md").read_text(encoding="utf-8")
        return f"{table}\nWrote {', '.join(FILES)} to {directory}/test."
    if verb == "predict":
        return f"Wrote PNG files to {directory}/predictions."
    return "Next: lca test on the same checkpoint."
