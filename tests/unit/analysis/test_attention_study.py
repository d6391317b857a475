"""Studies of several sets, the change between two checkpoints, and the picture of both."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca_lightning.analysis import attention_study
from lca_lightning.analysis.attention_sheet import write_attention_sheet
from lca_lightning.analysis.attention_study import study, summary_change, write_attention_json
from lca_lightning.analysis.body_picture import body_picture
from lca_lightning.analysis.heat_colors import change_picture, heat_picture, upsample
from lca_lightning.analysis.queries import find_queries
from lca_lightning.analysis.reference_sets import ReferenceSet
from lca_lightning.batch import References
from lca_lightning.errors import CheckpointError, UsageError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rig.anny import AnnyRig


def reference_set(rig: AnnyRig, seed: int) -> ReferenceSet:
    """Two photos with mattes, the second with a face; the camera looks from three metres."""
    generator = torch.Generator().manual_seed(seed)
    body, face = torch.rand(1, 2, 3, 64, 48, generator=generator), torch.rand(1, 2, 3, 32, 32)
    mattes = torch.zeros(1, 2, 1, 64, 48)
    mattes[..., 16:48, 12:36] = 1.0
    references = References(
        body, face, torch.ones(1, 2) > 0, torch.tensor([[False, True]]), mattes, torch.ones(1, 2, 1, 32, 32)
    )
    w2c = torch.eye(4).repeat(2, 1, 1)
    w2c[:, 1, 1] = w2c[:, 2, 2] = -1.0
    w2c[:, 2, 3] = 3.0
    K = torch.tensor([[80.0, 0, 24], [0, 80, 32], [0, 0, 1]]).repeat(2, 1, 1)
    pose, identity = rig.rest_pose(2), rig.neutral_identity()
    return ReferenceSet(f"s{seed}", f"s{seed}_take", ("one", "two"), references, identity, pose, w2c, K)


@pytest.fixture
def sets(rig: AnnyRig) -> list[ReferenceSet]:
    return [reference_set(rig, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def other(model: AvatarModel) -> AvatarModel:
    """The same model with other image keys in its last layer."""
    changed = copy.deepcopy(model)
    torch.manual_seed(9)
    torch.nn.init.normal_(changed.encoder.layers[1].body_attention.image.qkv.projection.weight, std=0.5)  # type: ignore[union-attr]
    return changed


def test_numbers_are_those_of_the_maps(model: AvatarModel, sets: list[ReferenceSet]) -> None:
    queries = find_queries(model, ["nose", "left_hand"])
    calls: list[int] = []
    found = study(model, sets, queries, name="a", path="a.ckpt", progress=lambda: calls.append(1))
    assert len(calls) == 2 and found.layer == 2 and found.step == 0
    for result in found.sets:
        nose, hand = result.maps
        assert nose.face is not None and hand.face is None and result.face_views == (1,)
        person = nose.body_VRC[:, 1:3].reshape(
            2, 2, 3
        )  # rows 16 to 48; columns cover half of the outer patches
        expected = (person * torch.tensor([0.25, 1.0, 0.25])).sum() / nose.body_VRC.sum()
        assert nose.body.on_person == pytest.approx(float(expected), abs=1e-6)
        assert nose.face.on_person == pytest.approx(1.0)
        assert nose.body.photos[0].visible is not None
    row = found.summary()["nose"]
    assert row["entropy"] == pytest.approx(np.mean([result.maps[0].body.entropy for result in found.sets]))
    means = found.summary()
    assert means["all"]["near"] == pytest.approx((means["nose"]["near"] + means["left_hand"]["near"]) / 2)  # type: ignore[operator]
    one_head = study(model, sets, queries, name="a", path="a", head=1, layer=1)
    assert one_head.layer == 1 and not torch.equal(
        one_head.sets[0].maps[0].body_VRC, found.sets[0].maps[0].body_VRC
    )


def test_two_checkpoints(
    model: AvatarModel, other: AvatarModel, sets: list[ReferenceSet], tmp_path: Path
) -> None:
    queries = find_queries(model, ["nose", "left_hand"])
    found = [
        study(entry, sets, queries, name=name, path=f"{name}.ckpt")
        for entry, name in ((model, "pre"), (other, "post"))
    ]
    path = write_attention_json(tmp_path / "attention.json", found, None)
    content = json.loads(path.read_text())
    assert content["format"] == "lca-attention" and content["head"] == "mean" and content["layer"] == 2
    before, after = (entry["summary"]["left_hand"]["entropy"] for entry in content["checkpoints"])
    assert content["change"]["left_hand"]["entropy"] == pytest.approx(after - before) != 0
    assert content["checkpoints"][0]["largest_relative_error"] < 1e-5
    assert [entry["name"] for entry in content["queries"]] == ["nose", "left_hand"]
    assert len(content["checkpoints"][1]["maps"]) == 2
    assert summary_change(found[0], found[0])["all"]["on_images"] == 0.0
    one = Image.open(write_attention_sheet(tmp_path / "one.png", model, found[:1], height=96))
    two = Image.open(write_attention_sheet(tmp_path / "two.png", model, found, height=96))
    assert two.height > 2 * one.height - 200 and one.width >= 900


def test_rows_that_prove_wrong_are_refused(
    model: AvatarModel, sets: list[ReferenceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_study, "EXACT", -1.0)
    with pytest.raises(CheckpointError, match="do not give the layer's output"):
        study(model, sets, find_queries(model, ["nose"]), name="a", path="a")
    with pytest.raises(UsageError, match="heads 0 to 1"):
        study(model, sets, find_queries(model, ["nose"]), name="a", path="a", head=5)


def test_heat_is_where_the_attention_is() -> None:
    maps = torch.zeros(1, 4, 3)
    maps[0, 1, 2] = 1.0
    heat = upsample(maps, (80, 60))[0]
    assert np.unravel_index(heat.argmax(), heat.shape) == pytest.approx((30, 50), abs=6)
    even = upsample(torch.full((1, 4, 3), 0.25), (80, 60))
    np.testing.assert_allclose(even, 0.25)
    photo = np.full((80, 60, 3), 128, np.uint8)
    drawn = heat_picture(photo, heat).astype(int)
    assert drawn[30, 50].sum() > 500 > drawn[70, 10].sum()
    change = change_picture(photo, np.stack([np.full((60,), value) for value in np.linspace(-1, 1, 80)]))
    assert change[0, 0, 2] > change[0, 0, 0] and change[-1, 0, 0] > change[-1, 0, 2]
    assert np.ptp(change[40, 0].astype(int)) < 12, "no change stays grey"


def test_the_anchor_is_drawn_on_its_side(model: AvatarModel) -> None:
    for name, right in (("left_hand", True), ("right_hand", False)):
        (query,) = find_queries(model, [name])
        picture = np.asarray(body_picture(model, query, 200)).astype(int)
        red = (picture[..., 0] > 200) & (picture[..., 1] < 80)
        rows, columns = np.nonzero(red)
        seen_from_front = model.anchors.normals_G3[2 * query.anchor, 2] >= -0.3
        assert len(rows) and (columns.mean() > picture.shape[1] / 2) == (right == bool(seen_from_front))
