"""Frozen backbones of every family: what they say of themselves is what their maps are."""

import copy

import pytest
import timm
import torch
from torchvision.models.feature_extraction import create_feature_extractor

from fdet.cache.errors import InputError, KeyMismatch
from fdet.cache.reader import FeatureCache
from fdet.pipeline.backbones.loading import load_backbone, load_backbone_of

# timm's own resizing of a Swin's position biases.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm"),
    pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm"),
]
LITE = "tf_efficientnet_lite0"
# name: default levels, strides, channels
FAMILIES = {
    LITE: (("c3", "c4", "c5"), (8, 16, 32), (40, 112, 320)),
    "resnet18": (("c3", "c4", "c5"), (8, 16, 32), (128, 256, 512)),
    "torchvision/resnet18": (("c3", "c4", "c5"), (8, 16, 32), (128, 256, 512)),
    "convnext_atto": (("c3", "c4", "c5"), (8, 16, 32), (80, 160, 320)),
    "swin_tiny_patch4_window7_224": (("c3", "c4", "c5"), (8, 16, 32), (192, 384, 768)),
    "vit_tiny_patch16_224": (("block11",), (16,), (192,)),
    "mobilenetv3_small_050": (("c3", "c4", "c5"), (8, 16, 32), (16, 24, 288)),
}
CANVAS = (64, 96)


@pytest.fixture(scope="module")
def backbones():
    """One of each family, loaded when first asked for."""
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = load_backbone(name, weights=None if name == LITE else "random")
        return loaded[name]

    return get


def canvases(count, hw=CANVAS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *hw, 3), dtype=torch.uint8, generator=generator)


def moments(backbone):
    """Running statistics and everything else that training could move."""
    return {n: v.clone() for n, v in backbone._net.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_have_the_strides_and_channels_that_the_model_names(name, backbones):
    backbone = backbones(name)
    names, strides, channels = FAMILIES[name]
    assert (backbone.spec.names, backbone.spec.strides) == (names, strides)
    assert backbone.spec.channels == channels
    pyramid = backbone(canvases(2), [CANVAS, CANVAS])
    for x, stride, channel in zip(pyramid.maps, strides, channels, strict=True):
        assert x.shape == (2, channel, CANVAS[0] // stride, CANVAS[1] // stride)
        assert x.dtype == torch.float32 and x.is_contiguous()
        assert x.std() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_means_no_gradient_no_graph_and_no_movement(name, backbones):
    backbone = backbones(name)
    before = moments(backbone)
    backbone.train()
    assert not any(m.training for m in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    with torch.enable_grad():
        pyramid = backbone(canvases(2), [CANVAS, CANVAS])
    assert all(x.grad_fn is None and not x.requires_grad for x in pyramid.maps)
    after = moments(backbone)
    assert all(torch.equal(before[n], after[n]) for n in before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_feature_does_not_depend_on_its_batch(name, backbones):
    backbone = backbones(name)
    images = canvases(4)
    alone = [backbone(images[k : k + 1], [CANVAS]) for k in range(4)]
    again = backbone(images[2:3].clone(), [CANVAS])
    together = backbone(images, [CANVAS] * 4)
    turned = backbone(images.flip(0), [CANVAS] * 4)
    for level in range(len(backbone.spec.levels)):
        assert torch.equal(again.maps[level], alone[2].maps[level]), "one image a pass: bit for bit"
        for k in range(4):
            expected = alone[k].maps[level][0]
            bound = 2e-5 * float(expected.abs().max())
            assert (together.maps[level][k] - expected).abs().max() <= bound
            assert (turned.maps[level][3 - k] - expected).abs().max() <= bound


@pytest.mark.parametrize("name", FAMILIES)
def test_what_lies_in_the_padding_plays_no_part(name, backbones):
    backbone = backbones(name)
    clean, dirty = canvases(1), canvases(1)
    clean[:, 40:], clean[:, :, 70:] = 0, 0
    dirty[:, 40:], dirty[:, :, 70:] = 200, 90
    mine, theirs = backbone(clean, [(40, 70)]), backbone(dirty, [(40, 70)])
    whole = backbone(clean, [CANVAS])
    assert all(torch.equal(x, y) for x, y in zip(mine.maps, theirs.maps, strict=True))
    assert not torch.equal(mine.maps[0], whole.maps[0]), "black is a colour, padding is none"


@pytest.mark.parametrize("name", FAMILIES)
def test_normalisation_is_the_models_own(name, backbones):
    backbone = backbones(name)
    if name.startswith("torchvision/"):
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    else:
        config = timm.get_pretrained_cfg(name)
        mean, std = config.mean, config.std
    assert (backbone.mean, backbone.std) == (tuple(mean), tuple(std))
    canvas = canvases(1)
    x = backbone.normalised(canvas, [(50, 80)])
    expected = (canvas[0].double() / 255 - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(
        x[0, :, :50, :80].double(), expected.permute(2, 0, 1)[:, :50, :80], atol=1e-5
    )
    assert not x[..., 50:, :].any() and not x[..., 80:].any()


def test_lite0_equals_timms_own_features_with_the_same_weights(backbones):
    backbone = backbones(LITE)
    assert backbone.weights_origin == "pretrained"
    reference = timm.create_model(LITE, features_only=True, out_indices=(2, 3, 4)).eval()
    missing, _ = reference.load_state_dict(backbone._net.model.state_dict(), strict=False)
    assert not missing
    canvas = canvases(2)
    with torch.no_grad():
        expected = reference(backbone.normalised(canvas, [CANVAS, CANVAS]))
    for mine, theirs in zip(backbone(canvas, [CANVAS, CANVAS]).maps, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_torchvision_equals_timm_with_the_same_weights(backbones):
    ours, timms = backbones("torchvision/resnet18"), backbones("resnet18")
    state = {n.removeprefix("body."): v for n, v in ours._net.state_dict().items()}
    missing, _ = timms._net.model.load_state_dict(state, strict=False)
    assert not [n for n in missing if not n.startswith("fc.")]
    ours_maps, timms_maps = (b(canvases(1), [CANVAS]).maps for b in (ours, timms))
    for mine, theirs in zip(ours_maps, timms_maps, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_of_torchvisions_nets_the_maps_are_those_of_its_own_extractor_bit_for_bit(backbones):
    """And its names of tensors, which stand in run directories."""
    backbone = backbones("torchvision/resnet18")
    layers = {f"layer{k}": f"layer{k}" for k in (2, 3, 4)}
    reference = create_feature_extractor(copy.deepcopy(backbone.taps.model), layers).eval()
    mine = {n.removeprefix("body.") for n in backbone._net.state_dict()}
    assert mine == set(reference.state_dict())
    with torch.no_grad():
        expected = reference(backbone.normalised(canvases(2), [CANVAS, CANVAS])).values()
    found = backbone(canvases(2), [CANVAS, CANVAS]).maps
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_models_of_a_fixed_size_take_one_canvas_after_another(name, backbones):
    backbone = backbones(name)
    first = backbone(canvases(1), [CANVAS])
    other = backbone(canvases(1, (96, 32)), [(96, 32)])
    assert other.maps[-1].shape[-2:] == (96 // other.spec.strides[-1], 32 // other.spec.strides[-1])
    for x, y in zip(first.maps, backbone(canvases(1), [CANVAS]).maps, strict=True):
        assert torch.equal(x, y)


def test_a_model_that_takes_one_size_alone_says_which():
    backbone = load_backbone("levit_128s", weights="random")
    assert len(backbone(canvases(1, (224, 224)), [(224, 224)]).maps) == 2
    with pytest.raises(InputError, match=r"canvases of \(64, 96\) .* expected \(224, 224\)"):
        backbone(canvases(1), [CANVAS])


def test_random_weights_come_from_the_seed():
    torch.manual_seed(1)
    first = load_backbone("test_resnet", weights="random", seed=4)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = load_backbone("test_resnet", weights="random", seed=4)
    other = load_backbone("test_resnet", weights="random", seed=5)
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator is left alone"
    assert first.weights_origin == "random"
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    pairs = zip(first(canvases(1), [CANVAS]).maps, again(canvases(1), [CANVAS]).maps, strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(
    ("name", "levels", "chosen"),
    [
        ("test_resnet", ["c5"], ("c5",)),
        ("test_resnet", ["c5", "c2"], ("c2", "c5")),
        ("test_vit", None, ("block5",)),
        ("test_vit", ["block1", "block5"], ("block1", "block5")),
    ],
)
def test_levels_are_chosen_by_name_and_lie_finest_first(name, levels, chosen):
    backbone = load_backbone(name, weights="random", levels=levels)
    assert backbone.spec.names == chosen
    pyramid = backbone(canvases(1), [CANVAS])
    assert len(pyramid.maps) == len(chosen)


def test_a_level_is_the_same_alone_and_among_others():
    alone = load_backbone("test_resnet", weights="random", levels=["c3"])
    among = load_backbone("test_resnet", weights="random", levels=["c2", "c3", "c5"])
    assert torch.equal(alone(canvases(1), [CANVAS]).maps[0], among(canvases(1), [CANVAS]).maps[1])
    assert alone.weights_sha256 == among.weights_sha256


@pytest.mark.parametrize(("name", "divisor"), [("test_resnet", 32), ("test_vit", 16)])
def test_the_divisor_is_a_multiple_of_every_stride(name, divisor):
    assert load_backbone(name, weights="random").divisor == divisor


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet19", {}, "unknown backbone 'resnet19'; did you mean 'resnet18', "),
        ("tf_eficientnet_lite0", {}, "did you mean 'tf_efficientnet_lite0', "),
        ("torchvision/resnet51", {}, "did you mean 'torchvision/resnet50', "),
        ("torchvision/vgg16", {}, "unknown backbone 'torchvision/vgg16'; did you mean 'vgg16'?"),
        ("hf_hub:timm/resnet18.a1_in1k", {}, "did you mean 'resnet18.a1_in1k'?"),
        ("resnet18.a9_in1k", {}, "did you mean 'resnet18.a3_in1k', 'resnet18.a2_in1k'"),
        ("", {}, "unknown backbone ''"),
        ("test_resnet", {"levels": ["c3", "c9"]}, "has no level 'c9'; it has c1, c2, c3, c4, c5"),
        ("test_resnet", {"levels": ["c3", "c3"]}, "'c3,c3' names a level twice"),
        ("test_resnet", {"precision": "fp61"}, "--precision 'fp61'; did you mean 'fp16'?"),
        ("test_resnet", {"weights": "absent.pth"}, "--weights absent.pth: no such file"),
    ],
)
def test_bad_names_are_refused_with_what_there_is(name, options, said):
    with pytest.raises(InputError) as caught:
        load_backbone(name, **{"weights": "random", **options})
    assert said in str(caught.value)
    assert len(str(caught.value)) < 450


def test_bf16_features_are_near_those_of_fp32_but_not_they(backbones):
    rough = load_backbone(LITE, precision="bf16")(canvases(1), [CANVAS]).maps
    exact = backbones(LITE)(canvases(1), [CANVAS]).maps
    for x, y in zip(rough, exact, strict=True):
        assert x.dtype == torch.float32
        assert 0 < (x - y).abs().max() <= 0.1 * y.abs().max()


def test_flops_and_parameters_are_counted(backbones):
    backbone = load_backbone("test_resnet", weights="random")
    assert backbone.parameters_count == sum(p.numel() for p in backbone.parameters()) > 1000
    assert backbone.flops((64, 64)) * 2 == backbone.flops((64, 128)) > 1e6


def test_the_backbone_of_a_cache_is_found_again_and_no_other_passes(exact_cache, tmp_path):
    key = FeatureCache.open(exact_cache).header.key
    backbone = load_backbone_of(key, torch.device("cpu"))
    assert (backbone.spec, backbone.weights_sha256) == (key.levels, key.weights_sha256)
    with pytest.raises(KeyMismatch, match="are not those of the cache"):
        load_backbone_of(key, torch.device("cpu"), weights="random")
