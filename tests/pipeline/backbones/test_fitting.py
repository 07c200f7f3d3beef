"""Which canvases a backbone takes, found without values, and what is proposed in place of others."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from fdet.cache.errors import InputError
from fdet.cache.pyramid import LevelSpec, VectorSpec
from fdet.pipeline.backbones.fitting import canvases_of, fitting_rule
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.taps import AVERAGE_POOL, TappedNet, Taps
from fdet.pipeline.dataset.images.views import ResizeRule

STRIDES = (8, 16, 32)


class Net(TappedNet):
    """A map of two channels at each stride; `sized` says how many cells a side has at a stride."""

    def __init__(self, cells, needs_values=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3, 1, 1))
        self.cells, self.needs_values, self.passes = cells, needs_values, []

    def forward(self, x):
        self.passes.append((x.device.type, tuple(x.shape[2:])))
        if self.needs_values:
            float(x.sum())
        maps = []
        for stride in STRIDES:
            rows, columns = (self.cells(side, stride) for side in x.shape[2:])
            over = (max(0, columns - x.shape[3]), max(0, rows - x.shape[2]))
            canvas = pad(x, (0, over[0], 0, over[1]))
            maps.append(conv2d(canvas, self.weight)[:, :, :rows, :columns])
        return maps

    def with_vector(self, x, content_hw):
        raise InputError("--image-vectors: not of this model; leave it out")


def usual(side, stride):
    return -(-side // stride)


def windows(size):
    """A model whose coarsest map is rounded up to windows, as MobileViT's is."""
    return lambda side, stride: (
        usual(side, stride) if stride < 32 else usual(side, 32 * size) * size
    )


def divides(size):
    """A model that refuses maps that its windows do not divide, as HaloNet does."""

    def cells(side, stride):
        if stride == 32 and usual(side, stride) % size:
            raise AssertionError
        return usual(side, stride)

    return cells


def unpadded(side, stride):
    """A model without padding, as Inception."""
    return usual(side, stride) - 3


def first_unpadded(side, stride):
    """A model whose first level alone has no padding, as PiT."""
    return usual(side, stride) - (stride == 8)


def only(size):
    """A model that takes one size alone, as LeViT."""

    def cells(side, stride):
        if side != size:
            raise RuntimeError(f"The size must match {size}\nand a trace")
        return usual(side, stride)

    return cells


def backbone(cells, native_hw=None, needs_values=False, vector=False):
    net = Net(cells, needs_values)
    levels = tuple(LevelSpec(f"c{k + 3}", stride, 2) for k, stride in enumerate(STRIDES))
    taps = Taps(
        model=net,
        available=levels,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        classifier=(),
        build=lambda chosen, whole=False: net,
        sized=False,
        native_hw=native_hw,
        download=dict,
        image_vector=VectorSpec(AVERAGE_POOL, 2),
    )
    return FrozenBackbone("odd_net", taps, (0, 1, 2), "fp32", "0" * 64, "random", vector)


@pytest.mark.parametrize("rule", [(100, 100, True), (200, 333, False), (64, 64, False)])
def test_where_everything_fits_the_divisor_is_the_coarsest_stride(rule, caplog):
    plain = backbone(usual)
    assert fitting_rule(plain, *rule) == ResizeRule(*rule, divisor=32)
    assert not caplog.records
    assert {device for device, _ in plain._net.passes} <= {"meta"}, "no values were computed"


@pytest.mark.parametrize(
    ("cells", "rule", "divisor"),
    [
        (windows(2), (224, 224, True), 64),
        (windows(2), (256, 256, True), 32),
        (windows(2), (200, 333, False), 64),
        (divides(2), (200, 333, False), 64),
        (divides(8), (224, 224, True), 64),
        (divides(8), (800, 1333, False), 256),
        (divides(7), (200, 200, True), 32),
        (divides(7), (300, 340, False), 224),
    ],
)
def test_canvases_grow_where_windows_need_it(cells, rule, divisor, caplog):
    found = fitting_rule(backbone(cells), *rule)
    assert found == ResizeRule(*rule, divisor=divisor)
    for canvas in canvases_of(found):
        maps = Net(cells)(torch.zeros((1, 3, *canvas), device="meta"))
        assert [m.shape[2:] for m in maps] == [
            tuple(usual(side, stride) for side in canvas) for stride in STRIDES
        ]
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == (divisor != 32)
    for message in logged:
        assert message.startswith(f"canvas sides are multiples of {divisor} px and not of 32 px")
        assert "backbone odd_net" in message and "\n" not in message


def test_the_rule_does_not_depend_on_the_images():
    """A validation set with other shapes has the same divisor, so that its cache pairs."""
    rules = {fitting_rule(backbone(windows(2)), 200, 333, False) for _ in range(2)}
    assert len(rules) == 1


@pytest.mark.parametrize(
    ("cells", "size", "native_hw", "said"),
    [
        (divides(8), 128, None, "of 128x128 px: a layer cannot divide .*; .* fit: --size 256"),
        (divides(8), 96, None, "sizes that fit: --size 256"),
        (only(224), 128, (224, 224), "The size must match 224; sizes that fit: --size 224"),
        (only(224), 640, (224, 224), "of 640x640 px: .*; sizes that fit: --size 224"),
        (unpadded, 299, None, "of 320x320 px: level c3 of stride 8 has a map of 2x37x37 "),
        (unpadded, 299, None, r"expected 2x40x40; no size fits its maps; choose another backbone"),
        (first_unpadded, 224, None, "; levels that fit: --levels c4,c5$"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(cells, size, native_hw, said):
    with pytest.raises(
        InputError, match=f"^backbone odd_net cannot take canvases .*{said}"
    ) as caught:
        fitting_rule(backbone(cells, native_hw), size, size, True)
    assert "\n" not in str(caught.value)


def test_sizes_that_are_proposed_fit():
    with pytest.raises(InputError) as caught:
        fitting_rule(backbone(divides(8)), 128, 128, True)
    sizes = str(caught.value).rpartition("--size ")[2].split(", ")
    assert sizes
    for size in map(int, sizes):
        assert fitting_rule(backbone(divides(8)), size, size, True).divisor == 32


def test_a_small_size_is_padded_to_the_only_one_but_not_far():
    one_size = backbone(only(224), (224, 224))
    assert fitting_rule(one_size, 192, 192, True).divisor == 224
    assert fitting_rule(one_size, 180, 224, False).divisor == 224
    with pytest.raises(InputError):
        fitting_rule(one_size, 96, 96, True)


def test_a_model_that_cannot_compute_without_values_is_asked_with_them():
    needy = backbone(usual, needs_values=True)
    assert fitting_rule(needy, 64, 96, False).divisor == 32
    assert {device for device, _ in needy._net.passes} == {"cpu"}
    with pytest.raises(InputError, match="no size fits"):
        fitting_rule(backbone(unpadded, needs_values=True), 64, 64, True)


def test_one_failure_with_values_is_enough():
    picky = backbone(divides(8))
    with pytest.raises(InputError):
        fitting_rule(picky, 128, 128, True)
    assert [device for device, _ in picky._net.passes].count("cpu") == 1


def test_a_vector_that_the_model_cannot_give_is_refused_too():
    with pytest.raises(InputError, match="--image-vectors: not of this model"):
        fitting_rule(backbone(usual, vector=True), 64, 64, True)


@pytest.mark.parametrize("rule", [(64, 64, True), (200, 333, False), (480, 480, False)])
def test_the_canvases_of_a_rule_are_those_of_all_images(rule):
    rule = ResizeRule(*rule, divisor=32)
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(10, 900, (2000, 2), generator=generator).tolist()
    found = {rule.canvas_hw((rows, columns)) for rows, columns in sizes}
    canvases = set(canvases_of(rule))
    assert {tuple(sorted(canvas)) for canvas in found} == {tuple(sorted(c)) for c in canvases}
    assert any(rows > columns for rows, columns in canvases) == (not rule.square and len(found) > 1)


@pytest.mark.parametrize(
    ("name", "size", "divisor"), [("test_vit", 100, 16), ("test_resnet", 100, 32)]
)
def test_models_of_timm_are_left_as_they_were(name, size, divisor):
    loaded = load_backbone(name, weights="random")
    canvas = torch.full((1, 64, 64, 3), 100, dtype=torch.uint8)
    before = loaded(canvas, [(64, 64)]).maps[-1]
    assert fitting_rule(loaded, size, size, True).divisor == divisor
    assert fitting_rule(loaded, size, 2 * size, False).divisor == divisor
    assert torch.equal(loaded(canvas, [(64, 64)]).maps[-1], before)
    assert len(loaded._by_canvas) <= 1


def test_a_model_of_timm_with_windows_gets_canvases_that_they_divide(caplog):
    caplog.set_level(logging.WARNING)
    loaded = load_backbone("mobilevitv2_050", weights="random")
    assert fitting_rule(loaded, 96, 96, True).divisor == 64
    assert "level c5 of stride 32 has a map of 256x4x4" in caplog.text
    canvas = torch.zeros((1, 128, 128, 3), dtype=torch.uint8)
    assert [m.shape[2] for m in loaded(canvas, [(96, 96)]).maps] == [16, 8, 4]
