"""Float maps to stored arrays and back: how near, what is refused, which bytes."""

import numpy as np
import pytest
import torch

from fdet.cache.codecs.calibration import LevelParameters, calibrate
from fdet.cache.codecs.codec import (
    Codec,
    LevelCodec,
    codec_files,
    codec_of,
    make_codec,
    plain_codec,
)
from fdet.cache.codecs.form import NUMBERS, get_form, parse_form
from fdet.cache.errors import FeatureError, InputError
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec

from ..handmade import CODECS, LEVELS, drawn, learnt, make_cache, make_header

codecs = pytest.mark.parametrize("name", CODECS)
plain = pytest.mark.parametrize("name", [n for n, x in NUMBERS.items() if x.rate is None])
floats = pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
INTEGERS = [name for name, numbers in NUMBERS.items() if numbers.step is not None]
integers = pytest.mark.parametrize("name", INTEGERS)
nibbles = pytest.mark.parametrize("name", [n for n in INTEGERS if NUMBERS[n].nibbles])


def features(images: int = 3, channels: int = 6, hw=(8, 9), seed: int = 0) -> torch.Tensor:
    """Maps whose channels go together, of means and deviations of their own."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.Generator().manual_seed(99)
    x = torch.randn(images, channels, *hw, generator=generator)
    mixed = torch.einsum("dc,bchw->bdhw", torch.randn(channels, channels, generator=mixing), x)
    return mixed + torch.linspace(-4, 4, channels)[:, None, None]


def cells(maps: torch.Tensor) -> np.ndarray:
    return maps.movedim(1, -1).flatten(0, 2).numpy()


def codec_for(name: str, maps: torch.Tensor) -> LevelCodec:
    """Calibrated on these very maps."""
    form = parse_form(name)
    spec = PyramidSpec((LevelSpec("p3", 8, maps.shape[1]),))
    return make_codec(form, spec, calibrate(form, {"p3": cells(maps)})).levels[0]


def through(codec: LevelCodec, maps: torch.Tensor) -> torch.Tensor:
    return codec.decode(codec.encode(maps), maps.shape[-1])


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()


@codecs
@pytest.mark.parametrize("hw", [(8, 9), (1, 1), (3, 4), (2, 1)])
@pytest.mark.parametrize("images", [0, 1, 3])
def test_types_and_shapes_are_those_of_the_form(name, hw, images):
    form, codec = parse_form(name), codec_for(name, features())
    maps = features(hw=hw)[:images]
    stored = codec.encode(maps)
    assert stored.numpy().dtype == form.dtype
    assert stored.shape == (images, *form.shape((6, *hw)))
    decoded = codec.decode(stored, hw[1])
    assert decoded.dtype == torch.float32 and decoded.shape == maps.shape
    assert codec.bound(maps).shape == maps.shape


@codecs
@pytest.mark.parametrize("scale", [1, 1e-3, 1e3])
def test_the_bound_holds_for_every_value_and_is_not_far_too_careful(name, scale):
    maps = features(8) * scale
    codec = codec_for(name, maps)
    error = (through(codec, maps).double() - maps.double()).abs()
    bound = codec.bound(maps)
    assert bound.dtype == torch.float64
    assert (error <= bound).all()
    if name != "fp32":
        # Components' errors add up in the bound, and cancel in what is found.
        assert (error / bound).max() > (0.02 if name == "fp32+pca" else 0.3)


@codecs
def test_the_bound_holds_for_maps_that_it_was_not_calibrated_on(name):
    codec = codec_for(name, features())
    for maps in (features(seed=1) * 3, features(seed=2) + 100, features(seed=3) * 1e-6):
        error = (through(codec, maps).double() - maps.double()).abs()
        assert (error <= codec.bound(maps)).all()


@codecs
def test_the_bound_holds_where_the_mean_is_huge(name):
    maps = features() + 3e4
    codec = codec_for(name, maps)
    error = (through(codec, maps).double() - maps.double()).abs()
    assert (error <= codec.bound(maps)).all()


@codecs
def test_the_bound_holds_where_channels_are_dead_constant_or_copies(name):
    maps = features()
    maps[:, 1], maps[:, 2], maps[:, 3], maps[:, 4] = 0, 7, maps[:, 0], -maps[:, 0]
    codec = codec_for(name, maps)
    for x in (maps, features(seed=1)):
        error = (through(codec, x).double() - x.double()).abs()
        assert (error <= codec.bound(x)).all()


@codecs
def test_the_bound_holds_where_there_were_fewer_cells_than_channels(name):
    codec = codec_for(name, features(1, 40, (2, 3)))
    maps = features(2, 40)
    error = (through(codec, maps).double() - maps.double()).abs()
    assert (error <= codec.bound(maps)).all()


@integers
def test_a_value_within_the_window_is_off_by_half_a_step_at_most(name):
    maps = features()
    codec = codec_for(name, maps)
    half = codec.arrays["step"][:, None, None] / 2
    error = (through(codec, maps) - maps).abs()
    assert (error <= half * 1.0001).all() and error.max() > half.max() / 2


def test_fp32_is_bitwise_even_for_subnormal_and_negative_zero():
    x = torch.tensor([1e-45, -0.0, 0.0, 3.4e38, -1 / 3]).reshape(1, 1, 1, 5)
    assert same_bits(through(codec_for("fp32", x), x), x)
    assert (codec_for("fp32", x).bound(x) == 0).all()


@floats
def test_floats_come_back_within_the_bound_over_their_whole_range(name):
    kind = torch.finfo({"fp32": torch.float32, "fp16": torch.float16}.get(name, torch.bfloat16))
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(kind.tiny).log2(), torch.tensor(kind.max).log2()
    exponents = torch.rand(2, 3, 32, 32, generator=generator) * (high - low) * 0.999 + low
    signs = torch.randint(2, exponents.shape, generator=generator) * 2 - 1
    subnormal = torch.linspace(-1, 1, 999).reshape(1, 3, 9, 37) * kind.tiny
    for x in (signs * 2**exponents, subnormal):
        codec = codec_for(name, x)
        error, bound = (through(codec, x).double() - x.double()).abs(), codec.bound(x)
        assert (error <= bound).all()
        assert name == "fp32" or (error / bound).max() > 0.9


def test_bf16_is_torchs():
    x = features()
    stored = codec_for("bf16", x).encode(x)
    assert stored.dtype == torch.int16
    assert torch.equal(stored.view(torch.bfloat16), x.to(torch.bfloat16))


@plain
def test_zero_stays_exactly_zero(name):
    maps = features() * 3
    maps[0, :, 2:4] = 0
    for x in (maps, maps.relu(), torch.zeros_like(maps)):
        found = through(codec_for(name, x), x)
        assert (found[x == 0] == 0).all()


@codecs
def test_a_level_of_zeros_comes_back_as_zeros(name):
    x = torch.zeros(2, 5, 3, 3)
    assert (through(codec_for(name, x), x).abs() <= codec_for(name, x).bound(x)).all()
    assert (codec_for(name, x).bound(x) <= 1).all()


@codecs
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("index", [0, 2])
def test_nan_and_infinity_are_refused_with_the_sample(name, bad, index):
    codec, x = codec_for(name, features()), features(4)
    x[index, 1, 2, 0] = x[3, 0, 0, 0] = bad
    with pytest.raises(FeatureError, match="1 value is NaN or infinite") as caught:
        codec.encode(x)
    assert caught.value.index == index


@codecs
def test_a_refusal_names_the_level(name):
    form = parse_form(name)
    codec = codec_from_files(name)
    x = [torch.ones(3, level.channels, *level.shape((32, 32))[1:]) for level in LEVELS.levels]
    x[1][2, 0, 0, 0] = float("nan")
    assert codec.form == form
    with pytest.raises(FeatureError, match=r"^level p4: 1 value is") as caught:
        codec.encode(FeaturePyramid(LEVELS, tuple(x), (32, 32)))
    assert caught.value.index == 2


def test_what_only_the_projection_makes_infinite_is_refused():
    codec = codec_for("int8+pca", features())
    x = features()
    x[1, 0, 0, 0], x[1, 1, 0, 0] = 3e38, -3e38
    codec.arrays["deviation"] /= 1e6
    with pytest.raises(FeatureError) as caught:
        codec.encode(x)
    assert caught.value.index == 1


def test_fp16_refuses_overflow_and_tells_the_way_out():
    x = torch.ones(3, 1, 2, 2)
    x[1, 0, 0, 1] = -70000.0
    with pytest.raises(
        FeatureError, match=r"7e\+04.*fp16 ends at 6\.55e\+04.*--codec bf16 or fp32"
    ) as caught:
        codec_for("fp16", x).encode(x)
    assert caught.value.index == 1


def test_fp16_keeps_its_largest_value():
    x = torch.full((1, 1, 1, 1), 65504.0)
    assert through(codec_for("fp16", x), x).item() == 65504.0


@pytest.mark.parametrize("name", [n for n in CODECS if n.partition("+")[0] in INTEGERS])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_beyond_the_window_takes_the_last_code_and_the_bound_says_by_how_much(name, sign):
    codec, x = codec_for(name, features()), features()
    x[:, 2, 1, 1] += sign * 1e4
    error = (through(codec, x).double() - x.double()).abs()
    bound = codec.bound(x)
    assert (error <= bound).all()
    assert error[:, 2, 1, 1].min() > 1000
    assert (bound[:, 2, 1, 1] < 1.5 * error[:, 2, 1, 1] + 1).all() or "+" in name
    if "+" not in name:
        code = unpacked(codec, codec.encode(x), 9)[:, 2, 1, 1]
        assert (code == (codec.numbers.codes - 1 if sign == 1 else 0)).all()


def unpacked(codec: LevelCodec, stored: torch.Tensor, columns: int) -> np.ndarray:
    """The codes of a stored map, value by value, as the document puts it."""
    if not codec.numbers.nibbles:
        return stored.numpy()
    images, both, rows, _ = stored.shape
    kept = both // 2
    codes = np.zeros((images, kept, rows, columns), np.uint8)
    for b, k, i, j in np.ndindex(codes.shape):
        low, high = int(stored[b, k, i, j // 2]), int(stored[b, kept + k, i, j // 2])
        shift = 4 * (j % 2)
        codes[b, k, i, j] = (low >> shift & 15) | (high >> shift & 15) << 4
    return codes


def literal(codec: LevelCodec, maps: torch.Tensor) -> np.ndarray:
    """Codes without torch: numpy's float32 rounds to even, as torch's does."""
    step, shift = (codec.arrays[n].numpy()[:, None, None] for n in ("step", "shift"))
    codes = np.rint(maps.numpy() / step) - shift
    return codes.clip(0, codec.numbers.codes - 1).astype(np.uint8)


@integers
@pytest.mark.parametrize("columns", [1, 2, 7, 8])
def test_codes_are_those_of_a_literal_program(name, columns):
    maps = features(2, hw=(3, columns)) * 3
    codec = codec_for(name, features())
    stored = codec.encode(maps)
    np.testing.assert_array_equal(unpacked(codec, stored, columns), literal(codec, maps))


@integers
@pytest.mark.parametrize("columns", [4, 7])
def test_numbers_at_the_ends_are_counted(name, columns):
    codec, maps = codec_for(name, features()), features(3, hw=(3, columns))
    maps[0, 2, 1, :3] = 1e6
    maps[2, 5, 0, columns - 1] = -1e6
    stored = codec.encode(maps)
    assert codec.count_clipped(stored, columns).tolist() == [3, 0, 1]


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16", "fp16+pca"])
def test_where_numbers_are_kept_none_is_at_an_end(name):
    codec, maps = codec_for(name, features()), torch.zeros_like(features())
    assert codec.count_clipped(codec.encode(maps), maps.shape[-1]).tolist() == [0] * len(maps)


@nibbles
def test_every_code_survives_the_packing(name):
    codes = NUMBERS[name].codes
    arrays = {"step": np.ones(1, np.float32), "shift": np.zeros(1, np.float32)}
    spec = PyramidSpec((LevelSpec("p3", 8, 1),))
    codec = make_codec(parse_form(name), spec, {"p3": LevelParameters(arrays)}).levels[0]
    for order in (torch.arange(codes), torch.arange(codes).flip(0), torch.arange(codes).roll(17)):
        maps = order.float().reshape(1, 1, 1, codes)
        assert torch.equal(through(codec, maps), maps)
        odd = maps[..., :-1]
        assert torch.equal(through(codec, odd), odd)


@nibbles
def test_the_fill_value_is_never_among_the_upper_halves(name):
    codec = codec_for(name, features())
    for maps in (features() * 1e6, -features() * 1e6, torch.full_like(features(), 1e9)):
        upper = codec.encode(maps)[:, maps.shape[1] :]
        assert upper.max() == 0xEE < NUMBERS[name].fill or (maps < 0).any()
        assert (upper != NUMBERS[name].fill).all()
        assert (upper & 15 < 15).all() and (upper >> 4 < 15).all()


@pytest.mark.parametrize("name", [n for n in INTEGERS if not NUMBERS[n].nibbles])
def test_the_fill_value_is_no_code(name):
    codec = codec_for(name, features())
    assert codec.encode(torch.full_like(features(), 1e9)).max() == 254 < NUMBERS[name].fill


@codecs
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_map_does_not_depend_on_its_neighbours(name, layout):
    maps = features(7, 33, (5, 7)).contiguous(memory_format=layout)
    codec = codec_for(name, maps)
    together = codec.encode(maps)
    decoded = codec.decode(together, 7)
    for k in range(7):
        alone = codec.encode(maps[k : k + 1])
        assert same_bits(alone[0], together[k])
        assert same_bits(codec.decode(alone, 7)[0], decoded[k])
    some = codec.encode(maps[[5, 1, 5]])
    assert same_bits(some, together[[5, 1, 5]])


@codecs
def test_a_map_does_not_depend_on_how_it_lies_in_memory(name):
    maps = features(2, 33, (5, 7))
    codec = codec_for(name, maps)
    other = maps.contiguous(memory_format=torch.channels_last)
    assert same_bits(codec.encode(maps), codec.encode(other))


@codecs
def test_autocast_changes_nothing(name):
    maps = features(2, 33)
    codec = codec_for(name, maps)
    stored = codec.encode(maps)
    decoded = codec.decode(stored, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert same_bits(codec.encode(maps), stored)
        assert same_bits(codec.decode(stored, 9), decoded)


@codecs
def test_half_precision_features_are_taken(name):
    maps = features().to(torch.bfloat16)
    codec = codec_for(name, maps.float())
    assert same_bits(codec.encode(maps), codec.encode(maps.float()))


def test_components_are_the_ones_of_the_literal_formula():
    maps = features()
    codec = codec_for("fp32+pca3", maps)
    mean, deviation, basis = (codec.arrays[n].double() for n in ("mean", "deviation", "basis"))
    normal = (maps.double().movedim(1, -1) - mean) / deviation
    stored = (normal @ basis).movedim(-1, 1)
    torch.testing.assert_close(codec.encode(maps).double(), stored, rtol=0, atol=1e-5)
    restored = mean + deviation * (stored.movedim(1, -1) @ basis.T)
    decoded = codec.decode(stored.float(), 9).double()
    torch.testing.assert_close(decoded, restored.movedim(-1, 1), rtol=0, atol=1e-5)


def test_all_components_lose_nothing_and_each_one_less_loses_more():
    maps = features()
    lost = [
        float((through(codec_for(f"fp32+pca{k}", maps), maps) - maps).square().mean())
        for k in range(1, 7)
    ]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < 1e-10 < lost[-2]
    assert same_bits(
        through(codec_for("fp32+pca", maps), maps), through(codec_for("fp32+pca6", maps), maps)
    )


def codec_from_files(name: str) -> Codec:
    form = parse_form(name)
    rng = np.random.default_rng(0)
    cells = {v.name: rng.standard_normal((50, v.channels)).astype("f4") for v in LEVELS.levels}
    return make_codec(form, LEVELS, calibrate(form, cells))


@codecs
def test_a_codec_is_read_from_its_cache(name, tmp_path):
    cache = make_cache(tmp_path / "a.fdet", make_header(name))
    found = codec_of(cache.root, cache.header.key)
    assert (found.name, found.spec) == (name, LEVELS)
    assert codec_files(cache.root, cache.header.key) == learnt(name)
    for level in found.levels:
        for array, x in level.arrays.items():
            stored = np.load(cache.root / "codec" / level.name / f"{array}.npy")
            assert same_bits(x, torch.from_numpy(stored))


@codecs
def test_a_pyramid_is_coded_level_by_level(name):
    codec = codec_from_files(name)
    rng = np.random.default_rng(1)
    maps = tuple(
        torch.from_numpy(drawn("float32", (2, *level.shape((32, 40))), rng))
        for level in LEVELS.levels
    )
    stored = codec.encode(FeaturePyramid(LEVELS, maps, (32, 40)))
    found = codec.decode(stored, (32, 40))
    assert (found.spec, found.canvas_hw) == (LEVELS, (32, 40))
    columns = zip(codec.levels, maps, stored, found.maps, strict=True)
    for level, x, kept, decoded in columns:
        assert same_bits(level.encode(x), kept)
        assert same_bits(level.decode(kept, x.shape[-1]), decoded)


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("fp32", "fp32 keeps every bit"),
        ("fp16", "fp16 keeps a value within 0.00049 of itself"),
        ("bf16", "bf16 keeps a value within 0.0039 of itself"),
        ("int8", "int8 keeps a value within 0.03125 of a channel's standard deviations"),
        ("fp16+pca", "fp16+pca keeps a principal component within 0.00049 of itself"),
        (
            "fp32+pca3",
            "fp32+pca3 keeps every bit of a principal component, of the first 3",
        ),
        ("q1", "q1 keeps a coefficient within 0.65 of its step, where it varies enough"),
    ],
)
def test_what_a_codec_promises(name, promise):
    assert codec_from_files(name).promise == promise


def test_a_codec_that_needs_a_calibration_is_no_plain_one():
    assert plain_codec("bf16", LEVELS).name == "bf16"
    for name in ("int8", "fp32+pca", "q1.5"):
        with pytest.raises(InputError, match="needs the calibration of a cache"):
            plain_codec(name, LEVELS)
    with pytest.raises(InputError, match=r"'fp61'; did you mean 'fp16'\?"):
        get_form("fp61")
