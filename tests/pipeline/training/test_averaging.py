"""The average against its literal formula; and that the weights in training know nothing of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs.loading import load_run
from fdet.pipeline.runs.model import Model
from fdet.pipeline.training.averaging import MovingAverage
from fdet.pipeline.training.train import train

from .runs import assert_same, lines, options, part, tensors, tiny


class Small(nn.Module):
    """With floats that are trained, floats that are not, and a count."""

    refiner = None

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model(Small())


def moved(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for value in model.tensors().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
        else:
            value += 1


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_it_is_the_literal_formula(decay, model):
    average = MovingAverage(model, decay, {})
    expected = {n: v.clone().double() for n, v in model.tensors().items()}
    for step in range(40):
        moved(model, step)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        for name, value in model.tensors().items():
            expected[name] = d * expected[name] + (1 - d) * value.double()
    for name, value in average.tensors.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5)
    assert average.tensors["norm.num_batches_tracked"] == 40


def test_it_goes_on_from_what_it_was(model):
    whole = MovingAverage(model, 0.9, {})
    for step in range(6):
        moved(model, step)
        whole.update(step)
        if step == 2:
            torn = MovingAverage(model, 0.9, {n: v.clone() for n, v in whole.tensors.items()})
        elif step > 2:
            torn.update(step)
    assert_same(whole.tensors, torn.tensors)


def test_it_is_in_the_model_within_the_block_alone_whatever_happens_there(model):
    average = MovingAverage(model, 0.9, {})
    moved(model, 1)
    average.update(0)
    own = {n: v.clone() for n, v in model.tensors().items()}
    kept = {n: v.clone() for n, v in average.tensors.items()}

    def failing():
        with average.applied():
            assert_same(model.tensors(), kept)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert_same(model.tensors(), own)
    average.update(1)
    assert not torch.equal(average.tensors["linear.weight"], kept["linear.weight"])


@pytest.fixture(scope="module")
def runs(exact_cache, tmp_path_factory):
    """Once with an average, and once without."""
    folder = tmp_path_factory.mktemp("averages")
    for name, decay in (("with", 0.9), ("without", 0)):
        config = tiny("retinanet", f"train.average={decay}", "optim.lr=0.005")
        train(config, options(exact_cache, folder / name, val=exact_cache))
    return folder


def test_the_weights_in_training_are_those_of_a_run_without(runs):
    with_, without = (part(tensors(runs / n), "model.") for n in ("with", "without"))
    assert_same(with_, without)


def test_the_average_is_what_is_evaluated_and_kept(runs):
    state = tensors(runs / "with")
    average, model = part(state, "average."), part(state, "model.")
    assert average.keys() == model.keys()
    assert any(not torch.equal(average[n], model[n]) for n in model)
    assert not part(tensors(runs / "without"), "average.")
    _, detector = load_run(runs / "with", "last")
    assert_same(detector.state_dict(), average)
    best = tensors(runs / "with", "best")
    assert best.keys() == average.keys()
    assert any(not torch.equal(best[n], model[n]) for n in model)


def test_the_last_evaluation_is_that_of_the_average(runs, exact_cache):
    last = lines(runs / "with", "eval")[-1]["metrics"]
    metrics, _ = evaluate_run(runs / "with", exact_cache, EvaluateOptions(checkpoint="last"))
    found = replace(metrics, errors=None, scores=None, duplicates=None)
    assert found.to_json() == last


def test_without_validation_the_average_is_kept_too(exact_cache, tmp_path):
    config = tiny("retinanet", "train.average=0.9", "train.epochs=1")
    train(config, options(exact_cache, tmp_path / "run"))
    average = part(tensors(tmp_path / "run"), "average.")
    assert_same(tensors(tmp_path / "run", "best"), average)


def test_of_a_finetuned_backbone_too(live_cache, images, tmp_path):
    config = tiny("retinanet", "train.average=0.9", "train.epochs=1", "backbone.train_from=c5")
    train(config, options(live_cache, tmp_path / "run", source="finetune", images=images))
    state = tensors(tmp_path / "run")
    average, model = part(state, "average."), part(state, "model.")
    assert any(n.startswith("backbone.") and not torch.equal(average[n], model[n]) for n in model)
    assert_same(tensors(tmp_path / "run", "best"), average)
