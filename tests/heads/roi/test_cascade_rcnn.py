"""Against the paper written out for one image, number by number; a cascade of one stage is Faster R-CNN."""

import math
from random import Random

import pytest
import torch
from torchvision.ops import roi_align

from fdet.cache.errors import ConfigError
from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi.settings import CascadeRCNNSettings, FasterRCNNSettings
from fdet.heads.sampling import balanced
from fdet.heads.types import Targets

from ..reference import SPEC, batch, decided, placement, pyramid
from ..test_parity import CLASSES

SMALL = {
    "rpn_top_train": (400, 200),
    "rpn_top_test": (100, 40),
    "rpn_sampled": 32,
    "sampled": 48,
    "fc_channels": 32,
    "score_threshold": 0.1,
}
KINDS = {
    "class-agnostic": {"class_agnostic": True},
    "a box a class": {"class_agnostic": False, "iou_thresholds": (0.5, 0.7, 0.8)},
    "two stages": {"iou_thresholds": (0.4, 0.6), "box_weights": ((8, 8, 4, 4), (16, 20, 9, 10))},
}
CONTENTS = {"square": (256, 256), "letterboxed": (128, 256)}


def iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return both / (areas - both)


def centred(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def moved(box, deltas, weights, hw):
    """A box where its deltas put it, clipped to the part that shows the image."""
    x, y, w, h = centred(box)
    dx, dy, dw, dh = (d / k for d, k in zip(deltas, weights, strict=True))
    x, y, w, h = x + dx * w, y + dy * h, w * math.exp(dw), h * math.exp(dh)
    ends = (x - w / 2, hw[1]), (y - h / 2, hw[0]), (x + w / 2, hw[1]), (y + h / 2, hw[0])
    return [min(max(v, 0.0), limit) for v, limit in ends]


class Literal:
    """A cascade of the detector's layers on one image."""

    def __init__(self, detector, given, placed) -> None:
        self.head, self.settings = detector.head, detector.head.settings
        self.pyramid, self.placed = detector.neck(given), placed
        self.hw = placed.content_hw

    def outputs(self, k: int, boxes):
        """Probabilities (N, K + 1) of stage k, and the deltas of each box: one a class, or the same."""
        pooled = []
        for box in boxes:
            area = (box[2] - box[0]) * (box[3] - box[1])
            level = min(max(math.floor(4 + math.log2(math.sqrt(area) / 224) + 1e-6), 3), 6) - 3
            roi = torch.tensor([[0.0, *box]])
            pooled.append(
                roi_align(self.pyramid.maps[level], roi, 7, 1 / (8 << level), 2, aligned=True)
            )
        stage = self.head.stages[k]
        x = stage.layers(torch.cat(pooled))
        deltas = stage.predictor.bbox_pred(x)
        if self.settings.class_agnostic:
            deltas = deltas.repeat(1, CLASSES)
        return stage.predictor.cls_score(x), deltas.view(len(boxes), CLASSES, 4)

    def next_boxes(self, k: int, boxes, logits, deltas):
        best = [max(range(CLASSES), key=lambda c: row[c + 1]) for row in logits.tolist()]
        return [
            moved(box, of_box[c], self.settings.box_weights[k], self.hw)
            for box, of_box, c in zip(boxes, deltas.tolist(), best, strict=True)
        ]

    def labels(self, k: int, boxes, targets):
        """Of each box: 0, or 1 + the class of the object that it overlaps best; and that object."""
        labels, matched = [], []
        for box in boxes:
            overlaps = [iou(box, of) for of in targets.boxes.tolist()]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            found = overlaps[best] >= self.settings.iou_thresholds[k]
            labels.append(int(targets.labels[best]) + 1 if found else 0)
            matched.append(best)
        return labels, matched

    def losses(self, targets, seed: int):
        generator = Random(seed)
        first = self.head.rpn.propose(self.pyramid, [self.placed], training=True, recompute=False)
        self.head.rpn.losses(first, [targets], [generator])  # draws the anchors
        boxes = [*first.boxes[0].tolist(), *targets.boxes.tolist()]
        labels, _ = self.labels(0, boxes, targets)
        drawn = balanced(torch.tensor(labels), self.settings.sampled, 0.25, generator)
        boxes = [boxes[k] for k in torch.cat(drawn).tolist()]
        sums, labels_of_stages = {"classification": 0.0, "box": 0.0}, []
        stages = len(self.settings.iou_thresholds)
        for k in range(stages):
            labels, matched = self.labels(k, boxes, targets)
            labels_of_stages.append(labels)
            logits, deltas = self.outputs(k, boxes)
            for n, box in enumerate(boxes):
                logs = logits[n] - torch.logsumexp(logits[n], 0)
                sums["classification"] += -float(logs[labels[n]]) / len(boxes) / stages
                if labels[n]:
                    wanted = targets.boxes[matched[n]].tolist()
                    sums["box"] += self.box_loss(k, box, wanted, deltas[n, labels[n] - 1].tolist())
            boxes = self.next_boxes(k, boxes, logits, deltas)
        sums["box"] /= len(labels) * stages
        return sums, labels_of_stages

    def box_loss(self, k: int, box, wanted, deltas) -> float:
        (x, y, w, h), (u, v, a, b) = centred(box), centred(wanted)
        offsets = ((u - x) / w, (v - y) / h, math.log(a / w), math.log(b / h))
        weights, loss = self.settings.box_weights[k], 0.0
        for offset, weight, delta in zip(offsets, weights, deltas, strict=True):
            off = abs(delta - weight * offset)
            loss += off * off / 2 * 9 if off < 1 / 9 else off - 1 / 18
        return loss

    def detections(self):
        """(score, label, box), best first, by greedy NMS."""
        first = self.head.rpn.propose(self.pyramid, [self.placed], training=False, recompute=False)
        boxes, scores = first.boxes[0].tolist(), []
        for k in range(len(self.settings.iou_thresholds)):
            if k:
                boxes = self.next_boxes(k - 1, boxes, logits, deltas)  # noqa: F821
            logits, deltas = self.outputs(k, boxes)
            scores.append(logits.softmax(1))
        mean = sum(scores) / len(scores)
        found = []
        for c in range(CLASSES):
            for n in mean[:, c + 1].argsort(descending=True).tolist():
                box = moved(boxes[n], deltas[n, c].tolist(), self.settings.box_weights[-1], self.hw)
                score = float(mean[n, c + 1])
                others = [other for _, label, other in found if label == c]
                if score > 0.1 and all(iou(box, other) <= 0.5 for other in others):
                    found.append((score, c, box))
        return sorted(found, key=lambda x: -x[0])


def one_image(content, **settings):
    torch.manual_seed(3)
    chosen = CascadeRCNNSettings(**SMALL, **settings)
    detector = decided(build_detector(SPEC, CLASSES, FPNSettings(channels=16), chosen))
    with torch.no_grad():
        for stage in detector.head.stages:
            for p in stage.predictor.parameters():
                p.mul_(1.5)  # else a stage moves little
    boxes = [[10, 12, 76, 80], [100, 20, 170, 100], [150, 60, 215, 120], [60, 50, 190, 122]]
    targets = Targets(torch.tensor(boxes).float(), torch.tensor([2, 0, 1, 0]))
    return detector, pyramid(1, (256, 256), seed=4), placement((256, 256), content), targets


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_losses_equal_those_written_out(kind, content):
    detector, given, placed, targets = one_image(content, **kind)
    with torch.no_grad():
        expected, labels = Literal(detector, given, placed).losses(targets, seed=11)
        found = detector.losses(given, [placed], [targets], [11])
    assert all(any(of_stage) for of_stage in labels)
    assert len(set(map(tuple, labels))) > 1
    for name, loss in expected.items():
        assert float(found[name]) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_losses_of_stages_may_be_added_up(kind):
    found = {}
    for wanted in ("mean", "sum"):
        detector, given, placed, targets = one_image(
            CONTENTS["square"], stage_losses=wanted, **kind
        )
        stages = len(detector.head.stages)
        with torch.no_grad():
            found[wanted] = detector.losses(given, [placed], [targets], [11])
    assert stages > 1
    for name, mean in found["mean"].items():
        factor = stages if name in ("classification", "box") else 1
        torch.testing.assert_close(found["sum"][name], factor * mean)
    assert set(found["sum"]) == {"objectness", "proposal_box", "classification", "box"}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_detections_equal_those_written_out(kind, content):
    detector, given, placed, _ = one_image(content, **kind)
    with torch.no_grad():
        expected = Literal(detector, given, placed).detections()[:100]
        (found,) = detector.head.detections(detector.neck(given), [placed])
    assert len(expected) > 10
    scores, labels, boxes = zip(*expected, strict=True)
    torch.testing.assert_close(found.scores, torch.tensor(scores), rtol=1e-4, atol=1e-6)
    assert found.labels.tolist() == list(labels)
    torch.testing.assert_close(found.boxes, torch.tensor(boxes), rtol=1e-4, atol=1e-2)


def test_a_cascade_of_one_stage_is_faster_rcnn():
    shared = SMALL | {"masks": True, "mask_convs": 1, "mask_channels": 8, "score_threshold": 0.0}
    cascade = CascadeRCNNSettings(
        **shared, class_agnostic=False, iou_thresholds=(0.5,), box_weights=((10, 10, 5, 5),)
    )
    torch.manual_seed(0)
    one = build_detector(SPEC, 3, FPNSettings(channels=16), cascade)
    other = build_detector(SPEC, 3, FPNSettings(channels=16), FasterRCNNSettings(**shared))
    other.load_state_dict(one.state_dict())
    given = batch(3)
    losses, expected = one.losses(*given), other.losses(*given)
    assert list(losses) == list(expected)
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    with torch.no_grad():
        pairs = zip(one.detections(*given[:2]), other.detections(*given[:2]), strict=True)
        for a, b in pairs:
            assert len(a) > 10
            assert torch.equal(a.boxes, b.boxes) and torch.equal(a.masks, b.masks)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"iou_thresholds": (0.5, 0.6)}, r"box_weights.*each of the 2 stages.*got 3"),
        ({"iou_thresholds": ()}, "expected 1 to 16, got 0"),
        ({"iou_thresholds": (0.5, 0.6, 1.5)}, "expected 0 to 1, got .*1.5"),
        ({"iou_thresholds": (0.5,), "box_weights": ((1, 1, 0, 1),)}, "positive numbers"),
    ],
)
def test_stages_that_cannot_be_are_refused(settings, why):
    with pytest.raises(ConfigError, match=why):
        CascadeRCNNSettings(**settings)
