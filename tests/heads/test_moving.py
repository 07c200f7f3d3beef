"""Weights that move into a detector of other classes, or on other levels."""

from dataclasses import replace

import pytest
import torch

from fdet.cache.pyramid import PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.moving import moved, readers
from fdet.heads.necks import NECKS

from .reference import CACHED, SPEC, neck_settings, placement, pyramid

CANVAS = (128, 128)
# New label -> label that it had.
ORDER = {0: 2, 1: 0, 2: 1}


def detector(head, classes, seed, **more):
    torch.manual_seed(seed)
    settings = HEADS[head].settings(score_threshold=0.0, max_detections=30, **more)
    built = build_detector(SPEC, classes, NECKS["fpn"].settings(channels=16), settings).eval()
    with torch.no_grad():
        for parameter in built.parameters():  # Fresh class layers give every class the same score.
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built


def found(built):
    with torch.no_grad():
        (result,) = built.detections(pyramid(1, CANVAS), [placement(CANVAS, CANVAS)])
    return result


VARIANTS = [
    *((head, {}) for head in HEADS),
    ("faster-rcnn", {"classifier": "sigmoid"}),
    ("faster-rcnn", {"class_agnostic": True}),
    ("cascade-rcnn", {"class_agnostic": False}),
    ("faster-rcnn", {"masks": True}),
]


@pytest.mark.parametrize(("head", "more"), VARIANTS)
def test_the_same_classes_in_another_order_are_found_as_before(head, more):
    theirs, mine = detector(head, 3, 1, **more), detector(head, 3, 2, **more)
    result = moved(mine, theirs, ORDER)
    assert result.fresh == ()
    mine.load_state_dict(result.tensors)
    before, after = found(theirs), found(mine)
    assert len(before.scores) > 5
    assert torch.allclose(before.scores, after.scores, atol=1e-6)
    assert torch.allclose(before.boxes, after.boxes, atol=1e-4)
    assert [ORDER[k] for k in after.labels.tolist()] == before.labels.tolist()
    if before.masks is not None:
        assert torch.allclose(before.masks, after.masks, atol=1e-4)


@pytest.mark.parametrize(("head", "more"), VARIANTS)
def test_a_new_class_is_fresh_and_all_else_moves(head, more):
    """Every number of the new detector is the other one's, but for the rows of the new class."""
    theirs, mine = detector(head, 3, 1, **more), detector(head, 4, 2, **more)
    fresh = {name: value.clone() for name, value in mine.state_dict().items()}
    result = moved(mine, theirs, {0: 0, 1: 1, 3: 2})
    mine.load_state_dict(result.tensors)
    rows = {
        f"{name}.{tensor}": of
        for layer, of in mine.head.class_rows
        for name, module in mine.named_modules()
        if module is layer
        for tensor, _ in layer.named_parameters(recurse=False)
    }
    assert rows
    for name, value in mine.state_dict().items():
        if name not in rows:
            assert torch.equal(value, theirs.state_dict()[name]), name
            continue
        assert torch.equal(value[rows[name] == 2], fresh[name][rows[name] == 2]), name
        assert (rows[name] == 2).any()
        assert not torch.equal(value[rows[name] != 2], fresh[name][rows[name] != 2]), name


@pytest.mark.parametrize("head", HEADS)
def test_class_vectors_stay_and_the_layers_under_them_move(head):
    more = {"class_agnostic": True} if "rcnn" in head else {}
    theirs, mine = detector(head, 3, 1, **more), detector(head, 5, 2, **more)
    generator = torch.Generator().manual_seed(3)
    for built, count in ((theirs, 3), (mine, 5)):
        built.head.use_embeddings(torch.randn(count, 7, generator=generator))
    result = moved(mine, theirs, {})
    assert result.fresh
    assert all(name.endswith("vectors") for name in result.fresh)


@pytest.mark.parametrize("neck", NECKS)
def test_what_reads_the_cached_levels_is_known(neck):
    """A detector on other levels of the same strides takes over all else."""
    spec = CACHED.get(neck, SPEC)
    wider = PyramidSpec(tuple(replace(v, channels=v.channels + 8) for v in spec.levels))
    more = {"channels": 0} if neck == "identity" else {}
    settings, head = replace(neck_settings(neck), **more), HEADS["retinanet"].settings()
    names = readers(spec, settings, head)
    assert names == readers(spec, neck_settings(neck), head)
    assert names
    torch.manual_seed(0)
    theirs, mine = (build_detector(s, 3, settings, head) for s in (spec, wider))
    result = moved(mine, theirs, {k: k for k in range(3)}, names)
    assert set(result.fresh) == set(names)
    mine.load_state_dict(result.tensors)
