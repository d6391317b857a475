"""Training batches off the disk against PyAV decoding the same frames, and whole videos in order."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream

from lca_lightning.benchmarks.captures import write_capture
from lca_lightning.benchmarks.report import Figure, Report
from lca_lightning.benchmarks.sizes import PICTURES, BenchOptions, Size
from lca_lightning.benchmarks.timing import Agreement, check_agreement, compare, in_turn, median_time
from lca_lightning.datasets.format import Dataset, Sequence
from lca_lightning.datasets.open_readers import pictures_decoded
from lca_lightning.errors import DataError

FRAMES = 40  # of each sequence that is made
VIEWS, TARGETS = 4, 2
SAMPLES_A_TURN = 2
COUNTED_SAMPLES = 16
COLOR_TOLERANCE = 1.0  # levels of 255
FILES = 2  # of a frame: its picture and its mask

Read = tuple[Sequence, str, tuple[int, ...]]


def decode_in_order(path: Path, gray: bool) -> Iterator[np.ndarray]:
    """Every picture of a video from its beginning by plain PyAV, on one thread, as the loader decodes."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for picture in container.decode(stream):
            yield picture.to_ndarray(format="gray" if gray else "rgb24")


def raw_frames(sequences: Iterable[Sequence]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures with their masks, camera by camera, over and over."""
    sequences = list(sequences)
    while True:
        for sequence in sequences:
            for camera in sequence.cameras:
                videos = (sequence.video_path(camera), False), (sequence.mask_path(camera), True)
                yield from zip(*(decode_in_order(*video) for video in videos), strict=True)


@contextmanager
def recorded_reads() -> Iterator[list[Read]]:
    """Which frames are asked of the videos meanwhile, in this process."""
    reads: list[Read] = []
    iterate = Sequence.iterate_rgba

    def record(sequence: Sequence, camera: str, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        frames = tuple(indices)
        reads.append((sequence, camera, frames))
        return iterate(sequence, camera, frames)

    with mock.patch.object(Sequence, "iterate_rgba", record):
        yield reads


class SeekingReader:
    """Plain PyAV fetching given frames: containers stay open, every frame is sought, one thread."""

    def __init__(self) -> None:
        self._open: dict[Path, tuple[InputContainer, VideoStream]] = {}

    def read(self, request: Read) -> list[np.ndarray]:
        """Pictures and masks of a request, as the loader gets them before it cuts."""
        sequence, camera, frames = request
        files = (sequence.video_path(camera), "rgb24"), (sequence.mask_path(camera), "gray")
        return [
            self._frame(path, frame / sequence.fps).to_ndarray(format=pixels)
            for path, pixels in files
            for frame in sorted(set(frames))
        ]

    def _frame(self, path: Path, seconds: float) -> av.VideoFrame:
        if path not in self._open:
            container = av.open(str(path))
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            self._open[path] = container, stream
        container, stream = self._open[path]
        assert stream.time_base is not None
        container.seek(round(seconds / stream.time_base), stream=stream)
        for picture in container.decode(stream):
            if picture.time is not None and picture.time > seconds - 1e-3:
                return picture
        raise DataError(f"{path} has no frame at {seconds:.3f} s.")


def check_frames(sequences: list[Sequence]) -> Agreement:
    """Refuse to time unless frames read at random equal those of decoding from end to end."""
    ours, theirs = [], []
    generator = np.random.default_rng(0)
    for sequence in sequences:
        for camera, record in sequence.cameras.items():
            chosen = sorted(generator.choice(sequence.frame_count, min(6, sequence.frame_count), False))
            ours += [torch.from_numpy(part).float() for part in sequence.read_frames(camera, chosen)]
            for path, gray in ((sequence.video_path(camera), False), (sequence.mask_path(camera), True)):
                pictures = list(decode_in_order(path, gray))
                picked = np.stack([pictures[frame] for frame in chosen])
                theirs.append(torch.from_numpy(picked[:, : record.height, : record.width]).float())
    return check_agreement("Loader and plain PyAV", ours, theirs, COLOR_TOLERANCE)


def measure_loader(options: BenchOptions) -> Report:
    """Compare training batches, without the cache of cuts, with raw decoding of the same frames.

    Args:
        options: ``data`` is a data set of our layout, else a small one is made; ``size`` of the cuts.

    Raises:
        LCAError: Frames differ.
        DataError: The data set has no training sequence.
    """
    size = options.size_or("tiny")
    with tempfile.TemporaryDirectory(prefix="lca-bench-") as folder:
        root = options.data or write_capture(Path(folder) / "capture", size, FRAMES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lightning's advice about loading processes
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # as in a loading process, and as FFmpeg here
            try:
                return _measure(options, size, Dataset(root))
            finally:
                torch.set_num_threads(threads)


def _measure(options: BenchOptions, size: Size, dataset: Dataset) -> Report:
    sequences = dataset.sequences("train")
    if not sequences:
        raise DataError(f"{dataset.root} has no training sequence; give another folder with --data.")
    agreement = check_frames(sequences[:4])
    views = options.views or VIEWS
    batches = training_batches(dataset, size, views)
    before = pictures_decoded()
    turns: list[list[Read]] = []
    for _ in range(COUNTED_SAMPLES // SAMPLES_A_TURN):
        with recorded_reads() as reads:
            for _ in range(SAMPLES_A_TURN):
                next(batches)
        turns.append(reads)
    frames_a_turn = SAMPLES_A_TURN * (views + TARGETS)
    delivered = len(turns) * frames_a_turn
    decoded = (pictures_decoded() - before) / FILES
    raw = raw_frames(sequences)
    seeking, same_frames = SeekingReader(), in_turn(turns)
    found = compare(
        f"{frames_a_turn} frames in batches",
        lambda: [next(batches) for _ in range(SAMPLES_A_TURN)],
        "raw PyAV, the same frames",
        lambda: [seeking.read(request) for request in same_frames()],
        agreement,
        options.rounds,
    )
    in_order_ms = median_time(lambda: [next(raw) for _ in range(frames_a_turn)], options.rounds)
    camera = next(iter(sequences[0].cameras.values()))
    return Report(
        "loader",
        f"{size}: {views} references and {TARGETS} targets of {PICTURES[size].body} pixels with masks, faces "
        f"of {PICTURES[size].face}, cut from videos {camera.width} wide x {camera.height} high, one thread, "
        "nothing cached; PyAV gives colour and mask pictures without cutting, its containers stay open",
        torch.device("cpu"),
        [found],
        [
            Figure("delivered", 1e3 * frames_a_turn / found.ours_ms, "frames/s"),
            Figure("PyAV, the same frames", 1e3 * frames_a_turn / found.rival_ms, "frames/s"),
            Figure("loader / PyAV", 1 / found.ratio, "x"),
            Figure("PyAV, whole videos in order", 1e3 * frames_a_turn / in_order_ms, "frames/s"),
            Figure("loader / PyAV in order", in_order_ms / found.ours_ms, "x"),
            Figure("decoded for each frame delivered", decoded / delivered, "pictures"),
        ],
    )


def training_batches(dataset: Dataset, size: Size, views: int) -> Iterator[object]:
    """Endless training batches of one subject, in this process and without a cache of cuts."""
    from lca_data_modules import InTheWildDataModule, StudioDataModule

    kind = StudioDataModule if dataset.kind == "studio" else InTheWildDataModule
    module = kind(
        root=str(dataset.root), views=(views,), targets_per_sample=TARGETS, frame_cache_mb=0, num_workers=0,
        image_size=PICTURES[size].body, face_size=PICTURES[size].face, steps_per_epoch=1_000_000,
    )  # fmt: skip
    module.setup("fit")
    return iter(module.train_dataloader())
