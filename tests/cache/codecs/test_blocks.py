"""Blocks of 2x2 cells: their steps and bits, and the bytes that their codes are packed into."""

import numpy as np
import pytest
import torch

from fdet.cache.codecs.block_calibration import HALF, SUMS, common_step, in_blocks, quantisers
from fdet.cache.codecs.blocks import Blocks
from fdet.cache.codecs.calibration import calibrate
from fdet.cache.codecs.codec import LevelCodec, make_codec
from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.cache.pyramid import LevelSpec, PyramidSpec

RATES = [name for name, numbers in NUMBERS.items() if numbers.rate is not None]


def smooth(images: int, channels: int, hw: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Maps whose neighbours and channels go together."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.Generator().manual_seed(99)
    noise = torch.randn(images, channels, hw[0] + 2, hw[1] + 2, generator=generator)
    near = torch.nn.functional.avg_pool2d(noise, 3, stride=1) * 2
    mixed = torch.randn(channels, channels, generator=mixing)
    return torch.einsum("dc,bchw->bdhw", mixed, near)


def cells_in_blocks(maps: torch.Tensor) -> np.ndarray:
    images, channels, rows, columns = maps.shape
    blocks = maps.reshape(images, channels, rows // 2, 2, columns // 2, 2)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(-1, channels).numpy()


def codec_of(name: str, maps: torch.Tensor) -> LevelCodec:
    form, spec = parse_form(name), PyramidSpec((LevelSpec("p3", 8, maps.shape[1]),))
    return make_codec(form, spec, calibrate(form, {"p3": cells_in_blocks(maps)})).levels[0]


def literal(codec: LevelCodec, stored: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The values (K, H, W) of one map, code by code."""
    step, bits = (codec.arrays[name].numpy() for name in ("step", "bits"))
    positions = stored.shape[1] * stored.shape[2]
    raw, at, codes, waiting = stored.tobytes(), 0, np.zeros((*bits.shape, positions)), []
    for width in (8, 4, 2, 1):
        rows = [divmod(row, bits.shape[1]) for row in np.flatnonzero(bits == width)]
        wanted = [(f, k, p) for f, k in rows for p in range(positions)]
        for n, where in enumerate(wanted):
            first = n * width
            symbol = raw[at + first // 8] >> first % 8 & 2**width - 1
            codes[where] = symbol
            if symbol == 2**width - 1:
                waiting.append(where)
        at += -(-len(wanted) * width // 8)
    for where in waiting:
        codes[where] += raw[at] if at < len(raw) else 0
        at += 1
    signed = np.where(codes % 2 == 1, (codes + 1) // 2, -codes // 2)
    four = np.einsum("fp,fkn->pkn", SUMS, signed * step[..., None])
    columns = stored.shape[2]
    values = np.zeros((bits.shape[1], 2 * stored.shape[1], 2 * columns))
    for p in range(4):
        values[:, p // 2 :: 2, p % 2 :: 2] = four[p].reshape(-1, stored.shape[1], columns)
    return values[:, : hw[0], : hw[1]]


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("hw", [(6, 8), (5, 7), (1, 2)])
def test_the_bytes_are_those_of_a_literal_reader(name, hw):
    codec = codec_of(name, smooth(4, 6, (16, 16)))
    maps = smooth(2, 6, hw, seed=1) * 3
    maps[0, 0, 0, 0] = 40
    stored = codec.encode(maps)
    assert len(set(codec.arrays["bits"].flatten().tolist())) > 1
    blocks = Blocks(codec.arrays["step"], codec.arrays["bits"])
    decoded = blocks.decode(stored, 6, hw[1])
    for one, found in zip(stored.numpy(), decoded.numpy(), strict=True):
        np.testing.assert_allclose(found, literal(codec, one, hw), rtol=0, atol=1e-4)


def test_any_bytes_decode():
    codec = codec_of("q1.5", smooth(4, 6, (16, 16)))
    for fill in (0, 255):
        stored = torch.full((2, 24, 3, 4), fill, dtype=torch.uint8)
        decoded = codec.decode(stored, 8)
        assert decoded.shape == (2, 6, 6, 8) and torch.isfinite(decoded).all()
        found = Blocks(codec.arrays["step"], codec.arrays["bits"]).decode(stored, 6, 8)
        np.testing.assert_allclose(
            found[0].numpy(), literal(codec, stored[0].numpy(), (6, 8)), atol=1e-3
        )


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_every_code_of_so_many_bits_comes_back(bits):
    """Up to the largest rest, as far as there is room for rests; beyond that it is clipped and counted."""
    blocks = Blocks(torch.ones(4, 1), torch.tensor([[bits], [0], [0], [0]]).float())
    reach = (2**bits + 253) // 2
    sums = torch.arange(-reach - 2, reach + 3).float()
    maps = (sums / 2).repeat_interleave(2)[None, None, None].expand(1, 1, 2, -1)
    stored = blocks.encode(maps, 9)
    found = blocks.decode(stored, 9, maps.shape[-1])
    assert torch.equal(found[0, 0, 0, ::2] * 2, sums.clamp(-reach, reach))
    assert blocks.count_clipped(stored).tolist() == [6]


def test_codes_without_room_for_their_rest_are_lowered_and_the_error_says_so():
    blocks = Blocks(torch.ones(4, 1), torch.full((4, 1), 8.0))
    maps = torch.zeros(3, 1, 2, 2)
    maps[1] = 100.0
    stored = blocks.encode(maps, 1)
    assert stored.shape == (3, 4, 1, 1)
    found = blocks.decode(stored, 1, 2)
    assert (found[1] == 63.5).all() and (found[[0, 2]] == 0).all()
    assert ((found - maps).abs() <= blocks.error(maps.double(), 1)).all()
    assert blocks.count_clipped(stored).tolist() == [0, 1, 0]


def test_a_map_is_never_full_of_the_fill_value():
    blocks = Blocks(torch.ones(4, 1), torch.full((4, 1), 8.0))
    for channels in (1, 2):
        stored = blocks.encode(torch.full((1, 1, 2, 2), -1e6), channels)
        assert (stored != NUMBERS["q1.5"].fill).any()


def test_an_error_is_at_most_the_share_of_a_step_that_is_stated():
    maps = smooth(4, 6, (16, 16))
    step = torch.full((4, 6), 0.5)
    blocks = Blocks(step, torch.full((4, 6), 8.0))
    coefficients = in_blocks(cells_in_blocks(maps).astype(np.float64))
    found = in_blocks(
        cells_in_blocks(blocks.decode(blocks.encode(maps, 6), 6, 16)).astype(np.float64)
    )
    largest = np.abs(found - coefficients).max()
    assert 0.9 * HALF * 0.5 < largest <= HALF * 0.5 * 1.0001
    assert (np.abs(found) >= HALF * 0.5).any() and (found == 0).mean() > 0.1


def test_what_passes_in_a_graph_is_what_is_stored():
    maps = smooth(3, 6, (7, 9))
    for name in RATES:
        codec = codec_of(name, smooth(4, 6, (16, 16)))
        through = codec.decode(codec.encode(maps), 9)
        torch.testing.assert_close(codec.passed(maps), through, rtol=0, atol=1e-4)


def test_a_coarser_step_takes_fewer_bits_and_the_levels_count_by_their_values():
    rng = np.random.default_rng(0)
    levels = {
        "fine": rng.standard_normal((300, 4, 3)),
        "wide": rng.standard_normal((300, 4, 3)) * 9,
    }
    steps = [common_step(rate, levels, {"fine": 1, "wide": 1}) for rate in (3, 2, 1)]
    assert steps == sorted(steps) and len(set(steps)) == 3
    assert common_step(2, levels, {"fine": 9, "wide": 1}) < steps[1]


def test_components_that_stay_zero_are_dropped_and_large_ones_get_more_bits():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 4, 5)) * [2000, 3, 0.5, 0.3, 0.01]
    step, bits = quantisers(1.0, values)
    assert bits.shape == (4, 4) and (bits[:, 0] == 8).all()
    assert (np.diff(bits.min(axis=0)) <= 0).all() and bits[:, 3].max() < 4
    assert (step[:, 1:] == 1).all() and (step[:, 0] * 254 > 7 * 2000).all()
    silent_step, silent = quantisers(1.0, np.zeros((10, 4, 5)))
    assert silent.shape == (4, 1) and silent.max() == 1 and (silent_step > 0).all()


@pytest.mark.parametrize("name", RATES)
def test_the_bits_a_value_are_about_those_of_the_name(name):
    from fdet.cache.format.chunks import compress

    maps = smooth(6, 24, (48, 48))
    codec = codec_of(name, maps)
    other = smooth(2, 24, (48, 48), seed=1)
    taken = sum(8 * len(compress(x).data) for x in codec.encode(other).numpy())
    assert 0.75 < taken / other.numel() / NUMBERS[name].rate < 1.1
