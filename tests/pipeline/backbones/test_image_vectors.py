"""The vector of an image as a whole: the class token, or the model's own pooling of what the image covers."""

import pytest
import timm
import torch
from packaging.version import parse
from torchvision.models import resnet18

from fdet.cache.errors import InputError
from fdet.cache.pyramid import VectorSpec
from fdet.pipeline.backbones import timm_taps
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.taps import AVERAGE_POOL, CLASS_TOKEN, OWN_POOL

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
LITE = "tf_efficientnet_lite0"
KINDS = {
    LITE: (AVERAGE_POOL, 1280),
    "test_resnet": (AVERAGE_POOL, 96),
    "test_efficientnet": (AVERAGE_POOL, 256),
    "test_convnext2": (AVERAGE_POOL, 128),
    "test_vit": (CLASS_TOKEN, 64),
    "test_vit2": (AVERAGE_POOL, 64),
    "test_vit3": (OWN_POOL, 96),
    "test_vit4": (AVERAGE_POOL, 96),
    "levit_128s": (AVERAGE_POOL, 384),
    "mobilenetv3_small_050": (AVERAGE_POOL, 1024),
    "torchvision/resnet18": (AVERAGE_POOL, 512),
    "xcit_nano_12_p16_224": (CLASS_TOKEN, 128),
    "cait_xxs24_224": (CLASS_TOKEN, 192),
    "mambaout_femto": (OWN_POOL, 1152),
    "swin_tiny_patch4_window7_224": (AVERAGE_POOL, 768),
}
SLOW = ("swin", "cait", "mambaout", "levit")
# Releases of timm that do not say how many tokens this model has in front give it no vector.
OLD = ["xcit_nano_12_p16_224"] if parse(timm.__version__) < parse("1.0.31") else []
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith(SLOW) else [])
    for name in KINDS
    if name not in OLD
]
HW, PART = (64, 96), (30, 60)


def loaded(name, **options):
    weights = None if name == LITE else "random"
    return load_backbone(name, weights=weights, image_vectors=True, **options)


def canvas_of(backbone):
    return backbone.taps.native_hw or HW


def canvases(count, hw, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *hw, 3), dtype=torch.uint8, generator=generator)


def whole_model(backbone, hw):
    """The library's model, with all its layers, as it is used on this canvas."""
    net = backbone.net_for(hw)
    if not backbone.name.startswith("torchvision/"):
        return net.model
    model = resnet18().eval()
    model.load_state_dict(backbone.taps.model.state_dict())
    return model


def own_features(backbone, pixels, contents):
    """What the library itself computes of the same canvases, and its pooling before the classifier."""
    hw = (pixels.shape[1], pixels.shape[2])
    model, x = whole_model(backbone, hw), backbone.normalised(pixels, contents)
    if backbone.name.startswith("torchvision/"):
        children = list(model.children())
        last = torch.nn.Sequential(*children[:-2])(x)
        return last, lambda y: children[-2](y).flatten(1)
    return model.forward_features(x), lambda y: model.forward_head(y, pre_logits=True)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_where_nothing_is_padded_it_is_the_librarys_own(name):
    backbone = loaded(name)
    hw = canvas_of(backbone)
    pixels = canvases(2, hw)
    found = backbone(pixels, [hw, hw]).vector
    kind, channels = KINDS[name]
    assert backbone.image_vector == VectorSpec(kind, channels)
    assert found.shape == (2, channels) and found.dtype == torch.float32 and found.is_contiguous()
    last, head = own_features(backbone, pixels, [hw, hw])
    expected = last[:, 0] if kind == CLASS_TOKEN else head(last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.std() > 0 and not torch.equal(found[0], found[1])


def shown_cells(hw, cells):
    """How many rows and columns of cells begin within the content of a canvas, counted one by one."""
    return [
        sum(k * (canvas / count) < part for k in range(count))
        for canvas, count, part in zip(hw, cells, PART, strict=True)
    ]


MAPS = ["test_resnet", LITE, "torchvision/resnet18"]


@pytest.mark.parametrize("name", MAPS)
@torch.no_grad()
def test_an_average_takes_only_the_cells_that_show_the_image(name):
    """Word by word: the sum over those cells, by their number."""
    backbone = loaded(name)
    pixels = canvases(3, HW)
    contents = [HW, PART, (1, 1)]
    found = backbone(pixels, contents).vector
    last, head = own_features(backbone, pixels, contents)
    rows, columns = shown_cells(HW, last.shape[2:])
    assert rows * columns < last.shape[2] * last.shape[3]
    total = torch.zeros(last.shape[1], dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            total += last[1, :, i, j].double()
    expected = total / (rows * columns)
    torch.testing.assert_close(found[1].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[2], last[2, :, 0, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0], head(last)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_more_padding_changes_no_more_of_an_average_than_of_the_map_below_it(name):
    """A model that looks at single pixels would not see padding: pooling over all of the map would."""
    backbone = loaded(name)
    pixels = canvases(1, (64, 192))
    wide = backbone(pixels, [(64, 64)]).vector
    own = backbone(pixels[:, :, :64], [(64, 64)]).vector
    apart = float((wide - own).norm() / own.norm())
    over_all = float((backbone_pool(backbone, pixels) - own).norm() / own.norm())
    assert apart < over_all


@torch.no_grad()
def backbone_pool(backbone, pixels):
    last, head = own_features(backbone, pixels, [(64, 64)])
    return head(last)


@torch.no_grad()
def test_tokens_are_averaged_over_the_cells_that_show_the_image():
    backbone = loaded("test_vit2")
    pixels = canvases(2, HW)
    found = backbone(pixels, [PART, HW]).vector
    model = whole_model(backbone, HW)
    tokens, _ = own_features(backbone, pixels, [PART, HW])
    prefix, cells = model.num_prefix_tokens, (4, 6)
    assert tokens.shape[1] == prefix + 24 and model.global_pool == "avg"
    rows, columns = shown_cells(HW, cells)
    assert (rows, columns) == (2, 4)
    chosen = [prefix + i * 6 + j for i in range(rows) for j in range(columns)]
    mean = tokens[0, chosen].double().mean(dim=0)
    expected = model.fc_norm.double()(mean[None])[0]
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", [LITE, "test_resnet", "test_vit", "test_vit2", "torchvision/resnet18"]
)
def test_maps_are_bit_for_bit_those_without(name):
    weights = None if name == LITE else "random"
    plain = load_backbone(name, weights=weights)
    assert plain.image_vector is None
    pixels = canvases(2, HW)
    alone, beside = plain(pixels, [HW, PART]), loaded(name)(pixels, [HW, PART])
    assert alone.vector is None
    assert all(torch.equal(x, y) for x, y in zip(alone.maps, beside.maps, strict=True))


@pytest.mark.parametrize("levels", [["c2"], ["c5"], ["c2", "c3", "c4", "c5"]])
def test_the_levels_that_are_tapped_do_not_matter(levels):
    for name in ("test_resnet", "torchvision/resnet18"):
        usual = loaded(name)(canvases(2, HW), [HW, PART]).vector
        assert torch.equal(loaded(name, levels=levels)(canvases(2, HW), [HW, PART]).vector, usual)


def test_it_is_computed_in_the_backbones_precision():
    exact, rough = (
        loaded(LITE, precision=p)(canvases(1, HW), [PART]).vector for p in ("fp32", "bf16")
    )
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.2


def test_every_canvas_has_its_own_fit():
    backbone = loaded("test_vit")
    found = [backbone(canvases(1, hw), [hw]).vector for hw in (HW, (96, 64), HW)]
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_a_backbone_without_one_is_refused_in_a_line(monkeypatch):
    monkeypatch.setattr(timm_taps, "_image_vector", lambda model: None)
    with pytest.raises(
        InputError, match="backbone test_resnet has neither a class token nor a pooling"
    ):
        loaded("test_resnet")
    assert load_backbone("test_resnet", weights="random").image_vector is None


def test_a_model_whose_head_cannot_stop_before_its_classifier_has_none():
    class Headless(torch.nn.Module):
        head_hidden_size = 5

        def forward_head(self, x):
            return x

    assert timm_taps._image_vector(Headless()) is None
    assert timm_taps._image_vector(torch.nn.Identity()) is None
    model = timm.create_model("test_resnet")
    assert timm_taps._image_vector(model) == VectorSpec(AVERAGE_POOL, 96)
