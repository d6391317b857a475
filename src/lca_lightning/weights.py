"""Weights that are not part of the package: names, sizes, licences, and how to get them.

The one source of this text: ``lca doctor`` lists it, and a run that misses one of them stops with it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMITS = {
    "CC-BY-NC-4.0": "no commercial use",
    "Sapiens2 License": (
        "no surveillance, biometric processing, deepfakes, impersonation or military use, see "
        "https://github.com/facebookresearch/sapiens2/blob/main/LICENSE.md"
    ),
}
MHR_LICENCE = "Apache-2.0"
LPIPS_LICENCE = "BSD-2-Clause"


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of one image encoder.

    Args:
        name: What ``model.avatar.backbone`` takes.
        repository: Its id on the Hugging Face hub.
        size: Of the download, for people.
        licence: Its name, a key of ``LIMITS``.
        pattern: The weight file inside the repository.
    """

    name: str
    repository: str
    size: str
    licence: str
    pattern: str

    @property
    def is_checkpoint(self) -> bool:
        """Whether the weights are an original checkpoint file, not a ``transformers`` folder."""
        return self.pattern.endswith(".pth")

    @property
    def command(self) -> str:
        """The shell command that puts the weights where ``find`` sees them."""
        root, folder = os.environ.get("LCA_WEIGHTS"), self.repository.split("/")[1]
        target = shlex.quote(f"{root or 'weights'}/{folder}")
        command = f"hf download {self.repository} --local-dir {target}"
        if not root:
            command += " && export LCA_WEIGHTS=$PWD/weights"
        return command

    @property
    def way_out(self) -> str:
        """How to get the weights, with their size and licence: the end of a sentence."""
        return f"`{self.command}` ({self.size}; {self.licence}: {LIMITS[self.licence]})"

    def find(self) -> Path | None:
        """The checkpoint file or ``transformers`` folder on this machine, or None.

        Looks in the sub-folder of ``$LCA_WEIGHTS`` named like the repository, for a checkpoint in
        ``$LCA_WEIGHTS`` itself too, and in the Hugging Face cache.
        """
        for folder in self._folders():
            files = sorted(folder.glob(self.pattern), key=lambda file: ("_clean" not in file.name, file.name))
            if files and self.is_checkpoint:
                return files[0]
            if files and (folder / "config.json").is_file():
                return folder
        return None

    def _folders(self) -> Iterator[Path]:
        organisation, name = self.repository.split("/")
        if root := weights_folder():
            yield from (root / name, root) if self.is_checkpoint else (root / name,)
        yield from sorted(
            cache_folder().glob(f"models--{organisation}--{name}/snapshots/*"), key=lambda path: path.name
        )


IMAGE_ENCODERS = tuple(
    EncoderWeights(
        f"sapiens-{size}",
        f"facebook/sapiens-pretrain-{size}",
        f"about {gigabytes} GB",
        "CC-BY-NC-4.0",
        f"sapiens_{size}_epoch_*.pth",
    )
    for size, gigabytes in {"0.3b": 1.2, "0.6b": 2.5, "1b": 4.6, "2b": 8.5}.items()
) + tuple(
    EncoderWeights(
        f"sapiens2-{size}",
        f"facebook/sapiens2-pretrain-{size}",
        f"about {gigabytes} GB",
        "Sapiens2 License",
        "*.safetensors",
    )
    for size, gigabytes in {"0.1b": 0.5, "0.4b": 1.6, "0.8b": 3.3, "1b": 5.8, "5b": 20}.items()
)


def image_encoder(name: str) -> EncoderWeights | None:
    """The listed encoder with this short name or repository id, or None.

    Args:
        name: As in ``model.avatar.backbone``.
    """
    return next((weights for weights in IMAGE_ENCODERS if name in (weights.name, weights.repository)), None)


def weights_folder() -> Path | None:
    """The folder that ``$LCA_WEIGHTS`` names, or None when it is not set."""
    root = os.environ.get("LCA_WEIGHTS")
    return Path(root).expanduser() if root else None


def cache_folder() -> Path:
    """Where the Hugging Face hub keeps what it downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
