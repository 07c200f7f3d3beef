"""How images are cut: even tiles up to the edges, ids and names of their own, and back again."""

import numpy as np
import pytest

from fdet.cache.errors import InputError
from fdet.cache.layout import ImageEntry
from fdet.cache.windows import Window, split_name, window_name
from fdet.pipeline.dataset.annotations import Annotations, ImageBoxes
from fdet.pipeline.dataset.tiling import (
    Tiling,
    files_of,
    image_of,
    is_tiled,
    photographs_of,
    tiles_of,
    tiling_of,
)
from fdet.pipeline.dataset.tiling_choice import chosen_tiling
from fdet.pipeline.dataset.tiling_option import check_tiles

SIZES = [(641, 640), (800, 1360), (1035, 1249), (2472, 2299), (300, 5000), (640, 641), (999, 999)]


@pytest.mark.parametrize("hw", SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.75])
def test_tiles_cover_the_image_and_overlap_enough(hw, overlap):
    windows = Tiling(640, overlap).windows(hw)
    covered = np.zeros(hw, dtype=int)
    for w in windows:
        assert w.lies_in(hw)
        assert w.hw == (min(640, hw[0]), min(640, hw[1]))
        covered[w.y : w.y + w.height, w.x : w.x + w.width] += 1
    assert covered.all()
    for starts in ({w.x for w in windows}, {w.y for w in windows}):
        steps = np.diff(sorted(starts))
        assert (640 - steps >= overlap * 640 - 1).all()
        assert np.ptp(steps) <= 1 if len(steps) else True
    assert windows == sorted(windows, key=lambda w: (w.y, w.x))


@pytest.mark.parametrize("hw", [(640, 640), (10, 640), (1, 1)])
def test_an_image_that_fits_in_a_tile_is_not_cut(hw):
    assert Tiling(640).windows(hw) == []


def entries(*sizes):
    return [ImageEntry(k + 5, f"a/{k}.png", hw) for k, hw in enumerate(sizes)]


def test_tiles_have_ids_by_rows_and_names_with_their_windows():
    tiles = tiles_of(entries((100, 200), (90, 90)), Tiling(120, 0.2))
    assert [t.id for t in tiles] == [5_000_001, 5_000_002, 6_000_000]
    assert tiles[0] == ImageEntry(5_000_001, "a/0.png#xywh=0,0,120,100", (100, 120))
    assert tiles[1].file_name == "a/0.png#xywh=80,0,120,100"
    assert tiles[2] == ImageEntry(6_000_000, "a/1.png", (90, 90))
    assert is_tiled(tiles)
    assert [image_of(t.id) for t in tiles] == [5, 5, 6]
    assert files_of(tiles) == ["a/0.png", "a/1.png"]


def test_a_whole_image_stands_beside_its_tiles_and_never_twice():
    tiles = tiles_of(entries((100, 200), (90, 90)), Tiling(120, 0.2, whole=True))
    assert [t.id for t in tiles] == [5_000_000, 5_000_001, 5_000_002, 6_000_000]
    assert tiles[0].file_name == "a/0.png"
    assert tiles[0].hw == (100, 200)


def test_ids_do_not_change_when_images_are_added():
    few = tiles_of(entries((300, 300)), Tiling(120))
    more = tiles_of(entries((300, 300), (500, 500)), Tiling(120))
    assert set(few) <= set(more)


def test_images_of_which_none_is_larger_stay_as_they_are():
    images = entries((90, 90), (120, 40))
    assert tiles_of(images, Tiling(120)) == tuple(images)
    assert not is_tiled(images)
    assert tiling_of(images) is None


def test_an_id_that_is_too_large_is_refused():
    largest = (2**63 - 1) // 10**6
    fits = [ImageEntry(largest - 1, "a.png", (200, 200))]
    assert len(tiles_of(fits, Tiling(120))) == 4
    with pytest.raises(InputError, match="has the id 9223372036855, and tiles need ids up to"):
        tiles_of([ImageEntry(largest + 1, "a.png", (200, 200))], Tiling(120))


def test_too_many_tiles_are_refused():
    with pytest.raises(InputError, match="give larger ones"):
        tiles_of([ImageEntry(1, "a.png", (10**6, 10**6))], Tiling(32))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.2, 0.33, 0.5])
def test_a_tiling_that_gives_the_same_tiles_is_told_from_a_layout(overlap, whole):
    images = entries(*SIZES, (50, 50))
    tiles = tiles_of(images, Tiling(640, overlap, whole))
    told = tiling_of(tiles)
    assert told is not None
    assert (told.side, told.whole) == (640, whole)
    assert told.overlap >= overlap - 1e-9
    assert tiles_of(images, told) == tiles
    assert photographs_of(tiles) == tuple(images)


@pytest.mark.parametrize("name", ["a.jpg", "sub/a b.png", "a#xywh=1,2,3,4.jpg"])
def test_names_of_windows_are_read_back(name):
    window = Window(12, 0, 640, 1)
    assert split_name(window_name(name, window)) == (name, window)
    assert split_name(name) == (name, None)


@pytest.mark.parametrize(
    "end", ["#xywh=1,2,3", "#xywh=1,2,0,4", "#xywh=-1,2,3,4", "#xywh=1,2,3,4 "]
)
def test_what_is_no_window_is_part_of_the_name(end):
    assert split_name(f"a.jpg{end}") == (f"a.jpg{end}", None)


def annotations(sides, crowd=False):
    n = len(sides)
    boxes = np.array([[0, 0, s, s / 2] for s in sides], dtype=float).reshape(n, 4)
    packed = ImageBoxes(
        boxes, np.zeros(n, np.int64), np.full(n, crowd), np.prod(boxes[:, 2:], axis=1)
    )
    return Annotations((ImageEntry(1, "a", (9, 9)),), (1,), ("x",), packed, np.array([0, n]))


def test_auto_makes_a_tenth_of_the_objects_smaller_than_32_px_on_the_canvas():
    tiling = chosen_tiling(annotations(np.linspace(20, 60, 101)), 320, None, whole=False)
    assert tiling.side == 320  # The canvas: 24 px would allow 240, and two large objects 116.
    assert tiling.overlap == 0.18  # 56 px.
    small = chosen_tiling(annotations(np.linspace(50, 90, 101)), 320, None, whole=True)
    assert (small.side, small.whole) == (544, True)  # 54 px * 320 / 32 = 540.


def test_auto_leaves_room_for_two_large_objects():
    tiling = chosen_tiling(annotations([30] * 8 + [700] * 2), 320, 0.3, whole=False)
    assert (tiling.side, tiling.overlap) == (1408, 0.3)


@pytest.mark.parametrize("given", [annotations([]), annotations([30], crowd=True)])
def test_auto_needs_an_object(given):
    with pytest.raises(InputError, match="no object"):
        chosen_tiling(given, 320, None, whole=False)


@pytest.mark.parametrize(
    ("given", "overlap", "whole", "said"),
    [
        (None, 0.2, False, "--overlap: it belongs to --tiles"),
        (None, None, True, "--whole: it belongs to --tiles"),
        ("none", None, True, "--whole: it belongs to --tiles"),
        (0, None, False, "--tiles: expected a side of at least 32 px, or auto, got 0"),
        (31, None, False, "at least 32 px"),
        ("large", None, False, "got large"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, overlap, whole, said):
    with pytest.raises(InputError, match=said):
        check_tiles(given, overlap, whole, "auto")
