"""Where the blocks of models lie, of every family, held against what their sources say."""

import pytest
import torch
from torch import nn

from fdet.pipeline.backbones.blocks import _channel_axis, _Traced, find_blocks
from fdet.pipeline.backbones.loading import load_backbone

# timm's own resizing of position biases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
CANVAS = (64, 64)


def blocks_of(name, levels=None, canvas_hw=CANVAS):
    return find_blocks(load_backbone(name, weights="random", levels=levels), canvas_hw)


def by_stage(blocks):
    stages = {}
    for block in blocks:
        stages.setdefault(block.stage, []).append(block.name)
    return stages


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision/resnet18", {k: [f"body.layer{k + 1}.{n}" for n in (0, 1)] for k in range(4)}),
        ("resnet18", {k: [f"model.layer{k}.{n}" for n in (0, 1)] for k in range(1, 5)}),
        (
            "test_convnext",
            {
                k: [f"model.stages.{k}.blocks.{n}" for n in range(depth)]
                for k, depth in enumerate((1, 2, 4, 2))
            },
        ),
        ("test_vit", {k: [f"model.blocks.{k}"] for k in range(6)}),
    ],
)
def test_every_residual_block_is_found(name, expected):
    assert by_stage(blocks_of(name)) == expected


def test_inverted_residuals_are_those_with_a_skip_and_the_end_of_a_level():
    """Their first of a width has none; the last, of c5, is the map itself. Nothing of EfficientNet-B0's
    squeeze and excitation is among them.
    """
    own = {
        0: ["model.blocks.0"],
        1: ["model.blocks.1.1"],
        2: ["model.blocks.2.1"],
        3: [f"model.blocks.{s}.{n}" for s in (3, 4) for n in (1, 2)],
        4: [*(f"model.blocks.5.{n}" for n in (1, 2, 3)), "model.blocks.6"],
    }
    assert by_stage(blocks_of("tf_efficientnet_lite0")) == own
    assert by_stage(blocks_of("efficientnet_b0")) == own


def test_only_blocks_up_to_the_last_level_count():
    assert by_stage(blocks_of("torchvision/resnet18", ["c2", "c3"])).keys() == {0, 1}
    assert by_stage(blocks_of("test_vit", ["block1", "block2"])).keys() == {0, 1, 2}


def test_channels_of_tokens_and_of_maps_that_have_them_last():
    assert {(b.channels, b.axis) for b in blocks_of("test_vit")} == {(64, 2)}
    found = blocks_of("swin_tiny_patch4_window7_224", ["c3", "c4"], (224, 224))
    assert [(b.channels, b.axis) for b in found] == [(96, 3)] * 2 + [(192, 3)] * 2 + [(384, 3)] * 6
    assert all(b.name.count(".blocks.") for b in found)
    assert {b.axis for b in blocks_of("test_convnext")} == {1}


@pytest.mark.parametrize(
    ("shape", "canvas", "axis"),
    [
        ((1, 5, 7), (64, 64), 2),
        ((1, 16, 4, 12), (64, 192), 1),
        ((1, 4, 12, 16), (64, 192), 3),
        ((1, 8, 8, 96), (64, 64), 3),
        ((1, 96, 8, 8), (64, 64), 1),
        ((1, 8, 8, 8), (64, 64), "usual"),
    ],
)
def test_the_axis_of_channels_is_the_one_that_leaves_the_canvas(shape, canvas, axis):
    assert _channel_axis(shape, canvas, "usual") == axis


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.inner(x)


class Residual(Gate):
    def forward(self, x):
        return torch.relu(x + self.inner(x))


class Dense(Gate):
    def forward(self, x):
        return torch.cat([x, self.inner(x)], dim=1)


class Twice(nn.Module):
    """The same block with the same weights, one time after the other."""

    def __init__(self):
        super().__init__()
        self.block = Residual()

    def forward(self, x):
        return self.block(self.block(x))


class Aside(nn.Module):
    """A residual block that a path leads past."""

    def __init__(self):
        super().__init__()
        self.block = Residual()

    def forward(self, x):
        return x + self.block(x)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ([Residual(), nn.Conv2d(4, 4, 1)], ["1"]),
        ([Gate(), nn.Conv2d(4, 4, 1)], []),
        ([Dense(), nn.Conv2d(8, 4, 1)], ["1"]),
        ([Aside(), nn.Conv2d(4, 4, 1)], ["1"]),
        ([Twice(), nn.Conv2d(4, 4, 1)], []),
        ([nn.Sequential(Residual(), Residual()), nn.Conv2d(4, 4, 1)], ["1.0", "1.1"]),
        ([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.Conv2d(4, 4, 1)], []),
        # The map is the output of a module of several layers.
        ([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())], ["1"]),
        ([nn.Conv2d(4, 4, 1)], []),
    ],
)
def test_what_a_block_is(modules, expected):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 1), *modules)

        def forward(self, x):
            for module in self.body:
                x = module(x)
            return [x]

    net = Net().requires_grad_(False)
    traced = _Traced(net, torch.zeros(1, 3, 4, 8, requires_grad=True))
    assert traced.blocks(traced.maps[0].grad_fn) == [f"body.{name}" for name in expected]


def test_looking_for_them_leaves_the_backbone_as_it_was():
    backbone = load_backbone("test_vit", weights="random")
    before = {n: v.clone() for n, v in backbone.state_dict().items()}
    find_blocks(backbone, (96, 96))
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m._forward_hooks for m in backbone.modules())
