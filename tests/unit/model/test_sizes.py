"""The paper's size in numbers: parameters of every part, pinned and derived by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from transformers import ViTConfig, ViTModel

from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anchors import Anchors
from lca_lightning.rig.anny import AnnyRig

BASE = Path(__file__).parents[3] / "configs" / "model" / "base.yaml"
D, LAYERS, HEAD, REGISTERS, HIDDEN, BANDS, SAPIENS = 1024, 8, 64, 4, 128, 51, 1536
PINNED = {
    True: {"tokenizer": 1_629_184, "encoder": 778_770_304, "trained": 780_819_544},
    False: {"tokenizer": 1_629_184, "encoder": 583_669_632, "trained": 585_718_872},
}


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def encoder_count(adaln: bool) -> int:
    """Parameters of the encoder from the description of its stages."""
    heads = 2 * HEAD  # scales of the query and key norms
    mlp = linear(D, 4 * D) + linear(4 * D, D)
    single = 2 * 2 * D + linear(D, 3 * D) + heads + linear(D, D) + mlp
    norms = 0 if adaln else 2 * 2 * D
    stream = norms + linear(D, 3 * D) + heads + linear(D, D) + mlp + (linear(D, 6 * D) if adaln else 0)
    only_keys = norms // 2 + linear(D, 2 * D) + HEAD + (linear(D, 2 * D) if adaln else 0)
    layer = 2 * single + REGISTERS * D + 4 * stream
    last = 2 * single + REGISTERS * D + 2 * stream + 2 * only_keys
    global_vector = 2 * D + 2 * linear(D, D) if adaln else 0
    return (LAYERS - 1) * layer + last + global_vector + 2 * D


@pytest.mark.parametrize("adaln", [True, False], ids=["adaln", "plain"])
def test_base_has_exactly_these_parameters(
    rig: AnnyRig, anchors: Anchors, adaln: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = AvatarModelConfig(**{**yaml.safe_load(BASE.read_text()), "adaln": adaln})
    layout = ViTConfig(
        hidden_size=SAPIENS, num_hidden_layers=40, num_attention_heads=24, intermediate_size=4 * SAPIENS,
        image_size=1024, patch_size=16,
    )  # fmt: skip
    with torch.device("meta"):
        backbone = Backbone(ViTModel(layout, add_pooling_layer=False), "sapiens-1b")
        counts = AvatarModel(config, rig, backbone, anchors).parameter_counts()
    with capsys.disabled():
        print(f"\nbase, adaln={adaln}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    tokenizer = linear(SAPIENS, D) + linear(BANDS, D) + 2 * D
    decoder = linear(D, HIDDEN) + 2 * linear(HIDDEN, HIDDEN)
    canonical = decoder + linear(HIDDEN, 8 * 14)
    driven = decoder + rig.signal_size * HIDDEN + linear(HIDDEN, 8 * 13)
    assert counts["tokenizer"] == tokenizer == PINNED[adaln]["tokenizer"]
    assert counts["encoder"] == encoder_count(adaln) == PINNED[adaln]["encoder"]
    assert counts["canonical_decoder"] == canonical
    assert counts["pose_decoder"] == driven
    assert counts["trained"] == PINNED[adaln]["trained"]
    assert counts["frozen backbone"] == 1_140_739_584  # for a stored grid of 64 x 64 patches
