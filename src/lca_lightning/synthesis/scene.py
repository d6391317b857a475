"""Mitsuba 3 scenes: our cameras and meshes in, linear RGB with exact coverage out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError, MissingAssetError
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.person import Part, Person

_CROP_MARGIN = 3


def load_mitsuba() -> Any:
    """Import Mitsuba with the variant that needs no LLVM.

    Raises:
        MissingAssetError: The ``synthesis`` extra is not installed.
    """
    try:
        import mitsuba
    except ImportError as error:
        raise MissingAssetError(
            "Synthesis needs Mitsuba 3; install it with: pip install 'lca-lightning[synthesis]'."
        ) from error
    if mitsuba.variant() != "scalar_rgb":
        mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


def use_one_thread() -> None:
    """Render with one thread in this process; for use with one process per core."""
    load_mitsuba()
    import drjit

    drjit.set_thread_count(1)


def sensor_description(
    mitsuba: Any,
    K_33: NDArray,
    w2c_44: NDArray,
    width: int,
    height: int,
    samples: int,
    crop: tuple[int, int, int, int],
) -> dict[str, Any]:
    """Describe an OpenCV camera to Mitsuba.

    Args:
        mitsuba: The loaded module.
        K_33: Intrinsics in pixels, pixel centres at +0.5, square pixels, no skew.
        w2c_44: World to camera (x right, y down, z forward).
        width: Full picture width in pixels.
        height: Full picture height in pixels.
        samples: Samples per pixel.
        crop: Left, top, width, height of the part to render.

    Returns:
        A plugin dictionary of a perspective sensor with an RGBA film and a box filter.

    Raises:
        DataError: The pixels are not square or the axes are skewed.
    """
    if abs(K_33[0, 0] - K_33[1, 1]) > 1e-4 * K_33[0, 0] or abs(K_33[0, 1]) > 1e-6:
        raise DataError(
            f"Synthesis needs square pixels without skew, got fx {K_33[0, 0]:g}, fy {K_33[1, 1]:g}."
        )
    camera_to_world = np.linalg.inv(w2c_44.astype(np.float64)) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    left, top, crop_width, crop_height = crop
    return {
        "type": "perspective",
        "fov": float(np.degrees(2 * np.arctan(0.5 * width / K_33[0, 0]))),
        "fov_axis": "x",
        "near_clip": 0.05,
        "far_clip": 100.0,
        # Mitsuba's offset moves the window over the scene, hence the sign.
        "principal_point_offset_x": float(0.5 - K_33[0, 2] / width),
        "principal_point_offset_y": float(0.5 - K_33[1, 2] / height),
        "to_world": mitsuba.ScalarTransform4f(camera_to_world),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "pixel_format": "rgba",
            "component_format": "float32",
            "rfilter": {"type": "box"},
            "crop_offset_x": left,
            "crop_offset_y": top,
            "crop_width": crop_width,
            "crop_height": crop_height,
        },
        "sampler": {"type": "multijitter", "sample_count": samples},
    }


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered picture: premultiplied linear RGB ``(H, W, 3)`` and coverage ``(H, W)`` in [0, 1]."""

    color_HW3: Array
    alpha_HW: Array


class PersonScene:
    """A person under an environment light; textures are loaded once, geometry per frame.

    Args:
        person: Whom to render.
        environment_HW3: Radiance, equirectangular, linear, row 0 at +y, columns as Mitsuba has them.
        samples: Samples per pixel.
    """

    def __init__(self, person: Person, environment_HW3: Array, samples: int) -> None:
        self._mitsuba = load_mitsuba()
        self._person = person
        self._samples = samples
        self._materials = {part.name: self._material(part) for part in person.parts}
        self._light = self._mitsuba.load_dict(
            {
                "type": "envmap",
                "bitmap": self._mitsuba.Bitmap(np.ascontiguousarray(environment_HW3, np.float32)),
            }
        )
        self._scene: Any = None
        self._points_N3: Array = np.zeros((0, 3), np.float32)

    def _material(self, part: Part) -> Any:
        mitsuba = self._mitsuba
        if part.texture is None:
            reflectance: Mapping[str, Any] = {"type": "mesh_attribute", "name": "vertex_color"}
        else:
            bitmap = mitsuba.Bitmap(np.ascontiguousarray(part.texture, np.float32))
            reflectance = {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "clamp"}
        return mitsuba.load_dict(
            {"type": "twosided", "inner": {"type": "diffuse", "reflectance": dict(reflectance)}}
        )

    def move_to(self, points_N3: Array) -> None:
        """Pose the person: ``points_N3`` are one frame of `Person.posed_points`, metres."""
        normals = self._person.normals(points_N3)
        shapes = {part.name: self._mesh(part, points_N3, normals) for part in self._person.parts}
        integrator = {"type": "direct", "hide_emitters": True}
        self._scene = self._mitsuba.load_dict(
            {"type": "scene", "integrator": integrator, "light": self._light, **shapes}
        )
        self._points_N3 = points_N3

    def _mesh(self, part: Part, points_N3: Array, normals_N3: Array) -> Any:
        mitsuba = self._mitsuba
        properties = mitsuba.Properties()
        properties["mesh_bsdf"] = self._materials[part.name]
        mesh = mitsuba.Mesh(
            part.name,
            len(part.points),
            len(part.faces_F3),
            has_vertex_normals=True,
            has_vertex_texcoords=part.uv_N2 is not None,
            props=properties,
        )
        if part.colors_N3 is not None:
            mesh.add_attribute("vertex_color", 3, part.colors_N3.ravel())
        values = mitsuba.traverse(mesh)
        values["faces"] = part.faces_F3.astype(np.uint32).ravel()
        values["vertex_positions"] = points_N3[part.points].astype(np.float32).ravel()
        values["vertex_normals"] = normals_N3[part.points].astype(np.float32).ravel()
        if part.uv_N2 is not None:
            # Mitsuba counts v downwards from the first row of the bitmap.
            values["vertex_texcoords"] = (part.uv_N2 * [1, -1] + [0, 1]).astype(np.float32).ravel()
        values.update()
        return mesh

    def render(self, K_33: NDArray, w2c_44: NDArray, width: int, height: int, seed: int) -> RenderedFrame:
        """Render the current frame.

        Args:
            K_33: Intrinsics in pixels.
            w2c_44: World to camera.
            width: Picture width.
            height: Picture height.
            seed: Of the pixel samples.

        Returns:
            Premultiplied linear colour and coverage; zero outside the person.
        """
        color = np.zeros((height, width, 3), np.float32)
        alpha = np.zeros((height, width), np.float32)
        crop = person_crop(self._points_N3, K_33, w2c_44, width, height)
        if crop is not None:
            sensor = self._mitsuba.load_dict(
                sensor_description(self._mitsuba, K_33, w2c_44, width, height, self._samples, crop)
            )
            picture = np.array(self._mitsuba.render(self._scene, sensor=sensor, spp=self._samples, seed=seed))
            left, top, crop_width, crop_height = crop
            rows, columns = slice(top, top + crop_height), slice(left, left + crop_width)
            color[rows, columns] = picture[..., :3]
            alpha[rows, columns] = np.clip(picture[..., 3], 0.0, 1.0)
        return RenderedFrame(color, alpha)


def person_crop(
    points_N3: NDArray, K_33: NDArray, w2c_44: NDArray, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of the pixels that can show the points, or None when there are none."""
    camera = points_N3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    if (camera[:, 2] < 0.05).any():
        return 0, 0, width, height
    pixels = camera[:, :2] / camera[:, 2:] * [K_33[0, 0], K_33[1, 1]] + [K_33[0, 2], K_33[1, 2]]
    low = np.floor(pixels.min(0)).astype(int) - _CROP_MARGIN
    high = np.ceil(pixels.max(0)).astype(int) + _CROP_MARGIN
    left, top = max(low[0], 0), max(low[1], 0)
    right, bottom = min(high[0], width), min(high[1], height)
    if right <= left or bottom <= top:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)
