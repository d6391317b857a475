"""The avatar a user holds: create it from photos, animate it, save it, look at it from all sides."""

from __future__ import annotations

from lca_lightning.avatar.animate import View, animate_video
from lca_lightning.avatar.avatar import Avatar, Camera, Origin, PosedAvatar, Surface
from lca_lightning.avatar.contact_sheet import contact_sheet
from lca_lightning.avatar.io import load_avatar, save_avatar
from lca_lightning.avatar.turntable import turntable, turntable_images

__all__ = [
    "Avatar",
    "Camera",
    "Origin",
    "PosedAvatar",
    "Surface",
    "View",
    "animate_video",
    "contact_sheet",
    "load_avatar",
    "save_avatar",
    "turntable",
    "turntable_images",
]
