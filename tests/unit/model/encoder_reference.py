"""The encoder's stages written as loops over tokens and heads, from the formulas alone (LCA 3.1, B.2).

Slow, in double precision, one subject at a time; it shares no code with the library but the names of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Heads = tuple[list[list[Tensor]], list[list[Tensor]], list[list[Tensor]]]


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Weights of one submodule."""
    return {
        name.removeprefix(prefix + "."): value
        for name, value in weights.items()
        if name.startswith(prefix + ".")
    }


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights | None = None, name: str = "") -> Tensor:
    centred = x - x.mean()
    normal = centred / math.sqrt(float((centred**2).mean()) + 1e-5)
    return normal if weights is None else normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    return x / math.sqrt(float((x**2).mean()) + 1e-6) * scale


def gelu(x: Tensor) -> Tensor:
    return torch.tensor([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], dtype=x.dtype)


def feed_forward(weights: Weights, name: str, x: Tensor) -> Tensor:
    return linear(weights, f"{name}.2", gelu(linear(weights, f"{name}.0", x)))


def rotate(vector: Tensor, row: int, column: int, base: float) -> Tensor:
    """Two-dimensional rotary code: half of the pairs turns with the row, the other half with the column."""
    out = vector.clone()
    pairs = len(vector) // 2
    for pair in range(pairs):
        half = pairs // 2
        position, index = (row, pair) if pair < half else (column, pair - half)
        angle = position * base ** (-index / half)
        x, y = vector[2 * pair], vector[2 * pair + 1]
        out[2 * pair] = x * math.cos(angle) - y * math.sin(angle)
        out[2 * pair + 1] = x * math.sin(angle) + y * math.cos(angle)
    return out


def project(weights: Weights, tokens: list[Tensor], heads: int, keys_only: bool = False) -> Heads:
    """Queries, keys and values, ``[token][head]``, queries and keys RMS-normalised."""
    queries, keys, values = [], [], []
    for token in tokens:
        parts = list(linear(weights, "projection", token).chunk(2 if keys_only else 3))
        if not keys_only:
            queries.append([rms_norm(h, weights["query_norm.weight"]) for h in parts.pop(0).chunk(heads)])
        keys.append([rms_norm(h, weights["key_norm.weight"]) for h in parts[0].chunk(heads)])
        values.append(list(parts[1].chunk(heads)))
    return queries, keys, values


def attend(queries: list[list[Tensor]], keys: list[list[Tensor]], values: list[list[Tensor]]) -> list[Tensor]:
    """Softmax attention, one query and head at a time."""
    attended = []
    for query in queries:
        mixed_heads = []
        for head, vector in enumerate(query):
            scores = [float(vector @ key[head]) / math.sqrt(len(vector)) for key in keys]
            top = max(scores)
            shares = [math.exp(score - top) for score in scores]
            mixed = sum(share * value[head] for share, value in zip(shares, values, strict=True))
            mixed_heads.append(mixed / sum(shares))
        attended.append(torch.cat(mixed_heads))
    return attended


def self_attention(
    weights: Weights, tokens: list[Tensor], heads: int, grid: tuple[int, int] | None = None, base: float = 0.0
) -> list[Tensor]:
    """One image with its registers and rotary positions, or the geometry tokens with neither."""
    everything = tokens + list(weights.get("registers", []))
    normed = [layer_norm(token, weights, "attention_norm") for token in everything]
    queries, keys, values = project(part(weights, "qkv"), normed, heads)
    if grid is not None:
        for index in range(len(tokens)):
            row, column = divmod(index, grid[1])
            queries[index] = [rotate(vector, row, column, base) for vector in queries[index]]
            keys[index] = [rotate(vector, row, column, base) for vector in keys[index]]
    updated = []
    for token, mixed in zip(tokens, attend(queries, keys, values), strict=False):
        token = token + linear(weights, "output", mixed)
        updated.append(token + feed_forward(weights, "mlp", layer_norm(token, weights, "mlp_norm")))
    return updated


def joint_attention(
    weights: Weights,
    geometry: list[Tensor],
    images: list[Tensor],
    global_vector: Tensor | None,
    heads: int,
    last: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """One softmax over both modalities, each with weights of its own, modulated by the global vector."""
    streams = []
    for name, tokens in (("geometry", geometry), ("image", images)):
        own = part(weights, name)
        keys_only = last and name == "image"
        factors = None
        if global_vector is not None:
            silu = global_vector * torch.sigmoid(global_vector)
            factors = linear(own, "modulation", silu).chunk(2 if keys_only else 6)
        normed = []
        for token in tokens:
            hidden = layer_norm(token) if factors is not None else layer_norm(token, own, "attention_norm")
            normed.append(hidden if factors is None else hidden * (1 + factors[1]) + factors[0])
        streams.append((own, tokens, factors, project(part(own, "qkv"), normed, heads, keys_only)))
    keys = streams[0][3][1] + streams[1][3][1]
    values = streams[0][3][2] + streams[1][3][2]
    results = []
    for own, tokens, factors, (queries, _, _) in streams:
        if not queries:
            results.append(tokens)
            continue
        updated = []
        for token, mixed in zip(tokens, attend(queries, keys, values), strict=True):
            gates = (1.0, 1.0) if factors is None else (factors[2], factors[5])
            token = token + gates[0] * linear(own, "output", mixed)
            if factors is None:
                hidden = layer_norm(token, own, "mlp_norm")
            else:
                hidden = layer_norm(token) * (1 + factors[4]) + factors[3]
            updated.append(token + gates[1] * feed_forward(own, "mlp", hidden))
        results.append(updated)
    return results[0], results[1]


def encoder(
    weights: Weights,
    geometry: list[Tensor],
    face_anchors: int,
    bodies: list[list[Tensor]],
    faces: list[list[Tensor]],
    grids: tuple[tuple[int, int], tuple[int, int]],
    layers: int,
    heads: int,
    base: float,
) -> list[Tensor]:
    """All layers for one subject: tokens of each body and face image in, encoded geometry tokens out."""
    global_vector = None
    if "global_vector.1.weight" in weights:
        mean = torch.stack([token for image in bodies for token in image]).mean(0)
        hidden = linear(weights, "global_vector.1", layer_norm(mean, weights, "global_vector.0"))
        global_vector = linear(weights, "global_vector.3", hidden * torch.sigmoid(hidden))
    for index in range(layers):
        own, last = part(weights, f"layers.{index}"), index == layers - 1
        image_weights = part(own, "image_attention")
        bodies = [self_attention(image_weights, image, heads, grids[0], base) for image in bodies]
        faces = [self_attention(image_weights, image, heads, grids[1], base) for image in faces]
        geometry = self_attention(part(own, "geometry_attention"), geometry, heads)
        flat_faces = [token for image in faces for token in image]
        face_part, flat_faces = joint_attention(
            part(own, "face_attention"), geometry[:face_anchors], flat_faces, global_vector, heads, last
        )
        flat_bodies = [token for image in bodies for token in image]
        geometry, flat_bodies = joint_attention(
            part(own, "body_attention"),
            face_part + geometry[face_anchors:],
            flat_bodies,
            global_vector,
            heads,
            last,
        )
        faces = (
            [flat_faces[i : i + len(faces[0])] for i in range(0, len(flat_faces), len(faces[0]))]
            if faces
            else []
        )
        bodies = [flat_bodies[i : i + len(bodies[0])] for i in range(0, len(flat_bodies), len(bodies[0]))]
    return [layer_norm(token, weights, "final_norm") for token in geometry]
