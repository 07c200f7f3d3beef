"""The scripts of examples/paper-claim: a long tail by leaving images out, and tables of what is finished."""

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "paper-claim"


def coco(shown):
    """Images by the classes that they show, twice each."""
    annotations = [
        {"id": 2 * (100 * i + c) + k, "image_id": i, "category_id": c, "bbox": [0, 0, 9, 9]}
        for i, classes in enumerate(shown)
        for c in classes
        for k in range(2)
    ]
    categories = [{"id": c, "name": f"class {c}"} for c in range(1, 5)]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(shown))]
    return {"images": images, "annotations": annotations, "categories": categories}


def long_tail(whole, folder, monkeypatch, *words):
    (folder / "whole.json").write_text(json.dumps(whole))
    arguments = ["long_tail.py", folder / "whole.json", folder / "tail.json", *words]
    monkeypatch.setattr(sys, "argv", [str(word) for word in arguments])
    runpy.run_path(str(EXAMPLE / "long_tail.py"), run_name="__main__")
    return json.loads((folder / "tail.json").read_text())


def test_the_rarest_third_keeps_a_few_images_and_the_others_all(tmp_path, monkeypatch, capsys):
    whole = coco([{1}] * 9 + [{1, 2}] * 8 + [{2, 3}] * 7 + [{1, 4}] * 6)
    part = long_tail(whole, tmp_path, monkeypatch, "--most", 2)
    by_class = {
        c: {a["image_id"] for a in part["annotations"] if a["category_id"] == c}
        for c in range(1, 5)
    }
    assert {c: len(images) for c, images in by_class.items()} == {1: 19, 2: 15, 3: 7, 4: 2}
    assert (
        "26 of 30 images; class 1 19, class 2 15, class 3 7, class 4 2" in capsys.readouterr().out
    )


def test_an_image_stays_with_all_its_objects_or_goes(tmp_path, monkeypatch):
    whole = coco([{1, 2}] * 5 + [{1, 4}] * 4)
    part = long_tail(whole, tmp_path, monkeypatch, "--most", 1)
    kept = {image["id"] for image in part["images"]}
    assert part["annotations"] == [a for a in whole["annotations"] if a["image_id"] in kept]
    assert len(kept) == 6
    again = long_tail(whole, tmp_path, monkeypatch, "--most", 1)
    assert again == part
    assert long_tail(whole, tmp_path, monkeypatch, "--most", 1, "--seed", 5) != part


@pytest.fixture
def table():
    return runpy.run_path(str(EXAMPLE / "table.py"))


def test_differences_are_paired_and_have_their_standard_error(table):
    gained = table["differences"]([(40.0, 41.0), (42.0, 42.0), (38.0, 40.0)])
    assert gained == [1.0, 0.0, 2.0]
    assert table["mean_of"](gained, "+") == "+1.0 ± 0.6"
    assert table["mean_of"]([44.44]) == "44.4"
    assert table["mean_of"]([1.0, float("nan")]) == "-"


def test_runs_that_are_not_finished_have_no_row(table, tmp_path):
    (tmp_path / "runs" / "faster-fpn-s" / "cached-0").mkdir(parents=True)
    (tmp_path / "tail" / "faster-fpn-s-0").mkdir(parents=True)
    assert len(list(table["claim"](tmp_path))) == len(list(table["stage_2"](tmp_path))) == 2
