"""Against torchvision's own RetinaNet, FCOS and FasterRCNN with the same weights."""

from random import Random

import pytest
import torch
from torchvision.models.detection import FCOS as TorchvisionFCOS
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.build import build_detector
from fdet.heads.dense.settings import FCOSSettings, RetinaNetSettings
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi.settings import FasterRCNNSettings
from fdet.heads.types import Targets

from .reference import (
    SPEC,
    GivenPyramid,
    PaddedImages,
    SameDraw,
    decided,
    placement,
    pyramid,
)

CLASSES = 3
# What torchvision's two-stage models have.
TORCHVISIONS = {
    **{"convs": 0, "rpn_norm": "none", "roi_aligned": False, "anchor_scales": (8.0,)},
    **{"rpn_top_train": (2000, 1000), "rpn_top_test": (1000, 1000), "score_threshold": 0.0},
}
# The last has a content whose larger side is half the canvas: torchvision's RoIAlign would take
# its strides from it.
CONTENTS = {
    "square": [(256, 256), (256, 256)],
    "letterboxed": [(128, 256), (256, 128)],
    "all 2:1": [(128, 256), (128, 256)],
    "small": [(120, 100), (96, 128)],
}


def targets(contents) -> list[Targets]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for rows, columns in contents:
        limits = torch.tensor([columns, rows], dtype=torch.float32)
        corner = torch.rand(4, 2, generator=generator) * limits * 0.5
        size = (torch.rand(4, 2, generator=generator) * 0.4 + 0.1) * limits
        boxes = torch.cat([corner, (corner + size).minimum(limits)], dim=1)
        made.append(Targets(boxes, torch.randint(0, CLASSES, (4,), generator=generator)))
    return made


def as_torchvision(made, first_label):
    return [{"boxes": t.boxes, "labels": t.labels + first_label} for t in made]


def images(contents):
    return [torch.zeros(3, rows, columns) for rows, columns in contents]


def assert_same_detections(found, expected, first_label):
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours.scores) > 10
        torch.testing.assert_close(ours.boxes, theirs["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(ours.scores, theirs["scores"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.labels + first_label, theirs["labels"])


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_retinanet_equals_torchvision(contents):
    torch.manual_seed(1)
    settings = RetinaNetSettings(score_threshold=0.0, convs=4, norm="none")
    detector = build_detector(SPEC, CLASSES, FPNSettings(channels=16), settings)
    given = pyramid(2, (256, 256))
    octaves = [4 * 2 ** (k / 3) for k in range(3)]
    sizes = tuple(tuple(o * s for o in octaves) for s in (8, 16, 32, 64, 128))
    reference = TorchvisionRetinaNet(
        GivenPyramid(detector.neck, given),
        CLASSES,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        score_thresh=0.0,
        detections_per_img=100,
    )
    reference.transform = PaddedImages((256, 256), contents)
    reference.head.load_state_dict(detector.head.state_dict())
    placements = [placement((256, 256), content) for content in contents]

    made = targets(contents)
    ours = detector.losses(given, placements, made, [0, 1])
    theirs = reference.train()(images(contents), as_torchvision(made, 0))
    for mine, torchvisions in (("classification", "classification"), ("box", "bbox_regression")):
        assert ours[mine].shape == (2,)
        torch.testing.assert_close(ours[mine].mean(), theirs[torchvisions], rtol=1e-6, atol=0)

    with torch.no_grad():
        found = detector.head.detections(detector.neck(given), placements)
        expected = reference.eval()(images(contents))
    assert_same_detections(found, expected, 0)


FCOS_LOSSES = {
    "classification": "classification",
    "box": "bbox_regression",
    "centerness": "bbox_ctrness",
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_fcos_equals_torchvision_on_each_image_of_a_batch(contents):
    """By itself, since torchvision divides by the number of foreground places of the whole batch."""
    detector = fcos_detector()
    given, made = pyramid(2, (256, 256)), targets(contents)
    placements = [placement((256, 256), content) for content in contents]
    ours = detector.losses(given, placements, made, [0, 1])
    with torch.no_grad():
        found = detector.head.detections(detector.neck(given), placements)
    for k in range(2):
        alone = FeaturePyramid(SPEC, tuple(x[k : k + 1] for x in given.maps), given.canvas_hw)
        reference = torchvision_fcos(detector, alone, contents[k])
        seen = images(contents[k : k + 1])
        theirs = reference.train()(seen, as_torchvision(made[k : k + 1], 0))
        for mine, torchvisions in FCOS_LOSSES.items():
            assert ours[mine].shape == (2,)
            assert theirs[torchvisions] > 0
            torch.testing.assert_close(ours[mine][k], theirs[torchvisions], rtol=1e-4, atol=0)
        with torch.no_grad():
            expected = reference.eval()(seen)
        assert_same_detections(found[k : k + 1], expected, 0)


def test_fcos_gradients_equal_torchvisions():
    contents = CONTENTS["letterboxed"][:1]
    detector = fcos_detector()
    given, made = pyramid(1, (256, 256)), targets(contents)
    reference = torchvision_fcos(detector, given, contents[0])
    losses = detector.losses(given, [placement((256, 256), contents[0])], made, [0])
    sum(losses.values()).sum().backward()
    sum(reference.train()(images(contents), as_torchvision(made, 0)).values()).backward()
    expected = dict(reference.head.named_parameters())
    assert len(expected) > 10
    for name, parameter in detector.head.named_parameters():
        # A bias before a normalisation has no gradient but what is lost in rounding.
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5)


def fcos_detector():
    torch.manual_seed(1)
    # Points as torchvision has them. Its towers want 32 groups.
    settings = FCOSSettings(score_threshold=0.0, offset=0.0, convs=4, norm="gn32")
    detector = build_detector(SPEC, CLASSES, FPNSettings(channels=64), settings)
    with torch.no_grad():
        detector.head.regression_head.bbox_reg.bias.fill_(2.0)
        detector.head.regression_head.bbox_reg.weight.mul_(20)
    return detector


def torchvision_fcos(detector, given, content):
    """Its defaults but for the threshold, with a copy of our weights."""
    backbone = GivenPyramid(detector.neck, given)
    reference = TorchvisionFCOS(backbone, CLASSES, score_thresh=0.0)
    reference.transform = PaddedImages((256, 256), [content])
    reference.head.load_state_dict(detector.head.state_dict())
    return reference


FASTER_RCNN_LOSSES = {
    "objectness": "loss_objectness",
    "proposal_box": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "box": "loss_box_reg",
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
def test_faster_rcnn_equals_torchvision(contents):
    detector, reference, given = faster_rcnns(contents, rpn_sampled=128, sampled=64)
    placements = [placement((256, 256), content) for content in contents]

    made = targets(contents)
    ours = detector.losses(given, placements, made, [7, 8])
    generators = [Random(7), Random(8)]
    reference.rpn.fg_bg_sampler = SameDraw(generators, 128, 0.5)
    reference.roi_heads.fg_bg_sampler = SameDraw(generators, 64, 0.25)
    theirs = reference.train()(images(contents), as_torchvision(made, 1))
    for mine, torchvisions in FASTER_RCNN_LOSSES.items():
        assert ours[mine].shape == (2,)
        torch.testing.assert_close(ours[mine].mean(), theirs[torchvisions], rtol=1e-4, atol=0)

    with torch.no_grad():
        found = detector.head.detections(detector.neck(given), placements)
        expected = reference.eval()(images(contents))
    assert_same_detections(found, expected, 1)


def test_faster_rcnn_equals_torchvision_on_each_image_of_a_batch_where_its_own_sampler_takes_all():
    contents = CONTENTS["letterboxed"]
    made = targets(contents)
    detector, _, given = faster_rcnns(contents, rpn_sampled=2**20, sampled=2**20)
    placements = [placement((256, 256), content) for content in contents]
    ours = detector.losses(given, placements, made, [7, 8])
    for k in range(2):
        _, reference, _ = faster_rcnns(
            contents[k : k + 1], rpn_sampled=2**20, sampled=2**20, images=slice(k, k + 1)
        )
        alone = reference.train()(images(contents[k : k + 1]), as_torchvision(made[k : k + 1], 1))
        for mine, torchvisions in FASTER_RCNN_LOSSES.items():
            torch.testing.assert_close(ours[mine][k], alone[torchvisions], rtol=1e-4, atol=0)


def faster_rcnns(contents, rpn_sampled, sampled, images=slice(None)):
    """Our detector and torchvision's, of the same weights, and the maps that both are given."""
    torch.manual_seed(1)
    settings = FasterRCNNSettings(
        fc_channels=32,
        **TORCHVISIONS,
        rpn_sampled=rpn_sampled,
        sampled=sampled,
    )
    detector = decided(build_detector(SPEC, CLASSES, FPNSettings(channels=16), settings))
    both = pyramid(2, (256, 256))
    given = FeaturePyramid(SPEC, tuple(x[images] for x in both.maps), both.canvas_hw)
    reference = TorchvisionFasterRCNN(
        GivenPyramid(detector.neck, given),
        num_classes=None,
        rpn_anchor_generator=AnchorGenerator(
            tuple((8.0 * s,) for s in (8, 16, 32, 64, 128)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_batch_size_per_image=rpn_sampled,
        box_roi_pool=strides_from_the_canvas(),
        box_head=detector.head.stages[0].layers,
        box_predictor=with_background(detector.head.stages[0].predictor),
        box_batch_size_per_image=sampled,
        rpn_post_nms_top_n_train=1000,
        box_score_thresh=0.0,
    )
    reference.transform = PaddedImages((256, 256), contents)
    reference.rpn.head.load_state_dict(detector.head.rpn.head.state_dict())
    return detector, reference, given


def with_background(predictor):
    """torchvision's has boxes of the background too, which nothing trains and nobody asks for."""
    theirs = FastRCNNPredictor(predictor.cls_score.in_features, CLASSES + 1)
    theirs.cls_score.load_state_dict(predictor.cls_score.state_dict())
    with torch.no_grad():
        theirs.bbox_pred.weight[4:] = predictor.bbox_pred.weight
        theirs.bbox_pred.bias[4:] = predictor.bbox_pred.bias
    return theirs


def strides_from_the_canvas() -> MultiScaleRoIAlign:
    """torchvision's own inference of the strides, given what it needs to be right: a full canvas."""
    pooler = MultiScaleRoIAlign(["p3", "p4", "p5", "p6"], 7, 2)
    maps = {f"p{k}": torch.zeros(1, 1, 256 >> k, 256 >> k) for k in (3, 4, 5, 6)}
    pooler(maps, [torch.tensor([[0.0, 0.0, 8.0, 8.0]])], [(256, 256)])
    return pooler
