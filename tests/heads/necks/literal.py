"""Convolutions, norms and resampling, written out in loops and formulas, from a neck's own weights."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def scrambled(neck: nn.Module, seed: int = 3) -> nn.Module:
    """The neck with other weights, none of them zero or one as fresh biases and scales are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in neck.parameters():
            p.add_(torch.rand(p.shape, generator=generator) * 0.4 - 0.2)
    return neck


class Weights:
    """The weights below a name: `Weights(neck.state_dict()) / "inputs.convs.0"`."""

    def __init__(self, tensors: dict[str, Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def __truediv__(self, name: str | int) -> "Weights":
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def get(self, name: str) -> Tensor | None:
        return self.tensors.get(self.prefix + name)


def conv(weights: Weights, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    kernel = weights["weight"]
    padding = kernel.shape[-1] // 2
    return functional.conv2d(x, kernel, weights.get("bias"), stride, padding, groups=groups)


def group_norm(weights: Weights, x: Tensor) -> Tensor:
    """Of 16 channels: two groups of eight channels."""
    groups = x.unflatten(1, (2, 8))
    mean = groups.mean((2, 3, 4), keepdim=True)
    spread = (groups.var((2, 3, 4), correction=0, keepdim=True) + 1e-5).sqrt()
    return affine(weights, ((groups - mean) / spread).flatten(1, 2))


def layer_norm(weights: Weights, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    spread = (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return affine(weights, (x - mean) / spread)


def affine(weights: Weights, x: Tensor) -> Tensor:
    return x * weights["weight"][:, None, None] + weights["bias"][:, None, None]


def repeated(x: Tensor, k: int, like: Tensor) -> Tensor:
    """Each value for k x k places, as many as `like` has."""
    rows, columns = like.shape[-2:]
    out = np.zeros((*x.shape[:2], rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            out[:, :, i, j] = x[:, :, i // k, j // k]
    return torch.from_numpy(out)


def pooled(x: Tensor, k: int) -> Tensor:
    """The largest of each k x k square; at the rim of what there is of it."""
    rows, columns = (-(-n // k) for n in x.shape[-2:])
    out = np.zeros((*x.shape[:2], rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            square = x[:, :, i * k : (i + 1) * k, j * k : (j + 1) * k].numpy()
            out[:, :, i, j] = square.max(axis=(2, 3))
    return torch.from_numpy(out)


def assert_same(found: tuple[Tensor, ...], expected: list[Tensor]) -> None:
    """Values of about one."""
    assert len(found) == len(expected)
    for x, other in zip(found, expected, strict=True):
        assert x.shape == other.shape
        assert x.std() > 0.05
        torch.testing.assert_close(x, other, rtol=1e-4, atol=2e-5)
