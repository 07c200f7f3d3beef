"""The front is what nothing beats: against looking at every pair."""

import random

from fdet.pipeline.tools.reporting.front import front


def beaten(point, points) -> bool:
    cost, ap = point
    return any(c <= cost and a >= ap and (c, a) != point for c, a in points)


def test_the_front_is_what_no_other_beats():
    draw = random.Random(0)
    for _ in range(50):
        points = [(draw.randrange(8), draw.randrange(8)) for _ in range(12)]
        chosen = [points[k] for k in front(points)]
        assert set(chosen) == {p for p in points if not beaten(p, points)}
        assert chosen == sorted(chosen) and len(set(chosen)) == len(chosen)


def test_what_has_no_figure_is_left_out():
    assert front([(None, 0.5), (1.0, None), (2.0, 0.1)]) == [2]
    assert front([]) == []
