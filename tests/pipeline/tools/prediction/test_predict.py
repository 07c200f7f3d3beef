"""What is found in a file is what `fdet evaluate` finds in the cache of that file."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fdet.cache.errors import InputError, StorageError
from fdet.pipeline.dataset.data_name import DataName
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.pictures.sheet import draw_sheet
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.folder import held_folder
from fdet.pipeline.tools.prediction.jobs import find_jobs
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.prediction.summary import lines_of
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ....conftest import extraction
from ....generated import outlined


@pytest.fixture(scope="module", params=[{"size": 128}, {"size": None, "short": 64, "long": 128}])
def run(request, dataset, tmp_path_factory):
    """A run on an fp16 cache, square and with the aspect kept."""
    folder = tmp_path_factory.mktemp("runs")
    extract(extraction(dataset, folder / "cache.fdet", **request.param))
    settings = ["neck.channels=16", "neck.max_level=5", "train.epochs=6", "optim.lr=0.002"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.01"])
    train(config, TrainOptions(cache=folder / "cache.fdet", out=folder / "run", threads=1))
    return folder / "run"


def is_same(ours, theirs) -> bool:
    return (
        (ours["image_id"], ours["category_id"]) == (theirs["image_id"], theirs["category_id"])
        and ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
        and ours["bbox"] == pytest.approx(theirs["bbox"], abs=0.01)
    )


def test_predict_finds_what_evaluate_finds(run, dataset, tmp_path):
    _, expected = evaluate_run(run, run.parent / "cache.fdet")
    summary = predict(
        run,
        [dataset.parent / "images"],
        tmp_path / "out",
        PredictOptions(annotations=dataset, threshold=0.1, recursive=True),
    )
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert summary.images == 12
    assert len(results) == len(expected) > 50
    left = list(expected)
    for ours in results:
        # Scores that are all but equal may have changed places.
        left.remove(next(theirs for theirs in left if is_same(ours, theirs)))
        assert ours["category_name"] == {2: "disc", 5: "square", 11: "cross"}[ours["category_id"]]
    pictures = sorted(p for p in (tmp_path / "out" / "pictures").rglob("*.jpg"))
    assert len(pictures) == 12
    with Image.open(pictures[0]) as picture:
        assert picture.format == "JPEG"
        assert picture.width > 2 * picture.height * 0.8


def skipped(caplog) -> list[str]:
    """The lines on what was left out; others are about thresholds."""
    return [text for text in caplog.messages if text.startswith("skipped")]


def test_what_is_no_image_is_skipped_in_one_line_and_is_no_failure(run, dataset, tmp_path, caplog):
    photos = tmp_path / "photos"
    (photos / ".ipynb_checkpoints").mkdir(parents=True)
    picture = dataset.parent / "images" / "10.png"
    for name in ("a.png", "._a.png", "notes.txt", ".ipynb_checkpoints/a-checkpoint.png"):
        shutil.copy(picture, photos / name)
    Image.open(picture).save(photos / "b.JFIF", "JPEG")
    summary = predict(run, [photos], tmp_path / "out")
    assert summary.images == 2
    assert summary.failed == {}
    assert skipped(caplog) == ["skipped: 1 .txt, 1 hidden file, 1 hidden folder"]


def test_jobs_know_outlines_where_the_run_finds_masks(dataset):
    file = dataset.parent / "images" / "10.png"
    name = DataName(dataset)
    (plain,) = find_jobs([(file, "10.png")], ".jpg", load_annotations(dataset)[0], name)
    assert plain.objects.outlines is None
    masks, _ = load_annotations(outlined(dataset), outlines=True)
    (job,) = find_jobs([(file, "10.png")], ".jpg", masks, name)
    assert len(job.objects.outlines) == len(job.objects) == len(plain.objects) > 0


def test_pictures_show_what_reaches_the_score_and_say_so(run, dataset, tmp_path, monkeypatch):
    shown = []

    def noted(image, found, title, class_names, objects):
        shown.append((found.scores.tolist(), title))
        return draw_sheet(image, found, title, class_names, objects)

    monkeypatch.setattr("fdet.pipeline.tools.prediction.drawing.draw_sheet", noted)
    predict(run, [dataset.parent / "images"], tmp_path / "out", PredictOptions(threshold=0.05))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert sum(len(scores) for scores, _ in shown) == sum(r["score"] >= 0.05 for r in results) > 0
    for scores, title in shown:
        assert title == f"detections >= 0.05 ({len(scores)})"


def test_files_without_annotations_are_numbered_and_named(run, dataset, tmp_path):
    files = sorted((dataset.parent / "images").glob("*.png"))[:2]
    predict(run, files, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {(r["image_id"], r["file_name"]) for r in results} <= {
        (1, files[0].name),
        (2, files[1].name),
    }


def test_an_unreadable_file_does_not_stop_the_others(run, dataset, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    good = next((dataset.parent / "images").glob("*.png"))
    summary = predict(run, [broken, good], tmp_path / "out")
    assert summary.images == 1
    assert list(summary.failed) == [str(broken)]


def test_files_of_one_name_in_two_folders_keep_a_picture_each(run, dataset, tmp_path):
    picture = next((dataset.parent / "images").glob("*.png"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(picture, tmp_path / name / "1.png")
    predict(run, [tmp_path / "a", tmp_path / "b" / "1.png"], tmp_path / "out")
    pictures = tmp_path / "out" / "pictures"
    assert {p.relative_to(pictures).as_posix() for p in pictures.rglob("*.jpg")} == {
        "a/1.jpg",
        "b/1.jpg",
    }


def test_a_name_that_is_too_long_with_another_suffix_gives_way_to_the_id(run, dataset, tmp_path):
    source = next((dataset.parent / "images").glob("*.png"))
    (tmp_path / "in").mkdir()
    longest = ["a" * 251 + ".bmp", "a" * 251 + ".png", "ä" * 125 + ".png"]
    with Image.open(source) as picture:
        for name in longest:
            picture.save(tmp_path / "in" / name)
    summary = predict(run, [tmp_path / "in"], tmp_path / "out")
    assert summary.images == 3
    pictures = {p.name for p in (tmp_path / "out" / "pictures").iterdir()}
    assert pictures == {"1.jpg", "2.jpg", "ä" * 125 + ".jpg"}
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {r["file_name"] for r in results} == set(longest)


def test_one_file_given_twice_is_refused_before_anything_is_made(
    run, dataset, tmp_path, monkeypatch
):
    picture = next((dataset.parent / "images").glob("*.png"))
    monkeypatch.chdir(picture.parent)
    with pytest.raises(InputError, match="same name"):
        predict(run, [picture, Path(picture.name)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["jpg", "png", "none"])
def test_files_that_differ_in_their_suffix_alone_keep_a_picture_each(kind, run, dataset, tmp_path):
    source = next((dataset.parent / "images").glob("*.png"))
    (tmp_path / "in").mkdir()
    with Image.open(source) as picture:
        for suffix in ("png", "bmp", "webp"):
            picture.save(tmp_path / "in" / f"a.{suffix}")
    predict(run, [tmp_path / "in"], tmp_path / "out", PredictOptions(pictures=kind))
    pictures = {p.name for p in (tmp_path / "out").glob("pictures/*")}
    assert (
        pictures
        == {
            "jpg": {"a.bmp.jpg", "a.png.jpg", "a.webp.jpg"},
            "png": {"a.bmp.png", "a.png", "a.webp.png"},
            "none": set(),
        }[kind]
    )


def test_a_file_that_the_annotations_do_not_name_is_refused(run, dataset, tmp_path):
    (tmp_path / "stranger.png").write_bytes((dataset.parent / "images" / "10.png").read_bytes())
    with pytest.raises(InputError, match="names no such image"):
        predict(
            run, [tmp_path / "stranger.png"], tmp_path / "out", PredictOptions(annotations=dataset)
        )


def test_a_folder_below_the_image_folder_keeps_its_ids(run, dataset, tmp_path):
    predict(
        run,
        [dataset.parent / "images" / "sub"],
        tmp_path / "out",
        PredictOptions(annotations=dataset),
    )
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {r["image_id"] for r in results} <= {17, 31, 45, 59, 73, 87}
    assert {r["image_id"] for r in results}


def test_rotation_follows_the_annotations(run, dataset, tmp_path):
    """Where they name the unrotated size, extraction leaves the file unrotated; so does predict."""
    data = json.loads(dataset.read_text())
    image = next(i for i in data["images"] if i["width"] != i["height"])
    folder = tmp_path / "images"
    with Image.open(dataset.parent / "images" / image["file_name"]) as picture:
        exif = Image.Exif()
        exif[0x0112] = 6
        (folder / image["file_name"]).parent.mkdir(parents=True)
        picture.save(folder / image["file_name"], exif=exif)
    kept = [a for a in data["annotations"] if a["image_id"] == image["id"]]
    path = tmp_path / "turned.json"
    path.write_text(json.dumps({**data, "images": [image], "annotations": kept}))
    options = PredictOptions(annotations=path, recursive=True)
    predict(run, [folder], tmp_path / "out", options)
    predict(run, [dataset.parent / "images" / image["file_name"]], tmp_path / "plain")
    boxes = [
        [
            (r["bbox"], r["score"])
            for r in json.loads((tmp_path / n / "detections.json").read_text())
        ]
        for n in ("out", "plain")
    ]
    assert boxes[0] == boxes[1]
    assert boxes[0]


@pytest.mark.parametrize("make", ["missing", "empty", "full out"])
def test_what_cannot_be_done_is_refused(make, run, dataset, tmp_path):
    paths, out = [dataset.parent / "images"], tmp_path / "out"
    if make == "missing":
        paths = [tmp_path / "nowhere"]
    elif make == "empty":
        paths = [tmp_path / "nothing"]
        paths[0].mkdir()
    else:
        out.mkdir()
        (out / "thesis.tex").touch()
    with pytest.raises(InputError):
        predict(run, paths, out)


def test_of_two_predictions_into_one_folder_one_is_told(run, dataset, tmp_path):
    out, image = tmp_path / "out", dataset.parent / "images" / "10.png"
    with held_folder(out), pytest.raises(StorageError, match="another fdet process"):
        predict(run, [image], out)
    assert not out.exists()


def test_where_no_image_can_be_read_nothing_is_left(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="the only image could not be read: not an image"):
        predict(run, [tmp_path / "broken.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_subfolders_are_entered_only_on_request(run, dataset, tmp_path, caplog):
    images = dataset.parent / "images"
    summary = predict(run, [images], tmp_path / "flat")
    assert summary.images == 6
    assert skipped(caplog) == ["skipped: 1 subfolder (see --recursive)"]
    summary = predict(run, [images], tmp_path / "deep", PredictOptions(recursive=True))
    assert summary.images == 12
    assert (tmp_path / "deep" / "pictures" / "sub" / "17.jpg").is_file()
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "images").symlink_to(images)
    with pytest.raises(InputError, match=r"12 in subfolders: add --recursive"):
        predict(run, [tmp_path / "above"], tmp_path / "out")


def test_times_and_files_of_a_prediction_are_in_its_summary(run, dataset, tmp_path):
    images = sorted((dataset.parent / "images").glob("*.png"))[:3]
    summary = predict(run, images, tmp_path / "out")
    assert list(summary.milliseconds) == ["decode", "backbone", "head", "output"]
    assert all(ms > 0 for ms in summary.milliseconds.values())
    assert summary.new == 3 and summary.rate > 0
    lines_there = (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    scores = [each["score"] for line in lines_there for each in json.loads(line)["detections"]]
    assert summary.drawn == sum(score >= float(summary.threshold) for score in scores)
    assert summary.written == ("detections.jsonl", "detections.json", "pictures/")
    lines = list(lines_of(summary))
    assert lines[0] == (
        f"3 images, {summary.detections} detections ({summary.drawn} >= {summary.threshold}) in "
        f"{tmp_path / 'out'}: detections.jsonl, "
        "detections.json, pictures/"
    )
    assert re.fullmatch(
        r"[\d.]+ images/s; ms an image: decode [\d.]+, backbone [\d.]+, head [\d.]+, output [\d.]+",
        lines[-1],
    )
