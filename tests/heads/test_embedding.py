"""Classes told by vectors: of every head, and exchanged without training."""

import pytest
import torch
from torch.nn import functional

from fdet.cache.errors import ConfigError
from fdet.heads.build import HEADS, build_detector
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.embedding import PlaceClassifier, RoIClassifier
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS

from .reference import SPEC, batch, placement, pyramid

FEW = {
    "retinanet": {"convs": 1},
    "fcos": {"convs": 1},
    "tal": {"convs": 1},
    "query": {"queries": 20, "layers": 2, "denoising": 8},
    **{name: {"fc_channels": 32, "class_agnostic": True, "sampled": 64} for name in ROI_HEADS},
}
CLASSES, LENGTH = 3, 12
CANVAS = (128, 128)


def vectors(count=CLASSES, length=LENGTH, seed=0):
    """Orthogonal, of any length."""
    generator = torch.Generator().manual_seed(seed)
    square, _ = torch.linalg.qr(torch.randn(length, length, generator=generator))
    return square[:count] * torch.arange(1.0, count + 1)[:, None]


def built(head, given=None, **changes):
    torch.manual_seed(0)
    settings = HEADS[head].settings(**{"score_threshold": 0.0, **FEW[head], **changes})
    given = vectors() if given is None else given
    return build_detector(SPEC, len(given), FPNSettings(channels=16), settings, given).eval()


def found_by(detector, canvas=CANVAS):
    with torch.no_grad():
        return detector.detections(pyramid(1, canvas), [placement(canvas, canvas)])[0]


def by_label(found, label):
    """Boxes and scores of a class, by place: of nearly equal scores rounding decides which comes first."""
    kept = found.labels == label
    boxes, scores = found.boxes[kept], found.scores[kept]
    order = (boxes.double() @ torch.tensor([1.0, 7.0, 61.0, 547.0]).double()).argsort()
    return boxes[order], scores[order]


@pytest.mark.parametrize("head", HEADS)
def test_gradients_reach_every_parameter_and_no_vector(head):
    detector = built(head, **({"top_k": 2**20} if head == "tal" else {})).train()
    before = {n: v.clone() for n, v in detector.named_buffers() if n.endswith("vectors")}
    sum(detector.losses(*batch(2, CANVAS)).values()).mean().backward()
    dead = [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    assert before and not any(name in dict(detector.named_parameters()) for name in before)
    torch.optim.AdamW(detector.parameters(), weight_decay=0.1).step()
    for name, x in before.items():
        assert torch.equal(x, dict(detector.named_buffers())[name])


def test_a_logit_is_the_scaled_cosine():
    torch.manual_seed(0)
    layer, x = PlaceClassifier(6, 2, vectors()), torch.randn(2, 6, 5, 4)
    features = layer.projection(x)
    for anchor in range(2):
        for k, vector in enumerate(vectors()):
            of_anchor = features[:, anchor * LENGTH : (anchor + 1) * LENGTH]
            cosine = functional.cosine_similarity(of_anchor, vector[None, :, None, None], dim=1)
            expected = 20 * cosine + layer.shift
            torch.testing.assert_close(layer(x)[:, anchor * 3 + k], expected, rtol=1e-3, atol=1e-3)
    rois, x = RoIClassifier(6, vectors()), torch.randn(7, 6)
    expected = functional.cosine_similarity(rois.projection(x)[:, None], vectors()[None], dim=2)
    torch.testing.assert_close(rois(x)[:, 1:], 20 * expected, rtol=1e-3, atol=1e-3)
    background = functional.cosine_similarity(rois.projection(x), rois.background[None], dim=1)
    torch.testing.assert_close(rois(x)[:, 0], 20 * background, rtol=1e-3, atol=1e-3)


def test_features_of_zero_have_finite_gradients():
    layer, x = PlaceClassifier(6, 2, vectors()), torch.zeros(1, 6, 3, 3, requires_grad=True)
    logits = layer(x)
    assert torch.equal(logits, layer.shift.expand_as(logits))
    logits.sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() < 1e6


@pytest.mark.parametrize("head", HEADS)
def test_the_same_classes_in_another_order_are_found_alike(head):
    detector = built(head)
    before, order = found_by(detector), [2, 0, 1]
    assert len(before.labels) and set(before.labels.tolist()) <= set(range(CLASSES))
    detector.head.use_embeddings(vectors()[order])
    after = found_by(detector)
    assert len(before.labels) == len(after.labels)
    for new, old in enumerate(order):
        for x, y in zip(by_label(after, new), by_label(before, old), strict=True):
            torch.testing.assert_close(x, y)


@pytest.mark.parametrize("head", DENSE_HEADS)
def test_a_class_with_the_vector_of_an_old_one_has_its_scores(head):
    """Among more classes than before; dense heads score each by itself. On a canvas so small that no
    level has more candidates than are looked at.
    """
    detector, small = built(head, max_detections=10**4), (32, 32)
    before = found_by(detector, small)
    more = torch.cat([vectors(5, seed=1), 7 * vectors()[1:2]])
    detector.head.use_embeddings(more)
    after = found_by(detector, small)
    assert set(after.labels.tolist()) <= set(range(6))
    for x, y in zip(by_label(after, 5), by_label(before, 1), strict=True):
        assert len(x)
        torch.testing.assert_close(x, y)


def test_a_roi_s_logits_hang_on_their_own_vector_alone():
    torch.manual_seed(0)
    layer, x = RoIClassifier(6, vectors()), torch.randn(7, 6)
    before = layer(x)
    layer.replace(torch.cat([vectors(5, seed=1), vectors()[1:2]]))
    assert layer(x).shape == (7, 7)
    torch.testing.assert_close(layer(x)[:, [0, 6]], before[:, [0, 2]])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("count", [1, 7])
def test_their_number_may_change(count, head):
    detector = built(head)
    detector.head.use_embeddings(vectors(count))
    found = found_by(detector)
    assert set(found.labels.tolist()) <= set(range(count)) and len(found.labels)
    # A copy of weights knows as many classes as there are.
    assert all(len(v) == count for n, v in detector.state_dict().items() if n.endswith("vectors"))


@pytest.mark.parametrize("head", HEADS)
def test_vectors_of_another_length_are_refused(head):
    detector = built(head)
    with pytest.raises(ConfigError, match="expected vectors of 12 values, as in training, got 8"):
        detector.head.use_embeddings(vectors(3, 8))


@pytest.mark.parametrize("head", ROI_HEADS)
@pytest.mark.parametrize(
    ("changes", "name"), [({"class_agnostic": False}, "class_agnostic"), ({"masks": True}, "masks")]
)
def test_what_is_learnt_for_each_class_is_refused(changes, name, head):
    with pytest.raises(ConfigError, match=rf"'head\.{name}': expected (true|false) with class"):
        built(head, **changes)


@pytest.mark.parametrize("head", HEADS)
def test_weights_bring_their_vectors(head):
    trained, fresh = built(head), built(head, torch.zeros(CLASSES, LENGTH))
    fresh.load_state_dict(trained.state_dict())
    one, other = found_by(trained), found_by(fresh)
    assert torch.equal(one.scores, other.scores) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("head", HEADS)
def test_recomputed_they_are_the_same(head):
    seen = []
    for recompute in (False, True):
        detector = built(head).train()
        detector.checkpoint_activations(recompute)
        losses = detector.losses(*batch(2, CANVAS))
        sum(losses.values()).mean().backward()
        seen.append([*losses.values(), *(p.grad for p in detector.parameters())])
    for x, y in zip(*seen, strict=True):
        torch.testing.assert_close(x, y)
