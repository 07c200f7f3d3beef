"""Norms against torch's own and against formulas; over processes against one with the whole batch."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fdet.heads.norms import FrozenBatchNorm, SyncBatchNorm, activation_layer, norm_layer

from . import synchronised

NAMES = ["gn", "gn32", "ln", "bn", "sync-bn", "frozen-bn"]


def made(name: str, channels: int = 4) -> nn.Module:
    norm = norm_layer(name)(channels)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        norm.bias.copy_(torch.randn(channels, generator=generator))
    return norm


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 7


def test_none_is_none():
    assert norm_layer("none") is None
    assert activation_layer("none") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_is_its_formula(name):
    norm, x = made(name, 64), values(3, 64, 5, 7)
    array = x.double().numpy()
    axes = {"gn": (2, 3, 4), "gn32": (2, 3, 4), "ln": (1,), "bn": (0, 2, 3), "sync-bn": (0, 2, 3)}
    if name == "frozen-bn":
        expected = array / np.sqrt(1 + norm.eps)
    else:
        groups = {"gn": (8, 8), "gn32": (32, 2)}
        grouped = array.reshape(3, *groups[name], 5, 7) if name in groups else array
        mean = grouped.mean(axes[name], keepdims=True)
        spread = np.sqrt(grouped.var(axes[name], keepdims=True) + norm.eps)
        expected = ((grouped - mean) / spread).reshape(array.shape)
    weight, bias = (p.detach().numpy()[:, None, None] for p in (norm.weight, norm.bias))
    np.testing.assert_allclose(
        norm(x).detach().numpy(), expected * weight + bias, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["bn", "sync-bn"])
def test_alone_they_are_torchs_bit_for_bit_in_training_and_in_evaluation(name):
    ours, theirs = made(name), nn.BatchNorm2d(4)
    theirs.load_state_dict(ours.state_dict())
    for k in range(3):
        x = values(2, 4, 3, 5, seed=k)
        assert torch.equal(ours(x), theirs(x))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert not torch.equal(ours.running_mean, torch.zeros(4))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    assert torch.equal(ours(x[:1]), theirs(x)[:1])


@pytest.mark.parametrize("name", ["bn", "sync-bn"])
def test_a_single_value_is_its_own_mean_and_moves_no_statistics(name):
    norm, x = made(name), values(1, 4, 1, 1).requires_grad_()
    before = {n: v.clone() for n, v in norm.state_dict().items()}
    out = norm(x)
    assert torch.equal(out.flatten(), norm.bias)
    out.sum().backward()
    assert torch.equal(norm.bias.grad, torch.ones(4))
    assert not x.grad.any()
    assert all(torch.equal(v, norm.state_dict()[n]) for n, v in before.items())
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.bfloat16()).dtype == torch.bfloat16


def test_frozen_statistics_never_move_and_the_affine_part_is_trained():
    norm = made("frozen-bn")
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(9.0)
    before = {n: v.clone() for n, v in norm.named_buffers()}
    x = values(2, 4, 3, 3)
    outs = [norm.train(mode)(x) for mode in (True, False)]
    assert torch.equal(*outs)
    scaled = (x - 2) / 3 * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(outs[0], scaled, rtol=1e-4, atol=1e-4)
    outs[0].square().sum().backward()
    assert norm.weight.grad.all()
    assert norm.bias.grad.all()
    assert all(torch.equal(v, dict(norm.named_buffers())[n]) for n, v in before.items())


def test_each_kind_is_of_torchs_class_and_keeps_its_names():
    expected = set(nn.BatchNorm2d(2).state_dict())
    for kind in (SyncBatchNorm, FrozenBatchNorm):
        assert set(kind(2).state_dict()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_norm_gives_the_type_that_it_is_given(name):
    x = values(2, 4, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = made(name)(x)
    expected = made(name)(x.float())
    # torch computes "ln" and "gn" in float32 under autocast, and may keep it.
    assert out.dtype == torch.bfloat16 or name in ("ln", "gn", "gn32")
    torch.testing.assert_close(out.float(), expected, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [("relu", -2.0, 0.0), ("leaky", -2.0, -0.2), ("silu", -2.0, -0.2384), ("gelu", -2.0, -0.0455)],
)
def test_activations(name, at, expected):
    assert activation_layer(name)()(torch.tensor(at)).item() == pytest.approx(expected, abs=1e-4)
    assert activation_layer(name)()(torch.tensor(3.0)).item() == pytest.approx(3, rel=0.05)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What two processes of gloo found, for each case."""
    folder = tmp_path_factory.mktemp("synchronised")
    command = [sys.executable, synchronised.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", synchronised.CASES)
def test_two_processes_are_one_with_the_whole_batch(case, pair):
    found = [of_rank[case] for of_rank in pair]
    expected = synchronised.work(case, slice(None))
    split = synchronised.CASES[case].split
    together = {n: torch.cat([f[n] for f in found]) for n in ("out", "gradient of x")}
    assert [len(f["out"]) for f in found] == [split, len(expected["out"]) - split]
    for name in found[0]:
        if name in together:
            value = together[name]
        elif name.startswith("gradient"):
            # What a process's own loss and its part of the others' gives; the run sums these.
            value = found[0][name] + found[1][name]
        else:
            assert torch.equal(found[0][name], found[1][name]), name
            value = found[0][name]
        tolerance = 0.02 if case == "bfloat16" else 2e-5
        scale = expected[name].float().abs().max()
        assert (value.float() - expected[name].float()).abs().max() <= tolerance * scale, name
    # It could not be so if each had looked at its own values alone.
    alone = synchronised.work(case, slice(0, max(split, 1)))
    assert (alone["out"] - expected["out"][: max(split, 1)]).abs().max() > 0.1


@pytest.mark.parametrize("recompute", [False, True])
def test_a_process_that_only_accompanies_changes_nothing(recompute, pair):
    first, second = (of_rank[f"step {recompute}"] for of_rank in pair)
    together = [sorted(a + b) for a, b in zip(*synchronised.STEPS[recompute], strict=True)]
    expected = synchronised.of_detectors(together, recompute)
    assert sorted(expected) == sorted(first | second)
    moved = [n for n in expected if n.endswith("running_mean")]
    assert len(moved) > 5
    for name, value in expected.items():
        if name.startswith("gradient"):
            found = sum(of[name] for of in (first, second) if name in of)
            assert (found - value).abs().max() <= 1e-4 * value.abs().max() + 1e-6, name
        else:
            torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
            assert torch.equal(first[name], second[name])


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(1, 1), (2, 1), (16, 8), (17, 1), (32, 16), (64, 32), (96, 32), (256, 32)],
)
def test_no_channel_is_a_group_by_itself(channels, groups):
    assert norm_layer("gn32")(channels).num_groups == groups


@pytest.mark.parametrize("channels", [64, 96, 128, 256, 384])
def test_of_usual_widths_gn32_is_torchs_with_32_groups(channels):
    norm, x = made("gn32", channels), values(2, channels, 3, 2)
    theirs = nn.GroupNorm(32, channels)
    theirs.load_state_dict(norm.state_dict())
    assert torch.equal(norm(x), theirs(x))
    assert torch.equal(made("gn", channels)(x), theirs(x)) == (channels >= 256)


def test_statistics_of_a_map_of_six_places_are_over_48_values_where_there_are_as_many():
    for channels in range(1, 300):
        groups = norm_layer("gn")(channels).num_groups
        assert 6 * channels // groups >= min(48, 6 * channels)
        # More groups would have less, or could not be.
        assert not [n for n in range(groups + 1, 33) if channels % n == 0 and channels // n >= 8]


def test_an_outlier_moves_no_group_but_its_own():
    norm, x = made("gn", 64), values(1, 64, 2, 3)
    outlier = x.clone()
    outlier[0, 9, 1, 1] += 100
    differ = (norm(x) != norm(outlier)).flatten(2).any(dim=2)[0]
    assert differ.nonzero().flatten().tolist() == list(range(8, 16))
