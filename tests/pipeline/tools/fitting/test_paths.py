"""Paths as words, as absolute ones, and as fit.json keeps them."""

from pathlib import Path

import pytest

from fdet.pipeline.tools.fitting.paths import (
    filled_words,
    kept_words,
    same_place,
    tidied,
    tidied_file,
    word_of,
)


@pytest.mark.parametrize(
    ("path", "word"), [("-x", "./-x"), ("--out.jpg", "./--out.jpg"), ("a/-x", "a/-x"), ("/-", "/-")]
)
def test_no_word_looks_like_an_option(path, word):
    assert word_of(Path(path)) == word


def test_words_of_a_folder_follow_its_name():
    words = ["extract", "rf", "--out", "work/train.fdet", "work", "workshop/a", "a/work/b"]
    kept = kept_words(words, Path("work"))
    assert kept == ("extract", "rf", "--out", "{out}/train.fdet", "{out}", "workshop/a", "a/work/b")
    assert list(filled_words(kept, Path("work"))) == words
    assert filled_words(kept, Path("/b/c"))[3:5] == ("/b/c/train.fdet", "/b/c")


def test_two_dots_stay_where_they_lead_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert tidied(Path("a/../a/b")) == tmp_path / "a" / "b"
    assert tidied(Path("link/../b")) == tmp_path / "link/../b"


def test_a_file_of_weights_may_have_a_part_behind_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    assert tidied_file("w.pth#ema") == f"{tmp_path}/w.pth#ema"
    assert tidied_file("random") == "random"


def test_places_are_compared_and_not_their_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    assert same_place("a", f"{tmp_path}/link", str(tmp_path))
    assert not same_place("b", f"{tmp_path}/link", str(tmp_path))
    for before, now in ((None, "/a"), (1, 1), ("int4", "int5"), (["/a"], "/a")):
        assert not same_place(before, now, "/")
