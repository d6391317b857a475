"""The training objective: photometric, mask and regularising terms, each by name (LCA section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.batch import Targets
from lca_lightning.errors import ConfigError
from lca_lightning.losses.cropping import crop_squares, mask_box
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.losses.regularization import position_penalty, region_factors, scale_penalty
from lca_lightning.model.attributes import CanonicalGaussians
from lca_lightning.model.avatar_model import AvatarOutput


@dataclass
class LossConfig:
    """Weights of the objective (ours unless said otherwise).

    Args:
        l1_weight: Photometric L1 (paper: 1).
        perceptual_weight: LPIPS (paper: 1); 0 does not even load the network.
        perceptual_net: ``vgg`` or the much cheaper ``alex``.
        perceptual_weights: Stored precision of its weights: ``float32``, ``float16`` (docs/weights.md), or
            ``auto`` for the first of them that is on this machine; the run says which it is.
        perceptual_size: Side in pixels of a square crop around the person that LPIPS looks at; None for the
            whole image.
        mask_weight: L1 between rendered alpha and mask.
        canonical_weight: Factor of all three for the rendering of the canonical attributes (paper: 1, which
            makes training converge faster); 0 does not even render them in training.
        hole_weight: What alpha missing inside the mask costs there, relative to alpha outside it; above 1
            where poses are only good to a pixel or two: limbs become a little wide rather than full of holes.
        silhouette_tolerance: Pixels around the person that no term looks at: poses are only good to a pixel
            or two, and a background that shines through there teaches colours and widths that depend on how
            good the poses of a data set are.
        regularization_weight: Factor lambda of both regularisers.
        position_weight: Position regulariser inside lambda.
        position_free_distance: Offset that costs nothing, metres.
        scale_weight: Shape regulariser inside lambda.
        scale_free_ratio: Ratio of largest to smallest axis that costs nothing.
        region_factors: Weight of the regularisers by body region, 1 where not named.
    """

    l1_weight: float = 1.0
    perceptual_weight: float = 1.0
    perceptual_net: Literal["vgg", "alex"] = "vgg"
    perceptual_weights: Literal["auto", "float32", "float16"] = "auto"
    perceptual_size: int | None = None
    mask_weight: float = 1.0
    canonical_weight: float = 1.0
    hole_weight: float = 1.0
    silhouette_tolerance: int = 0
    regularization_weight: float = 1.0
    position_weight: float = 10.0
    position_free_distance: float = 0.05625
    scale_weight: float = 0.1
    scale_free_ratio: float = 5.0
    region_factors: dict[str, float] = field(default_factory=lambda: {"hand": 10.0, "foot": 3.0, "face": 1.0})

    def __post_init__(self) -> None:
        if self.canonical_weight < 0:
            raise ConfigError(
                f"model.losses.canonical_weight must not be negative, got {self.canonical_weight}."
            )
        if self.perceptual_size is not None and self.perceptual_size < 32:
            raise ConfigError(
                f"model.losses.perceptual_size must be at least 32 pixels, got {self.perceptual_size}."
            )
        if self.silhouette_tolerance < 0:
            raise ConfigError(
                f"model.losses.silhouette_tolerance must not be negative, got {self.silhouette_tolerance}."
            )


class ReconstructionLoss(nn.Module):
    """``sum over I_can, I_pose of [L1 + LPIPS + mask] + lambda (L_pos + L_scale)``.

    Args:
        config: Weights.
    """

    region_weights: Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.perceptual = None
        if config.perceptual_weight:
            self.perceptual = LPIPS(config.perceptual_net, config.perceptual_weights)
        self.register_buffer("region_weights", region_factors(config.region_factors), persistent=False)

    def forward(self, output: AvatarOutput, targets: Targets) -> dict[str, Tensor]:
        """Compute every term.

        Args:
            output: Renderings and attributes of the model.
            targets: Images and masks to reproduce.

        Returns:
            Unweighted terms ``canonical/l1``, ``animated/l1``, ``.../lpips``, ``.../mask``, ``position`` and
            ``scale``, and their weighted sum ``total``.
        """
        config = self.config
        wanted = composite(targets.images_BT3HW, targets.masks_BT1HW, output.background_BT3).flatten(0, 1)
        weighted: dict[str, tuple[float, Tensor]] = {}
        renderings, factors = {"animated": output.animated}, {"animated": 1.0}
        if output.canonical is not output.animated and config.canonical_weight:
            renderings = {"canonical": output.canonical, **renderings}
            factors["canonical"] = config.canonical_weight
        mask = targets.masks_BT1HW.flatten(0, 1)
        ignored = surroundings(mask, config.silhouette_tolerance)
        pictures = {
            name: torch.lerp(frames.images_BT3HW.flatten(0, 1), wanted, ignored)
            for name, frames in renderings.items()
        }
        for name, frames in renderings.items():
            factor = factors[name]
            weighted[f"{name}/l1"] = (factor * config.l1_weight, functional.l1_loss(pictures[name], wanted))
            missing = (mask - frames.alphas_BT1HW.flatten(0, 1)) * (1 - ignored)
            mask_error = functional.relu(missing) * config.hole_weight + functional.relu(-missing)
            weighted[f"{name}/mask"] = (factor * config.mask_weight, mask_error.mean())
        if self.perceptual is not None:
            for name, distance in self._perceptual_terms(
                self.perceptual, pictures, wanted, targets, output
            ).items():
                weighted[f"{name}/lpips"] = (factors[name] * config.perceptual_weight, distance)
        for name, (weight, value) in self._regularisers(output).items():
            weighted[name] = (config.regularization_weight * weight, value)
        terms = {name: value for name, (_, value) in weighted.items()}
        total = torch.stack([weight * value for weight, value in weighted.values()]).sum()
        return {**terms, "total": total}

    def _perceptual_terms(
        self,
        perceptual: LPIPS,
        pictures: dict[str, Tensor],
        wanted_n3HW: Tensor,
        targets: Targets,
        output: AvatarOutput,
    ) -> dict[str, Tensor]:
        """LPIPS of both renderings against features of the target that are computed once."""
        background = output.background_BT3.flatten(0, 1)
        boxes = None
        if self.config.perceptual_size is not None:
            boxes = [mask_box(mask) for mask in targets.masks_BT1HW.flatten(0, 2)]

        def view(images_n3HW: Tensor) -> Tensor:
            if boxes is None or self.config.perceptual_size is None:
                return images_n3HW
            return crop_squares(images_n3HW, boxes, self.config.perceptual_size, background)

        with torch.no_grad():
            wanted = perceptual.features(view(wanted_n3HW))
        return {
            name: perceptual.distance(perceptual.features(view(picture)), wanted).mean()
            for name, picture in pictures.items()
        }

    def _regularisers(self, output: AvatarOutput) -> dict[str, tuple[float, Tensor]]:
        """Sum of both penalties over canonical and corrected attributes, or over those of one branch."""
        weights_G = self.region_weights[output.regions_G]
        both: list[CanonicalGaussians] = [output.animated_attributes]
        if output.two_branches:
            both = [output.canonical_attributes, *both]
        distance, ratio = self.config.position_free_distance, self.config.scale_free_ratio
        position = [position_penalty(part.offsets_BG3, weights_G, distance) for part in both]
        scale = [scale_penalty(part.log_scales_BG3, weights_G, ratio) for part in both]
        return {
            "position": (self.config.position_weight, torch.stack(position).sum()),
            "scale": (self.config.scale_weight, torch.stack(scale).sum()),
        }


def surroundings(masks_n1HW: Tensor, pixels: int) -> Tensor:
    """How much of each pixel lies outside of the person but close to it.

    Args:
        masks_n1HW: Masks in [0, 1].
        pixels: How close, in rows and columns; 0 gives zeros.

    Returns:
        Shares in [0, 1], the same shape.
    """
    near = functional.max_pool2d(masks_n1HW, 2 * pixels + 1, stride=1, padding=pixels)
    return near - masks_n1HW


def composite(images_BT3HW: Tensor, masks_BT1HW: Tensor, background_BT3: Tensor) -> Tensor:
    """Put the masked person over a constant colour, ``m I + (1 - m) b``.

    Args:
        images_BT3HW: sRGB images.
        masks_BT1HW: Masks in [0, 1].
        background_BT3: Colour of each frame.

    Returns:
        Images of the same shape.
    """
    return masks_BT1HW * images_BT3HW + (1 - masks_BT1HW) * background_BT3[..., None, None]
