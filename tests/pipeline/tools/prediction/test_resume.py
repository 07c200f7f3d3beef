"""Results are kept as they come; the same call goes on, another one is refused, --overwrite starts anew."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from fdet.cache.errors import CorruptCache, InputError, StorageError
from fdet.cache.wording import counted
from fdet.pipeline.tools.prediction import recorder
from fdet.pipeline.tools.prediction.finder import Finder
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.prediction.summary import lines_of

DEFAULT = PredictOptions(threads=1)
ALL = PredictOptions(threads=1, recursive=True, save_crops=True, threshold=0.01)


def tree(folder):
    """Every file of a folder, by its name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def interrupted(monkeypatch):
    """A function that makes predictions end by an error before their n-th image."""

    def after(count, error=KeyboardInterrupt):
        calls, real = [], Finder.find

        def find(self, *arguments):
            calls.append(1)
            if len(calls) > count:
                raise error
            return real(self, *arguments)

        monkeypatch.setattr(Finder, "find", find)
        return lambda: monkeypatch.setattr(Finder, "find", real)

    return after


@pytest.mark.parametrize("count", [1, 4])
def test_an_interrupted_prediction_goes_on_and_ends_like_any_other(
    count, small_run, photos, tmp_path, interrupted, caplog
):
    caplog.set_level("INFO", logger="fdet")
    predict(small_run, [photos], tmp_path / "whole", ALL)
    heal = interrupted(count)
    with pytest.raises(KeyboardInterrupt):
        predict(small_run, [photos], tmp_path / "out", ALL)
    kept = (tmp_path / "out" / "detections.jsonl").read_bytes()
    assert kept.count(b"\n") == count
    assert not (tmp_path / "out" / "detections.json").exists()
    heal()
    summary = predict(small_run, [photos], tmp_path / "out", ALL)
    assert (summary.images, summary.new) == (6, 6 - count)
    assert f"{tmp_path / 'out'}: {counted(count, 'image')} done before, going on" in caplog.messages
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert (tmp_path / "out" / "detections.jsonl").read_bytes().startswith(kept)


@pytest.mark.parametrize("torn", [b'{"image_id": 3, "detections": [', b"\x00" * 4096, b"{}\n"])
def test_a_last_line_that_a_kill_cut_off_is_dropped(torn, small_run, photos, tmp_path, interrupted):
    predict(small_run, [photos], tmp_path / "whole", ALL)
    heal = interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        predict(small_run, [photos], tmp_path / "out", ALL)
    with (tmp_path / "out" / "detections.jsonl").open("ab") as file:
        file.write(torn)
    (tmp_path / "out" / ".output.scratch").write_bytes(b"half a picture")
    heal()
    assert predict(small_run, [photos], tmp_path / "out", ALL).new == 3
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("change", ["gone", "empty", "crop gone"])
def test_a_picture_that_is_missing_is_made_again(change, small_run, photos, tmp_path):
    predict(small_run, [photos], tmp_path / "out", ALL)
    before = tree(tmp_path / "out")
    picture = tmp_path / "out" / "pictures" / "sub" / "17.jpg"
    if change == "empty":
        picture.write_bytes(b"")
    elif change == "gone":
        picture.unlink()
    else:
        next((tmp_path / "out" / "crops").rglob("17_1.jpg")).unlink()
    assert predict(small_run, [photos], tmp_path / "out", ALL).new == 1
    assert tree(tmp_path / "out") == before


def test_what_is_done_is_said_and_takes_no_model(small_run, photos, tmp_path, monkeypatch):
    first = predict(small_run, [photos], tmp_path / "out", DEFAULT)
    before = tree(tmp_path / "out")
    monkeypatch.setattr("fdet.pipeline.tools.prediction.finder.load_finder", None)
    again = predict(small_run, [photos], tmp_path / "out", DEFAULT)
    assert (again.images, again.detections, again.new) == (5, first.detections, 0)
    assert next(lines_of(again)).startswith(f"{tmp_path / 'out'}: every image was done before")
    assert tree(tmp_path / "out") == before


DIFFERENT = {
    "--threshold was 0.3, is 0.5": {"threshold": 0.5},
    "--pictures was jpg, is png": {"pictures": "png"},
    "--save-crops was none, is given": {"save_crops": True},
    "--every was 1, is 2; 2 images fewer": {"every": 2},
    "--nms was none, is agnostic": {"nms": "agnostic"},
    "1 image more (sub/17.png)": {"recursive": True},
}


@pytest.mark.parametrize("said", DIFFERENT)
def test_a_prediction_of_something_else_is_refused_and_says_what(said, small_run, photos, tmp_path):
    predict(small_run, [photos], tmp_path / "out", DEFAULT)
    before = tree(tmp_path / "out")
    with pytest.raises(InputError) as refused:
        predict(small_run, [photos], tmp_path / "out", replace(DEFAULT, **DIFFERENT[said]))
    assert said in str(refused.value)
    assert "choose another, or --overwrite deletes that one" in str(refused.value)
    assert tree(tmp_path / "out") == before


def test_images_weights_and_runs_that_changed_are_refused(small_run, photos, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    predict(run, [photos], tmp_path / "out", DEFAULT)

    def refused():
        with pytest.raises(InputError) as error:
            predict(run, [photos], tmp_path / "out", DEFAULT)
        return str(error.value)

    shutil.copy(photos / "sub" / "17.png", photos / "new.png")
    assert "1 image more (new.png)" in refused()
    (photos / "new.png").unlink()
    kept = (photos / "10.png").read_bytes()
    shutil.copy(photos / "sub" / "17.png", photos / "10.png")
    assert "10.png has changed since" in refused()
    (photos / "10.png").write_bytes(kept)
    assert predict(run, [photos], tmp_path / "out", DEFAULT).new == 0, "the same bytes, touched"
    shutil.copy(run / "last.safetensors", run / "best.safetensors")
    with (run / "best.safetensors").open("ab") as file:
        file.write(b" ")
    assert "it is of other weights" in refused()
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(CorruptCache):
        predict(run, [photos], tmp_path / "out", DEFAULT)


def test_overwrite_deletes_what_predict_wrote_and_nothing_else(small_run, photos, tmp_path):
    out = tmp_path / "out"
    for form in ("yolo", "voc", "csv", "coco"):
        predict(small_run, [photos], out, replace(ALL, format=form))
    mine = ["notes.txt", "pictures/mine.jpg", "labels/sub/mine.txt", "crops/disc/mine.jpg"]
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    few = PredictOptions(threads=1, pictures="none", format="jsonl", overwrite=True)
    summary = predict(small_run, [photos / "10.png"], out, few)
    assert (summary.images, summary.new) == (1, 1)
    assert set(tree(out)) == {"prediction.json", "detections.jsonl", *mine}
    assert all((out / name).read_text() == "mine" for name in mine)


def test_overwrite_keeps_the_old_results_until_there_are_new_ones(small_run, photos, tmp_path):
    predict(small_run, [photos], tmp_path / "out", DEFAULT)
    before = tree(tmp_path / "out")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="the only image could not be read"):
        predict(
            small_run, [tmp_path / "broken.png"], tmp_path / "out", PredictOptions(overwrite=True)
        )
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_an_older_fdet_is_refused(overwrite, small_run, photos, tmp_path):
    (tmp_path / "out" / "pictures").mkdir(parents=True)
    (tmp_path / "out" / "detections.json").write_text("[]")
    with pytest.raises(InputError, match="the folder is not empty"):
        predict(small_run, [photos], tmp_path / "out", PredictOptions(overwrite=overwrite))
    assert (tmp_path / "out" / "detections.json").read_text() == "[]"


def test_a_file_that_could_not_be_read_is_tried_again(small_run, photos, tmp_path):
    shutil.copy(photos / "sub" / "17.png", tmp_path / "good.png")
    (photos / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    csv = replace(DEFAULT, format="csv")
    predict(small_run, [photos], out, DEFAULT)
    for _ in range(2):
        summary = predict(small_run, [photos], out, csv)
        assert list(summary.failed) == [str(photos / "bad.png")]
        assert (summary.images, summary.new) == (5, 0)
    shutil.copy(tmp_path / "good.png", photos / "bad.png")
    summary = predict(small_run, [photos], out, csv)
    assert (summary.failed, summary.images, summary.new) == ({}, 6, 1)
    names = {row["file_name"] for row in json.loads((out / "detections.json").read_text())}
    assert "bad.png" in names, "every form that was written before is brought up to date"


def test_another_form_of_the_results_needs_no_model(small_run, photos, tmp_path, monkeypatch):
    predict(small_run, [photos], tmp_path / "out", DEFAULT)
    monkeypatch.setattr("fdet.pipeline.tools.prediction.finder.load_finder", None)
    summary = predict(small_run, [photos], tmp_path / "out", replace(DEFAULT, format="csv"))
    assert "detections.csv" in summary.written
    assert (tmp_path / "out" / "detections.csv").is_file()


def test_a_full_disk_loses_nothing_that_was_found(small_run, photos, tmp_path, monkeypatch):
    predict(small_run, [photos], tmp_path / "whole", DEFAULT)
    calls = []

    def put(out, name, data):
        calls.append(name)
        if len(calls) == 3:
            raise StorageError("no space")
        real(out, name, data)

    real = recorder.put
    monkeypatch.setattr(recorder, "put", put)
    with pytest.raises(StorageError, match="no space"):
        predict(small_run, [photos], tmp_path / "out", DEFAULT)
    monkeypatch.setattr(recorder, "put", real)
    assert predict(small_run, [photos], tmp_path / "out", DEFAULT).new == 3
    # The line of the third image was written, and is replaced.
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_state_that_was_altered_is_refused(small_run, photos, tmp_path):
    predict(small_run, [photos], tmp_path / "out", DEFAULT)
    state = tmp_path / "out" / "prediction.json"
    state.write_text(state.read_text().replace('"0.3"', '"0.4"'))
    for overwrite in (False, True):
        options = PredictOptions(threshold=0.4, threads=1, overwrite=overwrite)
        with pytest.raises(CorruptCache, match=r"prediction\.json: it does not match its own"):
            predict(small_run, [photos], tmp_path / "out", options)


def test_crops_are_what_the_boxes_show_by_class(small_run, photos, tmp_path):
    predict(small_run, [photos / "10.png"], tmp_path / "out", ALL)
    lines = (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    line = json.loads(lines[0])
    shown = [d for d in line["detections"] if d["score"] >= 0.01]
    assert len(line["crops"]) == len(shown) > 0
    seen = {}
    for name, one in zip(line["crops"], shown, strict=True):
        number = seen[one["category_name"]] = seen.get(one["category_name"], 0) + 1
        assert name == f"crops/{one['category_name']}/10_{number}.jpg"
        with Image.open(tmp_path / "out" / name) as crop:
            assert abs(crop.width - one["bbox"][2]) <= 2
            assert abs(crop.height - one["bbox"][3]) <= 2
