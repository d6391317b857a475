"""``lca analyze``: look inside a trained model, at its attention maps and its token statistics."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from lca_lightning.analysis.reference_sets import ReferenceSet
    from lca_lightning.avatar.create import AvatarCreator, PhotoFormat

_OVERVIEW = """
attention  Where in the photos do chosen points of the body look? Heat maps over each reference photo, one row
           per point, and how much of the attention lies on the person (the paper's Figure 6).
tokens     Does the model see studio and in-the-wild people as two kinds? The mean token of each unseen
           subject in a plane (PCA), and how far the domains separate (the paper's Figure S1).
"""
_ATTENTION = """
Which pixels does a point of the body look at while an avatar is made? For each query (a geometry token) the
attention of the last encoder layer to the reference photos is drawn over each photo. --queries takes names
(nose, back_of_head, left_hand, right_foot, ...: an unknown one lists all), joints of the rig (wrist.L), and
anchor numbers. With --compare a second checkpoint stands below, and the change. A ring marks where the point
truly is, where camera and pose are known.
"""
_ATTENTION_EXAMPLES = """
examples:
  lca analyze attention --ckpt_path post.ckpt --root DATA/studio
  lca analyze attention --ckpt_path pre.ckpt --compare post.ckpt --root DATA/studio --sets 8 \\
      --queries left_hand back_of_head
  lca analyze attention --ckpt_path post.ckpt --images me1.jpg me2.jpg

--out gets attention.png and attention.json; docs/analyses.md says how to read them.
"""
_TOKENS = """
The mean geometry token of every unseen subject, drawn in a plane: clusters by domain mean that the model
treats the domains differently, a mixed cloud that it has learned people rather than captures. Several
checkpoints stand side by side, each in a plane of its own, with their separation scores.
"""
_TOKENS_EXAMPLES = """
example:
  lca analyze tokens --ckpt_path pre.ckpt mixed.ckpt post.ckpt --names pretrained mixed pre+post \\
      --roots wild=DATA/wild studio=DATA/studio

--out gets tokens.png and tokens.json; docs/analyses.md says how to read them.
"""


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca analyze``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "analyze",
        help="look inside a trained model: attention maps, token statistics",
        description="Look inside a trained model.\n" + _OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="analysis", required=True, metavar="attention|tokens")
    usages = [add(kinds).format_usage() for add in (_add_attention, _add_tokens)]
    parser.epilog = "".join(usages) + "\n`lca analyze attention --help` explains the arguments."


def _add_attention(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "attention",
        description="Attention of body points over photos." + _ATTENTION,
        epilog=_ATTENTION_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ckpt_path", required=True, metavar="F.ckpt", help="a checkpoint of `lca fit`")
    parser.add_argument("--compare", metavar="F.ckpt", help="a second one, trained further, to compare with")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the checkpoints in the picture")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", metavar="DIR", help="photos of a data set")
    source.add_argument("--images", nargs="+", metavar="FILE", help="own photos of one person")
    parser.add_argument("--split", default="test", help="split of the data set (test)")
    parser.add_argument("--sequence", metavar="ID", help="this sequence of the data set, of any split")
    parser.add_argument("--views", type=int, default=4, metavar="N", help="photos of a set (4)")
    parser.add_argument(
        "--sets", type=int, default=1, metavar="N",
        help="sequences over which the numbers are averaged; the first is drawn (1)",
    )  # fmt: skip
    parser.add_argument("--queries", nargs="+", metavar="NAME", help="points of the body, see above")
    parser.add_argument("--layer", type=int, metavar="N", help="encoder layer from 1 (the last)")
    parser.add_argument("--head", type=int, metavar="N", help="one attention head from 0 (mean of all)")
    parser.add_argument("--height", type=int, default=220, metavar="PX", help="of each photo (220)")
    _add_common(parser)
    return parser


def _add_tokens(kinds: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        "tokens",
        description="Mean tokens of people of several data sets." + _TOKENS,
        epilog=_TOKENS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ckpt_path", required=True, nargs="+", metavar="F.ckpt", help="checkpoints")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the checkpoints in the picture")
    parser.add_argument(
        "--roots", required=True, nargs="+", metavar="NAME=DIR", help="two data sets or more, with names"
    )
    parser.add_argument(
        "--split", nargs="+", default=["test"], metavar="SPLIT",
        help="splits whose subjects are taken; unseen ones are in test and val (test)",
    )  # fmt: skip
    parser.add_argument("--views", type=int, default=4, metavar="N", help="photos of a reference set (4)")
    parser.add_argument(
        "--sets", type=int, default=2, metavar="N", help="reference sets of each sequence, averaged (2)"
    )
    parser.add_argument("--subjects", type=int, metavar="N", help="most subjects of each data set (all)")
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("analysis"), metavar="DIR", help="folder (analysis)")
    parser.add_argument("--device", default=None, help="cpu or cuda (cuda where there is one)")


def run(namespace: argparse.Namespace) -> None:
    """Do one analysis.

    Raises:
        UsageError: Arguments contradict each other or name what does not exist.
        CheckpointError: A checkpoint is missing, or two of them cannot be compared.
        DataError: The data set is missing, of another rig, or too small.
    """
    for name in ("views", "sets", "subjects", "height"):
        least = 32 if name == "height" else 1
        value = getattr(namespace, name, None)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, got {value}.")
    if namespace.analysis == "attention":
        _run_attention(namespace)
    else:
        _run_tokens(namespace)


def _run_attention(namespace: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lca_lightning.analysis.attention_sheet import write_attention_sheet
    from lca_lightning.analysis.attention_study import study, write_attention_json
    from lca_lightning.analysis.queries import DEFAULT_QUERIES, find_queries
    from lca_lightning.writing import refuse_unwritable

    refuse_unwritable(namespace.out)
    paths = [namespace.ckpt_path] + ([namespace.compare] if namespace.compare else [])
    names = _names(namespace.names, paths)
    creators = _load(paths, namespace.device)
    model = creators[0].model
    queries = find_queries(model, namespace.queries or DEFAULT_QUERIES)
    _check_comparable(creators, paths)
    read = _photo_reader(namespace, creators[0])
    sets = [read(creator.photo_format) for creator in creators]
    with tqdm(total=sum(map(len, sets)), desc="attention", unit="set", delay=1) as bar:
        found = [
            study(
                creator.model, photos, queries, name=name, path=path,
                layer=namespace.layer, head=namespace.head, progress=bar.update,
            )
            for creator, photos, name, path in zip(creators, sets, names, paths, strict=True)
        ]  # fmt: skip
    picture = write_attention_sheet(namespace.out / "attention.png", model, found, namespace.height)
    numbers = write_attention_json(namespace.out / "attention.json", found, namespace.head)
    for checkpoint in found:
        row = checkpoint.summary()["all"]
        parts = [f"{row['on_images']:.1%} of the attention goes to photos"]
        if row["on_person"] is not None:
            parts.append(f"{row['on_person']:.0%} of that to the person (evenly {row['person_area']:.0%})")
        if row["near"] is not None:
            parts.append(f"{row['near']:.0%} near the point itself (evenly {row['near_area']:.0%})")
        print(f"{checkpoint.name}: {', '.join(parts)}; entropy {row['entropy']:.2f}.")
    print(f"{picture} shows {len(queries)} queries, {numbers} has the numbers; next: open the picture")


def _run_tokens(namespace: argparse.Namespace) -> None:
    from lca_lightning.analysis.token_study import (
        TokenOptions,
        named_roots,
        study_tokens,
        write_tokens_json,
    )
    from lca_lightning.analysis.tokens_picture import write_tokens_picture
    from lca_lightning.writing import refuse_unwritable

    refuse_unwritable(namespace.out)
    roots = named_roots(namespace.roots)
    names = _names(namespace.names, namespace.ckpt_path)
    options = TokenOptions(
        tuple(dict.fromkeys(namespace.split)), namespace.views, namespace.sets, namespace.subjects
    )
    found = []
    for name, path in zip(names, namespace.ckpt_path, strict=True):
        (creator,) = _load([path], namespace.device)
        found.append(study_tokens(creator.model, creator.photo_format, roots, options, name=name, path=path))
    picture = write_tokens_picture(namespace.out / "tokens.png", found)
    numbers = write_tokens_json(namespace.out / "tokens.json", found, options)
    for study in found:
        print(f"{study.name}: {study.scores}")
    print(f"{picture} shows the subjects, {numbers} has the numbers; next: open the picture")


def _load(paths: list[str], device: str | None) -> list[AvatarCreator]:
    import lca_lightning

    return [lca_lightning.load_model(path, device) for path in paths]


def _names(given: list[str] | None, paths: list[str]) -> list[str]:
    """The names given, else files' names, with their folders' where files are called alike."""
    if given is not None:
        if len(given) != len(paths):
            raise UsageError(f"--names gives {len(given)} names for {len(paths)} checkpoints.")
        return given
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    longer = [f"{Path(path).resolve().parent.name}/{stem}" for path, stem in zip(paths, stems, strict=True)]
    return longer if len(set(longer)) == len(longer) else [str(path) for path in paths]


def _check_comparable(creators: list[AvatarCreator], paths: list[str]) -> None:
    """Refuse two checkpoints whose tokens or photos are not the same."""
    import torch

    first, *others = creators
    for other, path in zip(others, paths[1:], strict=True):
        ours, theirs = first.model.anchor_fingerprint_A3, other.model.anchor_fingerprint_A3
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-4):
            raise CheckpointError(
                f"{path} has other anchors than {paths[0]}; compare runs with the same ones."
            )
        if first.photo_format.image_size != other.photo_format.image_size:
            raise CheckpointError(
                f"{path} was trained on photos of {other.photo_format.image_size} pixels, {paths[0]} on "
                f"{first.photo_format.image_size}; compare runs with the same data.init_args.image_size."
            )


def _photo_reader(
    namespace: argparse.Namespace, creator: AvatarCreator
) -> Callable[[PhotoFormat], list[ReferenceSet]]:
    """What cuts the user's photos, looked at once, or those of a data set as a model wants them."""
    from lca_lightning.analysis import reference_sets as sets
    from lca_lightning.errors import DataError

    if namespace.images:
        labels = [Path(image).name for image in namespace.images]
        prepared = creator.prepare(namespace.images)
        return lambda photo_format: [sets.photo_reference_set(prepared, labels, photo_format)]
    dataset = sets.open_for_rig(namespace.root, creator.model.rig.name)
    positions = sets.choose_sequences(dataset, namespace.split, namespace.sequence, namespace.sets)
    views = min(namespace.views, creator.model.config.max_views)

    def read(photo_format: PhotoFormat) -> list[ReferenceSet]:
        parts = [sets.read_reference_sets(dataset, place, photo_format, views) for place in positions]
        if not any(parts):
            raise DataError(f"{namespace.root} has no usable frame there; choose another --sequence.")
        return [photos for part in parts for photos in part]

    return read
