"""Splits and subsets by subject, decided by hashes of names: they depend on no order and never leak."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from lca_lightning.datasets.format import SPLITS
from lca_lightning.errors import ConfigError, DataError


def subject_hash(subject: str, seed: int, purpose: str) -> int:
    """64 bits that depend on the name, the seed and what they are for, on nothing else."""
    text = f"{purpose}/{seed}/{subject}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _hashes(subjects_S: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    return np.array([subject_hash(str(name), seed, purpose) for name in subjects_S], np.uint64)


def check_no_leak(subjects_N: np.ndarray, splits_N: np.ndarray, where: str) -> None:
    """Refuse a data set in which somebody is in two splits.

    Args:
        subjects_N: Subject of each sequence.
        splits_N: Its split.
        where: Data set, for the message.

    Raises:
        DataError: Names the first such subject and both splits.
    """
    if not len(subjects_N):
        return
    subjects_S, places_N = np.unique(subjects_N, return_inverse=True)
    seen_SP = np.zeros((len(subjects_S), len(SPLITS)), bool)
    for number, split in enumerate(SPLITS):
        seen_SP[places_N[splits_N == split], number] = True
    leaking = np.flatnonzero(seen_SP.sum(1) > 1)
    if len(leaking):
        subject = subjects_S[leaking[0]]
        splits = " and ".join(name for name, seen in zip(SPLITS, seen_SP[leaking[0]], strict=True) if seen)
        raise DataError(
            f"Subject {str(subject)!r} of {where} has sequences in the splits {splits}; give all sequences "
            "of a person the same split."
        )


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares of subjects that cannot be.

    Raises:
        ConfigError: An unknown split, a share that is not positive, or nothing left for training.
    """
    for split, share in shares.items():
        if split not in ("val", "test"):
            raise ConfigError(
                f"data.init_args.splits knows the splits val and test (the rest is train), got {split!r}."
            )
        if not 0 < share < 1:
            raise ConfigError(f"data.init_args.splits.{split} must lie between 0 and 1, got {share}.")
    if sum(shares.values()) >= 1:
        raise ConfigError(
            "data.init_args.splits leaves no subject for training; its shares must sum below 1."
        )


def assign_splits(
    subjects_N: np.ndarray, splits_N: np.ndarray, shares: Mapping[str, float], seed: int, where: str
) -> np.ndarray:
    """Move whole subjects from split ``train`` to others, by a hash of their names.

    A subject's place depends on nothing but its name and the seed: data added later moves nobody.

    Args:
        subjects_N: Subject of each sequence.
        splits_N: Its stored split; ``val`` and ``test`` stay what they are.
        shares: Share of the training subjects for ``val`` and ``test``.
        seed: Decides who.
        where: Data set, for messages.

    Returns:
        New splits ``(N,)``.

    Raises:
        DataError: A split stays empty.
    """
    subjects_S, places_N = np.unique(subjects_N, return_inverse=True)
    uniform_S = _hashes(subjects_S, seed, "split").astype(np.float64) / 2.0**64
    edges = np.cumsum([shares.get(name, 0.0) for name in ("val", "test")])
    chosen_S = np.array(["val", "test", "train"])[np.searchsorted(edges, uniform_S, side="right")]
    assigned_N = np.where(splits_N == "train", chosen_S[places_N], splits_N)
    for split in ("train", *shares):
        if not (assigned_N == split).any():
            count = len(np.unique(subjects_N[splits_N == "train"]))
            raise DataError(
                f"data.init_args.splits {dict(shares)} gives split {split!r} none of the {count} subjects of "
                f"{where}; raise its share, or change split_seed."
            )
    return assigned_N


def choose_subset(
    subjects_N: np.ndarray, *, fraction: float | None, subjects: int | None, seed: int
) -> np.ndarray:
    """Sequences of a part of the subjects; a smaller part is contained in every larger one.

    Args:
        subjects_N: Subject of each sequence.
        fraction: Share of the subjects, above 0 and at most 1 (LCA tables 3 and S2); None for all.
        subjects: Number of subjects; None for all.
        seed: Decides who; the order of the sequences does not matter.

    Returns:
        ``(N,)`` bool.

    Raises:
        ConfigError: Both are given, or a value is out of range.
    """
    check_subset(fraction, subjects)
    if fraction is None and subjects is None:
        return np.ones(len(subjects_N), bool)
    subjects_S, places_N = np.unique(subjects_N, return_inverse=True)
    count = len(subjects_S)
    wanted = subjects if subjects is not None else max(1, round((fraction or 0.0) * count))
    chosen_S = np.zeros(count, bool)
    chosen_S[np.argsort(_hashes(subjects_S, seed, "subset"), kind="stable")[:wanted]] = True
    return chosen_S[places_N]


def check_subset(fraction: float | None, subjects: int | None) -> None:
    """Refuse impossible subsets; see `choose_subset`."""
    if fraction is not None and subjects is not None:
        raise ConfigError("Give either data.init_args.fraction or data.init_args.subjects, not both.")
    if fraction is not None and not 0 < fraction <= 1:
        raise ConfigError(f"data.init_args.fraction must be above 0 and at most 1, got {fraction}.")
    if subjects is not None and subjects < 1:
        raise ConfigError(f"data.init_args.subjects must be at least 1, got {subjects}.")
