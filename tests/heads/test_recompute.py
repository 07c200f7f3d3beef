"""Over the table: what is computed again is the same, bit for bit, and was not kept."""

from contextlib import nullcontext

import pytest
import torch

from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks import NECKS

from .reference import FEW_SAMPLED, SPEC, LivingBytes, batch


def detector_of(neck: str, head: str):
    torch.manual_seed(0)
    settings = HEADS[head][1](**FEW_SAMPLED.get(head, {}))
    return build_detector(SPEC, 3, NECKS[neck][1](channels=16, norm="gn"), settings)


def bfloat16():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("precision", [nullcontext, bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("head", HEADS)
def test_losses_and_gradients_are_the_same_bit_for_bit(neck, head, precision):
    seen = []
    for recompute in (False, True):
        detector = detector_of(neck, head)
        detector.checkpoint_activations(recompute)
        with precision():
            losses = detector.losses(*batch(3))
        sum(losses.values()).mean().backward()
        seen.append((losses, {n: p.grad for n, p in detector.named_parameters()}))
    for kept, again in zip(*seen, strict=True):
        assert list(kept) == list(again)
        assert [name for name in kept if not torch.equal(kept[name], again[name])] == []


@pytest.mark.parametrize("head", HEADS)
def test_fewer_bytes_live_on_until_the_backward_pass(head):
    detector = detector_of("fpn", head)
    given = batch(3)
    detector.losses(*given)  # What depends on the canvas alone is kept from here on.
    living = {}
    for recompute in (False, True, False):
        detector.checkpoint_activations(recompute)
        with LivingBytes() as bytes_computed:
            losses = detector.losses(*given)
        assert all(x.requires_grad for x in losses.values())
        living.setdefault(recompute, []).append(bytes_computed.total)
        del losses
        assert bytes_computed.total < min(living[recompute]) / 10
    assert living[False][0] == living[False][1]
    assert living[True][0] < 0.7 * living[False][0]


@pytest.mark.parametrize("head", HEADS)
def test_the_neck_and_every_part_of_the_head_are_computed_again(head):
    detector = detector_of("fpn", head)
    detector.checkpoint_activations(True)
    calls = []
    parts = {"neck": detector.neck} | dict(enumerate(detector.head.parts))
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    losses = detector.losses(*batch(2))
    before = {name: calls.count(name) for name in parts}
    sum(losses.values()).mean().backward()
    assert {name: calls.count(name) for name in parts} == {n: 2 * k for n, k in before.items()}


@pytest.mark.parametrize("head", HEADS)
def test_detections_are_the_same_and_without_gradients(head):
    detector = detector_of("fpn", head)
    with torch.no_grad():
        expected = detector.detections(*batch(2)[:2])
        detector.checkpoint_activations(True)
        found = detector.detections(*batch(2)[:2])
    for image, other in zip(found, expected, strict=True):
        assert torch.equal(image.boxes, other.boxes)
        assert torch.equal(image.scores, other.scores)
