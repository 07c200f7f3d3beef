"""A state that was saved and loaded goes on as if nothing had been."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from fdet.cache.errors import CorruptCache, InputError
from fdet.pipeline.runs.checkpoint import load_state, load_weights, save_state, save_weights
from fdet.pipeline.runs.config import OptimSettings
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import Position, read_position
from fdet.pipeline.training.optimiser import make_optimiser

from ...cache.handmade import make_key
from .test_model import CONFIG, model_of

INFO = RunInfo(make_key(), (1,), ("a",), CONFIG, 0, {"source": "cached"}, ("f",))
RUN = INFO.digest
ALL = Position(7, 0.25, 2, 1, True, False, 2.0**16, 5)


def trained(seed=0, with_backbone=False, steps=2, **optim):
    model = model_of(seed, with_backbone)
    optimiser = make_optimiser(model, OptimSettings(**optim))
    advance(model, optimiser, steps)
    return model, optimiser


def advance(model, optimiser, steps):
    for k in range(steps):
        for p in model.parameters():
            p.grad = torch.cos(p.detach() * 100 + k) if p.requires_grad else None
        optimiser.step()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[n]) for n, v in a.items())


@pytest.mark.parametrize("optim", [{}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.0}])
@pytest.mark.parametrize("with_backbone", [False, True])
def test_what_is_loaded_takes_the_same_next_steps(with_backbone, optim, tmp_path):
    model, optimiser = trained(0, with_backbone, **optim)
    save_state(tmp_path / "s", model, optimiser, ALL, RUN)
    other, its = trained(1, with_backbone, steps=1, **optim)
    assert load_state(tmp_path / "s", other, its, INFO) == (ALL, {})
    for one, of_it in ((model, optimiser), (other, its)):
        advance(one, of_it, 3)
    assert equal(model.tensors(), other.tensors())


def test_in_channels_last_too(tmp_path):
    model, optimiser = trained(0)
    model.to(memory_format=torch.channels_last)
    save_state(tmp_path / "s", model, optimiser, ALL, RUN)
    other, its = trained(1)
    other.to(memory_format=torch.channels_last)
    load_state(tmp_path / "s", other, its, INFO)
    conv = next(p for p in other.parameters() if p.ndim == 4 and p.shape[-1] == 3)
    assert conv.is_contiguous(memory_format=torch.channels_last)
    for one, of_it in ((model, optimiser), (other, its)):
        advance(one, of_it, 3)
    assert equal(model.tensors(), other.tensors())


def test_a_state_without_any_step(tmp_path):
    model, optimiser = trained(steps=0)
    save_state(tmp_path / "s", model, optimiser, Position(), RUN)
    assert load_state(tmp_path / "s", *trained(1, steps=0), INFO) == (Position(), {})


def test_an_average_comes_back_by_the_side_of_the_weights(tmp_path):
    model, optimiser = trained()
    average = {n: v * 0.5 for n, v in model.tensors().items()}
    save_state(tmp_path / "s", model, optimiser, ALL, RUN, average)
    other, its = trained(1)
    _, found = load_state(tmp_path / "s", other, its, INFO)
    assert equal(found, average)
    assert equal(other.tensors(), model.tensors())


def test_of_a_state_the_average_are_the_weights_to_use(tmp_path):
    model, optimiser = trained()
    average = {n: v * 0.5 for n, v in model.tensors().items()}
    for given, expected in ((None, model.tensors()), (average, average)):
        save_state(tmp_path / "s", model, optimiser, ALL, RUN, given)
        other = model_of(1)
        assert load_weights(tmp_path / "s", other, INFO)["step"] == 7
        assert equal(other.tensors(), expected)


@pytest.mark.parametrize("with_backbone", [False, True])
def test_weights_alone_say_what_they_are(with_backbone, tmp_path):
    model = model_of(0, with_backbone)
    save_weights(tmp_path / "w", model.tensors(), {"epoch": 3, "ap": 0.5}, RUN)
    other = model_of(1, with_backbone)
    assert load_weights(tmp_path / "w", other, INFO) == {"epoch": 3, "ap": 0.5}
    assert equal(other.tensors(), model.tensors())


def test_a_file_that_is_not_there_is_the_users_business(tmp_path):
    with pytest.raises(InputError, match="has the run finished an epoch"):
        load_weights(tmp_path / "none", model_of(), INFO)


def test_where_the_best_weights_are_lost_the_last_ones_are_offered(tmp_path):
    save_state(tmp_path / "last.safetensors", *trained(), ALL, RUN)
    with pytest.raises(
        InputError, match=r"best\.safetensors: no such file; --checkpoint last takes"
    ):
        load_weights(tmp_path / "best.safetensors", model_of(), INFO)


def test_where_the_last_weights_are_lost_the_best_ones_are_offered(tmp_path):
    save_weights(tmp_path / "best.safetensors", model_of().tensors(), {}, RUN)
    with pytest.raises(
        InputError, match=r"last\.safetensors: no such file; --checkpoint best takes"
    ):
        load_weights(tmp_path / "last.safetensors", model_of(), INFO)


def test_weights_of_another_model_do_not_fit(tmp_path):
    save_weights(tmp_path / "w", model_of(with_backbone=True).tensors(), {}, RUN)
    with pytest.raises(CorruptCache, match="do not fit"):
        load_weights(tmp_path / "w", model_of(), INFO)


def test_the_same_state_has_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_state(tmp_path / name, *trained(), ALL, RUN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _lacking(tensors):
    return {n: v for n, v in tensors.items() if "exp_avg_sq" not in n}


def _misshapen(tensors):
    return {n: v[None] if n.endswith("exp_avg") else v for n, v in tensors.items()}


def _half_an_average(tensors):
    return {**tensors, "average.neck.x": torch.zeros(1)}


@pytest.mark.parametrize("damage", [_lacking, _misshapen, _half_an_average])
def test_a_state_that_does_not_fit_is_refused(damage, tmp_path):
    model, optimiser = trained()
    save_state(tmp_path / "s", model, optimiser, ALL, RUN)
    save_weights(tmp_path / "s", damage(load_file(tmp_path / "s")), asdict(ALL), RUN)
    with pytest.raises(CorruptCache, match="does not fit the run's configuration"):
        load_state(tmp_path / "s", *trained(1), INFO)


@pytest.mark.parametrize(
    "about",
    [
        {"step": -1},
        {"step": 1, "best_ap": 2.0},
        {"step": 1, "loss_scale": -1.0},
        {"step": 1, "scale_age": -1},
        {"step": 1, "stale": -1},
        {"step": 1, "to_evaluate": 1},
        {"stepp": 1},
    ],
)
def test_a_position_that_cannot_be_is_refused(about, tmp_path):
    model, optimiser = trained()
    save_state(tmp_path / "s", model, optimiser, ALL, RUN)
    save_weights(tmp_path / "s", load_file(tmp_path / "s"), about, RUN)
    with pytest.raises(CorruptCache, match="does not fit the run's configuration"):
        load_state(tmp_path / "s", *trained(1), INFO)
    with pytest.raises(CorruptCache, match="its position is invalid"):
        read_position(tmp_path / "s", INFO)
