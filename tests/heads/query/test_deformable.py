"""Deformable attention against a literal loop, against `grid_sample`, and bit for bit against itself."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from fdet.heads.query.deformable import DeformableAttention, sampled

SIZES = ((5, 7), (3, 4))
IMAGES, QUERIES, HEADS, POINTS, WIDTH = 2, 6, 4, 3, 8


def given(seed=0):
    """Values, places within, on the rim of and far beyond the maps, and weights."""
    generator = torch.Generator().manual_seed(seed)
    cells = sum(rows * columns for rows, columns in SIZES)
    values = torch.randn(IMAGES, cells, HEADS, WIDTH, generator=generator)
    shape = (IMAGES, QUERIES, HEADS, len(SIZES), POINTS)
    places = torch.rand(*shape, 2, generator=generator) * 1.4 - 0.2
    places[0, 0, 0, 0] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5 / 7, 0.5 / 5]])
    places[0, 1, 0, 0] = torch.tensor([[-900.0, 0.5], [0.5, 1e30], [1.2, -0.2]])
    weights = torch.rand(*shape, generator=generator)
    return [x.double().requires_grad_() for x in (values, places, weights)]


def literal(values, places, weights):
    """One point, head, level and image after the other."""
    values, places, weights = (x.detach().numpy() for x in (values, places, weights))
    out = np.zeros((IMAGES, QUERIES, HEADS, WIDTH))
    for b, q, m, level, p in np.ndindex(*weights.shape):
        rows, columns = SIZES[level]
        start = sum(r * c for r, c in SIZES[:level])
        x, y = places[b, q, m, level, p] * (columns, rows) - 0.5
        if not (-2 < x < columns + 1 and -2 < y < rows + 1):
            continue
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < rows and 0 <= column < columns:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    value = values[b, start + row * columns + column, m]
                    out[b, q, m] += weights[b, q, m, level, p] * share * value
    return torch.from_numpy(out.reshape(IMAGES, QUERIES, -1))


def by_grid_sample(values, places, weights):
    """As in Deformable DETR's own code without kernels."""
    parts = []
    for level, (rows, columns) in enumerate(SIZES):
        start = sum(r * c for r, c in SIZES[:level])
        maps = values[:, start : start + rows * columns].permute(0, 2, 3, 1)
        grid = (2 * places[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        parts.append(
            functional.grid_sample(
                maps.reshape(-1, WIDTH, rows, columns), grid, align_corners=False
            )
        )
    share = weights.transpose(1, 2).flatten(0, 1).flatten(2)[:, None]
    out = (torch.cat(parts, dim=3) * share).sum(dim=3)
    return out.unflatten(0, (IMAGES, HEADS)).permute(0, 3, 1, 2).flatten(2)


def test_it_is_the_literal_loop():
    torch.testing.assert_close(sampled(*given(), SIZES), literal(*given()))


def test_gradients_are_those_of_grid_sample():
    ours, theirs = given(), given()
    # There grid_sample's own coordinate overflows.
    for places in (ours[1], theirs[1]):
        places.data[0, 1, 0, 0] = 0.3
    factor = torch.randn(IMAGES, QUERIES, HEADS * WIDTH, dtype=torch.float64)
    (sampled(*ours, SIZES) * factor).sum().backward()
    (by_grid_sample(*theirs) * factor).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_the_same_bit_for_bit_with_many_points_in_a_cell(threads):
    torch.manual_seed(0)
    layer = DeformableAttention(16, 4, 2, 4, projected=True)
    torch.nn.init.normal_(layer.offsets.weight)
    queries, tokens = torch.randn(2, 300, 16), torch.randn(2, 47, 16, requires_grad=True)
    boxes = torch.rand(2, 300, 4)
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for _ in range(3):
            tokens.grad = None
            layer.zero_grad()
            layer(queries, boxes, tokens, SIZES).square().sum().backward()
            seen.append([tokens.grad.clone(), *(p.grad.clone() for p in layer.parameters())])
    finally:
        torch.set_num_threads(before)
    for other in seen[1:]:
        assert all(torch.equal(x, y) for x, y in zip(seen[0], other, strict=True))


def test_a_fresh_layer_looks_in_directions_around_the_box():
    layer = DeformableAttention(8, 4, 2, 3, projected=False)
    offsets = layer.offsets.bias.view(4, 2, 3, 2)
    assert torch.equal(offsets[:, 0], offsets[:, 1])
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for k in range(3):
        torch.testing.assert_close(offsets[:, 0, k], expected * (k + 1), atol=1e-6, rtol=0)
    assert not layer.offsets.weight.any()
    assert not layer.weights.weight.any()
    assert list(dict(layer.named_parameters())) == [
        *("offsets.weight", "offsets.bias", "weights.weight", "weights.bias")
    ]
