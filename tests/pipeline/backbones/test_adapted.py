"""Adapters in frozen backbones of every family: nothing at first, then all that comes behind them."""

import copy

import pytest
import torch
from timm.models.vgg import VGG
from torch.nn import functional

from fdet.cache.errors import ConfigError
from fdet.pipeline.backbones.adapted import AdaptedBackbone, Adapter
from fdet.pipeline.backbones.loading import load_backbone

# timm's own resizing of position biases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
SWIN = "swin_tiny_patch4_window7_224"
# name: levels, a level in the middle, canvas
FAMILIES = {
    "test_efficientnet": ("c3,c4,c5", "c4", (64, 64)),
    "tf_efficientnet_lite0": ("c3,c4,c5", "c4", (64, 64)),
    "test_resnet": ("c2,c3,c4,c5", "c4", (64, 64)),
    "test_convnext": ("c3,c4,c5", "c4", (64, 64)),
    "torchvision/resnet18": ("c3,c4,c5", "c4", (64, 64)),
    "test_vit": ("block1,block3,block5", "block3", (64, 64)),
    SWIN: ("c4,c5", "c5", (224, 224)),
}
each_family = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n == SWIN else []) for n in FAMILIES]
)


def frozen(name, **more):
    return load_backbone(name, weights="random", levels=FAMILIES[name][0].split(","), **more)


def adapted(name, train_from="", backbone=None, **more):
    settings = {"reduction": 4, "min_width": 8, "seed": 0, "canvases": [FAMILIES[name][2]]}
    return AdaptedBackbone(backbone or frozen(name), train_from, **{**settings, **more})


def shown(name, count=2):
    generator = torch.Generator().manual_seed(0)
    rows, columns = FAMILIES[name][2]
    canvases = torch.randint(
        0, 256, (count, rows, columns, 3), dtype=torch.uint8, generator=generator
    )
    return canvases, [(rows, columns), (rows // 2, columns)][:count]


def loss_of(pyramid):
    return torch.stack([(x - 1).pow(2).mean() for x in pyramid.maps]).sum()


def step(backbone, name, rate=0.1, steps=1):
    for _ in range(steps):
        loss_of(backbone(*shown(name))).backward()
        with torch.no_grad():
            for p in backbone.parameters():
                p -= rate * p.grad / (p.grad.norm() + 1e-12)
                p.grad = None


def bits(x):
    return x.contiguous().view(torch.int32)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_an_adapter_is_its_formula(axis):
    torch.manual_seed(0)
    adapter = Adapter(6, 4, axis)
    for p in adapter.parameters():
        torch.nn.init.normal_(p)
    shape = [2, 3, 5, 4][: 3 if axis == 2 else 4]
    shape[axis] = 6
    x = torch.randn(shape)
    expected = x.clone()
    down, norm, up = adapter.down, adapter.norm, adapter.up
    for place in torch.cartesian_prod(*(torch.arange(n) for k, n in enumerate(shape) if k != axis)):
        index = [*map(int, place)]
        index.insert(axis, slice(None))
        cell = x[tuple(index)].double()
        inner = down.weight.double() @ cell + down.bias.double()
        inner = (inner - inner.mean()) / (inner.var(unbiased=False) + 1e-5).sqrt()
        inner = (inner * norm.weight.double() + norm.bias.double()).clamp(min=0)
        expected[tuple(index)] = (cell + up.weight.double() @ inner + up.bias.double()).float()
    torch.testing.assert_close(adapter(x), expected)


def test_of_a_map_its_linear_layers_are_1x1_convolutions():
    torch.manual_seed(0)
    adapter = Adapter(6, 4, 1)
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(2, 6, 3, 5)
    inner = functional.conv2d(x, adapter.down.weight[:, :, None, None], adapter.down.bias)
    inner = functional.layer_norm(inner.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2).relu()
    change = functional.conv2d(inner, adapter.up.weight[:, :, None, None], adapter.up.bias)
    torch.testing.assert_close(adapter(x), x + change)


@each_family
def test_at_the_start_the_pyramid_is_the_frozen_one_bit_for_bit(name):
    one, other = frozen(name), adapted(name)
    mine, theirs = other(*shown(name)), one(*shown(name))
    assert mine.spec == theirs.spec and mine.canvas_hw == theirs.canvas_hw
    for x, y in zip(mine.maps, theirs.maps, strict=True):
        assert x.requires_grad and not y.requires_grad
        assert torch.equal(bits(x.detach()), bits(y))
    assert len(other.adapters) == len(other.blocks) > 0


@each_family
def test_a_step_moves_the_adapters_alone_and_with_them_every_map(name):
    backbone = frozen(name)
    before = {n: v.clone() for n, v in backbone.state_dict().items()}
    start = backbone(*shown(name)).maps
    model = adapted(name, backbone=backbone).train()
    first = {n: v.clone() for n, v in model.state_dict().items()}
    step(model, name, steps=2)
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert [n for n in after if not torch.equal(after[n], before[n])] == []
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert not any(m.training for m in backbone.modules())
    assert [n for n, v in model.state_dict().items() if torch.equal(v, first[n])] == []
    for x, y in zip(model(*shown(name)).maps, start, strict=True):
        assert not torch.equal(x, y)


@each_family
def test_each_adapter_acts_on_the_maps_at_and_behind_its_block_and_on_none_before(name):
    """On the stream and on the tap: a map changes with the adapter of its own block, and so do later ones."""
    levels, middle, _ = FAMILIES[name]
    start = frozen(name)(*shown(name)).maps
    model = adapted(name, middle)
    with torch.no_grad():
        torch.nn.init.normal_(model.adapters[0].up.weight)
    maps = model(*shown(name)).maps
    changed = [not torch.equal(x, y) for x, y in zip(maps, start, strict=True)]
    assert changed == [level >= middle for level in levels.split(",")]


@each_family
def test_the_change_of_a_block_is_the_adapters_own(name):
    """The last block's, by hand: a net without adapters, its output taken and passed through one."""
    model = adapted(name)
    name_of_last, last = model.blocks[-1], model.adapters[-1]
    with torch.no_grad():
        torch.nn.init.normal_(last.up.weight, std=0.1)
    plain = frozen(name)
    kept = []
    module = plain._net.get_submodule(name_of_last)
    module.register_forward_hook(lambda _module, _args, out: kept.append(out.clone()))
    plain_net = copy.deepcopy(plain)  # hooks go with it, and so does `kept`
    plain_net(*shown(name))
    found = []
    inner = model._frozen[0]
    inner.insert(name_of_last, lambda x: found.append(x.clone()) or x)
    model(*shown(name))
    torch.testing.assert_close(found[0], last(kept[0]), atol=1e-6, rtol=1e-6)


def test_parameters_and_state_are_the_adapters_alone():
    model = adapted("test_vit")
    assert {n.partition(".")[0] for n in model.state_dict()} == {"adapters"}
    assert {n for n, _ in model.named_parameters()} == set(model.state_dict())
    # test_vit: six blocks of 64 channels; down 64 x 16 + 16, norm 2 x 16, up 16 x 64 + 64
    assert sum(p.numel() for p in model.parameters()) == 6 * (2 * 64 * 16 + 16 + 32 + 64)


@pytest.mark.parametrize(("reduction", "least", "width"), [(4, 8, 16), (16, 8, 8), (1, 1, 64)])
def test_the_width_is_the_blocks_divided_and_no_less_than_the_least(reduction, least, width):
    model = adapted("test_vit", reduction=reduction, min_width=least)
    assert {a.down.out_features for a in model.adapters} == {width}


def test_a_seed_gives_the_same_adapters_and_draws_nothing_of_others():
    state = torch.random.get_rng_state()
    one, same, other = (adapted("test_vit", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_images_do_not_depend_on_their_neighbours():
    model = adapted("test_efficientnet")
    step(model, "test_efficientnet", steps=2)
    canvases, contents = shown("test_efficientnet")
    together = model(canvases, contents).maps
    alone = model(canvases[1:], contents[1:]).maps
    for x, y in zip(together, alone, strict=True):
        torch.testing.assert_close(x[1:], y, atol=1e-5, rtol=1e-5)


def test_gradients_of_an_image_at_a_time_sum_to_those_of_a_batch():
    grads = []
    for parts in ([slice(0, 2)], [slice(0, 1), slice(1, 2)]):
        model = adapted("test_resnet")
        with torch.no_grad():
            for adapter in model.adapters:
                torch.nn.init.constant_(adapter.up.weight, 0.01)
        canvases, contents = shown("test_resnet")
        for part in parts:
            pyramid = model(canvases[part], contents[part])
            torch.stack(
                [(x - 1).pow(2).mean((1, 2, 3)).sum() for x in pyramid.maps]
            ).sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_canvases_of_several_sizes_share_the_adapters(name):
    """A model that is fitted to its canvas is copied for each of them; its adapters are not."""
    model = adapted(name)
    sizes = [(64, 64), (64, 96)]
    for size in sizes:
        pyramid = model(torch.full((1, *size, 3), 9, dtype=torch.uint8), [size])
        assert torch.equal(
            pyramid.maps[-1], frozen(name)(torch.full((1, *size, 3), 9), [size]).maps[-1]
        )
        loss_of(pyramid).backward()
    first = [a.up.weight.grad.clone() for a in model.adapters]
    loss_of(model(torch.full((1, *sizes[1], 3), 9, dtype=torch.uint8), [sizes[1]])).backward()
    assert all(
        not torch.equal(a.up.weight.grad, g) for a, g in zip(model.adapters, first, strict=True)
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_keeps_the_precision_of_the_cache_in_a_step_of_another(precision):
    one, other = (frozen("test_efficientnet", precision=precision) for _ in range(2))
    model = adapted("test_efficientnet", backbone=other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine, theirs = model(*shown("test_efficientnet")), one(*shown("test_efficientnet"))
    for x, y in zip(mine.maps, theirs.maps, strict=True):
        assert x.dtype == torch.float32 and torch.equal(bits(x.detach()), bits(y))
    loss_of(mine).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.skipif(
    not hasattr(VGG, "forward_intermediates"),
    reason="this release of timm has no feature pyramid of VGG",
)
def test_a_model_without_blocks_is_named():
    plain = load_backbone("vgg11", weights="random", levels=["c3"])
    settings = {"reduction": 4, "min_width": 8, "seed": 0, "canvases": [(64, 64)]}
    with pytest.raises(
        ConfigError, match=r"'backbone.adapters': vgg11 has no block to adapt; choose"
    ):
        AdaptedBackbone(plain, **settings)


def test_a_level_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"'backbone.train_from': no level 'c9'"):
        adapted("test_resnet", "c9")


def test_operations_are_counted():
    """c5 of test_efficientnet at 64 px: 2 x 2 cells of 64 channels, a bottleneck of 16."""
    model = adapted("test_efficientnet", "c5")
    assert len(model.adapters) == 1
    assert model.flops((64, 64)) == 2 * 2 * (2 * 64 * 16) * 2
