"""Lines are read as they were written, or not at all."""

import json
from dataclasses import replace

import pytest

from fdet.cache.errors import CorruptCache, StorageError
from fdet.cache.format.sealed import sealed_json
from fdet.pipeline.tools.prediction.files import clear
from fdet.pipeline.tools.prediction.journal import NAME, Journal, Line, lines_in, rewrite
from fdet.pipeline.tools.prediction.state import Source, State

LINE = Line(
    image_id=2**54 + 1,
    file_name="ä/\udcff.jpg",
    name="ä/x",
    hw=(3, 4),
    file_sha256="ab" * 32,
    detections=(
        {"bbox": [0.1, 1e-7, 2.5, 3.0], "category_id": 0, "category_name": "c", "score": 1 / 3},
    ),
    picture="pictures/ä/x.jpg",
    crops=("crops/c/ä/x_1.jpg",),
)
STATE = State("ab" * 32, "cd" * 32, {"--every": "1"}, (Source("a.jpg", 1, 10, 20),))


def test_a_line_is_what_was_written(tmp_path):
    assert Line.parse(LINE.to_bytes(), tmp_path) == LINE
    assert LINE.to_bytes().count(b"\n") == 1


def test_lines_come_in_their_order_and_damaged_ones_as_none(tmp_path):
    journal = Journal(tmp_path)
    lines = [replace(LINE, image_id=k) for k in range(4)]
    for line in lines:
        journal.append(line)
    journal.close()
    raw = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    raw[1] = raw[1].replace(b'"score":0.3', b'"score":0.4')
    (tmp_path / NAME).write_bytes(b"".join(raw[:-1]) + raw[-1][:-10])
    assert list(lines_in(tmp_path)) == [lines[0], None, lines[2], None]
    rewrite(tmp_path, lambda line: line.image_id < 2)
    assert list(lines_in(tmp_path)) == [lines[0]]


def test_a_line_is_there_before_append_returns(tmp_path):
    journal = Journal(tmp_path)
    journal.append(LINE)
    assert list(lines_in(tmp_path)) == [LINE]
    journal.close()


def test_nothing_written_is_no_line(tmp_path):
    assert list(lines_in(tmp_path)) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Journal(tmp_path)
    with pytest.raises(CorruptCache):
        list(lines_in(tmp_path))
    assert (tmp_path / "elsewhere").read_text() == "mine"


WRONG = {
    "image_id": ["1", 1.5, None, True, 2**64],
    "file_name": [None, 3],
    "output_name": ["../a", "/a", "", "a\0", "a/../b"],
    "height": [0, -1, "3"],
    "detections": [None, [1], [{}], [{**LINE.detections[0], "bbox": [1, 2, 3]}]],
    "picture": ["../../etc/passwd", 1],
    "crops": [["/etc/passwd"], "x/../y", [1]],
}
CASES = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES)
def test_a_line_with_a_seal_of_its_own_is_checked_too(field, value, tmp_path):
    content = {k: v for k, v in json.loads(LINE.to_bytes()).items() if k != "sha256"}
    assert Line.parse(sealed_json(content), tmp_path) == LINE
    with pytest.raises(CorruptCache):
        Line.parse(sealed_json({**content, field: value}), tmp_path)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1e300, "1", None, True])
def test_numbers_are_numbers(score, tmp_path):
    content = json.loads(LINE.to_bytes())
    del content["sha256"]
    content["detections"][0]["score"] = score
    with pytest.raises((CorruptCache, ValueError)):
        Line.parse(sealed_json(content), tmp_path)


def test_a_forged_line_deletes_nothing_outside_of_the_folders_of_predict(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    STATE.write(out)
    (out / "thesis.tex").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_text("mine")
    (out / "pictures").symlink_to(tmp_path / "other")
    journal = Journal(out)
    journal.append(replace(LINE, picture="thesis.tex", crops=("prediction.json",)))
    journal.append(replace(LINE, picture="pictures/a.jpg", crops=()))
    journal.close()
    with pytest.raises(Exception, match="behind a link"):
        clear(out)
    assert (out / "thesis.tex").read_text() == "mine"
    assert (tmp_path / "other" / "a.jpg").read_text() == "mine"
    assert (out / "prediction.json").exists()


def test_a_state_is_what_was_written(tmp_path):
    state = STATE.with_video("v.mp4", 3).with_format("coco", complete=True)
    state.write(tmp_path)
    assert State.read(tmp_path) == state
    assert state.outdated().formats == {"coco": False}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("run", "x"),
        ("options", {"--every": 1}),
        ("images", {"names": ["a"], "ids": [], "bytes": [], "modified": []}),
        ("images", {"names": ["a"], "ids": ["1"], "bytes": [1], "modified": [1]}),
        ("videos", {"v": "3"}),
        ("formats", {"xls": True}),
        ("formats", {"coco": 1}),
    ],
)
def test_a_state_with_a_seal_of_its_own_is_checked_too(field, value, tmp_path):
    STATE.write(tmp_path)
    content = json.loads((tmp_path / "prediction.json").read_bytes())
    del content["sha256"]
    (tmp_path / "prediction.json").write_bytes(sealed_json({**content, field: value}))
    with pytest.raises(CorruptCache, match=r"prediction\.json"):
        State.read(tmp_path)


def test_differences_are_named():
    now = replace(
        STATE,
        weights="ef" * 32,
        options={"--every": "2", "--annotations": "ab"},
        images=(Source("b.jpg", 1, 10, 20), Source("c.jpg", 2, 1, 1)),
    )
    assert STATE.differences(now) == [
        "it is of other weights",
        "--annotations was none, is ab",
        "--every was 1, is 2",
        "2 images more (b.jpg, c.jpg)",
        "1 image fewer (a.jpg)",
    ]
    assert STATE.differences(replace(STATE, run="ef" * 32, weights="")) == ["it is of another run"]
    renumbered = replace(STATE, images=(Source("a.jpg", 2, 10, 20),))
    assert STATE.differences(renumbered) == ["other ids of 1 image (a.jpg)"]
    assert STATE.differences(STATE) == []
