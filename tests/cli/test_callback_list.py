"""Which callbacks count where several files name them."""

from __future__ import annotations

from jsonargparse import Namespace

from lca_lightning.cli.callback_list import last_of_each

AVERAGE = "lca_lightning.training.callbacks.averaging.AveragedWeights"
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"


def test_the_last_of_ours_counts_and_those_of_others_stay() -> None:
    first, again = Namespace(class_path=AVERAGE, decay=0.9), Namespace(class_path=AVERAGE, decay=None)
    others = [Namespace(class_path=CHECKPOINT, monitor=name) for name in ("loss", "psnr")]
    assert last_of_each([first, others[0], again, others[1]]) == [others[0], again, others[1]]


def test_one_alone_stays() -> None:
    alone = Namespace(class_path=AVERAGE)
    assert last_of_each(alone) is alone and last_of_each(None) is None
