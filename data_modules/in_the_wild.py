"""Monocular videos: references and targets are different frames of the one camera."""

from __future__ import annotations

from lca_data_modules.base import CaptureDataModule
from lca_lightning.datasets.captures import HoldOut
from lca_lightning.datasets.sampling import draw_monocular


class InTheWildDataModule(CaptureDataModule):
    """Training pairs within one monocular video (LCA section 3.2, pretraining).

    Sequences of split ``test`` are tested where the data set has them; else the frames that
    ``test_frame_fraction`` holds out of the training sequences. A data set of several cameras is read as one
    video per camera.

    Args:
        root: Folder of the data set.
        batch_size: Samples of one process in a step.
        views: Numbers of reference views; each step draws one.
        targets_per_sample: Target frames of a training sample.
        image_size: Height and width of body references and targets in pixels.
        face_size: Height and width of face close-ups in pixels.
        steps_per_epoch: Steps of an epoch; the stream of samples itself has no end.
        num_workers: Loading processes; 0 loads in the main process.
        seed: Decides every draw, together with the step.
        cameras: Use only these cameras; None for all.
        test_frame_fraction: Part at the end of each sequence held out of training, 0 to below 1.
        test_views: Reference views in validation and test.
        test_targets_per_item: Targets per batch in validation and test.
        val_targets: Largest number of targets per sequence in validation; None for all.
        test_targets: Largest number of targets per sequence in the test; None for all.
        background: Grey value in [0, 1] behind the person in references.
        frame_cache_mb: Bound on memory for cut frames, MiB, shared out to the loading processes.
        reference_from_other_subject: In the test, take the references of the next subject instead.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        root: str,
        batch_size: int = 1,
        views: tuple[int, ...] = (1, 2, 4),
        targets_per_sample: int = 2,
        image_size: tuple[int, int] = (256, 192),
        face_size: tuple[int, int] = (128, 128),
        steps_per_epoch: int = 1000,
        num_workers: int = 0,
        seed: int = 0,
        cameras: tuple[str, ...] | None = None,
        test_frame_fraction: float = 0.0,
        test_views: int = 4,
        test_targets_per_item: int = 4,
        val_targets: int | None = 8,
        test_targets: int | None = 64,
        background: float = 1.0,
        frame_cache_mb: int = 512,
        reference_from_other_subject: bool = False,
    ) -> None:
        chosen = tuple(cameras) if cameras else None
        hold_out = HoldOut(test_frame_fraction=test_frame_fraction, only_cameras=chosen)
        super().__init__(hold_out, draw_monocular, one_camera=True)
        self.save_hyperparameters(logger=False)
        self._check_options()
