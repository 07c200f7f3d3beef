"""Names of any script are written with their own letters, or as ids; never as empty boxes."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fdet.pipeline.pictures import fonts, text
from fdet.pipeline.pictures.draw import class_colour, draw_boxes
from fdet.pipeline.pictures.text import legible_names, line_of

NAMES = {
    "Latin": "Kästchen ąęłőű",
    "Vietnamese": "hộp đĩa",
    "Greek": "κουτί",
    "Cyrillic": "ящик",
    "Armenian": "տուփ",
    "Georgian": "ყუთი",
    "Hebrew": "קופסה",
    "Arabic": "صندوق كبير 2",
    "Devanagari": "डिब्बा",
    "Bengali": "বাক্স",
    "Tamil": "பெட்டி",
    "Thai": "กล่อง",
    "Khmer": "ប្រអប់",
    "Ethiopic": "ሳጥን",
    "Chinese": "箱子 盒",
    "Japanese": "円盤 はこカメ",
    "Korean": "상자",
    "emoji": "📦 🔵",
    "signs": "a→b ≥½µ",
    "mixed": "x円ящ📦",
}
# A script without fonts in any package of fdet's.
UNKNOWN = "\U00013000\U00013001"


@pytest.fixture
def no_system(monkeypatch):
    """A machine without fonts of its own."""
    monkeypatch.setattr(fonts, "_of_system", lambda: ())
    text._face_of_letter.cache_clear()
    yield
    text._face_of_letter.cache_clear()


def ink(words, size=40):
    """Where a line has ink, cut to its box."""
    line = line_of(words, size)
    picture = Image.new("RGB", (1200, 120), "white")
    line.write(ImageDraw.Draw(picture), 20, 80)
    dark = np.asarray(picture.convert("L")) < 128
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return dark[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def missing_glyph(face, size=40):
    """What a font draws in place of a letter that it lacks."""
    picture = Image.new("L", (200, 120), 255)
    pen = ImageDraw.Draw(picture)
    pen.text((20, 80), "\U0010fffd", font=fonts.opened(face, size), anchor="ls")
    return np.asarray(picture) < 128


@pytest.mark.parametrize("script", NAMES)
def test_every_script_has_fonts_among_the_dependencies(script, no_system):
    name = NAMES[script]
    assert legible_names((name, "box"), (7, 8)) == (name, "box")
    parts = line_of(f"{name} 0.87", 20).parts
    assert "".join(part for _, part in parts) == f"{unicodedata.normalize('NFC', name)} 0.87"
    assert all(fonts.has(face, letter) for face, part in parts for letter in part)


@pytest.mark.parametrize("script", NAMES)
def test_no_letter_is_drawn_as_the_sign_for_a_missing_one(script, no_system):
    for face, part in line_of(NAMES[script], 40).parts:
        for letter in part:
            if letter.isalpha():
                picture = Image.new("L", (200, 120), 255)
                font = fonts.opened(face, 40)
                ImageDraw.Draw(picture).text((20, 80), letter, font=font, anchor="ls")
                drawn = np.asarray(picture) < 128
                assert drawn.any()
                assert not np.array_equal(drawn, missing_glyph(face))


def test_different_names_look_different(no_system):
    looks = {ink(name).tobytes() for name in NAMES.values()}
    assert len(looks) == len(NAMES)


def test_arabic_is_joined_and_runs_from_the_right():
    if not fonts.can_shape():
        pytest.skip("this Pillow cannot shape")
    joined, apart = ink("كبير"), ink("ك ب ي ر")
    assert joined.shape[1] < 0.8 * apart.shape[1]


def test_a_name_without_fonts_is_its_id_and_one_warning_says_so(no_system, caplog):
    names, ids = (UNKNOWN, "box", "\ue000"), (31, 32, 33)
    legible_names.cache_clear()
    for _ in range(3):
        assert legible_names(names, ids) == ("31", "box", "33")
    (message,) = caplog.messages
    assert message.startswith("pictures show 2 classes by id (")
    assert "no font here has their letters; install a Noto font" in message


def test_what_cannot_be_shaped_is_its_id(monkeypatch, caplog):
    monkeypatch.setattr(text, "can_shape", lambda: False)
    names = ("صندوق", "डिब्बा", "円盤", "ящик")
    legible_names.cache_clear()
    assert legible_names(names, (1, 2, 3, 4)) == ("1", "2", "円盤", "ящик")
    assert "their script cannot be set here; install libfribidi" in caplog.messages[0]
    legible_names.cache_clear()


def test_a_single_class_is_never_named(no_system, caplog):
    assert legible_names((UNKNOWN,), (5,)) == (UNKNOWN,)
    assert caplog.messages == []


def test_a_letter_without_fonts_becomes_a_question_mark(no_system):
    assert [part for _, part in line_of(f"a{UNKNOWN}b", 20).parts] == ["a??b"]


def test_without_the_packages_the_fonts_of_the_system_are_used(monkeypatch, tmp_path):
    (package,) = (f for f in fonts._packaged() if f.name == "NotoSans[wght].ttf")
    (tmp_path / "fonts" / "deep").mkdir(parents=True)
    (tmp_path / "fonts" / "deep" / "Mine.TTF").write_bytes(package.read_bytes())
    (tmp_path / "fonts" / "Broken.ttf").write_bytes(b"no font")
    (tmp_path / "fonts" / "LastResort-Regular.ttf").write_bytes(package.read_bytes())
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    monkeypatch.setattr(fonts, "_packaged", lambda: ())
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    fonts._of_system.cache_clear()
    try:
        assert fonts.face_of("ящик", in_system=True) == tmp_path / "fonts" / "deep" / "Mine.TTF"
        with pytest.raises(LookupError):
            fonts.face_of("ящик", in_system=False)
    finally:
        fonts._of_system.cache_clear()


def test_latin_looks_into_no_font(monkeypatch):
    monkeypatch.setattr(fonts, "_letters", None)
    assert line_of("square 0.87", 20).parts == ((None, "square 0.87"),)


def test_line_ends_and_tabs_of_a_name_are_spaces():
    assert line_of("a\tb\nc", 20).parts == ((None, "a b c"),)


@pytest.mark.parametrize("script", NAMES)
def test_a_name_lies_on_the_colour_of_its_class(script, no_system):
    picture = Image.new("RGB", (400, 200), (100, 100, 100))
    draw_boxes(picture, np.array([[20.0, 100.0, 380.0, 180.0]]), [0], [NAMES[script]])
    pixels = np.asarray(picture).astype(int)
    above = pixels[:100]
    changed = (above != 100).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    label = above[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (label[0] == class_colour(0)).all() and (label[:, -1] == class_colour(0)).all()
    assert 0.03 < (label.sum(-1) < 200).mean() < 0.6
