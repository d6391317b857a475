"""Small sets in the documented layouts of DNA-Rendering, MVHumanNet, ActorsHQ, ZJU-MoCap and NeuMan.

The body lies on the masks as documented; with any one convention wrong it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.reader import Dataset
from lca_lightning.errors import DataError
from lca_lightning.importers import body_fitting
from lca_lightning.importers.importing import ImportOptions, import_dataset
from lca_lightning.importers.joblib_arrays import read_joblib
from lca_lightning.importers.registry import importer_class
from lca_lightning.importers.smpl_family import BodyModel, load_body_model
from lca_lightning.importers.source import BrokenTake, JointsBody
from lca_lightning.importers.take_writing import TakeOptions
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.dome_sets import (
    write_actorshq,
    write_dna,
    write_mvhumannet,
    write_mvhumannet_plus,
    write_zju,
)
from tests.unit.importers.neuman_scene import dump_joblib, write_neuman
from tests.unit.importers.smpl_stand_in import save_stand_in
from tests.unit.importers.truth import Truth, make_truth, only_take, source_overlaps
from tests.unit.importers.views import ring, stored_overlaps

pytest.importorskip("cv2")
Writer = Callable[..., Path]
# Importer, model, the world's up axis, hand components, hands from the mean, writer, conventions to break.
SETS: dict[str, tuple[str, str, str, int, bool, Writer, tuple[str, ...]]] = {
    "dna": ("dna_rendering", "smplx", "-y", 0, True, write_dna, ("w2c", "turned", "rgb")),
    "mvhumannet": ("mvhumannet", "smplx", "-z", 6, False, write_mvhumannet, ("c2w", "scale", "pelvis")),
    "mvhumannet++": ("mvhumannet", "smplx", "-z", 6, False, write_mvhumannet_plus, ("c2w",)),
    "actorshq": ("actorshq", "smplx", "y", 0, False, write_actorshq, ("w2c",)),
    "zju": ("zju_mocap", "smpl", "z", 0, False, write_zju, ("c2w", "metres", "pelvis")),
    "neuman": ("neuman", "smpl", "y", 0, False, write_neuman, ("masks", "transposed", "centres")),
}
WRONG = [(name, wrong) for name, values in SETS.items() for wrong in values[-1]]


@pytest.fixture(scope="module")
def files(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_stand_in(rig, kind, folder / f"{kind}.npz") for kind in ("smpl", "smplx")}


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> dict[str, BodyModel]:
    return {kind: load_body_model(path) for kind, path in files.items()}


def truth_of(name: str, models: dict[str, BodyModel], frames: int) -> Truth:
    _, kind, up, pca, from_mean, _, _ = SETS[name]
    return make_truth(models[kind], frames, up, pca, from_mean)


def overlaps_of(name: str, root: Path, truth: Truth) -> list[float]:
    importer = importer_class(SETS[name][0])(root)
    # ActorsHQ stores no body, so the truth itself is projected with the imported cameras.
    return source_overlaps(importer, truth.model, truth.vertices_TV3 if name == "actorshq" else None)


@pytest.mark.parametrize("name", SETS)
def test_bodies_lie_on_masks_as_documented(name: str, tmp_path: Path, models: dict[str, BodyModel]) -> None:
    truth = truth_of(name, models, 2)
    found = overlaps_of(name, SETS[name][5](tmp_path, truth), truth)
    assert len(found) == (2 if name == "neuman" else 8) and min(found) > 0.97


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_convention_is_noticed(
    name: str, wrong: str, tmp_path: Path, models: dict[str, BodyModel]
) -> None:
    truth = truth_of(name, models, 1)
    SETS[name][5](tmp_path, truth, wrong)
    try:
        found = overlaps_of(name, tmp_path, truth)
    except AssertionError:  # the take was refused, or the colours are exchanged
        return
    assert min(found) < 0.7


# Fitting takes seconds a set; one of each kind of body stays among the fast tests.
FITS = [name if name in ("dna", "actorshq") else pytest.param(name, marks=pytest.mark.slow) for name in SETS]


@pytest.mark.parametrize("name", FITS)
def test_imported_bodies_lie_on_stored_masks(
    name: str,
    tmp_path: Path,
    rig: AnnyRig,
    files: dict[str, Path],
    models: dict[str, BodyModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body_fitting, "_STEPS", (50, 90))
    set_name, kind = SETS[name][:2]
    (tmp_path / "src").mkdir()
    SETS[name][5](tmp_path / "src", truth_of(name, models, 1))
    options = ImportOptions(take=TakeOptions(body_model=files[kind]))
    result = import_dataset(set_name, tmp_path / "src", tmp_path / "out", options)
    assert not result.skipped and len(result.written) == 1
    dataset = Dataset(tmp_path / "out")
    (sequence,) = dataset.sequences()
    assert dataset.kind == ("wild" if name == "neuman" else "studio")
    camera, eye = next(iter(sequence.cameras.values())), ring(1)[0]
    if name != "mvhumannet":  # its cameras see their middle
        assert np.allclose(camera.K_33, eye.K_33, atol=1e-6)
    if name == "actorshq":
        assert not sequence.signals.frame_valid_T.any() and "no full body" in sequence.quality["body"]
        return
    found = [value for values in stored_overlaps(tmp_path / "out", rig).values() for value in values]
    assert len(found) == (1 if name == "neuman" else 4) and min(found) > 0.7


def test_stored_meshes_and_joints_need_no_model_file(tmp_path: Path, models: dict[str, BodyModel]) -> None:
    truth = truth_of("zju", models, 2)
    root = write_zju(tmp_path, truth)
    folder = root / "CoreView_313" / "new_vertices"
    folder.mkdir()
    for frame, vertices in enumerate(truth.vertices_TV3):
        z_up = vertices @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        np.save(folder / f"{frame + 1}.npy", z_up.astype(np.float32))
    assert min(overlaps_of("zju", root, truth)) > 0.97
    import h5py

    truth = truth_of("dna", models, 1)
    (tmp_path / "dna").mkdir()
    root = write_dna(tmp_path / "dna", truth)
    points = np.random.default_rng(0).normal(size=(1, 133, 4))
    with h5py.File(root / "annotations" / "0001_01_annots.smc", "a") as known:
        known["Keypoints_3D/keypoints3d"] = points
    importer = importer_class("dna_rendering")(root)
    body = importer.body(only_take(importer), [0])
    joints = body.instead  # type: ignore[union-attr]
    assert isinstance(joints, JointsBody)
    # The source's world has y down.
    assert np.allclose(joints.positions_TP3, points[..., :3] * [1, -1, -1])


def test_broken_takes_are_told_apart_from_wrong_folders(tmp_path: Path, models: dict[str, BodyModel]) -> None:
    for name, values in SETS.items():
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="is not .*expects"):
            importer_class(values[0])(tmp_path / "empty")
        assert name
    truth = truth_of("dna", models, 1)
    root = write_dna(tmp_path, truth)
    annotations = root / "annotations" / "0001_01_annots.smc"
    annotations.write_bytes(annotations.read_bytes()[:1000])
    (take,) = importer_class("dna_rendering")(root).takes()
    assert isinstance(take, BrokenTake) and "cut short" in take.reason
    annotations.unlink()
    (take,) = importer_class("dna_rendering")(root).takes()
    assert isinstance(take, BrokenTake) and "annotations" in take.reason


def test_one_broken_outfit_does_not_stop_the_others(tmp_path: Path, models: dict[str, BodyModel]) -> None:
    truth = truth_of("mvhumannet", models, 1)
    write_mvhumannet(tmp_path, truth)
    (tmp_path / "100001").rename(tmp_path / "100002")
    write_mvhumannet(tmp_path, truth)
    (tmp_path / "100001" / "camera_scale.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    first, second = importer_class("mvhumannet")(tmp_path).takes()
    assert isinstance(first, BrokenTake) and "not executed" in first.reason and second.id == "100002"
    next((tmp_path / "100002" / "fmask").rglob("*.png")).unlink()
    result = import_dataset("mvhumannet", tmp_path, tmp_path / "out", ImportOptions())
    assert sorted(broken.id for broken in result.skipped) == ["100001", "100002"]
    assert any("lacks the mask" in broken.reason for broken in result.skipped)


@pytest.mark.parametrize("alignment", [None, 16])
def test_joblib_files_give_their_arrays_and_run_nothing(tmp_path: Path, alignment: int | None) -> None:
    arrays = {1: {"pose": np.arange(6.0).reshape(2, 3), "betas": np.ones(4, np.float32), "name": "x"}}
    dump_joblib(tmp_path / "a.pkl", arrays, alignment)
    found = read_joblib(tmp_path / "a.pkl")
    assert np.array_equal(found[1]["pose"], arrays[1]["pose"]) and found[1]["betas"].dtype == np.float32
    (tmp_path / "b.pkl").write_bytes((tmp_path / "a.pkl").read_bytes()[:-60])
    with pytest.raises(DataError, match="joblib wrote"):
        read_joblib(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="not executed"):
        read_joblib(tmp_path / "c.pkl")
