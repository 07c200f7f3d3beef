"""The codes of blocks of 2x2 cells, and the bytes that they are packed into.

A block's four cells become a sum and three differences, (4, K) coefficients, each with a step and a number of
bits of its own (cache/codecs/block_calibration.py). docs/cache-format.md describes the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .block_calibration import HALF, ROUNDING

# What the operations of a sum and its inverse may add to an error, as a share of the values of the block.
_ROUNDING = 2.0**-20
# No rest is 255, so a map is never full of the fill value.
_LARGEST_REST = 254


class _Group(NamedTuple):
    """The coefficients whose codes have the same number of bits: their rows, and where their bytes lie."""

    bits: int
    rows: Tensor
    start: int
    end: int


@dataclass(frozen=True)
class Blocks:
    """The coder of the blocks of one level. step, bits: (4, K) on one device."""

    step: Tensor
    bits: Tensor

    def encode(self, values: Tensor, channels: int) -> Tensor:
        """Encode values (B, K, H, W) of maps with that many channels as bytes (B, *stored shape)."""
        rows, columns = _halves(values)
        shape = (4 * channels + values.shape[2] % 2, rows, columns)
        packed = self._pack(self._codes(_to_blocks(values)), shape[0] * rows * columns)
        return packed.reshape(len(values), *shape)

    def decode(self, stored: Tensor, channels: int, columns: int) -> Tensor:
        """Decode bytes (B, *stored shape) to float32 values (B, K, H, W). columns: W."""
        rows = 2 * stored.shape[2] - (stored.shape[1] - 4 * channels)
        return _from_blocks(self._scaled(self.codes(stored)), (rows, columns))

    def codes(self, stored: Tensor) -> Tensor:
        """Return the codes (B, 4, K, P), as float32, that bytes (B, *stored shape) hold."""
        return self._unpack(stored.flatten(1), stored.shape[2] * stored.shape[3])

    def rounded(self, values: Tensor) -> Tensor:
        """Return decode(encode(values)) for values (B, K, H, W), without the limit on rests in a map."""
        reach = self._reach()
        codes = self._codes(_to_blocks(values)).clamp(-reach, reach)
        return _from_blocks(self._scaled(codes * (self.bits > 0)[..., None]), values.shape[2:])

    def count_clipped(self, stored: Tensor) -> Tensor:
        """Count the codes of each map (B, *stored shape) that may have been clipped: (B,)."""
        positions = stored.shape[2] * stored.shape[3]
        codes = self._unpack(stored.flatten(1), positions).abs()
        beyond, rests = codes >= self._reach(), codes > self._plain()
        room = stored.shape[1] * positions - self._groups(positions)[-1].end
        full = rests.flatten(1).sum(1) >= room
        beyond |= full[:, None, None, None] & (codes == self._plain())
        return (beyond & (self.bits > 0)[..., None]).flatten(1).sum(1)

    def error(self, values: Tensor, channels: int) -> Tensor:
        """Return the largest possible error of each of the values (B, K, H, W)."""
        wanted = _to_blocks(values)
        stored = self.encode(values, channels)
        kept = self._scaled(self._unpack(stored.flatten(1), wanted.shape[-1]))
        lost = (wanted - kept.to(wanted.dtype)).abs()
        allowed = torch.where((self.bits > 0), HALF * self.step, 0)[..., None]
        near = _ROUNDING * _to_blocks(values.abs())[:, :1]
        each = (torch.maximum(lost, allowed) * (1 + _ROUNDING) + near).sum(1, keepdim=True) / 2
        spread = torch.cat([2 * each, torch.zeros_like(each).expand(-1, 3, -1, -1)], dim=1)
        return _from_blocks(spread, values.shape[2:])

    def _codes(self, coefficients: Tensor) -> Tensor:
        """Return the codes of coefficients (B, 4, K, P), whole numbers of their type."""
        sizes = (coefficients.abs() / self.step[..., None] + ROUNDING).floor()
        return coefficients.sign() * sizes

    def _scaled(self, codes: Tensor) -> Tensor:
        return codes * self.step[..., None]

    def _plain(self) -> Tensor:
        """Return the largest code that needs no rest, of each coefficient, (4, K, 1)."""
        return ((2**self.bits - 2) / 2).floor()[..., None]

    def _reach(self) -> Tensor:
        """Return the largest code, with the largest rest, of each coefficient, (4, K, 1)."""
        return ((2**self.bits - 1 + _LARGEST_REST) / 2).floor()[..., None]

    def _groups(self, positions: int) -> list[_Group]:
        """Return the coefficients by the number of their bits, the most first. positions: P."""
        groups, start = [], 0
        for bits in (8, 4, 2, 1):
            rows = (self.bits.flatten() == bits).nonzero()[:, 0]
            end = start - (-len(rows) * positions * bits // 8)
            groups.append(_Group(bits, rows, start, end))
            start = end
        return groups

    def _pack(self, codes: Tensor, size: int) -> Tensor:
        """Pack codes (B, 4, K, P) as (B, size) bytes: codes by their number of bits, then the rests."""
        positions = codes.shape[-1]
        groups = self._groups(positions)
        plain, reach = self._plain(), self._reach()
        codes, lowered = (_ordered(codes.clamp(-limit, limit), groups) for limit in (reach, plain))
        rests = codes != lowered
        begin = groups[-1].end
        # Where there is no room for a rest, the code is lowered to one that needs none.
        over = rests & (rests.cumsum(1) > size - begin)
        codes = torch.where(over, lowered, codes)
        unsigned = torch.where(codes > 0, 2 * codes - 1, -2 * codes).to(torch.int16)
        tops = _tops(groups, positions)
        symbols = torch.minimum(unsigned, tops)
        packed = codes.new_zeros((len(codes), size), dtype=torch.uint8)
        lengths = [len(group.rows) * positions for group in groups]
        parts = torch.split(symbols, lengths, dim=1)
        for group, part in zip(groups, parts, strict=True):
            packed[:, group.start : group.end] = _joined(part, group.bits)
        image, place = (rests & ~over).nonzero(as_tuple=True)
        rest = (unsigned - tops)[image, place].to(torch.uint8)
        packed[image, begin + _ranks(image, len(packed))] = rest
        return packed

    def _unpack(self, packed: Tensor, positions: int) -> Tensor:
        """Invert `_pack`: (B, size) bytes to codes (B, 4, K, P), as float32."""
        groups, size = self._groups(positions), packed.shape[1]
        parts = [
            _parted(packed[:, start:end], bits)[:, : len(rows) * positions]
            for bits, rows, start, end in groups
        ]
        unsigned = torch.cat(parts, 1).to(torch.int16)
        image, place = (unsigned == _tops(groups, positions)).nonzero(as_tuple=True)
        at = groups[-1].end + _ranks(image, len(packed))
        rest = torch.where(at < size, packed[image, at.clamp(max=size - 1)], 0)
        unsigned[image, place] += rest.to(torch.int16)
        half = (unsigned + 1) >> 1
        signed = torch.where(unsigned & 1 == 1, half, -half).to(torch.float32)
        codes = signed.new_zeros((len(packed), self.bits.numel(), positions))
        rows = torch.cat([group.rows for group in groups])
        codes[:, rows] = signed.reshape(len(packed), len(rows), positions)
        return codes.reshape(len(packed), *self.bits.shape, positions)


def _ordered(codes: Tensor, groups: Sequence[_Group]) -> Tensor:
    """Return codes (B, 4, K, P) in the order in which they are packed, (B, N), without those of no bits."""
    return codes.flatten(1, 2)[:, torch.cat([group.rows for group in groups])].flatten(1)


def _tops(groups: Sequence[_Group], positions: int) -> Tensor:
    """Return the largest symbol of each packed code, which says that a rest follows: (N,)."""
    tops = [
        group.rows.new_full((len(group.rows) * positions,), 2**group.bits - 1) for group in groups
    ]
    return torch.cat(tops).to(torch.int16)


def _ranks(image: Tensor, images: int) -> Tensor:
    """Return the rank of each entry among those of its image. image: (N,), ascending."""
    counts = torch.bincount(image, minlength=images)
    first = counts.cumsum(0) - counts
    return torch.arange(len(image), device=image.device) - first[image]


def _joined(symbols: Tensor, bits: int) -> Tensor:
    """Join symbols (B, N) of so many bits to bytes, the first in the lowest bits."""
    each = 8 // bits
    padded = torch.nn.functional.pad(symbols, (0, -symbols.shape[1] % each))
    shifts = torch.arange(0, 8, bits, device=symbols.device)
    shifted = padded.reshape(len(symbols), padded.shape[1] // each, each) << shifts
    return shifted.sum(-1).to(torch.uint8)


def _parted(packed: Tensor, bits: int) -> Tensor:
    """Invert `_joined`, with the symbols that filled the last byte."""
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.uint8)
    symbols: Tensor = (packed[..., None] >> shifts) & (2**bits - 1)
    return symbols.flatten(1)


def _halves(values: Tensor) -> tuple[int, int]:
    return -(-values.shape[2] // 2), -(-values.shape[3] // 2)


def _to_blocks(values: Tensor) -> Tensor:
    """Return the coefficients (B, 4, K, P) of values (B, K, H, W); the last of an odd side counts twice."""
    if values.shape[2] % 2:
        values = torch.cat([values, values[:, :, -1:]], dim=2)
    if values.shape[3] % 2:
        values = torch.cat([values, values[..., -1:]], dim=3)
    top, bottom = values[:, :, 0::2], values[:, :, 1::2]
    one, two, three, four = top[..., 0::2], top[..., 1::2], bottom[..., 0::2], bottom[..., 1::2]
    return torch.stack(_sums(one, two, three, four), dim=1).flatten(3)


def _from_blocks(coefficients: Tensor, hw: tuple[int, ...] | torch.Size) -> Tensor:
    """Invert `_to_blocks`, for maps of (H, W)."""
    rows, columns = -(-hw[0] // 2), -(-hw[1] // 2)
    one, two, three, four = _sums(*coefficients.unbind(1))
    cells = torch.stack([one, two, three, four], dim=-1)
    cells = cells.reshape(*one.shape[:2], rows, columns, 2, 2).transpose(3, 4)
    whole = cells.reshape(*one.shape[:2], 2 * rows, 2 * columns)
    return whole[:, :, : hw[0], : hw[1]]


def _sums(one: Tensor, two: Tensor, three: Tensor, four: Tensor) -> list[Tensor]:
    """Return the sum and the differences of four tensors, halved: an orthonormal map, its own inverse."""
    left, right, across, down = one + three, two + four, one - three, two - four
    return [(left + right) / 2, (left - right) / 2, (across + down) / 2, (across - down) / 2]
