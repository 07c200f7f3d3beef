"""The tail of a backbone on the map of the level before it, against the whole backbone: the same bits."""

import dataclasses
from itertools import chain

import pytest
import torch

from fdet.cache.errors import ConfigError, InputError
from fdet.cache.pyramid import FeaturePyramid, VectorSpec
from fdet.pipeline.backbones.adapted import AdaptedBackbone
from fdet.pipeline.backbones.cut import CutNet, NoCut
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.tail import AdaptedTail, Tail
from fdet.pipeline.backbones.trained import TrainedBackbone

from .tiny import SWIN, VIT

# timm's own resizing of position biases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
# name: the pyramid's levels, the level that the tail begins with, the one that it is cut at
FAMILIES = {
    "torchvision/resnet18": ("c3,c4,c5", "c4", "c3"),
    "test_resnet": ("c3,c5", "c4", "c3"),
    "test_efficientnet": ("c3,c4,c5", "c5", "c4"),
    "mobilenetv3_small_050": ("c3,c4,c5", "c5", "c4"),
    "test_convnext": ("c4,c5", "c4", "c3"),
    SWIN: ("c3,c4,c5", "c4", "c3"),
    "test_vit": ("block1,block3,block5", "block2", "block1"),
    VIT: ("block0,block2,block3", "block2", "block1"),
}
# The number of tokens beside the maps.
TOKENS = {"test_vit": 1, VIT: 5}
CANVASES = [(64, 64), (64, 96)]
ADAPTERS = {"reduction": 4, "min_width": 8, "seed": 1}


def backbone(name, levels=None, **more):
    chosen = (levels or FAMILIES[name][0]).split(",")
    return load_backbone(name, weights="random", levels=chosen, **more)


def canvases_of(name):
    # Position embeddings and windows are fitted to one canvas.
    return CANVASES[:1] if "vit" in name or name == SWIN else CANVASES


def pixels(hw, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *hw, 3), dtype=torch.uint8, generator=generator)


def cached(name, hw):
    """What a cache would hold: the levels up to the cut, and their tokens."""
    levels, _, cut = FAMILIES[name]
    order = [level.name for level in backbone(name).taps.available]
    up_to = [
        n
        for n in order
        if n == cut or (n in levels.split(",") and order.index(n) < order.index(cut))
    ]
    return backbone(name, ",".join(up_to), tokens=name in TOKENS)(pixels(hw), [hw, hw])


def descend(pyramid):
    torch.stack([(x - 1).pow(2).mean() for x in pyramid.maps]).sum().backward()


def assert_same(one, other):
    assert one.spec == other.spec
    for x, y in zip(one.maps, other.maps, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trained_tail_has_the_maps_and_gradients_of_the_backbone_trained_from_there(name):
    _, start, cut = FAMILIES[name]
    given = {"canvases": canvases_of(name)}
    tail = Tail(backbone(name), start, trained=True, **given)
    assert (tail.cut.name, tail.tokens) == (cut, TOKENS.get(name, 0))
    for hw in canvases_of(name):
        # The expected result is that of a fresh backbone, fitted to the same canvases.
        whole = TrainedBackbone(backbone(name), start, **given)
        tail.zero_grad()
        pyramid = cached(name, hw)
        # Stochastic depth draws in the stages that are trained alone.
        torch.manual_seed(0)
        mine = tail(pyramid)
        torch.manual_seed(0)
        theirs = whole(pixels(hw), [hw, hw])
        assert_same(mine, theirs)
        descend(mine)
        descend(theirs)
        assert [len(stage) for stage in tail.stages] == [len(stage) for stage in whole.stages]
        for one, other in zip(chain(*tail.stages), chain(*whole.stages), strict=True):
            assert (one.grad is None) == (other.grad is None)
            assert one.grad is None or torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_in_a_frozen_tail_are_those_of_the_whole_backbone(name):
    start, given = FAMILIES[name][1], {"canvases": canvases_of(name), **ADAPTERS}
    tail = AdaptedTail(backbone(name), start, **given)
    whole = AdaptedBackbone(backbone(name), start, **given)
    assert tail.blocks == whole.blocks
    for model in (tail, whole):
        generator = torch.Generator().manual_seed(2)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    hw = CANVASES[0]
    mine = tail(cached(name, hw))
    theirs = whole(pixels(hw), [hw, hw])
    assert_same(mine, theirs)
    descend(mine)
    descend(theirs)
    for one, other in zip(tail.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tail_keeps_no_weights_of_the_trunk(name):
    whole, start = backbone(name), FAMILIES[name][1]
    everything = sum(
        p.numel() for p in TrainedBackbone(backbone(name), "", canvases=[(64, 64)]).parameters()
    )
    tail = Tail(whole, start, trained=True, canvases=[(64, 64)])
    trained = sum(p.numel() for stage in tail.stages for p in stage)
    kept = sum(p.numel() for p in tail.parameters())
    # Position embeddings and class tokens belong to the model itself.
    assert 0 < trained <= kept < everything
    assert kept - trained < 0.2 * trained
    whole_count = backbone(name).parameters_count
    assert (tail.own_parameters, tail.whole_parameters) == (trained, whole_count)


def test_a_frozen_tail_has_no_graph_and_nothing_to_train():
    name = "test_efficientnet"
    tail = Tail(backbone(name), "c5", trained=False, canvases=CANVASES)
    pyramid = tail(cached(name, CANVASES[0]))
    assert tail.stages == []
    assert not any(p.requires_grad for p in tail.parameters())
    assert not any(x.requires_grad for x in pyramid.maps)


def test_a_model_that_is_fitted_to_its_canvas_refuses_another():
    name = "test_vit"
    tail = Tail(backbone(name), "block2", trained=True, canvases=[(64, 64)])
    other = FeaturePyramid(backbone(name, "block1").spec, (torch.zeros(1, 64, 4, 5),), (64, 80))
    with pytest.raises(
        InputError, match=r"fitted to canvases of \(64, 64\) .*, got \(64, 80\); make"
    ):
        tail(other)


def test_a_tail_takes_the_tokens_of_its_cut_and_says_where_they_are_missing():
    """Those of block0 lie before them."""
    tail = Tail(backbone(VIT), "block2", trained=True, canvases=CANVASES[:1])
    pyramid = cached(VIT, CANVASES[0])
    assert pyramid.spec.names == ("block0", "block1") and pyramid.vector.shape == (2, 2 * 5 * 24)
    before = tail(pyramid)
    changed = pyramid.vector.clone()
    changed[:, : 5 * 24] = 0
    assert_same(tail(dataclasses.replace(pyramid, vector=changed)), before)
    changed[:, 5 * 24 :] = 0
    other = tail(dataclasses.replace(pyramid, vector=changed))
    assert not torch.equal(other.maps[-1], before.maps[-1])
    for vector in (None, pyramid.vector[:, 1:]):
        with pytest.raises(
            InputError, match="takes 5 tokens beside the map of block1, and the cache"
        ):
            tail(dataclasses.replace(pyramid, vector=vector))


def test_only_models_with_tokens_keep_them():
    with pytest.raises(InputError, match="--tokens: backbone test_resnet has no tokens beside its"):
        backbone("test_resnet", "c3", tokens=True)
    with pytest.raises(InputError, match="--tokens: backbone tiny_swin has no tokens"):
        backbone(SWIN, "c3", tokens=True)


@pytest.mark.parametrize("name", TOKENS)
def test_the_maps_beside_tokens_are_those_without(name):
    hw = CANVASES[0]
    plain, kept = (backbone(name, tokens=given)(pixels(hw), [hw, hw]) for given in (False, True))
    assert_same(plain, kept)
    assert plain.vector is None
    spec = VectorSpec("prefix-tokens", TOKENS[name] * sum(kept.spec.channels))
    assert spec.of_tokens and kept.vector.shape == (2, spec.channels)


@pytest.mark.parametrize("start", ["", "c1"])
def test_a_tail_needs_a_level_before_it(start):
    with pytest.raises(
        ConfigError, match="a tail begins behind a cached level; expected one of c2"
    ):
        Tail(backbone("test_efficientnet"), start, trained=True, canvases=[(64, 64)])


class Looking(torch.nn.Module):
    """A net whose second map also sees what lies before the first one, unless `blind`."""

    def __init__(self, blind):
        super().__init__()
        self.stem, self.one, self.two = (torch.nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.blind = blind

    def forward(self, x):
        early = self.stem(x)
        first = self.one(early)
        return [first, self.two(first if self.blind else first + early)]


def test_a_level_is_a_cut_only_where_nothing_behind_sees_more_than_its_map():
    CutNet(Looking(blind=True), (8, 8))
    with pytest.raises(NoCut):
        CutNet(Looking(blind=False), (8, 8))


def test_a_net_that_could_not_be_cut_is_as_it_was():
    net, image = Looking(blind=False), torch.ones(1, 3, 8, 8)
    before = net(image)
    with pytest.raises(NoCut):
        CutNet(net, (8, 8))
    for x, y in zip(net(image), before, strict=True):
        assert torch.equal(x, y)


def test_a_level_that_is_no_cut_is_refused_with_the_nearest_one_that_is(monkeypatch):
    from fdet.pipeline.backbones import tail as module

    tried = []

    def some_cuts(_backbone, cut, _count, _canvases):
        tried.append(cut)
        if cut != 1:
            raise NoCut

    monkeypatch.setattr(module, "_try_cut", some_cuts)
    with pytest.raises(
        ConfigError, match=r"behind c4 .* cannot begin with c5; the nearest level for it is c3"
    ):
        Tail(backbone("test_efficientnet"), "c5", trained=True, canvases=[(64, 64)])
    assert tried == [3, 2, 1]
