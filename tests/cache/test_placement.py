import json
import random

import pytest
import torch

from fdet.cache.placement import Placement


def random_placement(rng: random.Random, whole: bool = False) -> Placement:
    """whole: the canvas shows all of the image, so that nothing is clipped away."""
    image_hw = (rng.randint(20, 400), rng.randint(20, 400))
    scale = (rng.uniform(0.3, 3), rng.uniform(0.3, 3))
    flip = (rng.random() < 0.5, rng.random() < 0.5)
    sides = [scale[a] * image_hw[1 - a] for a in (0, 1)]
    if whole:
        content = tuple(int(sides[1 - k]) + 1 for k in (0, 1))
        shift = tuple(sides[a] if flip[a] else 0.0 for a in (0, 1))
    else:
        content = (rng.randint(10, 300), rng.randint(10, 300))
        shift = tuple(rng.uniform(-100, 100) + (sides[a] if flip[a] else 0) for a in (0, 1))
    canvas = tuple(side + rng.randint(0, 64) for side in content)
    return Placement(image_hw, canvas, content, scale, shift, flip)


def random_box(rng: random.Random, hw: tuple[int, int]) -> list[float]:
    x = sorted(rng.uniform(0, hw[1]) for _ in range(2))
    y = sorted(rng.uniform(0, hw[0]) for _ in range(2))
    return [x[0], y[0], x[1] + 0.5, y[1] + 0.5]


def clip(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)


def literal_corners(p: Placement, box: list[float], clipped: bool = True) -> list[float]:
    """x_canvas = ±scale · x_image + shift, written out for each corner of one box."""
    ends = []
    for axis in (0, 1):
        sign = -1 if p.flip[axis] else 1
        limit = p.content_hw[1 - axis]
        pair = [sign * p.scale[axis] * box[axis + k] + p.shift[axis] for k in (0, 2)]
        ends.append(sorted(clip(v, limit) if clipped else v for v in pair))
    return [ends[0][0], ends[1][0], ends[0][1], ends[1][1]]


def area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@pytest.mark.parametrize("seed", range(100))
def test_to_canvas_and_visible_share_agree_with_the_literal_formula(seed):
    rng = random.Random(seed)
    p = random_placement(rng)
    boxes = [random_box(rng, p.image_hw) for _ in range(8)]
    given = torch.tensor(boxes, dtype=torch.float64)
    expected = [literal_corners(p, box) for box in boxes]
    torch.testing.assert_close(p.to_canvas(given), torch.tensor(expected, dtype=torch.float64))
    shares = [
        area(literal_corners(p, b)) / area(literal_corners(p, b, clipped=False)) for b in boxes
    ]
    torch.testing.assert_close(p.visible_share(given), torch.tensor(shares, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(50))
def test_boxes_come_back_through_the_canvas(seed):
    rng = random.Random(seed)
    p = random_placement(rng, whole=True)
    boxes = torch.tensor([random_box(rng, p.image_hw) for _ in range(8)])
    boxes = torch.minimum(boxes, torch.tensor([p.image_hw[1], p.image_hw[0]] * 2))
    back = p.to_image(p.to_canvas(boxes))
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, boxes, atol=1e-2, rtol=1e-4)


def test_what_lies_beyond_the_content_is_clipped_to_its_edge():
    p = Placement((100, 200), (64, 96), (50, 96), (1.0, 1.0), (0.0, 0.0))
    found = p.to_canvas(torch.tensor([[-5.0, 10, 300, 300], [150, 10, 190, 20]]))
    assert found.tolist() == [[0, 10, 96, 50], [96, 10, 96, 20]]


def test_to_image_clips_to_the_image():
    p = Placement((10, 20), (32, 32), (20, 32), (2.0, 2.0), (4.0, 0.0))
    assert p.to_image(torch.tensor([[0.0, 0, 64, 64]])).tolist() == [[0, 0, 20, 10]]


def test_a_flip_mirrors_and_keeps_the_corners_in_order():
    p = Placement((10, 20), (10, 20), (10, 20), (1.0, 1.0), (20.0, 10.0), (True, True))
    assert p.to_canvas(torch.tensor([[1.0, 2, 5, 4]])).tolist() == [[15, 6, 19, 8]]


def test_visible_share_of_boxes_outside_half_in_and_inside():
    p = Placement((100, 100), (50, 50), (50, 50), (1.0, 1.0), (0.0, 0.0))
    boxes = torch.tensor([[60.0, 0, 80, 20], [40, 0, 60, 20], [0, 0, 20, 20], [5, 5, 5, 9]])
    assert p.visible_share(boxes).tolist() == [0.0, 0.5, 1.0, 0.0]


def test_no_boxes_stay_no_boxes():
    p = Placement((10, 20), (10, 20), (10, 20), (1.0, 1.0), (20.0, 0.0), (True, False))
    none = torch.zeros(0, 4)
    assert p.to_canvas(none).shape == p.to_image(none).shape == (0, 4)
    assert p.visible_share(none).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_a_placement_survives_json_exactly(seed):
    p = random_placement(random.Random(seed))
    assert Placement.from_json(json.loads(json.dumps(p.to_json()))) == p


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image_hw": (0, 5)}, "positive"),
        ({"content_hw": (5, 0)}, "positive"),
        ({"content_hw": (11, 20)}, "exceeds"),
        ({"scale": (1.0, 0.0)}, "scale"),
        ({"scale": (float("nan"), 1.0)}, "scale"),
    ],
)
def test_impossible_placements_are_refused(change, why):
    values = {"image_hw": (10, 20), "canvas_hw": (10, 20), "content_hw": (10, 20)}
    with pytest.raises(ValueError, match=why):
        Placement(**{**values, "scale": (1.0, 1.0), "shift": (0.0, 0.0), **change})


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
def test_grids_over_boxes_are_mirrored_as_the_boxes_are(flip):
    """The centre of a cell goes where the box of that cell goes."""
    shift = (30.0 if flip[0] else 0.0, 20.0 if flip[1] else 0.0)
    p = Placement((20, 30), (20, 30), (20, 30), (1.0, 1.0), shift, flip)
    grid = torch.arange(6).view(1, 2, 3)  # over all of the image: cells of 10 px
    cells = torch.tensor(
        [[10.0 * i, 10 * j, 10 * i + 10, 10 * j + 10] for j in (0, 1) for i in (0, 1, 2)]
    )
    expected = torch.full((2, 3), -1)
    for value, (x, y, _, _) in enumerate(p.to_canvas(cells).tolist()):
        expected[int(y / 10), int(x / 10)] = value
    assert torch.equal(p.mirrored(grid)[0], expected)
    assert torch.equal(p.mirrored(p.mirrored(grid)), grid)
