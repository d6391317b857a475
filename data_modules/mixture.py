"""Several data modules in one run, each with its share of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils import data

from lca_data_modules.base import LCADataModule, NothingToEvaluateError
from lca_data_modules.captures import CaptureDataModule
from lca_lightning.batch import Batch
from lca_lightning.datasets.mixture import MixedSource, NamedSamples, normalized_weights
from lca_lightning.datasets.sampling import derived_seed
from lca_lightning.errors import ConfigError, DataError

_SHARED = ("batch_size", "views", "targets_per_sample", "image_size", "face_size", "num_workers")


class MixtureDataModule(LCADataModule):
    """Samples of several sources in fixed proportions (LCA section 3.2; its baseline of mixed data).

    The paper pretrains on in-the-wild videos, upper-body videos with rich expressions and full-body videos
    with broad motion; its mixed baseline adds studio data. Which source gives a sample depends on the seed
    and the sample's number alone. Sizes, views, targets and loading processes are the mixture's own, whatever
    its sources say; everything else is each source's. Validation and test go over all sources in turn.

    Args:
        sources: Data modules by name.
        weights: Weight of each source, those not named count 0; None for equal ones.
        evaluate: Validate and test this source only; None for all that have something to evaluate.
        same_people: Sources may show the same people, who are then known by the same name; refuse anybody who
            is trained on in one source and evaluated in another. Turn it off where equal names are chance.
            Names of frames, and then of subjects too, begin with the source.
        **options: Options of every data module.

    Raises:
        ConfigError: An unknown source, weights that are negative or sum to zero, or another value is out of
            range.
    """

    def __init__(
        self,
        sources: dict[str, LCADataModule],
        weights: dict[str, float] | None = None,
        evaluate: str | None = None,
        same_people: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._shares = normalized_weights(list(sources), weights)
        if evaluate is not None and evaluate not in sources:
            raise ConfigError(
                f"data.init_args.evaluate names the unknown source {evaluate!r}; the sources are "
                f"{', '.join(sources)}."
            )
        self.sources = dict(sources)
        self._share_with_sources()
        self.share_cache(1)

    def share_cache(self, modules: int) -> None:
        """Share the memory for caches out to the sources."""
        for source in self.sources.values():
            source.share_cache(modules * len(self.sources))

    def share_options(self, options: Mapping[str, Any]) -> None:
        """Take the options of a mixture around this one, and pass them on."""
        super().share_options(options)
        self._share_with_sources()

    def _share_with_sources(self) -> None:
        shared = {key: self.hparams[key] for key in _SHARED}
        for name, source in self.sources.items():
            source.share_options({**shared, "seed": derived_seed(self.hparams["seed"], name)})
        self.hparams["sources"] = {name: _described(source) for name, source in self.sources.items()}

    def choose_test_views(self, views: int, among: tuple[int, ...]) -> None:
        """Test every source that is evaluated with another number of reference views."""
        for name, source in self.sources.items():
            if self.hparams["evaluate"] in (None, name):
                source.choose_test_views(views, among)

    @property
    def rig(self) -> str:
        """Name of the rig of all sources."""
        return next(iter(self.sources.values())).rig

    def setup(self, stage: str | None = None) -> None:
        """Set up every source and check that they go together.

        Raises:
            ConfigError: Two sources have different rigs, or read one data set and hold out other parts of it.
            DataError: A source has nothing to work on, or a person is trained on in one source and evaluated
                in another.
        """
        for name, source in self.sources.items():
            if stage in ("fit", None) and self._share(name):
                source.setup("fit")
        self._check_rigs()
        self._check_hold_outs()
        if self.hparams["same_people"]:
            self._check_people()
        if stage in ("test", "predict", "validate"):
            self.evaluation_sets("val" if stage == "validate" else "test")

    def training_source(self) -> MixedSource:
        """The sources of positive weight, mixed."""
        used = {name: source for name, source in self.sources.items() if self._share(name)}
        shares = self._shares[[bool(self._share(name)) for name in self.sources]]
        sources = {name: source.training_source() for name, source in used.items()}
        return MixedSource(sources, shares, self.hparams["seed"], self.hparams["same_people"])

    def evaluation_sets(self, stage: str) -> dict[str, data.Dataset[Batch]]:
        """The sets of the named source, else of all that have something to evaluate.

        Raises:
            NothingToEvaluateError: There is nothing to test.
            DataError: A source cannot be read.
        """
        named, same_people = self.hparams["evaluate"], self.hparams["same_people"]
        found: dict[str, data.Dataset[Batch]] = {}
        missing: NothingToEvaluateError | None = None
        for name, source in self.sources.items():
            if named not in (None, name):
                continue
            try:
                for key, samples in source.evaluation_sets(stage).items():
                    found[f"{name}/{key}"] = NamedSamples(samples, name, same_people)
            except NothingToEvaluateError as error:
                missing = missing or error
        if not found and missing is not None:
            raise missing
        return found

    def training_subjects(self) -> list[str]:
        """Everybody trained on in any source."""
        used = [source for name, source in self.sources.items() if self._share(name)]
        return sorted({subject for source in used for subject in source.training_subjects()})

    def evaluation_subjects(self) -> list[str]:
        """Everybody in the splits for validation and test of any source."""
        every = self.sources.values()
        return sorted({subject for source in every for subject in source.evaluation_subjects()})

    def _share(self, name: str) -> float:
        return float(self._shares[list(self.sources).index(name)])

    def _check_rigs(self) -> None:
        (first, rig), *others = ((name, source.rig) for name, source in self.sources.items())
        for name, other in others:
            if other != rig:
                raise ConfigError(
                    f"The sources {first} and {name} are for different rigs, {rig!r} and {other!r}; mix "
                    "data of one rig."
                )

    def _check_hold_outs(self) -> None:
        """What one source holds out of a data set must not be trained on by another."""
        captures = {n: s for n, s in self.sources.items() if isinstance(s, CaptureDataModule)}
        for name, source in captures.items():
            for other, trained in captures.items():
                same_data = source.hparams["root"] == trained.hparams["root"]
                if self._share(other) and same_data and not trained.keeps_out_what(source):
                    raise ConfigError(
                        f"The sources {name} and {other} read the same data {source.hparams['root']}, and "
                        f"{other} trains on what {name} holds out; give both the same train_cameras, "
                        "test_cameras and test_frame_fraction."
                    )

    def _check_people(self) -> None:
        evaluated = {
            subject: name for name, source in self.sources.items() for subject in source.evaluation_subjects()
        }
        for name, source in self.sources.items():
            both = evaluated.keys() & set(source.training_subjects()) if self._share(name) else set()
            if both:
                subject = min(both)
                raise DataError(
                    f"Subject {subject!r} is trained on in source {name} and held out in source "
                    f"{evaluated[subject]}; set the same splits in both, or same_people: false where these "
                    "are two people."
                )


def _described(source: LCADataModule) -> dict[str, Any]:
    """Class and plain options of a source, for checkpoints."""
    options: Mapping[str, Any] = source.hparams
    path = f"{type(source).__module__}.{type(source).__name__}"
    return {"class_path": path, "init_args": {k: v for k, v in options.items() if not k.startswith("_")}}
