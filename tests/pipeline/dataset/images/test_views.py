"""The grammar of views, the resize rule, and placements that say where the pixels really went."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.images.decoding import draw_canvas
from fdet.pipeline.dataset.images.views import ResizeRule, parse_views, place, view_from_name

RULES = {
    "square": ResizeRule(128, 128, True, 32),
    "square, padded": ResizeRule(100, 100, True, 32),
    "aspect": ResizeRule(96, 160, False, 32),
    "aspect, stride 14": ResizeRule(90, 200, False, 14),
}
VIEWS = "plain,hflip,vflip,hflip+vflip,scale=0.5..2x2,scale=1..2+hflip+vflip,crop=0.3..0.9+hflipx2"


def random_sizes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(int(v) for v in rng.integers(20, 2000, 2)) for _ in range(count)]


def placed(image_hw, rule, name, seed=0, image_id=3):
    return place(image_hw, rule, view_from_name(name), seed=seed, image_id=image_id, view_index=1)


def scaled_hw(placement):
    """Size of the whole image on its canvas's scale, px."""
    return np.round(np.array(placement.image_hw) * placement.scale[::-1]).astype(int)


def test_views_keep_their_order_and_repeats_are_numbered():
    views = parse_views("plain, hflip,scale=0.7..1.4x2,crop=0.5+vflip")
    assert [v.name for v in views] == [
        "plain",
        "hflip",
        "scale=0.7..1.4#1",
        "scale=0.7..1.4#2",
        "crop=0.5+vflip",
    ]
    assert [v.flip for v in views] == [
        (False, False),
        (True, False),
        *[(False, False)] * 2,
        (False, True),
    ]
    assert views[2].scale == (0.7, 1.4)
    assert views[4].crop == (0.5, 0.5)
    assert [v.random for v in views] == [False, False, True, True, True]


def test_a_stored_name_gives_back_its_view():
    for view in parse_views(VIEWS):
        assert view_from_name(view.name) == view


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an entry is empty"),
        ("plain,,hflip", "an entry is empty"),
        ("plain,hfilp", "cannot read 'hfilp'; did you mean 'hflip'?"),
        ("plain,rotate", "known: crop, hflip, plain, scale, vflip"),
        ("plain,hflip=1", "cannot read 'hflip=1'"),
        ("plain,hflip=", "cannot read 'hflip='"),
        ("plain,plain+hflip", "cannot read 'plain'"),
        ("plain=1", "cannot read 'plain=1'"),
        ("plain,hflip+", "cannot read ''"),
        ("plain,hflip+hflip", "names a transform twice"),
        ("plain,scale=0.5+scale=0.7", "names a transform twice"),
        ("plain,scale=0.5+crop=0.5", "scale and crop exclude each other"),
        ("plain,scale", "expected LOW..HIGH within 0.05..10"),
        ("plain,scale=", "expected LOW..HIGH within 0.05..10"),
        ("plain,scale=a..b", "expected LOW..HIGH within 0.05..10"),
        ("plain,scale=1.4..0.7", "expected LOW..HIGH within 0.05..10"),
        ("plain,scale=nan", "expected LOW..HIGH within 0.05..10"),
        ("plain,scale=0.5..11", "expected LOW..HIGH within 0.05..10"),
        ("plain,crop=0.5..1.1", "expected LOW..HIGH within 0.05..1"),
        ("plain,crop=0", "expected LOW..HIGH within 0.05..1"),
        ("plain,crop=-0.5", "expected LOW..HIGH within 0.05..1"),
        ("plain,hflipx2", "xN repeats a random view"),
        ("plain,scale=0.5x0", "N >= 1 times"),
        ("plain,scale=0.5x1000000000", "expected LOW..HIGH"),
        ("plain,scale=0.5#1", "expected LOW..HIGH"),
        ("hflip,plain", "the first must be 'plain'"),
        ("plain,plain", "a view is named twice; repeat random ones with xN"),
        ("plain,crop=0.5,crop=0.5", "a view is named twice; repeat random ones with xN"),
    ],
)
def test_bad_views_are_refused_with_a_hint(text, said):
    with pytest.raises(InputError, match=r"^--views") as caught:
        parse_views(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(("short", "long"), [(0, 10), (-1, 5), (11, 10)])
def test_a_rule_refuses_impossible_sides(short, long):
    with pytest.raises(InputError, match="expected 1 <= short <= long"):
        ResizeRule(short, long, False, 32)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_canvases_hold_their_content_and_fit_the_strides(rule):
    for image_hw in [*random_sizes(500), (1, 4000), (4000, 1), (1, 1)]:
        canvas, content = rule.canvas_hw(image_hw), rule.content_hw(image_hw)
        assert all(side % rule.divisor == 0 for side in canvas)
        assert all(1 <= c <= k for c, k in zip(content, canvas, strict=True))
        assert max(content) <= rule.long


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_longer_or_the_shorter_side_reaches_its_limit(rule):
    for image_hw in random_sizes(200):
        content = rule.content_hw(image_hw)
        assert max(content) == rule.long or (not rule.square and min(content) == rule.short)
        exact = [side * rule.factor(image_hw) for side in image_hw]
        assert np.allclose(content, exact, atol=0.5 + 1e-6)


@pytest.mark.parametrize(
    "rule", [ResizeRule(480, 640, False, 32), ResizeRule(800, 1333, False, 32), RULES["aspect"]]
)
def test_a_thousand_sizes_share_few_canvases(rule):
    sizes = random_sizes(1000)
    assert len({rule.canvas_hw(size) for size in sizes}) <= 18
    assert len({rule.canvas_hw(size) for size in sizes if size[0] <= size[1] <= 2 * size[0]}) <= 9


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_turning_an_image_turns_its_canvas(rule):
    for rows, columns in random_sizes(200):
        assert rule.canvas_hw((columns, rows)) == rule.canvas_hw((rows, columns))[::-1]


@pytest.mark.parametrize(
    ("rule", "image_hw", "canvas_hw", "content_hw"),
    [
        (ResizeRule(480, 640, False, 32), (480, 640), (480, 640), (480, 640)),
        (ResizeRule(480, 640, False, 32), (640, 480), (640, 480), (640, 480)),
        (ResizeRule(480, 640, False, 32), (240, 320), (480, 640), (480, 640)),
        (ResizeRule(480, 640, False, 32), (500, 500), (480, 480), (480, 480)),
        (ResizeRule(480, 640, False, 32), (100, 1000), (128, 640), (64, 640)),
        (ResizeRule(320, 320, True, 32), (100, 200), (320, 320), (160, 320)),
        (ResizeRule(300, 300, True, 32), (200, 100), (320, 320), (300, 150)),
    ],
)
def test_canvas_and_content_of_known_sizes(rule, image_hw, canvas_hw, content_hw):
    assert (rule.canvas_hw(image_hw), rule.content_hw(image_hw)) == (canvas_hw, content_hw)


def test_the_plain_view_lies_at_the_top_left_and_ignores_the_seed():
    rule = RULES["square, padded"]
    for image_hw in random_sizes(50):
        plain = placed(image_hw, rule, "plain")
        assert (plain.shift, plain.flip) == ((0.0, 0.0), (False, False))
        assert plain.content_hw == rule.content_hw(image_hw)
        assert plain == placed(image_hw, rule, "plain", seed=9, image_id=8)


@pytest.mark.parametrize("name", ["scale=0.5..2", "crop=0.3..0.9", "crop=0.5+hflip"])
def test_random_views_depend_on_seed_image_and_view_alone(name):
    rule, view = RULES["aspect"], view_from_name(name)

    def at(seed, image_id, index):
        return place((300, 420), rule, view, seed=seed, image_id=image_id, view_index=index)

    np.random.seed(1)
    first = at(1, 2, 3)
    np.random.seed(2)
    assert at(1, 2, 3) == first
    others = [at(2, 2, 3), at(1, 3, 3), at(1, 2, 4), at(2, 1, 3), at(1, 2**63, 3)]
    assert all(other != first for other in others)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_scale_keeps_the_canvas_pads_below_one_and_cuts_above(rule):
    for image_hw in random_sizes(40):
        plain = placed(image_hw, rule, "plain")
        small, large = placed(image_hw, rule, "scale=0.5"), placed(image_hw, rule, "scale=2")
        assert small.canvas_hw == large.canvas_hw == plain.canvas_hw
        exact = np.array(image_hw) * rule.factor(image_hw)
        assert np.abs(scaled_hw(small) - np.maximum(exact / 2, 1)).max() <= 0.51
        assert np.abs(scaled_hw(large) - exact * 2).max() <= 0.51
        assert small.shift == (0.0, 0.0)
        assert small.content_hw == tuple(scaled_hw(small))
        assert large.content_hw == tuple(np.minimum(scaled_hw(large), large.canvas_hw))


def test_scales_and_crops_fill_their_range():
    rule, image_hw = RULES["square"], (512, 512)
    scales = [placed(image_hw, rule, "scale=0.5..2", seed).scale[0] * 4 for seed in range(300)]
    assert min(scales) < 0.55 and max(scales) > 1.9
    assert 0.42 < np.mean(np.array(scales) > 1) < 0.58, "log-uniform: as often above 1 as below"
    shares = [1 / (placed(image_hw, rule, "crop=0.4..0.8", s).scale[0] * 4) for s in range(300)]
    assert 0.39 < min(shares) < 0.42 and 0.78 < max(shares) < 0.81


def test_crops_lie_anywhere_and_fill_the_place_of_the_whole_image():
    rule, image_hw = RULES["square"], (300, 600)
    corners = [placed(image_hw, rule, "crop=0.5", seed) for seed in range(100)]
    assert all(p.content_hw == (64, 128) for p in corners)
    lefts = [-p.shift[0] for p in corners]
    assert min(lefts) < 10 and max(lefts) > 118
    assert len({p.shift for p in corners}) > 50


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("view", parse_views(VIEWS), ids=lambda view: view.name)
def test_a_drawn_box_is_where_its_placement_says(rule, view):
    seen = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rows, columns = (int(v) for v in rng.integers(60, 400, 2))
        left, top = int(rng.integers(columns // 2)), int(rng.integers(rows // 2))
        box = (left, top, left + int(columns * 0.45), top + int(rows * 0.45))
        image = Image.new("RGB", (columns, rows), (0, 0, 0))
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(255, 0, 0))

        placement = place((rows, columns), rule, view, seed=seed, image_id=7, view_index=2)
        canvas = draw_canvas(image, placement)
        assert canvas.shape == (*placement.canvas_hw, 3)
        expected = placement.to_canvas(torch.tensor([box], dtype=torch.float64))[0].numpy()
        ys, xs = np.nonzero(canvas[..., 0] > 127)
        if min(expected[2:] - expected[:2]) < 3:
            continue
        found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert np.abs(found - expected).max() <= 1.5
        seen += 1
    assert seen >= 6


@pytest.mark.parametrize("view", parse_views(VIEWS), ids=lambda view: view.name)
def test_padding_is_black_and_content_is_not(view):
    image = Image.new("RGB", (333, 200), (255, 255, 255))
    placement = place((200, 333), RULES["square"], view, seed=4, image_id=7, view_index=2)
    canvas = draw_canvas(image, placement)
    rows, columns = placement.content_hw
    assert (canvas[:rows, :columns] == 255).all()
    assert not canvas[rows:].any() and not canvas[:, columns:].any()


def test_a_plain_canvas_at_scale_one_is_the_image_itself():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    rule = ResizeRule(64, 96, False, 32)
    for name, expected in (
        ("plain", pixels),
        ("hflip", pixels[:, ::-1]),
        ("vflip", pixels[::-1]),
        ("hflip+vflip", pixels[::-1, ::-1]),
    ):
        canvas = draw_canvas(Image.fromarray(pixels), placed((64, 96), rule, name))
        assert np.array_equal(canvas, expected), name


def test_extreme_shapes_can_be_drawn():
    for image_hw in [(1, 1), (1, 3000), (3000, 1), (2, 7)]:
        image = Image.new("RGB", image_hw[::-1], (9, 9, 9))
        for rule in RULES.values():
            for k, view in enumerate(parse_views("plain,hflip,scale=0.05..10x9,crop=0.05..1x9")):
                placement = place(image_hw, rule, view, seed=0, image_id=1, view_index=k)
                assert draw_canvas(image, placement).any()
