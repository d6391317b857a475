"""What is drawn from and evaluated on a pack of split sequences, against the folder it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lca_data_modules import InTheWildDataModule, LightStageDataModule
from lca_lightning.datasets.pack import pack_dataset
from lca_lightning.datasets.reader import open_dataset
from tests.unit.data_modules.conftest import write_sequence
from tests.unit.data_modules.test_light_stage import FRAMES, OPTIONS, brightness, write_stage

pytest.importorskip("litdata")

PERIOD = 3  # of full light in `write_stage`
SAMPLES = 40


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A light stage of four periods, and a pack that every third frame would make all lit or all dark."""
    root = tmp_path_factory.mktemp("stages")
    write_stage(root / "folder", {"pose_fitted": "fully_lit"}, frames=4 * FRAMES)
    summary = pack_dataset(root / "folder", str(root / "pack"), frames_per_item=4 * FRAMES)
    assert summary.items == PERIOD and not summary.skipped and not summary.whole
    return root / "folder", root / "pack"


def test_parts_of_a_light_stage_are_runs_of_whole_periods(stages: tuple[Path, Path]) -> None:
    folder, packed = open_dataset(stages[0]).sequence(0), open_dataset(stages[1])
    first = 0
    for position in packed.positions():
        part = packed.sequence(position)
        lights, whole = part.signals.lights, folder.signals.lights
        assert lights is not None and whole is not None and bool(lights.fully_lit_T[0])
        assert lights.fully_lit_T.sum() * PERIOD == part.frame_count
        run = slice(first, first + part.frame_count)
        assert part.description["part"] == {"sequence": "take", "first": first, "step": 1}
        assert np.array_equal(lights.intensities_TL3, whole.intensities_TL3[run])
        pictures = part.read_linear("cam1", range(part.frame_count))
        assert np.array_equal(pictures, folder.read_linear("cam1", range(run.start, run.stop)))
        first = run.stop
    assert first == folder.frame_count


def test_a_split_light_stage_has_the_folder_s_light_and_poses(stages: tuple[Path, Path]) -> None:
    shares, poses = [], []
    for root in stages:
        module = LightStageDataModule(str(root), partially_lit=0.5, **OPTIONS)
        module.setup("fit")
        source, lit, pose_of_frame = module.training_source(), [], {}
        for number in range(SAMPLES):
            batch = source.sample(number, 2)
            assert batch.lighting is not None
            lit.append(batch.lighting.fully_lit_BT.float().mean().item())
            for place in range(4):
                shown = batch.lighting.linear_images_BT3HW[0, place, 0, 32, 24].item()
                frame = round((shown - brightness(0)) / (brightness(1) - brightness(0)))
                pose_of_frame[frame] = batch.driving.translation_BT3[0, place, 0].item()
        shares.append(np.mean(lit))
        poses.append(pose_of_frame)
    assert shares[0] == pytest.approx(0.5, abs=0.1) and shares[1] == pytest.approx(0.5, abs=0.1)
    last_lit = 4 * FRAMES - PERIOD
    for pose_of_frame in poses:  # between parts as within them
        assert len(pose_of_frame) > 3 * FRAMES
        assert all(pose == pytest.approx(min(f, last_lit), abs=1e-4) for f, pose in pose_of_frame.items())


def test_a_light_stage_without_enough_full_light_stays_whole(tmp_path: Path) -> None:
    write_stage(tmp_path / "folder")  # four fully lit frames, of which two parts would need six
    summary = pack_dataset(tmp_path / "folder", str(tmp_path / "pack"), frames_per_item=12)
    assert summary.items == 1 and summary.whole == ("take",)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_of_a_pack_and_of_its_folder_are_the_same(tmp_path: Path, stage: str) -> None:
    for name, subject, split in (
        ("a", "ann", "train"),
        ("v", "eve", "val"),
        ("w", "ida", "val"),
        ("t", "zoe", "test"),
    ):
        write_sequence(tmp_path / "folder", name, subject=subject, split=split)
    assert pack_dataset(tmp_path / "folder", str(tmp_path / "pack"), frames_per_item=5).items == 4 + 3
    found = []
    for root in ("folder", "pack"):
        module = InTheWildDataModule(
            str(tmp_path / root), image_size=(32, 24), face_size=(16, 16), test_views=2, val_sequences=1,
            val_targets=6, test_targets=6,
        )  # fmt: skip
        module.setup(stage)
        loader = module.val_dataloader() if stage == "validate" else module.test_dataloader()
        ids = module.dataset.index.ids_N
        items = loader.dataset.items
        found.append([(ids[i.position], i.targets, ids[i.reference_position], i.references) for i in items])
    assert found[0] == found[1] and sum(len(item[1]) for item in found[0]) == 6
