"""Traits drawn again from a seed are those of the person that was filmed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.rig.anny import AnnyRig
from lca_lightning.synthesis import appearance
from lca_lightning.synthesis.atlas import load_template
from lca_lightning.synthesis.benchmarks import BENCHMARKS, benchmark_labels
from lca_lightning.synthesis.identity import PHENOTYPE_RANGES
from lca_lightning.synthesis.person import create_person
from lca_lightning.synthesis.sequence import _stream, subject_traits
from lca_lightning.synthesis.settings import CaptureSettings, sequence_id
from lca_lightning.synthesis.traits import draw_traits, slice_labels


def test_they_are_those_of_the_person_that_is_built(rig: AnnyRig, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[float] = []
    original = appearance.skin_color

    def recording(melanin: float, rng: np.random.Generator) -> np.ndarray:
        painted.append(melanin)
        return original(melanin, rng)

    monkeypatch.setattr(appearance, "skin_color", recording)
    settings = CaptureSettings("wild", seed=5)
    person = create_person(load_template(rig, 64), _stream(settings, 3, "person"))
    traits = subject_traits(settings, 3)
    assert painted == [traits.melanin]
    assert torch.equal(person.identity_I, traits.identity_I)
    assert person.hair_style == traits.dress.hair_style
    assert person.accessories.names() == traits.dress.accessories.names()
    assert (person.outfit.skirt is None) == (slice_labels(traits, rig)["legs"] != "skirt")


def test_labels_follow_the_values(rig: AnnyRig) -> None:
    seen: dict[str, set[str]] = {}
    for seed in range(60):
        traits = draw_traits(rig, np.random.default_rng(seed), "everyday")
        labels = slice_labels(traits, rig)
        assert labels["skin tone"] == ("light", "medium", "dark")[min(2, int(traits.melanin * 3))]
        low, high = PHENOTYPE_RANGES["weight"]
        weight = float(traits.identity_I[rig.identity_names.index("weight")])
        assert (labels["build"] == "heavy") == (weight > low + (high - low) * 2 / 3)
        assert (labels["hat"] == "with") == (traits.dress.accessories.hat is not None)
        for kind, label in labels.items():
            seen.setdefault(kind, set()).add(label)
    assert all(len(words) >= 2 for words in seen.values())
    assert seen["skin tone"] == {"light", "medium", "dark"} and "skirt" in seen["legs"]


def test_labels_of_benchmark_people_by_name() -> None:
    wild = BENCHMARKS["lca-synth-tiny"][0]
    name = sequence_id(wild.settings, 191)
    labels = benchmark_labels([name, "bob", "synthetic-0000-00001", f"synthetic-{wild.seed}-99999"])
    assert list(labels) == [name]
    assert benchmark_labels([f"videos/{name}"]) == {f"videos/{name}": labels[name]}
    # as its sequence.json has it: a coat and square glasses over long hair
    assert (labels[name]["hair"], labels[name]["over the top"], labels[name]["glasses"]) == (
        "long", "coat", "with",
    )  # fmt: skip
