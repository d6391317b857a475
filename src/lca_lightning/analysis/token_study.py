"""Mean geometry tokens of unseen subjects of several data sets (LCA supplement D, Figure S1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lca_lightning.analysis.reference_sets import (
    ReferenceSet,
    choose_sequences,
    open_for_rig,
    read_reference_sets,
)
from lca_lightning.analysis.separation import FEWEST, Plane, Points, Separation, project_to_plane, separation
from lca_lightning.avatar.create import PhotoFormat
from lca_lightning.datasets.reader import SequenceSource
from lca_lightning.errors import DataError, UsageError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.writing import write_text

FORMAT, VERSION = "lca-tokens", 1


@dataclass(frozen=True)
class TokenOptions:
    """Whose tokens are averaged.

    Args:
        splits: Of every data set.
        views: Photos of a reference set.
        sets: Reference sets of each sequence.
        subjects: Most subjects of a data set; None for all.
    """

    splits: tuple[str, ...] = ("test",)
    views: int = 4
    sets: int = 2
    subjects: int | None = None


@dataclass(frozen=True)
class SubjectToken:
    """The mean token of one subject.

    Args:
        domain: Name of the data set.
        subject: Name of the subject.
        sets: Reference sets averaged.
        token_D: Mean over anchors and sets.
    """

    domain: str
    subject: str
    sets: int
    token_D: Points


@dataclass(frozen=True)
class TokenStudy:
    """Subjects of several domains as one checkpoint sees them.

    Args:
        name: Of the checkpoint.
        path: Of the checkpoint.
        step: Training steps it has seen.
        domains: Names of the data sets.
        subjects: Their subjects.
        plane: The cloud of all subjects in its plane.
        scores: In all dimensions.
        plane_scores: Of the points as drawn.
    """

    name: str
    path: str
    step: int
    domains: tuple[str, ...]
    subjects: tuple[SubjectToken, ...]
    plane: Plane
    scores: Separation
    plane_scores: Separation


def named_roots(words: Sequence[str]) -> dict[str, str]:
    """Data sets by name, from words such as ``wild=DIR``; without a name the folder's serves.

    Raises:
        UsageError: Fewer than two, or a name twice.
    """
    roots: dict[str, str] = {}
    for word in words:
        name, _, root = word.partition("=") if "=" in word and not Path(word).exists() else ("", "", word)
        name = name or Path(root).resolve().name
        if name in roots:
            raise UsageError(f"--roots names {name!r} twice; write other names, such as NAME=DIR.")
        roots[name] = root
    if len(roots) < 2:
        raise UsageError("--roots needs two data sets or more, for example wild=DIR studio=DIR.")
    return roots


def study_tokens(
    model: AvatarModel,
    photo_format: PhotoFormat,
    roots: Mapping[str, str],
    options: TokenOptions | None = None,
    *,
    name: str,
    path: str | Path,
) -> TokenStudy:
    """Average the tokens of every subject and measure how far the domains separate.

    Args:
        model: In evaluation mode.
        photo_format: How it saw photos in training.
        roots: Data sets by name.
        options: Whose tokens.
        name: Of the checkpoint in pictures.
        path: Of the checkpoint.

    Returns:
        Tokens, plane and scores.

    Raises:
        DataError: A data set is missing, of another rig, or has fewer than three subjects.
    """
    options = options or TokenOptions()
    datasets = {domain: open_for_rig(root, model.rig.name) for domain, root in roots.items()}
    chosen = {domain: _sequences(dataset, domain, options) for domain, dataset in datasets.items()}
    total = sum(len(positions) for people in chosen.values() for positions in people.values())
    subjects = []
    with tqdm(total=total, desc=f"tokens of {name}", unit="sequence", delay=1) as bar:
        for domain, people in chosen.items():
            for subject, positions in people.items():
                sets = []
                for position in positions:
                    views = min(options.views, model.config.max_views)
                    found = read_reference_sets(datasets[domain], position, photo_format, views, options.sets)
                    sets += [mean_token(model, photos) for photos in found]
                    bar.update()
                if sets:
                    subjects.append(SubjectToken(domain, subject, len(sets), np.mean(sets, 0)))
    return summarise(subjects, name=name, path=path, step=int(model.step))


@torch.no_grad()
def mean_token(model: AvatarModel, photos: ReferenceSet) -> Points:
    """Mean over anchors of the encoded geometry tokens of one reference set, ``(D,)``."""
    tokens_1AD = model.encode(photos.references.to(model.anchor_fingerprint_A3.device))
    return np.asarray(tokens_1AD[0].double().mean(0).cpu().numpy())


def summarise(subjects: Sequence[SubjectToken], *, name: str, path: str | Path, step: int = 0) -> TokenStudy:
    """Plane and scores of subjects' tokens.

    Raises:
        DataError: A domain has fewer than three subjects.
    """
    domains = tuple(dict.fromkeys(entry.domain for entry in subjects))
    labels_N = np.array([domains.index(entry.domain) for entry in subjects], np.int64)
    points_ND = np.stack([entry.token_D for entry in subjects])
    _check_counts({domain: int((labels_N == place).sum()) for place, domain in enumerate(domains)})
    plane = project_to_plane(points_ND)
    scores, plane_scores = separation(points_ND, labels_N), separation(plane.points_N2, labels_N)
    return TokenStudy(name, str(path), step, domains, tuple(subjects), plane, scores, plane_scores)


def write_tokens_json(path: str | Path, studies: Sequence[TokenStudy], options: TokenOptions) -> Path:
    """Write coordinates and scores.

    Args:
        path: The file.
        studies: One per checkpoint.
        options: They were made with.

    Returns:
        The path.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "options": asdict(options),
        "checkpoints": [
            {
                "name": study.name,
                "path": study.path,
                "step": study.step,
                "explained_variance": study.plane.explained,
                "scores": asdict(study.scores),
                "scores_in_the_plane": asdict(study.plane_scores),
                "subjects": [
                    {"domain": entry.domain, "subject": entry.subject, "sets": entry.sets, "plane": point}
                    for entry, point in zip(study.subjects, study.plane.points_N2.tolist(), strict=True)
                ],
            }
            for study in studies
        ],
    }
    return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _sequences(dataset: SequenceSource, domain: str, options: TokenOptions) -> dict[str, list[int]]:
    """Positions of each subject's sequences, in order of names."""
    people: dict[str, list[int]] = {}
    positions = [place for split in options.splits for place in choose_sequences(dataset, split, None)]
    for position in positions:
        people.setdefault(str(dataset.index.subjects_N[position]), []).append(position)
    names = sorted(people)
    if options.subjects is not None and options.subjects < len(names):
        places = np.linspace(0, len(names) - 1, options.subjects).round().astype(int)
        names = [names[place] for place in places]
    _check_counts({domain: len(names)})
    return {name: people[name] for name in names}


def _check_counts(counts: Mapping[str, int]) -> None:
    for domain, count in counts.items():
        if count < FEWEST:
            raise DataError(
                f"The data set {domain} has {count} subjects with usable photos, at least {FEWEST} are "
                "needed; choose more splits (--split val test), or raise --subjects."
            )
