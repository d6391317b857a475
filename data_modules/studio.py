"""Calibrated multi-view captures: references from some cameras and frames, targets from others."""

from __future__ import annotations

from lca_data_modules.base import CaptureDataModule
from lca_lightning.datasets.captures import HoldOut
from lca_lightning.datasets.sampling import draw_multiview


class StudioDataModule(CaptureDataModule):
    """Training pairs across cameras and frames of a multi-view capture (LCA section 3.2, post-training).

    Sequences of split ``test`` are tested where the data set has them: references from every second camera,
    targets from the others. Else the test uses what ``test_cameras`` and ``test_frame_fraction`` hold out of
    the training sequences: one real capture can be trained on three cameras and the first part of its frames,
    and tested on the fourth camera and the last part.

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
        train_cameras: Cameras for training and references; None for all that are not held out.
        test_cameras: Cameras held out; None for those that ``train_cameras`` leaves, if given.
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
        train_cameras: tuple[str, ...] | None = None,
        test_cameras: tuple[str, ...] | None = None,
        test_frame_fraction: float = 0.0,
        test_views: int = 4,
        test_targets_per_item: int = 4,
        val_targets: int | None = 8,
        test_targets: int | None = 64,
        background: float = 1.0,
        frame_cache_mb: int = 512,
        reference_from_other_subject: bool = False,
    ) -> None:
        train = tuple(train_cameras) if train_cameras else None
        test = tuple(test_cameras) if test_cameras else None
        super().__init__(HoldOut(train, test, test_frame_fraction), draw_multiview, one_camera=False)
        self.save_hyperparameters(logger=False)
        self._check_options()
