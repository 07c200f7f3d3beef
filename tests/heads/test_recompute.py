"""Over the table: what is computed again is the same, bit for bit, and was not kept."""

from contextlib import nullcontext

import pytest
import torch

from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks import NECKS
from fdet.heads.recompute import recomputed

from .reference import (
    CACHED,
    FEW_SAMPLED,
    PAIRS,
    SPEC,
    LivingBytes,
    batch,
    neck_settings,
    pyramid,
)


def detector_of(neck: str, head: str, norm: str = "gn"):
    torch.manual_seed(0)
    settings = HEADS[head][1](**FEW_SAMPLED.get(head, {}))
    spec = CACHED.get(neck, SPEC)
    return build_detector(spec, 3, neck_settings(neck, norm=norm), settings)


def bfloat16():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("precision", [nullcontext, bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_losses_and_gradients_are_the_same_bit_for_bit(neck, head, precision):
    seen = []
    for recompute in (False, True):
        detector = detector_of(neck, head)
        detector.checkpoint_activations(recompute)
        with precision():
            losses = detector.losses(*batch(3, spec=CACHED.get(neck, SPEC)))
        sum(losses.values()).mean().backward()
        seen.append((losses, {n: p.grad for n, p in detector.named_parameters()}))
    for kept, recompute in zip(*seen, strict=True):
        assert list(kept) == list(recompute)
        assert [name for name in kept if not torch.equal(kept[name], recompute[name])] == []


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


@pytest.mark.parametrize("norm", ["bn", "sync-bn", "frozen-bn"])
@pytest.mark.parametrize("neck", [name for name in NECKS if name != "identity"])
def test_running_statistics_move_once(neck, norm):
    spec = CACHED.get(neck, SPEC)
    seen = []
    for recompute in (False, True):
        torch.manual_seed(0)
        made = NECKS[neck].build(spec, neck_settings(neck, norm=norm))
        given = pyramid(2, (128, 128), spec=spec)
        for _ in range(2):
            out = recomputed(made, given) if recompute else made(given)
            sum(x.square().sum() for x in out.maps).backward()
        gradients = {f"gradient of {n}": p.grad for n, p in made.named_parameters()}
        seen.append(dict(made.named_buffers()) | gradients)
    kept, recompute = seen
    assert [n for n in kept if not torch.equal(kept[n], recompute[n])] == []
    counts = [int(x) for n, x in recompute.items() if n.endswith("num_batches_tracked")]
    assert len(counts) > 2
    assert max(counts) == (0 if norm == "frozen-bn" else 2)


def test_statistics_of_a_method_of_a_module_move_once_too():
    norm = torch.nn.BatchNorm2d(2)
    x = torch.randn(2, 2, 3, 3, requires_grad=True)
    recomputed(norm.forward, x).sum().backward()
    assert norm.num_batches_tracked == 1
    assert norm.running_mean is dict(norm.named_buffers())["running_mean"]
