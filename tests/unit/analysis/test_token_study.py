"""Mean tokens of subjects, sums over sets, and what is written of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca_lightning.analysis.reference_sets import ReferenceSet
from lca_lightning.analysis.token_study import (
    SubjectToken,
    TokenOptions,
    mean_token,
    named_roots,
    summarise,
    write_tokens_json,
)
from lca_lightning.analysis.tokens_picture import domain_colors, write_tokens_picture
from lca_lightning.batch import References
from lca_lightning.errors import DataError, UsageError
from lca_lightning.model.avatar_model import AvatarModel


def subjects(apart: float, counts: tuple[int, int] = (6, 4)) -> list[SubjectToken]:
    generator = np.random.default_rng(0)
    return [
        SubjectToken(domain, f"{domain}{number}", 2, generator.standard_normal(8) + place * apart)
        for place, (domain, count) in enumerate(zip(("wild", "studio"), counts, strict=True))
        for number in range(count)
    ]


def test_mean_token(model: AvatarModel, photos: References) -> None:
    with torch.no_grad():
        expected = model.encode(photos)[0].double().sum(0) / model.config.anchors
    got = mean_token(model, ReferenceSet("a", "a", ("1", "2", "3"), photos))
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)


def test_picture_and_numbers(tmp_path: Path) -> None:
    studies = [
        summarise(subjects(apart), name=f"apart {apart:g}", path="a.ckpt", step=7) for apart in (0.0, 50.0)
    ]
    assert studies[0].domains == ("wild", "studio")
    assert studies[0].scores.silhouette < 0.2 and studies[1].scores.silhouette > 0.9
    path = write_tokens_json(tmp_path / "tokens.json", studies, TokenOptions())
    content = json.loads(path.read_text())
    assert content["format"] == "lca-tokens" and content["options"]["splits"] == ["test"]
    far = content["checkpoints"][1]
    assert far["scores"]["centroid_accuracy"] == 1.0 and far["step"] == 7
    assert far["scores_in_the_plane"]["silhouette"] > 0.9
    wild = [entry["plane"] for entry in far["subjects"] if entry["domain"] == "wild"]
    studio = [entry["plane"] for entry in far["subjects"] if entry["domain"] == "studio"]
    assert abs(np.mean(wild, 0)[0] - np.mean(studio, 0)[0]) == pytest.approx(50 * np.sqrt(8), rel=0.05)
    picture = Image.open(write_tokens_picture(tmp_path / "tokens.png", studies, side=200))
    pixels = np.asarray(picture).reshape(-1, 3)
    assert picture.width >= 2 * 200
    for color in domain_colors(studies[0].domains).values():
        assert (pixels == color).all(1).sum() > 100, "dots of both domains are seen"


def test_colors_are_distinct() -> None:
    colors = domain_colors(["my_wild", "wild2", "studio", "a", "b", "c"])
    assert len(set(colors.values())) == 6 and colors["my_wild"][0] > colors["my_wild"][1]


def test_too_few_subjects() -> None:
    with pytest.raises(DataError, match="studio has 2 subjects with usable photos, at least 3"):
        summarise(subjects(1.0, (5, 2)), name="a", path="a")


def test_named_roots(tmp_path: Path) -> None:
    (tmp_path / "studio").mkdir()
    roots = named_roots([f"wild={tmp_path}/w", str(tmp_path / "studio")])
    assert roots == {"wild": f"{tmp_path}/w", "studio": str(tmp_path / "studio")}
    with pytest.raises(UsageError, match="two data sets or more"):
        named_roots(["wild=a"])
    with pytest.raises(UsageError, match="names 'wild' twice"):
        named_roots(["wild=a", "wild=b"])
