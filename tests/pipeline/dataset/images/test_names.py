"""Names of image files are written in one way, and none leaves the image folder."""

import pytest

from fdet.pipeline.dataset.images.names import normal_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("b/./a.jpg", "b/a.jpg"),
        ("b//a.jpg", "b/a.jpg"),
        ("b\\a.jpg", "b/a.jpg"),
        (".\\b\\a.jpg", "b/a.jpg"),
        ("a..jpg", "a..jpg"),
        (" a.jpg", " a.jpg"),
        ("日本/é.jpg", "日本/é.jpg"),
    ],
)
def test_every_way_to_write_a_name_is_one(text, name):
    assert normal_name(text) == name
    assert normal_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "/",
        "/a.jpg",
        "../a.jpg",
        "b/../../a.jpg",
        "b\\..\\a.jpg",
        "C:\\a.jpg",
        "C:a",
        "a\0b",
    ],
)
def test_names_that_leave_the_folder_are_refused(text):
    with pytest.raises(ValueError, match="expected a path below the image folder"):
        normal_name(text)
