"""Captures under known lamps: fully lit frames as references, fully and partially lit ones as targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lca_data_modules.studio import StudioDataModule
from lca_lightning.datasets.clips import DrawRule
from lca_lightning.datasets.frame_store import FrameStore
from lca_lightning.datasets.light_stage import LightStageBuilder, require_lights
from lca_lightning.datasets.samples import SampleBuilder
from lca_lightning.errors import ConfigError


class LightStageDataModule(StudioDataModule):
    """Training pairs of a time-multiplexed light stage (LCA section 3.4), with ``Batch.lighting``.

    Every few frames of such a capture are fully lit, the others show the person under a group of lamps.
    References are always fully lit. The batch carries lamps, linear pictures and, where stored, true albedo
    and normals of the targets. Where the body was fitted in fully lit frames only, poses of the others are
    interpolated.

    Args:
        root: Folder, packed folder or address of the data set.
        partially_lit: Share of the targets that are partially lit, 0 to 1.
        **options: Options of the studio module, of captures and of every data module.

    Raises:
        ConfigError: A value is out of range.
    """

    lit_references = True

    def __init__(self, root: str, partially_lit: float = 0.5, **options: Any) -> None:
        super().__init__(root, **options)

    def sample_builder(self, store: FrameStore) -> SampleBuilder:
        """Reads linear pictures and lamps too."""
        return LightStageBuilder(store, self.hparams["background"])

    def draw_rule(self) -> DrawRule:
        """Partially lit targets in their share."""
        return replace(super().draw_rule(), partially_lit=self.hparams["partially_lit"])

    def setup(self, stage: str | None = None) -> None:
        """Open the data set; refuse one without lamps."""
        super().setup(stage)
        split = {"validate": "val", "test": "test", "predict": "test"}.get(stage or "fit")
        positions = self.positions("train") if split is None else self._stage_positions(split)[0]
        require_lights(self.dataset.sequence(int(positions[0])))

    def _check_options(self) -> None:
        super()._check_options()
        if not 0 <= self.hparams["partially_lit"] <= 1:
            raise ConfigError(
                f"data.init_args.partially_lit must lie in [0, 1], got {self.hparams['partially_lit']}."
            )
