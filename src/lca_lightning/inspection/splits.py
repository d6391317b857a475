"""What shows between sequences: people in two splits, footage that is there twice, rights left open."""

from __future__ import annotations

from collections import defaultdict

from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.results import SequenceResult
from lca_lightning.inspection.signatures import find_equal_files, find_repeated_footage


def check_splits(sequences: list[SequenceResult], findings: Findings) -> None:
    """Find subjects that are in two splits: a test on them is no test on unseen people.

    Args:
        sequences: All of the data set.
        findings: Of the data set; receives what is wrong.
    """
    splits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sequence in sequences:
        if sequence.subject and sequence.split:
            splits[sequence.subject][sequence.split].append(sequence.id)
    for subject, members in sorted(splits.items()):
        if len(members) > 1:
            places = "; ".join(f"{split}: {', '.join(ids[:3])}" for split, ids in sorted(members.items()))
            what = f"subject {subject} is in {len(members)} splits ({places})"
            findings.error("splits", what, "give all sequences of a person the same split")


def check_duplicates(sequences: list[SequenceResult], findings: Findings) -> None:
    """Find files and footage that are in the data set twice.

    Args:
        sequences: All of the data set.
        findings: Of the data set; receives what is wrong.
    """
    equal: set[frozenset[str]] = set()
    for (first, path), (second, other) in find_equal_files(sequences):
        if first.id == second.id:
            what = f"{path} and {other} of {first.id} hold the same bytes"
            findings.error("duplicates", what, "give each camera its own video")
            continue
        if frozenset((first.id, second.id)) in equal:
            continue
        equal.add(frozenset((first.id, second.id)))
        places = f"{path} of {first.id} ({first.split}) and {other} of {second.id} ({second.split})"
        what = f"{places} hold the same bytes"
        _report(first, second, what, findings)
    for first, second, count in find_repeated_footage(sequences):
        if frozenset((first.id, second.id)) not in equal:
            what = (
                f"{count} sampled pictures of {second.id} ({second.split}) look like pictures of {first.id} "
                f"({first.split})"
            )
            _report(first, second, what, findings)


def check_rights(sequences: list[SequenceResult], findings: Findings) -> None:
    """Find sequences whose licence or consent nobody has stated.

    Args:
        sequences: All of the data set.
        findings: Of the data set; receives one finding each, however many sequences there are.
    """
    for key, way_out in (
        ("licence", "state the terms under which the footage may be used"),
        ("consent", "state on what it rests that these people may be shown"),
    ):
        unknown = [sequence.id for sequence in sequences if getattr(sequence, key) == "unknown"]
        if unknown:
            some = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            what = f"the {key} of {len(unknown)} of {len(sequences)} sequences is unknown ({some})"
            findings.warning("rights", what, way_out)


def _report(first: SequenceResult, second: SequenceResult, what: str, findings: Findings) -> None:
    if first.split != second.split:
        findings.error("duplicates", what, "remove one of them: the test knows the training data")
    else:
        findings.warning("duplicates", what, "remove one of them")
