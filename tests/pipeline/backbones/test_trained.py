"""Backbones of every family, unfrozen from a stage on: what moves is what lies behind it, and no more."""

import pytest
import torch

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.trained import TrainedBackbone

# timm's own resizing of position biases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
CANVAS = (64, 64)
# name: levels, and one of them in the middle to train from
FAMILIES = {
    "test_efficientnet": ("c3,c4,c5", "c4"),
    "test_resnet": ("c2,c3,c4,c5", "c4"),
    "test_byobnet": ("c3,c5", "c5"),
    "test_convnext": ("c3,c4,c5", "c4"),
    "torchvision/resnet18": ("c3,c4,c5", "c4"),
    "test_vit": ("block1,block3,block5", "block2"),
}


def frozen(name):
    levels = FAMILIES[name][0].split(",")
    return load_backbone(name, weights="random", levels=levels)


def trained(name, train_from=None, **more):
    start = FAMILIES[name][1] if train_from is None else train_from
    return TrainedBackbone(frozen(name), start, canvases=[CANVAS], **more)


def canvases(count=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *CANVAS, 3), dtype=torch.uint8, generator=generator)


def contents(count=3):
    return [(64, 64), (32, 64), (64, 40)][:count]


def step(backbone):
    """One step of plain descent on the sum of all maps; the state before it."""
    before = {n: v.clone() for n, v in backbone.state_dict().items()}
    pyramid = backbone(canvases(), contents())
    torch.stack([(x - 1).pow(2).mean() for x in pyramid.maps]).sum().backward()
    with torch.no_grad():
        for p in backbone.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    return before


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("name", FAMILIES)
def test_in_eval_mode_its_maps_are_the_frozen_ones(name):
    one, other = frozen(name), trained(name).eval()
    with torch.no_grad():
        mine, theirs = other(canvases(), contents()), one(canvases(), contents())
    assert mine.spec == theirs.spec and mine.canvas_hw == theirs.canvas_hw
    for x, y in zip(mine.maps, theirs.maps, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_lies_before_the_stage_and_all_statistics_stay_bit_for_bit(name):
    backbone = trained(name)
    names = {id(p): n for n, p in backbone.named_parameters()}
    behind = {names[id(p)] for stage in backbone.stages for p in stage}
    before = step(backbone)
    after = backbone.state_dict()
    moved = {n for n in after if not torch.equal(after[n], before[n])}
    # Some have a slope of zero: timm draws the last scale of a residual block as zero.
    assert moved and moved <= behind
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == behind
    assert not any(is_statistic(n) for n in moved)
    maps = backbone.eval()(canvases(), contents()).maps
    early = frozen(name)(canvases(), contents()).maps
    changed = [not torch.equal(x, y) for x, y in zip(maps, early, strict=True)]
    levels = FAMILIES[name][0].split(",")
    first = next(k for k, level in enumerate(levels) if level >= FAMILIES[name][1])
    assert changed == [k >= first for k in range(len(levels))]


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_part_the_parameters_by_level(name):
    whole, part = trained(name, ""), trained(name)
    everything = [id(p) for stage in whole.stages for p in stage]
    assert len(set(everything)) == len(everything)
    unused = [n for n, p in whole.named_parameters() if not p.requires_grad]
    # Of a ViT, what follows its last block and is never computed.
    assert len(unused) <= 4
    assert len(part.stages) < len(whole.stages)
    last = [[p.shape for p in stage] for stage in whole.stages[-len(part.stages) :]]
    assert last == [[p.shape for p in stage] for stage in part.stages]


def test_all_that_the_maps_depend_on_is_trained_from_scratch():
    backbone = trained("test_efficientnet", "", batch_norm=True)
    before = step(backbone)
    after = backbone.state_dict()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
    assert [n for n in after if is_statistic(n) and torch.equal(after[n], before[n])] == []


def test_statistics_move_where_they_are_wanted_and_only_behind_the_stage():
    backbone = trained("test_efficientnet", batch_norm=True)
    before = step(backbone)
    after = backbone.state_dict()
    moved = {n for n in after if not torch.equal(after[n], before[n])}
    statistics = {n for n in moved if is_statistic(n)}
    assert statistics
    scales = {n.rpartition(".")[0] for n in moved if not is_statistic(n)}
    assert {n.rpartition(".")[0] for n in statistics} <= scales


@pytest.mark.parametrize("name", ["test_efficientnet", "torchvision/resnet18"])
def test_what_is_frozen_stays_in_eval_mode_whatever_is_asked(name):
    backbone = trained(name).train().eval().train()
    frozen_ones = [
        m for m in backbone.modules() if {p.requires_grad for p in m.parameters()} == {False}
    ]
    assert frozen_ones
    assert not any(m.training for m in frozen_ones)
    norms = [m for m in backbone.modules() if "BatchNorm" in type(m).__name__]
    assert norms and not any(m.training for m in norms)
    assert backbone.training


def test_an_image_does_not_depend_on_its_neighbours_while_norms_are_frozen():
    backbone = trained("test_efficientnet")
    together = backbone(canvases(3), contents(3)).maps
    alone = backbone(canvases(3)[1:2], contents(3)[1:2]).maps
    for x, y in zip(together, alone, strict=True):
        torch.testing.assert_close(x[1:2], y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("train_from", "said"),
    [
        ("c6", "no level 'c6'"),
        ("cc4", "did you mean 'c4'"),
        ("layer3", "known: c1, c2, c3, c4, c5"),
    ],
)
def test_a_level_that_is_not_there_is_named(train_from, said):
    with pytest.raises(ConfigError, match=f"setting 'backbone.train_from'.*{said}"):
        trained("test_efficientnet", train_from)


def test_a_level_that_the_cache_leaves_out_may_begin():
    """c2 is none of the pyramid's; c1 and the stem stay."""
    backbone = trained("test_efficientnet", "c2")
    whole = trained("test_efficientnet", "")
    assert len(backbone.stages) == len(whole.stages) - 1


def test_a_model_that_is_fitted_to_its_canvas_takes_one():
    with pytest.raises(InputError, match="fitted to one canvas and cannot be trained on 2"):
        TrainedBackbone(frozen("test_vit"), canvases=[(64, 64), (64, 96), (64, 64)])
    TrainedBackbone(frozen("test_vit"), canvases=[(64, 64), (64, 64)])


def test_a_net_of_any_size_takes_all_canvases():
    backbone = TrainedBackbone(frozen("test_efficientnet"), canvases=[(64, 64), (64, 96)])
    wide = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    assert backbone(wide, [(64, 96)]).maps[0].shape[-2:] == (8, 12)


def test_stochastic_depth_acts_behind_the_stage_and_only_in_training():
    taken = load_backbone("swin_tiny_patch4_window7_224", weights="random", levels=["c4", "c5"])
    backbone = TrainedBackbone(taken, "c5", canvases=[(224, 224)])
    drops = {n: m for n, m in backbone.named_modules() if getattr(m, "drop_prob", 0)}
    acting = {n for n, m in drops.items() if m.training}
    trained_ones = {n for n, p in backbone.named_parameters() if p.requires_grad}
    blocks = {n.rpartition(".drop_path")[0] for n in acting}
    assert acting and len(acting) < len(drops)
    assert all(any(n.startswith(f"{block}.") for n in trained_ones) for block in blocks)
    assert not any(m.training for m in backbone.eval().modules())


def test_half_precision_gives_float32_maps_with_a_graph():
    backbone = trained("test_efficientnet")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = backbone(canvases(), contents()).maps
    assert all(x.dtype == torch.float32 for x in maps)
    assert maps[-1].requires_grad and not maps[0].requires_grad
