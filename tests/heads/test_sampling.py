"""The draw of an image: within its limits, its own, and fair."""

from collections import Counter
from random import Random

import pytest
import torch

from fdet.heads.sampling import balanced

# Ten positives of several classes, twenty negatives, five to be ignored.
LABELS = torch.tensor(([1, 2] * 5) + [0] * 20 + [-1] * 5)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (8, 0.5, (4, 4)),
        (9, 0.25, (2, 7)),
        (24, 0.5, (10, 14)),
        (100, 0.5, (10, 20)),
        (8, 0, (0, 8)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_positives_up_to_their_share_then_negatives_and_never_an_ignored_one(
    count, share, expected, dtype
):
    positive, negative = balanced(LABELS.to(dtype), count, share, Random(3))
    assert (len(positive), len(negative)) == expected
    assert (LABELS[positive] >= 1).all()
    assert (LABELS[negative] == 0).all()
    assert len(set(positive.tolist() + negative.tolist())) == sum(expected)


def test_the_draw_hangs_on_all_of_the_seed_and_on_nothing_else():
    draws = {}
    for seed in (1, 2, 1 + 2**32):
        torch.manual_seed(seed % 5)
        before = torch.get_rng_state()
        draws[seed] = [x.tolist() for x in balanced(LABELS, 12, 0.5, Random(seed))]
        assert torch.equal(torch.get_rng_state(), before)
        assert [x.tolist() for x in balanced(LABELS, 12, 0.5, Random(seed))] == draws[seed]
    assert draws[1] != draws[2]
    assert draws[1] != draws[1 + 2**32]


def test_every_candidate_is_drawn_equally_often():
    drawn = Counter()
    for seed in range(1000):
        positive, negative = balanced(LABELS, 10, 0.5, Random(seed))
        drawn.update(positive.tolist() + negative.tolist())
    # Expected 500 and 250 times, with deviations of 16 and 14.
    assert all(430 < drawn[k] < 570 for k in range(10))
    assert all(180 < drawn[k] < 320 for k in range(10, 30))


def test_an_image_without_candidates_gives_none():
    for labels in (torch.zeros(0), torch.full((4,), -1)):
        assert [len(x) for x in balanced(labels, 8, 0.5, Random(0))] == [0, 0]
