"""Products of finished steps that were deleted are made again, and files are written once."""

import json
import shutil
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.fitting.session import StepFailed, StepInterrupted

from .fake import STEPS, Fake, commands_of, fitted, option, script_lines
from .test_fit import tables

pytestmark = pytest.mark.usefixtures("as_for_users")

# What is deleted, and the first step that runs again.
PRODUCTS = {
    "train.fdet": "extract",
    "val.fdet": "extract",
    "run": "train-heads",
    "run/best.safetensors": "train-heads",
    "run/evaluation-val.json": "evaluate",
    "val.json": "cache",
    "found": "predict",
    "found/detections.json": "predict",
    "found/pictures": "predict",
    "report.html": "report",
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_was_deleted_is_made_again(name, data):
    fitted(data)
    path = Path("work", name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    fake = Fake()
    again = fitted(data, fake)
    assert again.names[0] == PRODUCTS[name] and again.names[-1] == "report"
    assert path.exists() and fitted(data).calls == []


@pytest.mark.parametrize("name", ["data", "data/train.json", "data/val.json"])
def test_a_split_that_was_deleted_is_made_again(name, data):
    given = {"data": data / "train.json", "images": data / "images"}
    fitted(**given)
    before = {path: path.read_bytes() for path in Path("work/data").iterdir()}
    path = Path("work", name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert fitted(**given).names == ["split", *(n for n in STEPS if n != "plan")]
    assert {path: path.read_bytes() for path in Path("work/data").iterdir()} == before


def test_an_evaluation_of_another_cache_does_not_stand_for_that_of_the_fit(data):
    fitted(data)
    Path("work/run/evaluation-val.json").rename("work/run/evaluation-test.json")
    assert fitted(data).names[0] == "evaluate"


def test_what_a_check_has_seen_is_what_is_extracted(tmp_path):
    tables(tmp_path, {"one": "abc", "two": "bc"})
    given = {"data": tmp_path / "one", "val": tmp_path / "two", "ignore_errors": True}
    fake = fitted(**given)
    (check,) = fake.of("check")
    named = [word for word in (*check, *fake.of("extract")[1]) if word.endswith("val.json")]
    assert set(named) == {"work/parts/val.json"}
    time = Path("work/parts/val.json").stat().st_mtime_ns
    assert fitted(**given).calls == []
    assert Path("work/parts/val.json").stat().st_mtime_ns == time, "it is written once"
    Path("work/parts/val.json").unlink()
    assert fitted(**given).calls == [] and Path("work/parts/val.json").exists()


def without_a_class(path: Path) -> None:
    """Delete the first class of a COCO file, and its objects."""
    coco = json.loads(path.read_text())
    gone = coco["categories"].pop(0)["id"]
    coco["annotations"] = [a for a in coco["annotations"] if a["category_id"] != gone]
    path.write_text(json.dumps(coco))


def test_validation_that_lists_fewer_classes_gets_those_of_training(data):
    categories = json.loads((data / "train.json").read_text())["categories"]
    without_a_class(data / "val.json")
    fake = fitted(data, ignore_errors=True)
    extracted = fake.of("extract")[1]
    assert extracted[1] == "work/parts/val.json"
    assert json.loads(Path(extracted[1]).read_text())["categories"] == categories
    kept = json.loads(Path(option(fake.of("predict")[0], "--annotations")).read_text())
    assert kept["categories"] == categories


def test_errors_that_cannot_be_ignored_are_not_said_to_be(data):
    without_a_class(data / "train.json")
    (data / "images" / "3.png").write_bytes(b"none")
    with pytest.raises(InputError, match="its classes are not those") as no:
        fitted(data)
    assert "--ignore-errors" not in str(no.value)


def test_the_same_names_with_other_ids_have_a_remedy(data):
    coco = json.loads((data / "val.json").read_text())
    for entry in coco["categories"]:
        entry["id"] += 70
    for entry in coco["annotations"]:
        entry["category_id"] += 70
    (data / "val.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="give each the same id in both"):
        fitted(data, ignore_errors=True)


def test_a_device_that_is_not_there_is_refused_before_anything(data):
    fake = Fake()
    with pytest.raises(InputError, match="--device cuda"):
        fitted(data, fake, device="cuda")
    assert (fake.calls, fake.said, Path("work").exists()) == ([], [], False)


def test_a_command_that_said_it_was_interrupted_is_not_repeated_by_the_fit(data):
    with pytest.raises(StepInterrupted):
        fitted(data, Fake(statuses={"extract": [130]}))
    with pytest.raises(KeyboardInterrupt) as ended:
        fitted(data, Fake(statuses={"extract": [-2]}))
    assert not isinstance(ended.value, StepInterrupted), "it could not say anything"


def test_time_that_no_extraction_can_keep_is_refused_before_a_pilot(data):
    fake = Fake(sample=30.0)
    with pytest.raises(InputError, match=r"extraction alone takes .*; give more than --time \d"):
        fitted(data, fake, time=200.0)
    assert fake.names == ["check", "plan"]


@pytest.mark.parametrize("name", ["-x.jpg", "--out.jpg"])
def test_images_whose_names_begin_with_a_dash_are_no_options(name, data, monkeypatch):
    monkeypatch.chdir(data)
    for split in ("train", "val"):
        coco = json.loads(Path(f"{split}.json").read_text())
        for image in coco["images"]:
            Path("images", image["file_name"]).rename(f"{name[:-4]}-{image['file_name']}")
            image["file_name"] = f"{name[:-4]}-{image['file_name']}"
        Path(f"{split}.json").write_text(json.dumps(coco))
    fake = fitted(Path())
    images = fake.of("predict")[0][2:8]
    assert all(word.startswith("./-") for word in images), images
    assert not any(word.startswith(name[:-4] + "-") for call in fake.calls for word in call)


def test_the_folder_that_one_is_in_can_be_that_of_a_fit(data, monkeypatch):
    Path("here").mkdir()
    monkeypatch.chdir("here")
    from fdet.pipeline.tools.fitting.fit import fit
    from fdet.pipeline.tools.fitting.options import FitOptions

    for calls in (STEPS, []):
        fake = Fake()
        fit(FitOptions(data=data, out=Path()), fake.around)
        assert fake.names == calls


def test_a_script_of_a_fit_that_failed_has_what_was_done(data):
    with pytest.raises(StepFailed):
        fitted(data, Fake(statuses={"predict": [2]}))
    assert [commands_of(line).split()[1] for line in script_lines()][-1] == "report"
