from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_data_modules import InTheWildDataModule, StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.datasets import clips
from lca_lightning.errors import ConfigError, DataError
from tests.unit.data_modules.conftest import write_sequence

SMALL = dict(image_size=(64, 48), face_size=(32, 32), steps_per_epoch=6)


def shots(names: tuple[str, ...]) -> set[tuple[str, str, int]]:
    return {(s, c, int(f)) for s, c, f in (name.split("/") for name in names)}


def test_in_the_wild_batches(wild_root):
    module = InTheWildDataModule(str(wild_root), batch_size=2, views=(1, 3), targets_per_sample=2, **SMALL)
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert len(batches) == 6 and {batch.size for batch in batches} == {2}
    assert {subject for batch in batches for subject in batch.subjects} == {"ann", "bob"}
    assert {batch.references.body_BV3HW.shape[1] for batch in batches} == {1, 3}
    batch = batches[0]
    assert batch.targets.images_BT3HW.shape == (2, 2, 3, 64, 48)
    assert batch.references.face_BV3hw.shape[2:] == (3, 32, 32)
    assert batch.driving.rotations_BTJ3.shape == (2, 2, 6, 3)
    for batch in batches:
        for row, names in enumerate(batch.frames):
            frames = torch.tensor([float(name.rsplit("/", 1)[1]) for name in names])
            torch.testing.assert_close(batch.driving.translation_BT3[row, :, 0], frames)
            assert 5 not in frames
            assert batch.identity_BI[row, 0] == 2  # length of the sequence's name


def test_references_show_the_person_on_the_background_and_the_face_where_there_is_one(wild_root):
    module = InTheWildDataModule(str(wild_root), views=(4,), background=0.5, **SMALL)
    module.setup("fit")
    dataset = module.train_dataloader().dataset
    seen = set()
    for number in range(8):
        clip, draw = dataset.source.draw(number, dataset.views(number))
        references = dataset[number].references
        assert references.view_mask_BV.all()
        for view, shot in enumerate(draw.references):
            body, face = references.body_BV3HW[0, view], references.face_BV3hw[0, view]
            torch.testing.assert_close(body[:, 0, 0], torch.full((3,), 0.5), atol=0.01, rtol=0)
            torch.testing.assert_close(body[:, 32, 24], torch.full((3,), 120 / 255), atol=0.03, rtol=0)
            has_face = shot.frame % 2 == 1
            assert references.face_mask_BV[0, view] == has_face
            assert has_face or not face.any()
            assert not has_face or abs(face[:, 16, 16].mean() - 120 / 255) < 0.03
            seen.add(has_face)
    assert seen == {True, False}


def test_target_cameras_see_the_person_in_the_cut(studio_root):
    """A point at the middle of the square projects into the middle of the cut."""
    module = StudioDataModule(str(studio_root), **SMALL)
    module.setup("fit")
    sequence = module.dataset.sequences()[0]
    for number in range(4):
        batch = module.train_dataloader().dataset[number]
        for row, name in enumerate(batch.frames[0]):
            _, camera, frame = name.split("/")
            K_33 = sequence.cameras[camera].K_33
            middle = np.array([35 + 2 * int(frame) + 5 * int(camera[3:]), 60, 1])
            ray = torch.from_numpy(np.linalg.inv(K_33) @ middle).float()
            pixel = batch.targets.K_BT33[0, row] @ ray
            torch.testing.assert_close(pixel, torch.tensor([24.0, 32.0, 1.0]), atol=0.02, rtol=0)
            mask = batch.targets.masks_BT1HW[0, row, 0]
            rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
            assert abs(rows.float().mean() + 0.5 - 32) < 0.6 and abs(columns.float().mean() + 0.5 - 24) < 0.6
            assert batch.targets.w2c_BT44[0, row, 0, 3] == int(camera[3:])


def test_studio_hold_out(studio_root):
    module = StudioDataModule(
        str(studio_root),
        train_cameras=("cam0", "cam1", "cam2"),
        test_frame_fraction=0.2,
        views=(1, 2),
        **SMALL,
    )
    module.setup("fit")
    dataset = module.train_dataloader().dataset
    for number in range(60):
        _, draw = dataset.source.draw(number, dataset.views(number))
        for shot in (*draw.references, *draw.targets):
            assert shot.camera != "cam3" and shot.frame < 16 and shot.frame != 5
        assert not {s.camera for s in draw.references} & {s.camera for s in draw.targets}
        assert not {s.frame for s in draw.references} & {s.frame for s in draw.targets}
    module.setup("test")
    items = module.test_dataloader().dataset.items
    targets = [shot for item in items for shot in item.targets]
    assert targets == [("cam3", frame) for frame in range(16, 20)]
    assert len({item.references for item in items}) == 1 and len(items[0].references) == 4
    assert all(shot.camera != "cam3" and shot.frame < 16 for shot in items[0].references)
    validated = [shot for item in module.val_dataloader().dataset.items for shot in item.targets]
    assert validated and all(camera == "cam3" and frame < 16 for camera, frame in validated)
    (batch,) = module.predict_dataloader()
    assert shots(batch.frames[0]) == {("take", "cam3", frame) for frame in range(16, 20)}


def test_in_the_wild_hold_out_of_one_camera(studio_root):
    module = InTheWildDataModule(str(studio_root), cameras=("cam1",), test_frame_fraction=0.25, **SMALL)
    module.setup("test")
    items = module.test_dataloader().dataset.items
    assert [shot for item in items for shot in item.targets] == [("cam1", frame) for frame in range(15, 20)]
    assert all(camera == "cam1" and frame < 15 for camera, frame in items[0].references)


def test_test_subjects_and_swapped_references(wild_root):
    module = InTheWildDataModule(str(wild_root), test_targets=6, test_targets_per_item=3, **SMALL)
    module.setup("test")
    straight = list(module.test_dataloader())
    swapped_module = InTheWildDataModule(
        str(wild_root), test_targets=6, test_targets_per_item=3, reference_from_other_subject=True, **SMALL
    )
    swapped_module.setup("test")
    swapped = list(swapped_module.test_dataloader())
    assert [batch.subjects for batch in straight] == [("xia",), ("xia",), ("yan",), ("yan",)]
    for near, far in zip(straight, swapped, strict=True):
        assert near.frames == far.frames and torch.equal(near.targets.images_BT3HW, far.targets.images_BT3HW)
        assert torch.equal(near.identity_BI, far.identity_BI)
    assert torch.equal(swapped[0].references.body_BV3HW, straight[2].references.body_BV3HW)
    assert torch.equal(swapped[2].references.body_BV3HW, straight[0].references.body_BV3HW)
    assert not torch.equal(swapped[0].references.body_BV3HW, straight[0].references.body_BV3HW)


def test_workers_and_ranks_do_not_change_the_stream(wild_root):
    def batches(workers: int) -> list[Batch]:
        module = InTheWildDataModule(str(wild_root), batch_size=2, num_workers=workers, **SMALL)
        module.setup("fit")
        return list(module.train_dataloader())

    alone, helped = batches(0), batches(2)
    for a, b in zip(alone, helped, strict=True):
        assert a.frames == b.frames and torch.equal(a.targets.images_BT3HW, b.targets.images_BT3HW)
        assert torch.equal(a.references.body_BV3HW, b.references.body_BV3HW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"views": ()}, "views needs positive numbers"),
        ({"image_size": (64,)}, r"image_size must be \[height, width\]"),
        ({"test_frame_fraction": 1.0}, r"test_frame_fraction must lie in \[0, 1\)"),
        ({"val_targets": 0}, "val_targets must be at least 1 or null"),
        ({"background": 128.0}, r"background must lie in \[0, 1\]"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_bad_options(change, message):
    with pytest.raises(ConfigError, match=message):
        InTheWildDataModule("anywhere", **change)
    with pytest.raises(ConfigError, match="in both train_cameras and test_cameras"):
        StudioDataModule("anywhere", train_cameras=("a",), test_cameras=("a",))


def test_data_errors_say_the_way_out(tmp_path, studio_root, wild_root):
    with pytest.raises(DataError, match="lca synthesize --out DIR"):
        InTheWildDataModule(str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(DataError, match="set test_frame_fraction"):
        StudioDataModule(str(studio_root)).setup("test")
    with pytest.raises(DataError, match="set test_frame_fraction"):
        StudioDataModule(str(studio_root)).setup("validate")
    with pytest.raises(DataError, match="set data.init_args.test_views below 500"):
        InTheWildDataModule(str(wild_root), test_views=500).setup("test")
    with pytest.raises(DataError, match="no camera 'cam9'; it has cam0, cam1"):
        StudioDataModule(str(studio_root), test_cameras=("cam9",)).setup("fit")
    with pytest.raises(DataError, match="at least two subjects"):
        StudioDataModule(str(studio_root), test_frame_fraction=0.2, reference_from_other_subject=True).setup(
            "test"
        )
    with pytest.raises(DataError, match="All cameras .* held out"):
        StudioDataModule(str(studio_root), test_cameras=("cam0", "cam1", "cam2", "cam3")).setup("fit")


def test_splits_and_subsets_by_subject(wild_root):
    """Ann has two sequences and Bob one; Xia and Yan are stored as test."""
    module = InTheWildDataModule(str(wild_root), subjects=1, **SMALL)
    module.setup("fit")
    (only,) = module.training_subjects()
    assert {name for batch in module.train_dataloader() for name in batch.subjects} == {only}
    module = InTheWildDataModule(
        str(wild_root), splits={"val": 0.5}, split_seed=split_seed(wild_root), **SMALL
    )
    module.setup("fit")
    (trained,), (validated,) = (
        module.training_subjects(),
        module.dataset.index.subjects_N[module.positions("val")][:1],
    )
    assert {trained, validated} == {"ann", "bob"} and module.evaluation_subjects()[-2:] == ["xia", "yan"]
    assert {batch.subjects[0] for batch in module.val_dataloader()} == {validated}
    assert {batch.subjects[0] for batch in module.test_dataloader()} == {"xia", "yan"}


def test_fewer_subjects_than_asked_for_are_said_once(wild_root, recwarn):
    module = InTheWildDataModule(str(wild_root), subjects=3, **SMALL)
    for stage in ("fit", "test", "fit"):
        module.setup(stage)
    assert module.training_subjects() == ["ann", "bob"]
    (said,) = [str(entry.message) for entry in recwarn if "training subjects" in str(entry.message)]
    assert said.startswith("data.init_args.subjects asks for 3 training subjects") and "has 2;" in said
    InTheWildDataModule(str(wild_root), subjects=2, **SMALL).setup("fit")
    assert len([entry for entry in recwarn if "training subjects" in str(entry.message)]) == 1


def test_loaders_of_one_module_share_its_cache(wild_root):
    module = InTheWildDataModule(str(wild_root), frame_cache_mb=16, **{**SMALL, "num_workers": 2})
    sets = [module.training_source(), module.evaluation_sets("val")["val"]]
    held = [samples.builder.store.cache_bytes for samples in sets]
    assert held == [7 * 2**20, 2**20]  # of each of two processes


def split_seed(root) -> int:
    """The first seed that gives one of two people to each split."""
    for seed in range(50):
        try:
            InTheWildDataModule(str(root), splits={"val": 0.5}, split_seed=seed, **SMALL).setup("fit")
        except DataError:
            continue
        return seed
    raise AssertionError("no seed divides them")


def test_a_subject_in_two_splits_and_an_empty_split_are_refused(tmp_path, wild_root):
    write_sequence(tmp_path, "a", subject="ann")
    with pytest.raises(DataError, match="gives split 'val' none of the 1 subjects"):
        InTheWildDataModule(str(tmp_path), splits={"val": 1e-6}, **SMALL).setup("fit")
    write_sequence(tmp_path, "b", subject="ann", split="test")
    with pytest.raises(DataError, match="Subject 'ann' of .* has sequences in the splits train and test"):
        InTheWildDataModule(str(tmp_path), **SMALL).setup("fit")
    with pytest.raises(ConfigError, match="fraction must be above 0 and at most 1, got -0.5"):
        InTheWildDataModule(str(wild_root), fraction=-0.5)


def test_validation_can_be_limited_to_a_few_sequences(wild_root):
    module = InTheWildDataModule(str(wild_root), val_sequences=1, **SMALL)
    module.setup("validate")
    assert len({batch.subjects for batch in module.val_dataloader()}) == 1


def test_every_data_set_draws_its_samples(wild_root, studio_root):
    for module in (InTheWildDataModule(str(wild_root), **SMALL), StudioDataModule(str(studio_root), **SMALL)):
        module.setup("fit")
        samples = module.train_dataloader().dataset
        picture = samples.plot(samples[0])
        assert picture.mode == "RGB" and picture.width > 2 * 48 and picture.height > 2 * 64
        pixels = np.asarray(picture).reshape(-1, 3)
        assert (pixels == (0, 220, 90)).all(1).sum() > 60  # the outline of the mask
        assert np.array_equal(np.asarray(module.plot(samples[0])), np.asarray(picture))
    assert module.plot(Batch.collate([samples[0], samples[1]])).height > picture.height


def test_nothing_is_opened_before_it_is_drawn(wild_root, monkeypatch):
    module = InTheWildDataModule(str(wild_root), **SMALL)
    source = module.training_source()
    opened = []
    read = module.dataset.sequence
    monkeypatch.setattr(
        module.dataset, "sequence", lambda position: opened.append(position) or read(position)
    )
    assert source.positions_K.tolist() == [0, 1, 2] and not opened
    source.draw(0, 1)
    assert len(set(opened)) == 1


def test_what_may_be_drawn_is_remembered_up_to_a_bound(wild_root, monkeypatch):
    module = InTheWildDataModule(str(wild_root), **SMALL)
    source = module.training_source()
    drawn = [source.draw(number, 2)[1] for number in range(12)]
    assert len(source._takes) == 3
    monkeypatch.setattr(clips, "_KEPT_TAKE_BYTES", 1)
    bounded = module.training_source()
    assert [bounded.draw(number, 2)[1] for number in range(12)] == drawn
    assert len(bounded._takes) == 1 and bounded._take_bytes < source._take_bytes


def test_a_sequence_without_usable_frames_gives_way_to_the_next(tmp_path):
    for name in ("a", "b", "c"):
        write_sequence(tmp_path, name, subject=name)
    module = InTheWildDataModule(str(tmp_path), **SMALL)
    source = module.training_source()
    source.dataset.sequence(1).signals.frame_valid_T[:] = False
    drawn = [source.draw(number, 1)[0].sequence.id for number in range(30)]
    assert set(drawn) == {"a", "c"} and drawn.count("c") > drawn.count("a")
