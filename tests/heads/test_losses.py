"""Over the table: an image's losses are its own, in every precision and memory format."""

from functools import partialmethod

import pytest
import torch
from torch import nn

from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.build import HEADS, build_detector
from fdet.heads.detector import Detector
from fdet.heads.necks import NECKS

from .reference import ALL_SAMPLED, FEW_SAMPLED, SPEC, batch


def detector_of(head: str, **settings) -> Detector:
    """The same weights each time, of a size that makes the losses of images differ."""
    torch.manual_seed(0)
    detector = build_detector(SPEC, 3, NECKS["fpn"][1](channels=16), HEADS[head][1](**settings))
    with torch.no_grad():
        for parameter in detector.head.parameters():
            parameter.mul_(2)
    return detector


def only(k: slice, pyramid, placements, targets, seeds):
    maps = tuple(x[k] for x in pyramid.maps)
    part = FeaturePyramid(pyramid.spec, maps, pyramid.canvas_hw)
    return part, placements[k], targets[k], seeds[k]


def with_maps(change, pyramid, *others):
    maps = tuple(change(x) for x in pyramid.maps)
    return FeaturePyramid(pyramid.spec, maps, pyramid.canvas_hw), *others


@pytest.mark.parametrize("head", HEADS)
def test_an_image_has_the_same_losses_in_every_batch(head):
    detector = detector_of(head, **FEW_SAMPLED.get(head, {}))
    given = batch(5)
    together = detector.losses(*given)
    assert all(x.shape == (5,) and x.dtype == torch.float32 for x in together.values())
    for split in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
        starts = [sum(split[:k]) for k in range(len(split))]
        slices = [slice(a, a + n) for a, n in zip(starts, split, strict=True)]
        parts = [detector.losses(*only(k, *given)) for k in slices]
        for name, expected in together.items():
            apart = torch.cat([part[name] for part in parts])
            torch.testing.assert_close(apart, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(head):
    detector = detector_of(head, **FEW_SAMPLED.get(head, {}))
    given = batch(5)
    sum(detector.losses(*given).values()).mean().backward()
    expected = [p.grad for p in detector.parameters()]
    detector.zero_grad()
    for k in (slice(0, 2), slice(2, 5)):
        (sum(detector.losses(*only(k, *given)).values()).sum() / 5).backward()
    for parameter, whole in zip(detector.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_losses_hang_on_the_seeds_and_not_on_torchs_generator(head):
    detector = detector_of(head, **FEW_SAMPLED.get(head, {}))
    pyramid, placements, targets, seeds = batch(2)
    losses = {}
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        losses[state] = detector.losses(pyramid, placements, targets, seeds)
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, losses[2][name]) for name, x in losses[1].items())
    changed = detector.losses(pyramid, placements, targets, [seeds[0], seeds[1] + 1])
    assert all(x[0] == changed[name][0] for name, x in losses[1].items())
    draws = head in FEW_SAMPLED
    assert any(x[1] != changed[name][1] for name, x in losses[1].items()) == draws


def test_a_seed_too_few_is_refused():
    pyramid, placements, targets, seeds = batch(3)
    with pytest.raises(ValueError, match="3 of each, got 3, 3 and 2"):
        detector_of("retinanet").losses(pyramid, placements, targets, seeds[:2])


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_gives_float32_losses_and_detections_near_those_of_float32(head):
    detector = detector_of(head, score_threshold=0.0, **ALL_SAMPLED.get(head, {}))
    given = batch(3)
    expected = detector.losses(*given)
    with torch.autocast("cpu", torch.bfloat16):
        assert detector.neck(given[0]).maps[0].dtype == torch.bfloat16
        losses = detector.losses(*given)
        with torch.no_grad():
            found = detector.detections(*given[:2])
    for name, x in losses.items():
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, expected[name], rtol=0.02, atol=1e-3)
    for image in found:
        assert len(image.scores) > 10
        assert image.boxes.dtype == image.scores.dtype == torch.float32
        # bfloat16 has 8 bits: a box of its own would lie on whole pixels above 128.
        assert (image.boxes != image.boxes.bfloat16()).any()
    # Nor does a batch in bfloat16 leave a trace in the anchors of the next.
    assert all(torch.equal(x, expected[name]) for name, x in detector.losses(*given).items())


@pytest.mark.parametrize("head", HEADS)
def test_channels_last_gives_the_same_losses_and_gradients(head):
    detector = detector_of(head, **ALL_SAMPLED.get(head, {}))
    given = batch(3)
    expected = detector.losses(*given)
    sum(expected.values()).mean().backward()
    gradients = [p.grad.clone() for p in detector.parameters()]
    detector.zero_grad()
    detector.to(memory_format=torch.channels_last)
    moved = with_maps(lambda x: x.contiguous(memory_format=torch.channels_last), *given)
    assert not moved[0].maps[0].is_contiguous()
    losses = detector.losses(*moved)
    sum(losses.values()).mean().backward()
    for name, x in losses.items():
        torch.testing.assert_close(x, expected[name], rtol=1e-4, atol=1e-6)
    for parameter, gradient in zip(detector.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


# torch hides this one of its own by other means than a filter.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("head", HEADS)
def test_compiled_parts_give_the_same_losses_and_keep_their_names(head, monkeypatch):
    """The graphs run as torch's own operations; tests/pipeline/training/test_loop.py generates code."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    torch.manual_seed(0)
    settings = HEADS[head][1](**ALL_SAMPLED.get(head, {}))
    detector = build_detector(SPEC, 3, NECKS["fpn"][1](channels=16, max_level=5), settings)
    names = list(detector.state_dict())
    given = batch(2)
    expected = detector.losses(*given)
    detector.compile_parts()
    assert list(detector.state_dict()) == names
    for recompute in (False, True):
        detector.checkpoint_activations(recompute)
        losses = detector.losses(*given)
        sum(losses.values()).mean().backward()
        for name, x in losses.items():
            torch.testing.assert_close(x, expected[name], rtol=1e-3, atol=1e-5)
    # Parts of one kind, such as a cascade's stages, share their graphs.
    assert counters["stats"]["unique_graphs"] > len({type(part) for part in detector.head.parts})
    assert not counters["graph_break"]
