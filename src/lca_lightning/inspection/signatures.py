"""What a masked picture looks like in few bytes, to find the same footage in two places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations

import numpy as np
from PIL import Image

from lca_lightning.datasets.sharpness import mask_box
from lca_lightning.inspection.results import SequenceResult, Signature

_CODE_SIDE, _CODE_FREQUENCIES, _COLOR_SIDE = 32, 8, 12
_BANDS, _BAND_BITS = 8, 8
_MOST_BITS, _MOST_LEVELS = 10, 8.0
_MOST_IN_A_BUCKET = 64
_LEAST_SHARE, _FEWEST = 0.5, 2


@cache
def _cosines() -> np.ndarray:
    """The lowest rows of the orthonormal type-II cosine transform."""
    place = (np.arange(_CODE_SIDE) + 0.5) * np.pi / _CODE_SIDE
    return np.cos(np.arange(_CODE_FREQUENCIES)[:, None] * place) * np.sqrt(2 / _CODE_SIDE)


def sign(camera: str, frame: int, image_HW3: np.ndarray, mask_HW: np.ndarray) -> Signature | None:
    """Signature of the person in a picture, whatever stands behind and however large the picture is.

    The perceptual hash is the sign of the lowest 8x8 cosine coefficients of the grey person in front of grey,
    against their median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).

    Args:
        camera: Name of the camera.
        frame: Frame index.
        image_HW3: uint8 sRGB.
        mask_HW: uint8, 255 on the person.

    Returns:
        The signature, or None where nobody is seen.
    """
    box = mask_box(mask_HW)
    if not np.isfinite(box).all():
        return None
    left, top, right, bottom = (int(edge) for edge in box)
    share = mask_HW[top:bottom, left:right, None].astype(np.float32) / 255
    person = Image.fromarray(np.uint8(image_HW3[top:bottom, left:right] * share + 127.5 * (1 - share)))
    grey = np.asarray(person.convert("L").resize((_CODE_SIDE, _CODE_SIDE), Image.Resampling.BOX), np.float64)
    coefficients = (_cosines() @ grey @ _cosines().T).ravel()
    bits = coefficients > np.median(coefficients[1:])
    code = int.from_bytes(np.packbits(bits).tobytes(), "big")
    colors = person.resize((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.BOX)
    return Signature(camera, frame, code, np.asarray(colors, np.uint8))


def look_alike(first: Signature, second: Signature) -> bool:
    """Whether two signatures are of the same picture, up to compression and size."""
    if (first.code ^ second.code).bit_count() > _MOST_BITS:
        return False
    return float(np.abs(first.colors.astype(np.float32) - second.colors).mean()) <= _MOST_LEVELS


def find_repeated_footage(
    sequences: Iterable[SequenceResult],
) -> Iterator[tuple[SequenceResult, SequenceResult, int]]:
    """Pairs of sequences that show the same footage, with the number of pictures that look alike.

    Candidates share at least one byte of the hash at the same place, so that the work grows with the number
    of pictures and not with its square.

    Args:
        sequences: With their signatures.

    Yields:
        The pairs of which at least half of the sampled pictures of the shorter one, and two, are found again.
    """
    known = {sequence.id: sequence for sequence in sequences}
    buckets: dict[tuple[int, int], list[tuple[str, Signature]]] = defaultdict(list)
    matched: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for sequence in known.values():
        for signature in sequence.signatures:
            for band in range(_BANDS):
                bucket = buckets[band, signature.code >> (band * _BAND_BITS) & (2**_BAND_BITS - 1)]
                for other, candidate in bucket:
                    if _origin(known[other]) != _origin(sequence) and look_alike(candidate, signature):
                        matched[other, sequence.id].add((signature.camera, signature.frame))
                if len(bucket) < _MOST_IN_A_BUCKET:
                    bucket.append((sequence.id, signature))
    for (first, second), pictures in matched.items():
        fewest = min(len(known[first].signatures), len(known[second].signatures))
        if len(pictures) >= max(min(_FEWEST, fewest), _LEAST_SHARE * fewest):
            yield known[first], known[second], len(pictures)


def _origin(sequence: SequenceResult) -> str:
    """Parts of one sequence in a pack show neighbouring frames: they look alike by right."""
    return sequence.origin or sequence.id


def find_equal_files(
    sequences: Iterable[SequenceResult],
) -> Iterator[tuple[tuple[SequenceResult, str], tuple[SequenceResult, str]]]:
    """Pairs of colour videos with the same bytes, each as its sequence and path."""
    holders: dict[str, list[tuple[SequenceResult, str]]] = defaultdict(list)
    for sequence in sequences:
        for path, digest in sequence.digests.items():
            holders[digest].append((sequence, path))
    for group in holders.values():
        yield from combinations(group[:5], 2)
