"""Mitsuba 3 scenes: our cameras and meshes in, linear RGB with exact coverage out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.attachment import Part
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.person import Person
from lca_lightning.synthesis.sensor import load_mitsuba, person_crop, pixel_rays, sensor_description


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered picture: premultiplied linear RGB ``(H, W, 3)`` and coverage ``(H, W)`` in [0, 1]."""

    color_HW3: Array
    alpha_HW: Array


@dataclass(frozen=True)
class SurfaceLayers:
    """What is seen through each pixel, zero where nobody is.

    Attributes:
        alpha_HW: Coverage in [0, 1].
        albedo_HW3: Linear diffuse albedo, mean over the covered part of the pixel.
        normal_HW3: Unit shading normals in world axes, towards the camera.
        depth_HW: Mean distance from the camera in metres over the covered part.
    """

    alpha_HW: Array
    albedo_HW3: Array
    normal_HW3: Array
    depth_HW: Array


def environment_light(environment_HW3: Array) -> dict[str, Any]:
    """Describe an environment map to Mitsuba.

    Args:
        environment_HW3: Radiance, equirectangular, linear, row 0 at +y; see `environments.directions`.

    Returns:
        A plugin dictionary.
    """
    mitsuba = load_mitsuba()
    return {
        "type": "envmap",
        "bitmap": mitsuba.Bitmap(np.ascontiguousarray(environment_HW3, np.float32)),
    }


class PersonScene:
    """A person in the light; textures are loaded once, geometry per frame.

    Args:
        person: Whom to render.
        light: Radiance of an environment map ``(H, W, 3)``, or a light as Mitsuba describes it.
        samples: Samples per pixel; may be changed between pictures.
    """

    def __init__(self, person: Person, light: Array | dict[str, Any], samples: int) -> None:
        self._mitsuba = load_mitsuba()
        self._person = person
        self.samples = samples
        self._materials = {part.name: self._material(part) for part in person.parts}
        described = light if isinstance(light, dict) else environment_light(light)
        self.light = self._mitsuba.load_dict(described)
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
            {"type": "scene", "integrator": integrator, "light": self.light, **shapes}
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
        values = self._values(None, 4, K_33, w2c_44, width, height, seed)
        return RenderedFrame(values[..., :3], np.clip(values[..., 3], 0.0, 1.0))

    def layers(self, K_33: NDArray, w2c_44: NDArray, width: int, height: int, seed: int) -> SurfaceLayers:
        """Albedo, normals and depth of the current frame; arguments as for `render`."""
        integrator = self._mitsuba.load_dict(
            {
                "type": "aov",
                "aovs": "a:albedo,n:sh_normal,d:depth",
                "covered": {"type": "direct", "emitter_samples": 0, "bsdf_samples": 1, "hide_emitters": True},
            }
        )
        values = self._values(integrator, 11, K_33, w2c_44, width, height, seed)
        alpha = np.clip(values[..., 3], 0.0, 1.0)
        share = np.maximum(alpha, 1e-6)[..., None]
        normal = values[..., 7:10]
        ahead = pixel_rays(K_33, w2c_44, width, height)
        normal = np.where((normal * ahead).sum(-1, keepdims=True) > 0, -normal, normal)
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        normal = np.where(length > 1e-6, normal / np.maximum(length, 1e-6), 0.0).astype(np.float32)
        return SurfaceLayers(alpha, values[..., 4:7] / share, normal, values[..., 10] / share[..., 0])

    def _values(
        self, integrator: Any, count: int, K_33: NDArray, w2c_44: NDArray, width: int, height: int, seed: int
    ) -> Array:
        """Channels of a rendering, rendered only where the person can be."""
        values = np.zeros((height, width, count), np.float32)
        crop = person_crop(self._points_N3, K_33, w2c_44, width, height)
        if crop is not None:
            sensor = self._mitsuba.load_dict(
                sensor_description(self._mitsuba, K_33, w2c_44, width, height, self.samples, crop)
            )
            options = {} if integrator is None else {"integrator": integrator}
            picture = self._mitsuba.render(self._scene, sensor=sensor, spp=self.samples, seed=seed, **options)
            left, top, crop_width, crop_height = crop
            values[top : top + crop_height, left : left + crop_width] = np.array(picture)
        return values
