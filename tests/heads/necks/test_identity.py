"""The cached levels as they are; and what cannot be."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks.identity import Identity
from fdet.heads.necks.settings import IdentitySettings
from fdet.pipeline.runs.config import OptimSettings
from fdet.pipeline.runs.model import Model
from fdet.pipeline.training.optimiser import make_optimiser

from ..reference import EQUAL, FEW_SAMPLED, SPEC, TAPS, batch, pyramid


def test_the_levels_are_the_very_ones():
    given = pyramid(1, (72, 40), spec=EQUAL)
    neck = Identity(EQUAL, IdentitySettings(min_level=4, max_level=5))
    out = neck(given)
    assert out.spec.levels == EQUAL.levels[1:3]
    assert [x is y for x, y in zip(out.maps, given.maps[1:3], strict=True)] == [True, True]
    assert list(neck.parameters()) == list(neck.parts) == []
    assert Identity(EQUAL, IdentitySettings()).spec == EQUAL


@pytest.mark.parametrize(
    ("spec", "settings", "expected"),
    [
        (SPEC, {}, r"expected 6 channels in every level.*c4 \(stride 16, 10 channels\).*neck fpn"),
        (EQUAL, {"channels": 32}, "expected 32 channels"),
        (TAPS, {}, "a stride of its own.*neck vit-pyramid"),
        (EQUAL, {"min_level": 8}, r"no level within 8 to 16, the cache has p3 \(stride 8"),
    ],
)
def test_what_cannot_be_is_refused(spec, settings, expected):
    with pytest.raises(ConfigError, match=expected):
        Identity(spec, IdentitySettings(**settings))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn"])
def test_a_detector_learns_above_it(head, recompute):
    torch.manual_seed(0)
    settings = HEADS[head].settings(**FEW_SAMPLED.get(head, {}))
    detector = build_detector(EQUAL, 3, IdentitySettings(), settings)
    detector.checkpoint_activations(recompute)
    optimiser = make_optimiser(Model(detector), OptimSettings())
    before = [p.detach().clone() for p in detector.parameters()]
    sum(detector.losses(*batch(2, spec=EQUAL)).values()).mean().backward()
    optimiser.step()
    moved = [not torch.equal(p, q) for p, q in zip(detector.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) / 2
