"""The avatar a user holds: made once from photos, animated and rendered without the model that made it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lca_lightning.avatar.frame_kernel import CpuFrames
from lca_lightning.batch import Driving
from lca_lightning.errors import CheckpointError, ShapeError, UsageError
from lca_lightning.geometry.kinematics import Skeleton
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import AnyPoseDecoder, PoseDecoder
from lca_lightning.model.posing import pose_gaussians, skin_motion
from lca_lightning.motion.clip import Motion
from lca_lightning.rendering.renderer import Gaussians, Renderer, RendererName, Rendering
from lca_lightning.rendering.selection import choose_renderer
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig

WHITE = (1.0, 1.0, 1.0)


class Camera(NamedTuple):
    """A pinhole camera.

    Args:
        w2c_44: World to camera, metres, OpenCV axes.
        K_33: Intrinsics in pixels, pixel centres at +0.5.
        width: Picture width in pixels.
        height: Picture height in pixels.
    """

    w2c_44: Tensor
    K_33: Tensor
    width: int
    height: int


@dataclass(frozen=True)
class Surface:
    """Where on the rig's mesh each Gaussian sits and what moves it.

    Args:
        weights_GJ: Skinning weights, rows sum to 1.
        triangle_G: Triangle of the rig's mesh.
        barycentric_G3: Position in that triangle.
        regions_G: Region label, see `lca_lightning.rig.REGIONS`.
    """

    weights_GJ: Tensor
    triangle_G: Tensor
    barycentric_G3: Tensor
    regions_G: Tensor

    def to(self, device: torch.device | str) -> Surface:
        """The same surface on another device."""
        return Surface(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Origin:
    """How an avatar came to be; kept in its file.

    Args:
        photos: Number of reference photos.
        identity: ``"fit"``, ``"neutral"`` or ``"given"``.
        joints_at_prior: Joints that no photo showed, so that the fit left them at their prior.
        package: Version of lca-lightning that made it.
    """

    photos: int = 0
    identity: str = "given"
    joints_at_prior: tuple[str, ...] = ()
    package: str = ""


@dataclass(frozen=True)
class PosedAvatar:
    """One frame of an avatar, ready to be seen from anywhere.

    Args:
        gaussians: World-space cloud, sRGB colours.
        renderer: What draws it.
    """

    gaussians: Gaussians
    renderer: Renderer

    def render(
        self,
        w2c_44: Tensor | Camera,
        K_33: Tensor | None = None,
        width: int | None = None,
        height: int | None = None,
        background: tuple[float, float, float] = WHITE,
    ) -> Rendering:
        """Draw the avatar.

        Args:
            w2c_44: A `Camera`, or world to camera ``(4, 4)``, metres, OpenCV; then the next three are needed.
            K_33: Intrinsics in pixels, ``(3, 3)``.
            width: Picture width in pixels.
            height: Picture height in pixels.
            background: sRGB behind the avatar.

        Returns:
            Colour ``(1, 3, H, W)``, alpha and depth ``(1, 1, H, W)``.

        Raises:
            UsageError: Intrinsics or size are missing.
        """
        if isinstance(w2c_44, Camera):
            w2c_44, K_33, width, height = w2c_44
        if K_33 is None or width is None or height is None:
            raise UsageError("render needs a Camera, or w2c, K, width and height.")
        means = self.gaussians.means_G3
        behind = torch.tensor([background]).to(means)
        return self.renderer(
            self.gaussians, w2c_44[None].to(means), K_33[None].to(means), width, height, behind
        )


@dataclass(frozen=True)
class Avatar:
    """A person as Gaussians that a pose, an expression and a gaze drive (LCA section 3.1).

    Args:
        config: Sizes of the model that made it.
        rig: Body rig.
        identity_I: The rig's identity values of the person.
        joints_J3: Rest joints of the person, metres.
        canonical: Static attributes, ``(1, G, ...)``.
        projected_1AD: Tokens as the pose decoder's first layer sees them.
        pose_decoder: What turns driving signals into corrections.
        limits: Smallest and largest standard deviation of a Gaussian, metres.
        surface: Skinning weights and mesh positions.
        origin: How it was made.
        renderer: Renderer by name.
    """

    config: AvatarModelConfig
    rig: Rig
    identity_I: Tensor
    joints_J3: Tensor
    canonical: CanonicalGaussians
    projected_1AD: Tensor
    pose_decoder: AnyPoseDecoder
    limits: ScaleLimits
    surface: Surface
    origin: Origin = field(default_factory=Origin)
    renderer: RendererName = "auto"

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.identity_I.device

    @cached_property
    def skeleton(self) -> Skeleton:
        """The person's bones; poses only turn them."""
        return self.rig.skeleton(self.identity_I[None])

    @property
    def gaussian_count(self) -> int:
        """Gaussians ``G``."""
        return int(self.canonical.base_BG3.shape[1])

    def to(self, device: torch.device | str) -> Avatar:
        """The same avatar on another device; the original stays where it is."""
        if torch.device(device) == self.device:
            return self
        canonical = CanonicalGaussians(
            *(getattr(self.canonical, name).to(device) for name in self.canonical.__dataclass_fields__)
        )
        return replace(
            self,
            rig=share_rig(self.rig).to(device),
            identity_I=self.identity_I.to(device),
            joints_J3=self.joints_J3.to(device),
            canonical=canonical,
            projected_1AD=self.projected_1AD.to(device),
            pose_decoder=copy.deepcopy(self.pose_decoder).to(device),
            surface=self.surface.to(device),
        )

    @torch.no_grad()
    def animate(self, frame: Motion | Driving, correctives: bool = True) -> PosedAvatar:
        """Bring the avatar to one frame of driving signals.

        Args:
            frame: One frame: ``motion[0]``, or driving signals with ``B = T = 1``.
            correctives: Whether pose, expression and gaze correct the Gaussians; else skinning alone.

        Returns:
            The posed avatar.

        Raises:
            UsageError: Not exactly one frame.
            ShapeError: Driving signals of another rig.
        """
        driving = frame.driving(self.rig.expression_size) if isinstance(frame, Motion) else frame
        shape = tuple(driving.rotations_BTJ3.shape)
        if shape[:2] != (1, 1):
            raise UsageError(f"animate takes one frame at a time, got {shape[0] * shape[1]}; use motion[i].")
        got = (shape[2], driving.expression_BTE.shape[2])
        wanted = (len(self.rig.joint_names), self.rig.expression_size)
        if got != wanted:
            raise ShapeError(
                f"The driving signals have {got[0]} joints and {got[1]} expression values, "
                f"the rig {self.rig.name} has {wanted[0]} and {wanted[1]}."
            )
        return PosedAvatar(self._posed(driving.to(self.device), correctives), self._renderer())

    def _posed(self, driving: Driving, correctives: bool) -> Gaussians:
        """The cloud of one frame, by one compiled pass on the CPU and by plain operations elsewhere."""
        if self.device.type == "cpu" and isinstance(self.pose_decoder, PoseDecoder):
            return self._cpu_frames(driving, correctives)
        attributes = self.canonical
        if correctives:
            driving_11P = self.rig.driving_vector(driving.rotations_BTJ3)
            signals_11S = torch.cat([driving_11P, driving.expression_BTE, driving.gaze_BT8], dim=-1)
            attributes = self.pose_decoder.animate(attributes, self.projected_1AD, signals_11S, self.limits)
        motion = skin_motion(self.skeleton, self.surface.weights_GJ, driving)
        return pose_gaussians(attributes, motion)[0][0]

    @cached_property
    def _cpu_frames(self) -> CpuFrames:
        assert isinstance(self.pose_decoder, PoseDecoder)
        return CpuFrames(
            self.canonical, self.projected_1AD, self.pose_decoder, self.limits, self.surface.weights_GJ,
            self.skeleton, self.rig.driving_joints,
        )  # fmt: skip

    def at_rest(self) -> PosedAvatar:
        """The canonical avatar: rest pose, no corrections, rig axes."""
        static = self.canonical
        means = (static.base_BG3 + static.offsets_BG3)[0]
        cloud = Gaussians(
            means,
            static.quaternions_BG4[0],
            static.scales_BG3[0],
            static.opacities_BG[0],
            static.colors_BG3[0],
        )
        return PosedAvatar(cloud, self._renderer())

    def _renderer(self) -> Renderer:
        return choose_renderer(self.renderer, self.device, self.config.antialiased)


def share_rig(rig: Rig) -> Rig:
    """A rig of its own over the same tensors: moving one to another device leaves the other where it is."""
    return copy.deepcopy(rig, {id(tensor): tensor for tensor in rig.buffers()})


def attach_rig(name: str, identity_I: Tensor, joints_J3: Tensor, asset: str | None = None) -> Rig:
    """Load the rig an avatar was made with and check that it still gives the same person.

    Args:
        name: Rig name.
        identity_I: Identity values.
        joints_J3: Rest joints stored with the avatar, metres.
        asset: File with the rig's data where the avatar was made, for rigs that need one.

    Returns:
        The rig.

    Raises:
        CheckpointError: The rig has other sizes, or moved since.
        MissingAssetError: The rig's data is not on this machine.
    """
    rig = load_rig(name, asset)
    sizes = (rig.identity_size, len(rig.joint_names))
    if (len(identity_I), len(joints_J3)) != sizes:
        raise CheckpointError(
            f"The avatar has {len(identity_I)} identity values and {len(joints_J3)} joints, but the rig of "
            f"this release, {name}, has {sizes[0]} and {sizes[1]}; create the avatar again."
        )
    joints = rig.canonical_joints(identity_I[None])[0]
    if not torch.allclose(joints, joints_J3, atol=1e-4):
        raise CheckpointError(f"The rig {name} changed since the avatar was made; create the avatar again.")
    return cast(Rig, rig)
