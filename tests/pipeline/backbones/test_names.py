"""Misspelt backbones: a few whole names that are near in spelling or of the same family."""

import pytest
import timm

from fdet.pipeline.backbones.names import MAX_NAMES, near_backbones

KNOWN, TAGGED = timm.list_models(), timm.list_pretrained()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("dinov2_vits14", "vit_small_patch14_dinov2"),
        ("dinov2_vitb14", "vit_base_patch14_dinov2"),
        ("facebook/dinov2-small", "vit_small_patch14_dinov2"),
        ("openai/clip-vit-base-patch16", "vit_base_patch16_clip_224"),
        ("ViT-B/32", "vit_base_patch32_224"),
        ("resnet19", "resnet18"),
        ("tf_eficientnet_lite0", "tf_efficientnet_lite0"),
        ("mobilenet_v3_small", "mobilenetv3_small_100"),
        ("deit-small", "deit_small_patch16_224"),
        ("r50", "resnet50"),
        ("test_resnt", "test_resnet"),
    ],
)
def test_the_likeliest_name_comes_first(name, first):
    near = near_backbones(name, KNOWN, TAGGED)
    assert near[0] == first
    assert len(near) <= MAX_NAMES and set(near) <= set(KNOWN)


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("hf_hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("timm/ResNet18.a1_in1k", "resnet18.a1_in1k"),
        ("owner/resnet18.mine", "resnet18.mine"),
        ("microsoft/resnet-50", "resnet50"),
        ("EfficientNetB0", "efficientnet_b0"),
        ("google/vit-base-patch16-224", "vit_base_patch16_224"),
        ("VGG-16", "vgg16"),
    ],
)
def test_a_name_that_differs_in_punctuation_alone_is_the_only_one(name, only):
    assert near_backbones(name, KNOWN, TAGGED) == [only]


@pytest.mark.parametrize("name", ["", "50", "yolov8n", "x" * 10**6, "/", "224", "tiny"])
def test_what_nothing_is_near_to_gets_no_name(name):
    assert near_backbones(name, KNOWN, TAGGED) == []


def test_models_for_tests_are_proposed_only_for_names_of_their_kind():
    assert not any(each.startswith("test_") for each in near_backbones("vit", KNOWN))


def test_owners_of_known_names_do_not_count():
    known = ["torchvision/resnet18", "torchvision/resnet50"]
    assert near_backbones("torchvision/vgg16", known) == []
    assert near_backbones("torchvision/resnet51", known)[0] == "torchvision/resnet50"
    assert near_backbones("torchvision/ResNet-50", known) == ["torchvision/resnet50"]
