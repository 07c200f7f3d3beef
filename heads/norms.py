"""Normalisation layers and activations, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.convnext import LayerNorm2d


def norm_layer(name: str) -> Callable[[int], nn.Module] | None:
    """Return a function from a number of channels to a norm layer; None for "none".

    Some norms treat each image separately: "gn", group normalisation with up to 32 groups of at least eight
    channels, so that a map of few cells has enough values for its statistics; "gn32", the same with up to
    32 groups of at least two channels; "ln", over the channels of each cell. Others use statistics over
    images: "bn", of this process's images; "sync-bn", of all processes' images; "frozen-bn", of no images:
    they stay as they are, mean 0 and variance 1 in fresh weights.
    """
    return None if name == "none" else _NORMS[name]


def activation_layer(name: str) -> Callable[[], nn.Module] | None:
    """Return a function that makes the activation; None for "none". "leaky" has a slope of 0.1 below zero."""
    return None if name == "none" else _ACTIVATIONS[name]


class BatchNorm(nn.BatchNorm2d):
    """torch's batch norm, which here also takes a batch with a single value per channel.

    torch refuses such a batch. Here the value is its own mean, and the running statistics do not change.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, (B, C, H, W) of any floating-point dtype; its shape and dtype are kept."""
        if self.training and x.numel() == x.shape[1]:
            return torch.addcmul(_of_channels(self.bias), x - x, _of_channels(self.weight)).to(
                x.dtype
            )
        return super().forward(x)


class SyncBatchNorm(BatchNorm):
    """Batch norm over the images of all processes of torch.distributed, on any device; alone, BatchNorm.

    Every process must call it equally often, with no image if need be. Gradients are those of the sum of
    all processes' losses.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, (B, C, H, W) of any floating-point dtype, in float32; its shape and dtype are kept."""
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return super().forward(x)
        if dist.get_world_size() == 1:
            return super().forward(x)
        return cast(Tensor, self._synchronised(x))

    # The compiler is disabled so that collectives are called one by one.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _synchronised(self, x: Tensor) -> Tensor:
        values = x.float()
        count, mean, variance = _over_processes(values)
        if self.track_running_stats:
            self._move(count, mean.detach(), variance.detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(_of_channels(shift), values, _of_channels(scale)).to(x.dtype)

    def _move(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics as torch does, with the sample variance.

        A single value changes nothing, as it has no variance.
        """
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        share = cast(float, self.momentum) * (count > 1)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)
        self.num_batches_tracked.add_(count > 1)


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics never change, whatever the mode; scale and bias are trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, (B, C, H, W) of any floating-point dtype; its shape and dtype are kept."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def _over_processes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the count of values per channel, their mean (C,) and their variance (C,), over all processes.

    x: (B, C, H, W), float32. Each process's count, mean and sum of squares about its own mean are exchanged
    in one message; sums of plain squares would lose digits.
    """
    count = x.numel() // x.shape[1]
    mean = x.sum((0, 2, 3)) / max(count, 1)
    squares = x.var((0, 2, 3), correction=0) * count if count else mean
    own = torch.cat([mean.new_full((1,), count), mean, squares])
    rank = torch.tensor([dist.get_rank()], device=x.device)
    table = own.new_zeros(dist.get_world_size(), len(own)).index_copy(0, rank, own[None])
    rows: Tensor = _SumOverProcesses.apply(table)
    counts, means, sums = torch.split(rows, [1, x.shape[1], x.shape[1]], dim=1)
    total = counts.sum().clamp(min=1)
    centre = (counts * means).sum(0) / total
    spread = (sums + counts * (means - centre).square()).sum(0)
    return total, centre, spread / total


class _SumOverProcesses(torch.autograd.Function):
    """A sum over the processes, whose gradient is also one: each loss depends on every process's values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _of_channels(x: Tensor) -> Tensor:
    """Reshape (C,) to (C, 1, 1)."""
    return x[:, None, None]


def _group_norm(channels: int) -> nn.Module:
    """Build a group norm with as many equal groups of eight or more channels as possible, up to 32."""
    maximum = max(1, min(32, channels // 8))
    return nn.GroupNorm(max(n for n in range(1, maximum + 1) if channels % n == 0), channels)


def _group_norm_32(channels: int) -> nn.Module:
    """Build a group norm with up to 32 groups, each of several channels.

    With one channel per group, a map of one cell would come out as its bias.
    """
    groups = math.gcd(32, channels)
    return nn.GroupNorm(max(1, groups // 2) if groups == channels else groups, channels)


_NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "gn": _group_norm,
    "gn32": _group_norm_32,
    "ln": LayerNorm2d,
    "bn": BatchNorm,
    "sync-bn": SyncBatchNorm,
    "frozen-bn": FrozenBatchNorm,
}
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": partial(nn.LeakyReLU, 0.1),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
