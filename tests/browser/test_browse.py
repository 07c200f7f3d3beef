"""`fdet browse` driven in a browser: `page` fails on console errors and on requests to elsewhere."""

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.browsing.collection import open_collection

from ..pipeline.quick import quick
from ..pipeline.tools.browsing.serving import (
    DAMAGED,
    FAILED,
    HOSTILE_CLASS,
    RENAMED,
    asked,
    odd_cache,
    serving,
)

SHOWN_NAME = "<img src=x onerror=alert(1)>\\u202egnp.png"


@pytest.fixture(scope="module")
def site(dataset, tmp_path_factory):
    """A served cache of four views, some of them padded; its server."""
    root = tmp_path_factory.mktemp("browsed") / "site.fdet"
    extract(quick(dataset, root, views="plain,hflip,scale=0.5..0.7x2"))
    with serving(open_collection(root, dataset.parent / "images", None)) as server:
        yield server


@pytest.fixture(scope="module")
def odd_site(tmp_path_factory):
    root = odd_cache(tmp_path_factory.mktemp("odd"), "zarr")
    with serving(open_collection(root, root.parent / "images", None)) as server:
        yield server


def opened(page, server, fragment=""):
    page.goto(f"{server.address}#{fragment}")
    settled(page)


def settled(page):
    """Until the page has drawn all that it was asked for."""
    page.wait_for_selector(':root[data-asking="0"]')
    page.wait_for_selector('#figures[aria-busy="false"]', state="attached")
    page.wait_for_selector("#values:not([aria-busy=true])", state="attached")


def fragment(page):
    found = parse_qs(urlsplit(page.url).fragment)
    return {name: value[0] for name, value in found.items()}


def shot(page, place, selector):
    return page.locator(selector).nth(place).screenshot()


def test_a_cache_is_shown_with_its_first_image(page, seen, site):
    opened(page, site)
    first = site.collection.cache.header.layout.images[0]
    assert page.title() == "site.fdet · fdet browse"
    assert page.locator("h2").first.inner_text() == first.file_name
    assert fragment(page)["image"] == str(first.id)
    assert page.locator("#images li").count() == 12
    assert page.locator("figure").count() == 3
    assert page.locator("figure .stage > canvas").count() == 3
    boxes = site.collection.box_counts[first.id]
    assert page.locator("figure:first-child rect.box").count() == boxes > 1
    assert page.locator("#trouble").is_hidden()
    assert len(seen.requests) > 8
    assert all(url.startswith(site.address) for url in seen.requests)


def test_maps_are_drawn_cell_by_cell_in_the_colours_of_their_values(page, site):
    opened(page, site, "image=10&show=channel&number=4&boxes=0")
    colours = np.array(asked(site, "about")["colours"])
    for level in (0, 1):
        plane = site.collection.maps((10, 0))[level][4]
        drawn = (
            page.locator(".map > canvas")
            .nth(level)
            .evaluate(
                "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            )
        )
        assert tuple(drawn[:2]) == plane.shape
        shares = (plane - plane.min()) / (plane.max() - plane.min())
        expected = colours[(shares * 255.999).astype(int).clip(0, 255)]
        pixels = np.array(drawn[2:]).reshape(*plane.shape, 4)
        assert np.abs(pixels[..., :3] - expected).max() <= 3
        assert (pixels[..., 3] == 255).all()


def test_the_list_and_the_maps_are_used_by_keyboard(page, site):
    opened(page, site)
    ids = [str(image.id) for image in site.collection.cache.header.layout.images]
    page.focus("#images")
    for keys, expected in (
        (["ArrowDown", "ArrowDown"], 2),
        (["ArrowUp"], 1),
        (["End"], 11),
        (["Home"], 0),
        (["j", "j", "k"], 1),
    ):
        for key in keys:
            page.keyboard.press(key)
        settled(page)
        assert fragment(page)["image"] == ids[expected]
        selected = page.locator('#images [aria-selected="true"]')
        assert selected.count() == 1
        assert page.get_attribute("#images", "aria-activedescendant") == selected.get_attribute(
            "id"
        )
    page.keyboard.press("v")
    settled(page)
    assert fragment(page)["view"] == "1" and page.input_value("#view") == "1"
    page.keyboard.press("b")
    assert page.locator("rect.box").count() == 0 and not page.is_checked("#boxes")
    page.keyboard.press("/")
    page.keyboard.type("vbj")
    assert page.input_value("#words") == "vbj"
    page.wait_for_selector("#images .empty")
    assert fragment(page)["view"] == "1"


def test_a_cell_is_read_with_the_mouse_and_with_the_arrow_keys(page, site):
    opened(page, site, "image=10")
    expected = {}
    for level in (0, 1):
        maps = site.collection.maps((10, 0))[level].astype(float)
        expected[level] = np.sqrt((maps**2).mean(axis=0))

    def read():
        found = re.findall(r"(c\d) \[(\d+), (\d+)\] ([-\d.e]+)", page.inner_text("#cell"))
        assert [name for name, *_ in found] == ["c1", "c2"]
        for level, (_, row, column, value) in enumerate(found):
            assert float(value) == pytest.approx(expected[level][int(row), int(column)], rel=1e-3)
        return [(int(row), int(column)) for _, row, column, _ in found]

    stage = page.locator(".map").first
    area = stage.bounding_box()
    stage.hover(position={"x": area["width"] * 0.3, "y": area["height"] * 0.8})
    assert read() == [(25, 9), (12, 4)]
    assert page.locator("rect.cursor").count() == 2
    page.mouse.move(2, 2)
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert read() == [(23, 10), (11, 5)]


def test_views_move_the_boxes_and_mark_the_padding(page, site):
    opened(page, site, "image=10&view=0")
    plain = page.locator("figure:first-child rect.box").first.get_attribute("x")
    page.select_option("#view", "1")
    settled(page)
    assert page.locator("figure:first-child rect.box").first.get_attribute("x") != plain
    assert page.locator("path[fill^=url]").count() == 0
    page.select_option("#view", "2")
    settled(page)
    assert page.locator("path[fill^=url]").count() == 3


def test_each_way_of_showing_a_map(page, site):
    opened(page, site, "image=10&boxes=0")
    pictures = set()
    for show, words in (
        ("norm", "root mean square"),
        ("pca", "as red, green, blue"),
        ("component", "component 0, in deviations"),
        ("channel", "channel 0 of"),
    ):
        page.select_option("#show", show)
        settled(page)
        assert words in page.inner_text(".map >> xpath=.. >> nth=0")
        assert page.locator("#number").is_visible() == (show in ("component", "channel"))
        assert page.locator("#range").is_hidden() == (show == "pca")
        assert page.locator(".bar").count() == (0 if show == "pca" else 2)
        pictures.add(shot(page, 0, ".map"))
    assert len(pictures) == 4
    page.select_option("#show", "norm")
    settled(page)
    own = page.locator(".bar").all_inner_texts()
    page.select_option("#range", "shared")
    shared = page.locator(".bar").all_inner_texts()
    assert own[0] != own[1] and shared[0] == shared[1]
    page.select_option("#show", "channel")
    page.fill("#number", "9999")
    page.press("#number", "Enter")
    page.wait_for_selector(".trouble")
    assert "channel 9999: this level has 0 to" in page.inner_text("#figures")


def test_histograms_of_a_level_and_of_a_channel(page, site):
    opened(page, site, "image=10&level=1")
    assert page.locator("#values svg rect").count() == 64
    label = page.locator("#values [role=img]").first.get_attribute("aria-label")
    assert label.startswith("Histogram of c2, all channels: values ")
    page.locator("#values canvas").click(position={"x": 1, "y": 40})
    settled(page)
    assert fragment(page)["channel"] == "0" and page.input_value("#channel") == "0"
    values = asked(site, "histogram", image=10, level=1, channel=0)
    assert f"{100 * values['zeros']:.1f} %" in page.inner_text("#values")
    page.fill("#channel", "")
    page.press("#channel", "Tab")
    settled(page)
    assert "channel" not in fragment(page)


def test_the_address_keeps_the_state_and_back_returns(page, site):
    ids = [str(image.id) for image in site.collection.cache.header.layout.images]
    state = f"image={ids[4]}&view=1&show=channel&number=3&level=1&channel=2&words=sub&only=boxes"
    opened(page, site, state)
    expected = dict(pair.split("=") for pair in state.split("&"))
    for name in ("view", "show", "number", "level", "channel", "words", "only"):
        assert page.input_value(f"#{name}") == expected[name]
    page.fill("#words", "")
    page.wait_for_selector("#images li:nth-child(11)")
    page.locator("#images li").first.click()
    settled(page)
    assert fragment(page)["image"] == ids[0]
    page.go_back()
    settled(page)
    assert fragment(page)["image"] == ids[4]
    assert site.collection.images[int(ids[4])].file_name == page.inner_text("#name")


def test_a_fragment_of_nonsense_shows_the_first_image(page, site):
    opened(page, site, "image=<b>&view=99&show=x&level=77&number=-1&channel=z&boxes=maybe")
    assert page.inner_text("#name") == site.collection.cache.header.layout.images[0].file_name
    assert page.locator(".map > canvas").count() == 2


def test_filters(page, site):
    opened(page, site)
    page.select_option("#only", "boxes")
    settled(page)
    with_boxes = sum(count > 0 for count in site.collection.box_counts.values())
    assert page.locator("#images li").count() == with_boxes < 12
    page.select_option("#label", label="cross")
    settled(page)
    assert page.locator("#images li").count() == asked(site, "images", label=2)["total"]
    page.select_option("#only", "failed")
    page.wait_for_selector("#images .empty")


def test_a_long_list_comes_in_pages(page, site, monkeypatch):
    monkeypatch.setattr("fdet.pipeline.tools.browsing.facts.PAGE", 5)
    ids = [str(image.id) for image in site.collection.cache.header.layout.images]
    opened(page, site, f"image={ids[9]}")
    assert page.inner_text("#position") == "6–10 of 12"
    page.keyboard.press("j")
    page.wait_for_selector(f"#image-{ids[10]}[aria-selected=true]")
    settled(page)
    assert page.inner_text("#position") == "11–12 of 12" and page.is_disabled("#later")
    page.keyboard.press("k")
    page.wait_for_selector(f"#image-{ids[9]}[aria-selected=true]")
    page.click("#earlier")
    page.wait_for_selector(f"#image-{ids[0]}")
    assert page.is_disabled("#earlier") and fragment(page)["image"] == ids[9]


def test_facts_and_sizes(page, site):
    opened(page, site, "image=10&view=2")
    page.click("#about summary")
    page.wait_for_selector("#sizes td")
    text = page.inner_text("#about")
    for fact in ("scale=0.5..0.7#1", "test_resnet", "fp32", "64x64, c1", "64x64, c2", "sha256"):
        assert fact in text
    assert page.locator("#sizes tbody tr").count() == len(asked(site, "sizes")["rows"])


def test_hostile_names_are_text(page, odd_site):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    opened(page, odd_site, f"image={RENAMED}")
    assert page.inner_text("#name") == SHOWN_NAME
    assert SHOWN_NAME in page.locator("#images bdi").all_inner_texts()
    assert HOSTILE_CLASS in page.locator("#label option").all_inner_texts()
    assert HOSTILE_CLASS in page.inner_text("#legend")
    assert HOSTILE_CLASS in page.locator(".tag").all_inner_texts()
    assert page.locator("img").count() == 0 and page.locator("script").count() == 1
    assert dialogs == []


def test_failed_and_damaged_samples_say_why_and_the_page_goes_on(page, odd_site):
    opened(page, odd_site, f"image={FAILED}")
    assert "not an image that can be read" in page.inner_text("#trouble")
    assert page.locator("figure").count() == 0
    opened(page, odd_site, f"image={DAMAGED}")
    page.reload()
    settled(page)
    assert f"image {DAMAGED}, view 0" in page.inner_text("#figures")
    assert page.locator("figure").count() == 3
    page.focus("#images")
    page.keyboard.press("ArrowDown")
    settled(page)
    assert page.locator(".trouble").count() == 0
    assert page.locator(".map > canvas").count() == 2


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_leaves_the_window_and_texts_are_legible(page, site, width, scheme):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, site, "image=10&view=2")
    page.click("#about summary")
    page.wait_for_selector("#sizes td")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('main').scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert min(contrasts.values()) >= 4.5, sorted(contrasts.items(), key=lambda item: item[1])[:3]
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')]"
        ".filter(e => !e.labels?.length && !e.innerText && !e.ariaLabel).map(e => e.id)"
    )
    assert unnamed == []


# WCAG 2.2's ratio of each text's colour to the nearest background behind it that is opaque.
CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const bright = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = rgba(getComputedStyle(e).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim());
    const skipped = e.disabled || ['OPTION', 'title'].includes(e.tagName);
    if (!own.join('') || !e.checkVisibility() || skipped) continue;
    const [a, b] = [bright(rgba(getComputedStyle(e).color)), bright(behind(e))];
    found[e.tagName + own.join('').slice(0, 30)] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""
