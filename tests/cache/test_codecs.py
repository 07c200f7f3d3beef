import pytest
import torch

from fdet.cache.codecs import CODECS, get_codec
from fdet.cache.errors import FeatureError, InputError

codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def normal_values(codec, seed: int = 0) -> torch.Tensor:
    """Values of both signs over the whole normal range of the stored type."""
    kind = torch.finfo(getattr(torch, codec.dtype))
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(kind.tiny).log2(), torch.tensor(kind.max).log2()
    exponents = torch.rand(2, 3, 64, 64, generator=generator) * (high - low) * 0.999 + low
    signs = torch.randint(2, exponents.shape, generator=generator) * 2 - 1
    return signs * 2**exponents


@codecs
def test_names_and_dtypes_agree_with_the_table(codec):
    assert get_codec(codec.name) is codec
    stored = codec.encode(torch.ones(1, 2, 3, 4))
    assert stored.numpy().dtype == codec.dtype


@codecs
def test_normal_values_come_back_within_the_stated_error(codec):
    x = normal_values(codec)
    decoded = codec.decode(codec.encode(x))
    assert decoded.dtype == torch.float32
    error = ((decoded.double() - x.double()).abs() / x.double().abs()).max()
    assert error <= codec.relative_error
    assert error >= codec.relative_error / 2, "the stated error is far too careful"


@codecs
def test_tiny_values_keep_a_tiny_absolute_error(codec):
    kind = torch.finfo(getattr(torch, codec.dtype))
    x = torch.linspace(-1, 1, 999).reshape(1, 1, 27, 37) * kind.tiny
    assert (codec.decode(codec.encode(x)) - x).abs().max() <= kind.smallest_normal * kind.eps


@codecs
def test_the_bound_holds_for_every_value_and_is_not_too_careful(codec):
    tiny = torch.finfo(getattr(torch, codec.dtype)).tiny
    below_normal = tiny * torch.rand(2, 3, 8, 64, generator=torch.Generator().manual_seed(0))
    for x in (normal_values(codec), below_normal):
        error = (codec.decode(codec.encode(x)).double() - x.double()).abs()
        bound = codec.bound(x).double()
        assert bound.shape == x.shape
        assert (error <= bound).all()
        assert error.max() >= bound[error == error.max()].min() / 2


def test_fp32_is_bitwise_even_for_subnormal_and_negative_zero():
    x = torch.tensor([1e-45, -0.0, 0.0, 3.4e38, -1 / 3]).reshape(1, 1, 1, 5)
    back = CODECS["fp32"].decode(CODECS["fp32"].encode(x))
    assert back.numpy().tobytes() == x.numpy().tobytes()


@codecs
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("index", [0, 2])
def test_nan_and_infinity_are_refused_with_the_sample(codec, bad, index):
    x = torch.ones(4, 2, 3, 3)
    x[index, 1, 2, 0] = x[3, 0, 0, 0] = bad
    with pytest.raises(FeatureError, match="1 values are NaN or infinite") as caught:
        codec.encode(x)
    assert caught.value.index == index


def test_fp16_refuses_overflow_and_tells_the_way_out():
    x = torch.ones(3, 1, 2, 2)
    x[1, 0, 0, 1] = -70000.0
    with pytest.raises(
        FeatureError, match=r"7e\+04.*fp16 ends at 6\.55e\+04.*--codec fp32"
    ) as caught:
        CODECS["fp16"].encode(x)
    assert caught.value.index == 1


def test_fp16_keeps_its_largest_value():
    x = torch.full((1, 1, 1, 1), 65504.0)
    assert CODECS["fp16"].decode(CODECS["fp16"].encode(x)).item() == 65504.0


@codecs
def test_an_empty_batch_stays_empty(codec):
    assert codec.encode(torch.zeros(0, 2, 3, 3)).shape == (0, 2, 3, 3)


def test_an_unknown_codec_gets_the_nearest_name():
    with pytest.raises(InputError, match=r"'fp61'; did you mean 'fp16'\?"):
        get_codec("fp61")
