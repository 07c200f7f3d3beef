"""Which parameters get which rate and which decay."""

import pytest
import torch

from fdet.heads.build import build_detector
from fdet.pipeline.backbones.adapted import AdaptedBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.trained import TrainedBackbone
from fdet.pipeline.runs.config import OptimSettings, load_config
from fdet.pipeline.runs.model import Model
from fdet.pipeline.training.optimiser import make_optimiser, set_rate

from .runs import TINY, tiny

FACTORS = {"neck_factor": 0.5, "head_factor": 2.0, "backbone_factor": 0.25, "layer_decay": 0.1}


def model_of(config, backbone=None):
    spec = load_backbone("test_efficientnet", weights="random", levels=("c3", "c4", "c5")).spec
    return Model(build_detector(spec, 3, config.neck, config.head), backbone)


def finetuned(train_from):
    levels = ("c3", "c4", "c5")
    frozen = load_backbone("test_efficientnet", weights="random", levels=levels)
    return TrainedBackbone(frozen, train_from, canvases=[(64, 64)])


def adapted():
    frozen = load_backbone("test_efficientnet", weights="random", levels=("c3", "c4", "c5"))
    settings = {"reduction": 4, "min_width": 8, "seed": 0, "canvases": [(64, 64)]}
    return AdaptedBackbone(frozen, **settings)


def of_parameters(model, optimiser, what):
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: group[what] for group in optimiser.param_groups for p in group["params"]}


@pytest.mark.parametrize("head", TINY)
def test_every_trained_parameter_is_in_one_group(head):
    config = tiny(head)
    model = model_of(config, finetuned("c4"))
    optimiser = make_optimiser(model, config.optim)
    grouped = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_the_factors_reach_their_parts():
    model = model_of(tiny(), finetuned("c3"))
    found = of_parameters(model, make_optimiser(model, OptimSettings(**FACTORS)), "factor")
    stages = model.backbone.stages
    assert len(stages) == 3
    names = {id(p): n for n, p in model.named_parameters()}
    by_depth = {names[id(p)]: k for k, stage in enumerate(stages) for p in stage}
    for name, factor in found.items():
        if name.startswith("detector.neck."):
            assert factor == 0.5
        elif name.startswith("detector.head."):
            assert factor == 2.0
        else:
            assert factor == pytest.approx(0.25 * 0.1 ** (2 - by_depth[name]))
    assert {k for n, k in by_depth.items() if n in found} == {0, 1, 2}


def test_adapters_have_a_factor_of_their_own_and_decay_as_the_rest():
    model = model_of(tiny(), adapted())
    optimiser = make_optimiser(
        model, OptimSettings(**FACTORS, adapter_factor=3.0, weight_decay=0.2)
    )
    names = {n for n, _ in model.named_parameters() if n.startswith("backbone.")}
    factors = of_parameters(model, optimiser, "factor")
    assert names and {factors[n] for n in names} == {3.0}
    decays = of_parameters(model, optimiser, "weight_decay")
    assert all(decays[n] == (0.2 if n.endswith(("up.weight", "down.weight")) else 0) for n in names)


def test_the_rate_is_multiplied_with_the_factors():
    model = model_of(tiny())
    optimiser = make_optimiser(model, OptimSettings(**FACTORS))
    set_rate(optimiser, 0.02)
    assert {group["lr"] for group in optimiser.param_groups} == {0.01, 0.04}


def test_weights_decay_and_biases_and_scales_do_not():
    config = load_config(assignments=["neck.channels=32", "neck.norm=gn", "optim.weight_decay=0.3"])
    model = model_of(config, finetuned(""))
    found = of_parameters(model, make_optimiser(model, config.optim), "weight_decay")
    shapes = {n: p.ndim for n, p in model.named_parameters()}
    assert all(decay == (0.3 if shapes[name] > 1 else 0.0) for name, decay in found.items())
    assert {0.3, 0.0} == set(found.values())


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_a_step_is_torchs_own(name, kind):
    config = tiny("retinanet", f"optim.name={name}", "optim.momentum=0.8")
    model = model_of(config)
    twin = model_of(config)
    twin.load_state_dict(model.state_dict())
    optimiser = make_optimiser(model, config.optim)
    assert type(optimiser) is kind
    decayed = [p for p in twin.parameters() if p.ndim > 1]
    others = [p for p in twin.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    reference = kind(groups, lr=0.1, **({"momentum": 0.8} if name == "sgd" else {}))
    for step in range(3):
        set_rate(optimiser, 0.1)
        for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.full_like(mine, 0.1 + step)
            theirs.grad = mine.grad.clone()
        optimiser.step()
        reference.step()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
