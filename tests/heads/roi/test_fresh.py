"""What a fresh RoI head says: nearly nothing, whatever it sees, and its layers keep what comes in."""

import math

import pytest
import torch
from torch import nn

from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS
from fdet.heads.roi.box_head import PRIOR

from ..reference import SPEC


def fresh(head, classes=3, **settings):
    torch.manual_seed(0)
    chosen = ROI_HEADS[head].settings(fc_channels=512, masks=True, **settings)
    return build_detector(SPEC, classes, FPNSettings(channels=32), chosen).head


@pytest.mark.parametrize("classifier", ["softmax", "sigmoid"])
@pytest.mark.parametrize("head", ROI_HEADS)
def test_linear_layers_have_the_spread_of_detectron_and_no_bias(head, classifier):
    for stage in fresh(head, classes=30, classifier=classifier).stages:
        linear = [m for m in stage.layers if isinstance(m, nn.Linear)]
        assert len(linear) == 2
        for layer in linear:
            limit = math.sqrt(3 / layer.in_features)
            assert layer.weight.abs().max() <= limit
            assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.02)
            assert not layer.bias.any()
        classes, boxes = stage.predictor.cls_score, stage.predictor.bbox_pred
        assert classes.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert boxes.weight.std().item() == pytest.approx(0.001, rel=0.05)
        prior = math.log(PRIOR / (1 - PRIOR)) if classifier == "sigmoid" else 0
        torch.testing.assert_close(classes.bias, torch.full_like(classes.bias, prior))
        assert not boxes.bias.any()


@pytest.mark.parametrize("classes", [1, 80])
def test_fresh_masks_are_undecided_however_few_classes_there_are(classes):
    masks = fresh("faster-rcnn", classes).masks
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn((4, 32, 14, 14), generator=generator)
    with torch.no_grad():
        logits = masks.predictor(masks.layers(pooled), torch.zeros(4, dtype=torch.int64))
    assert 0 < logits.abs().max() < 0.1
    assert not masks.predictor.conv5_mask.bias.any()
    assert not masks.predictor.mask_fcn_logits.bias.any()
