"""Places of a canvas, their points, and boxes as distances; and that a canvas is worked out once."""

import copy
import pickle

import pytest
import torch

from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks import NECKS
from fdet.heads.points import LocationsOf, per_location

from .reference import SPEC, batch, pyramid


def test_points_lie_in_their_places_level_after_level_and_row_by_row():
    canvas_hw = (40, 72)
    locations = LocationsOf(SPEC)(pyramid(1, canvas_hw))
    assert locations.counts == (5 * 9, 3 * 5, 2 * 3)
    expected = [
        (x * s + s / 2, y * s + s / 2, s)
        for s, rows, columns in ((8, 5, 9), (16, 3, 5), (32, 2, 3))
        for y in range(rows)
        for x in range(columns)
    ]
    found = torch.cat([locations.points, locations.strides], dim=1)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=0)
    corners = LocationsOf(SPEC, offset=0)(pyramid(1, canvas_hw))
    assert torch.equal(corners.points + corners.strides / 2, locations.points)
    assert per_location([1, 2, 3], locations.counts).tolist() == [1] * 45 + [2] * 15 + [3] * 6


def test_boxes_and_distances_are_each_others_way_back():
    locations = LocationsOf(SPEC)(pyramid(1, (64, 64)))
    distances = torch.rand(2, len(locations.points), 4) * 5 - 1
    boxes = locations.boxes(distances)
    torch.testing.assert_close(locations.distances(boxes), distances)
    # The first point is (4, 4) and has a stride of 8.
    one = locations.boxes(torch.tensor([[0.0, 0.5, 1.0, 2.0]]).expand(len(locations.points), 4))[0]
    assert one.tolist() == [4, 0, 12, 20]


@pytest.mark.parametrize("head", HEADS)
def test_what_is_kept_of_a_canvas_is_no_state(head):
    torch.manual_seed(0)
    detector = build_detector(SPEC, 3, NECKS["fpn"].settings(channels=16), HEADS[head].settings())
    names, fresh = list(detector.state_dict()), len(pickle.dumps(detector))
    given = batch(2)
    losses = detector.losses(*given)
    assert list(detector.state_dict()) == names
    # torchvision's anchors of one place are kept, the same as before.
    assert len(pickle.dumps(detector)) == pytest.approx(fresh, rel=0.01)
    for other in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        recompute = other.losses(*given)
        assert all(torch.equal(x, recompute[name]) for name, x in losses.items())
