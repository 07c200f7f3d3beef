"""The steps of a fit, in order and once, with commands that take no time."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import CorruptCache, InputError, StorageError
from fdet.pipeline.cli import app
from fdet.pipeline.tools.fitting import cli, data_check, finishing, session
from fdet.pipeline.tools.fitting.finishing import pictured
from fdet.pipeline.tools.fitting.fit import fit
from fdet.pipeline.tools.fitting.ladder import PLAIN, SIX, THREE
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.parts import Part
from fdet.pipeline.tools.fitting.session import StepFailed
from fdet.pipeline.tools.fitting.state import State

from ...dataset.images.deep_files import write_png
from ...dataset.made import sound
from .fake import STEPS, Fake, commands_of, fitted, option, options, script_lines, settings

MEASURED = ["plan", "extract", "train-heads"]
pytestmark = pytest.mark.usefixtures("as_for_users")


def test_a_set_with_splits_is_checked_extracted_trained_and_drawn(data):
    fake = fitted(data)
    assert fake.names == STEPS
    train, val = fake.of("extract")
    assert train[1] == val[1] == str(data)
    assert (option(train, "--split"), option(val, "--split")) == ("train", "val")
    assert (option(train, "--views"), option(val, "--views")) == (SIX, PLAIN)
    for flag in ("--short", "--long", "--codec"):
        assert option(train, flag) == option(val, flag) != ""
    (training,) = fake.of("train-heads")
    assert training[1:6] == ["work/train.fdet", "--val", "work/val.fdet", "--out", "work/run"]
    assert settings(training) == {}
    (prediction,) = fake.of("predict")
    assert [Path(word).name for word in prediction[2:8]] == [f"{k}.png" for k in range(6, 12)]
    assert option(prediction, "--annotations") == "work/val.json"


def test_a_set_without_splits_is_split_first(data):
    fake = fitted(data / "train.json", images=data / "images", seed=3)
    assert fake.names == ["split", *STEPS]
    (split,) = fake.of("split")
    assert (option(split, "--seed"), option(split, "--out")) == ("3", "work/data")
    train, val = fake.of("extract")
    assert (train[1], val[1]) == ("work/data/train.json", "work/data/val.json")
    assert option(train, "--images") == str(data / "images")
    assert option(train, "--seed") == "3"
    assert settings(fake.of("train-heads")[0]) == {"train.seed": "3"}


def test_validation_data_may_be_named(data):
    fake = fitted(data / "train.json", val=data / "val.json", images=data / "images")
    assert fake.names == STEPS
    assert fake.of("check")[0][2:4] == [str(data / "train.json"), str(data / "val.json")]
    assert [words[1] for words in fake.of("extract")] == [
        str(data / "train.json"),
        str(data / "val.json"),
    ]


def test_what_runs_is_printed_and_written_to_be_copied(data):
    fake = fitted(data)
    lines = [line[3:] for line in fake.said if line.startswith("\n$ ")]
    assert [line.split()[1] for line in lines] == [
        "dataset" if name == "check" else name for name in STEPS
    ]
    kept = [line for line in lines if not line.startswith("fdet plan ")]
    assert fake.said[-len(kept) :] == kept
    script = Path("work/commands.sh")
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n# The commands that fdet fit ran")
    assert f"\ncd {Path.cwd()}\n" in text and "\nset -e\n" in text
    assert [commands_of(line) for line in script_lines()] == kept
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_the_script_can_be_run_twice(data, tmp_path):
    fitted(data, assignments=["train.epochs=2"])
    stand_in, log = tmp_path / "bin" / "fdet", tmp_path / "log"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\necho "$*" >>{log}\n')
    stand_in.chmod(0o755)
    paths = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}

    def run() -> list[str]:
        log.unlink(missing_ok=True)
        assert subprocess.run(["work/commands.sh"], env=paths, check=False).returncode == 0
        return log.read_text().splitlines()

    again = run()
    assert [line.split()[0] for line in again] == [
        *(
            "dataset",
            "extract",
            "extract",
            "train-heads",
            "evaluate",
            "evaluate",
            "cache",
            "predict",
            "report",
        )
    ]
    assert again[3].endswith("--set train.epochs=2 --resume")
    shutil.rmtree("work/run")
    shutil.rmtree("work/found")
    missing = run()
    assert not any("--resume" in line for line in missing)
    assert missing[7].startswith("predict work/run")


def test_advice_is_not_repeated_by_every_command(data):
    fake = fitted(data)
    assert "20 steps" in fake.said and "AP 50.0" in fake.said
    assert not any("rest" in line or "what to do next" in line for line in fake.said)


def test_nothing_runs_again_once_it_is_done(data):
    first = fitted(data)
    second = fitted(data)
    assert second.calls == []
    assert second.said[-7:] == first.said[-7:], "the commands are printed once more"
    assert sum(line.startswith("done before: ") for line in second.said) == 9


def evaluated(fake: Fake) -> list[str]:
    return [words[2] for words in fake.of("evaluate")]


def test_the_images_for_training_are_evaluated_first_for_the_advice(data):
    assert evaluated(fitted(data)) == ["work/train.fdet", "work/val.fdet"]
    assert Path("work/run/evaluation-train.json").exists()
    Path("work/run/evaluation-train.json").unlink()
    assert fitted(data).names == ["evaluate", "evaluate", "cache", "predict", "report"]


def test_many_images_for_training_are_not_evaluated(data, monkeypatch):
    monkeypatch.setattr(finishing, "EVALUATED_IMAGES", 5)
    assert evaluated(fitted(data)) == ["work/val.fdet"]


def test_they_are_not_where_no_time_is_left_for_it(data):
    slow = Fake()
    train = slow._train_heads

    def overrun(words, lines):
        train(words, lines)
        slow.now += 0.0 if "work/pilot" in " ".join(words) else 7200.0

    slow._train_heads = overrun
    assert evaluated(fitted(data, slow, time=7200.0)) == ["work/val.fdet"]
    assert fitted(data, time=7200.0).calls == []


def test_a_fit_that_an_older_fdet_ended_is_not_evaluated_again(data, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(finishing, "EVALUATED_IMAGES", 0)
        fitted(data)
    assert fitted(data).calls == []


@pytest.mark.parametrize("name", ["split", *dict.fromkeys(STEPS)])
def test_it_goes_on_after_a_command_that_failed(name, data):
    given = {"data": data / "train.json", "images": data / "images"}
    with pytest.raises(StepFailed, match=f"fdet .*{name}.* failed .exit status 5.") as failed:
        fitted(**given, fake=Fake(statuses={name: [5]}))
    assert failed.value.status == 5
    fake = fitted(**given)
    everything = ["split", *STEPS]
    # Until everything is chosen a fit starts anew, as the data may have been corrected.
    begun = 0 if name in ("split", "check", "plan") else everything.index(name)
    assert fake.names == everything[begun:]
    assert Path("work/report.html").read_text() == "page"


@pytest.mark.parametrize("name", dict.fromkeys(STEPS))
def test_an_interrupted_command_ends_the_fit_and_is_repeated(name, data):
    with pytest.raises(KeyboardInterrupt):
        fitted(data, Fake(statuses={name: [130]}))
    fake = fitted(data)
    begun = 0 if name in ("check", "plan") else STEPS.index(name)
    assert fake.names == STEPS[begun:]


def test_a_command_that_was_done_before_the_request_to_stop_is_not_repeated(data):
    with pytest.raises(KeyboardInterrupt):
        fitted(data, Fake(interrupted={"train-heads"}))
    assert fitted(data).names == ["evaluate", "evaluate", "cache", "predict", "report"]


def test_a_training_that_had_begun_is_resumed(data):
    def stop(fake):
        Path("work/run").mkdir()
        Path("work/run/run.json").touch()
        return 130

    first = Fake()
    first._train_heads = lambda words, lines: stop(first)
    with pytest.raises(KeyboardInterrupt):
        fitted(data, first)
    fake = fitted(data)
    assert fake.of("train-heads") == [[*first.of("train-heads")[0], "--resume"]]
    assert not any("--resume" in line for line in fake.said[-8:]), "what is to be copied"


def test_what_is_missing_is_made_again_and_all_that_follows(data):
    fitted(data)
    shutil.rmtree("work/run")
    assert fitted(data).names == [
        "train-heads",
        "evaluate",
        "evaluate",
        "cache",
        "predict",
        "report",
    ]
    Path("work/report.html").unlink()
    assert fitted(data).names == ["report"]


def test_warnings_of_a_check_and_images_that_failed_do_not_stop_it(data):
    fake = fitted(data, Fake(statuses={"extract": [3, 0], "check": [3], "predict": [3]}))
    assert fake.names == STEPS
    assert any("some images could not be read" in line for line in fake.said)
    script = [line for line in script_lines() if line.endswith(" || [ $? = 3 ]")]
    assert [commands_of(line).split()[1] for line in script] == [
        *("dataset", "extract", "extract", "predict")
    ], "any of them may have something to remark next time"


def test_errors_in_the_data_stop_it_and_can_be_corrected(data):
    path = data / "images" / "3.png"
    sound_bytes = path.read_bytes()
    path.write_bytes(b"none")
    with pytest.raises(StepFailed, match="the data set has errors") as failed:
        fitted(data)
    assert failed.value.status == 2
    path.write_bytes(sound_bytes)
    assert fitted(data).names == STEPS


def test_errors_in_the_data_can_be_ignored(data):
    (data / "images" / "3.png").write_bytes(b"none")
    fake = fitted(data, ignore_errors=True)
    assert fake.names == STEPS
    assert sum("--ignore-errors ignores" in line for line in fake.said) == 1
    lines = [line for line in script_lines() if " 2 | 3)" in line]
    assert [line.split()[2] for line in lines] == ["check"]
    assert fitted(data).calls == [], "it is no other fit"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_check_that_refuses_is_not_taken_for_errors_in_the_data(ignored, data):
    with pytest.raises(StepFailed, match="exit status 2") as failed:
        fitted(data, Fake(statuses={"check": [2]}), ignore_errors=ignored)
    assert "has errors" not in str(failed.value)


@pytest.mark.parametrize(
    ("limit", "more", "quick"),
    [
        ("DECODED", {}, True),
        ("DECODED_IN_TIME", {}, False),
        ("DECODED_IN_TIME", {"time": 7200.0}, True),
    ],
)
def test_of_many_images_the_headers_alone_are_checked(limit, more, quick, data, monkeypatch):
    monkeypatch.setattr(data_check, limit, 12)
    assert "--quick" not in fitted(data, **more).of("check")[0]
    monkeypatch.setattr(data_check, limit, 11)
    fake = Fake()
    fit(replace(options(data, **more), out=Path("other")), fake.around)
    assert ("--quick" in fake.of("check")[0]) == quick
    assert any("(--quick)" in line for line in fake.said) == quick


def test_images_in_both_parts_are_found_in_two_folders_of_images(data):
    (data / "other").mkdir()
    for path in (data / "images").iterdir():
        shutil.copy(path, data / "other")
    shutil.copy(data / "images" / "0.png", data / "other" / "7.png")
    given = {"val": data / "val.json", "val_images": data / "other"}
    fake = fitted(data / "train.json", ignore_errors=True, **given)
    assert len(fake.of("check")) == 1
    (said,) = (line for line in fake.said if "leak" in line)
    assert said.startswith("error")


def test_images_in_both_parts_are_found_in_two_sets_with_splits(data, tmp_path):
    other = sound(tmp_path / "other")
    other.write()
    fake = fitted(data, ignore_errors=True, val=other.folder, val_split="val", split="train")
    (check,) = fake.of("check")
    assert check[2:4] == ["work/parts/train.json", "work/parts/val.json"]
    assert not any("leak" in line for line in fake.said)
    shutil.copy(data / "images" / "0.png", other.folder / "images" / "7.png")
    copied = Fake()
    given = {"val": other.folder, "val_split": "val", "split": "train", "ignore_errors": True}
    fit(replace(options(data, **given), out=Path("copied")), copied.around)
    (said,) = (line for line in copied.said if "leak" in line)
    assert said.startswith("error")
    assert option(copied.of("extract")[1], "--split") == "val"


def test_one_set_whose_images_lie_in_two_folders_is_checked_once(data):
    fake = fitted(data, val_images=data / "images", images=data / ".." / "data" / "images")
    (check,) = fake.of("check")
    assert check[2:4] == ["work/parts/train.json", "work/parts/val.json"]
    assert sum(word == "--images" for word in check) == 2


def test_what_reading_a_part_assumed_is_said_where_its_copy_is_checked(data):
    coco = json.loads((data / "train.json").read_text())
    coco["annotations"][0]["bbox"] = [1, 1, 0, 0]
    (data / "train.json").write_text(json.dumps(coco))
    more = {"val_images": data / "images", "images": data / ".." / "data" / "images"}
    fake = fitted(data, ignore_errors=True, **more)
    remarks = Part(data, split="train").read().annotations.remarks
    assert all(any(remark in line for line in fake.said) for remark in remarks)


@pytest.mark.parametrize(
    ("found", "given", "of_train", "of_val"),
    [(12, None, "", "12"), (12, 14, "14", "14"), (0, None, "", "")],
)
def test_deep_pixels_for_validation_are_read_as_those_of_training(
    found, given, of_train, of_val, data
):
    fake = fitted(data, Fake(bits={"train.fdet": found, "val.fdet": 10}), bits=given)
    train, val = fake.of("extract")
    assert (option(train, "--bits"), option(val, "--bits")) == (of_train, of_val)
    assert option(fake.of("plan")[0], "--bits") == of_train


def test_deep_pixels_for_validation_have_16_bits_where_those_of_training_have(data):
    values = np.arange(48 * 32, dtype=np.uint16).reshape(32, 48)
    write_png(data / "images" / "8.png", values)
    fake = fitted(data, Fake(bits={"train.fdet": 16, "val.fdet": 12}))
    assert [option(words, "--bits") for words in fake.of("extract")] == ["", "16"]


@pytest.mark.parametrize(("codec", "taken"), [(None, "work/train.fdet"), ("bf16", "")])
def test_validation_takes_over_the_scales_of_training(codec, taken, data):
    fake = fitted(data, codec=codec)
    train, val = fake.of("extract")
    assert (option(train, "--calibration"), option(val, "--calibration")) == ("", taken)


def test_a_validation_cache_that_has_scales_of_its_own_keeps_them(data):
    # As an older fdet began them.
    first = Fake(calibration={"val.fdet": "c" * 64}, statuses={"train-heads": [1]})
    with pytest.raises(StepFailed):
        fitted(data, first)
    Path("work/val.fdet/manifest.json").unlink()
    fake = fitted(data)
    assert option(fake.of("extract")[0], "--calibration") == ""


def test_pictures_are_of_the_annotations_that_the_cache_keeps(data):
    val = json.loads((data / "val.json").read_text())
    for image in val["images"]:
        image["file_name"] = f"elsewhere/{image['file_name']}"
        del image["width"], image["height"]
    (data / "val.json").write_text(json.dumps(val))
    fake = fitted(data, images=data / "images")
    (prediction,) = fake.of("predict")
    kept = json.loads(Path(option(prediction, "--annotations")).read_text())
    names = [image["file_name"] for image in kept["images"]]
    assert names == [f"{k}.png" for k in range(6, 12)]
    assert {image["width"] for image in kept["images"]} == {48}
    assert [Path(word).name for word in prediction[2:8]] == names


def test_a_report_is_written_where_pictures_cannot_be_drawn(data):
    with pytest.raises(StepFailed, match="fdet predict"):
        fitted(data, Fake(statuses={"predict": [2]}))
    assert Path("work/report.html").exists()
    assert fitted(data).names == ["predict", "report"]


@pytest.mark.parametrize("name", dict.fromkeys(STEPS[2:]))
def test_the_commands_that_are_done_are_written_though_one_fails(name, data):
    with pytest.raises(StepFailed):
        fitted(data, Fake(statuses={name: [1]}))
    made = [commands_of(line).split()[1] for line in script_lines()]
    assert "dataset" in made and (name == "extract" or "extract" in made)
    assert name not in made


def test_a_set_of_validation_images_alone_is_split(data):
    (data / "train.json").unlink()
    fake = fitted(data)
    assert fake.names == ["split", *STEPS]
    assert option(fake.of("split")[0], "--split") == "val"


def test_a_command_that_was_killed_has_a_signal(data):
    with pytest.raises(StepFailed, match="SIGKILL") as failed:
        fitted(data, Fake(statuses={"extract": [-9]}))
    assert failed.value.status == 137


@pytest.mark.parametrize(("split", "said"), [("train", "nothing to learn"), ("val", "--val")])
@pytest.mark.parametrize("crowds", [False, True])
def test_data_without_objects_are_refused_after_the_check(split, said, crowds, data):
    coco = json.loads((data / f"{split}.json").read_text())
    crowd = [{**a, "iscrowd": 1} for a in coco["annotations"]]
    coco["annotations"] = crowd if crowds else []
    (data / f"{split}.json").write_text(json.dumps(coco))
    fake = Fake()
    with pytest.raises(InputError, match=f"none of its 6 images has an object.*{said}"):
        fitted(data, fake, ignore_errors=True)
    assert fake.names == ["check"]


def test_names_that_look_like_options_are_none(data, tmp_path):
    data.rename("-data")
    fake = Fake()
    fit(
        FitOptions(data=Path("./-data"), out=Path("./-work"), images=Path("-data/images")),
        fake.around,
    )
    assert fake.names == STEPS
    names = [word for words in fake.calls for word in words if "-data" in word or "-work" in word]
    assert names and all(word.startswith("/") for word in names)


def test_a_folder_of_something_else_is_left_alone(data):
    Path("work").mkdir()
    Path("work/thesis.tex").touch()
    with pytest.raises(InputError, match=r"the folder holds other files \(thesis.tex\)"):
        fitted(data)
    assert list(Path("work").iterdir()) == [Path("work/thesis.tex")]


def test_two_fits_in_one_folder_are_refused(data):
    with only_writer(Path("work")), pytest.raises(StorageError, match="another fdet process"):
        fitted(data)


def test_an_altered_state_is_refused(data):
    fitted(data)
    path = Path("work/fit.json")
    for text in (path.read_text().replace("plain", "plein"), "", "[]"):
        path.write_text(text)
        with pytest.raises(CorruptCache, match=r"fit\.json.*choose another --out, or delete work"):
            fitted(data)


def test_it_goes_on_from_another_folder(data, tmp_path, monkeypatch):
    with pytest.raises(StepFailed):
        fitted(data.relative_to(tmp_path), Fake(statuses={"train-heads": [1]}))
    monkeypatch.chdir(data)
    fake = Fake()
    fit(FitOptions(data=data, out=tmp_path / "work"), fake.around)
    assert fake.of("train-heads")[0][1] == str(tmp_path / "work/train.fdet")
    script = (tmp_path / "work/commands.sh").read_text()
    assert f"cd {tmp_path}\n" in script


def test_options_that_are_given_are_kept(data):
    more = {"size": 96, "views": "plain,vflip", "codec": "int4", "backbone": "resnet18"}
    fake = fitted(data, assignments=["train.epochs=3"], **more)
    train, val = fake.of("extract")
    for words in (train, val):
        assert (option(words, "--size"), option(words, "--codec")) == ("96", "int4")
        assert option(words, "--backbone") == "resnet18"
    assert option(train, "--views") == "plain,vflip"
    assert settings(fake.of("train-heads")[0]) == {"train.epochs": "3"}


def test_the_longer_side_follows_from_the_shorter_one(data):
    fake = fitted(data, short=48)
    for words in fake.of("extract"):
        assert (option(words, "--short"), option(words, "--long")) == ("48", "80")


def test_an_accelerator_gets_larger_images(tmp_path):
    made = sound(tmp_path / "large")
    for coco in made.splits.values():
        for image in coco["images"]:
            image.update(width=1600, height=1200)
        coco["annotations"] = [{**a, "bbox": [0, 0, 300, 300]} for a in coco["annotations"]]
    made.write()
    for accelerator, size in ((False, "480"), (True, "800")):
        fake = Fake(accelerator=accelerator, statuses={"check": [3]})
        fake._check = lambda words, lines: 0
        fit(replace(options(made.folder), out=Path(f"work-{size}")), fake.around)
        assert option(fake.of("extract")[0], "--short") == size


@pytest.mark.parametrize(
    ("room", "views", "codec"),
    [(1e9, SIX, "int5"), (41_000, SIX, "int5+pca"), (31_000, SIX, "int4"), (25_500, THREE, "int5")],
)
def test_little_room_makes_the_codec_coarser_and_then_the_views_fewer(room, views, codec, data):
    # 42 samples with six views, 24 with three.
    fake = fitted(data, Fake(free=room))
    train, _ = fake.of("extract")
    assert (option(train, "--views"), option(train, "--codec")) == (views, codec)


def test_disk_limits_the_caches_as_little_room_does(data):
    fake = fitted(data, disk=31_000)
    assert option(fake.of("extract")[0], "--codec") == "int4"
    with pytest.raises(
        InputError, match=r"--disk: the caches need at least 8 KiB, and there is room for 1 KiB"
    ):
        fit(replace(options(data, disk=1000), out=Path("other")), Fake().around)


def test_without_a_limit_of_time_nothing_is_measured_but_the_plan(data):
    fake = fitted(data)
    assert len(fake.of("plan")) == 1 and not any("pilot" in word for c in fake.calls for word in c)
    assert State.read(Path("work")).length is None


def test_with_much_time_the_best_rung_is_trained_for_twice_the_usual_length(data):
    fake = fitted(data, time=7200.0)
    assert fake.names == ["check", *MEASURED, *STEPS[2:]]
    pilot_cache, train, _ = fake.of("extract")
    assert option(pilot_cache, "--limit") == "6" and option(pilot_cache, "--views") == "plain"
    pilot, training = fake.of("train-heads")
    assert settings(pilot)["train.epochs"] == "12"
    assert option(train, "--views") == SIX
    assert settings(training) == {"train.epochs": "2000", "train.eval_every": "200"}
    assert not list(Path("work").glob("pilot*")), "what was only measured is removed"


@pytest.mark.parametrize(
    ("time", "small", "cut"),
    [(600, False, False), (360, True, False), (200, True, True)],
)
def test_with_less_time_it_does_less(time, small, cut, data):
    fake = fitted(data, time=float(time))
    training = fake.of("train-heads")[-1]
    assert (option(training, "--config") == "tal-fpn-s") == small
    steps = int(settings(training)["train.epochs"]) * 6 / 4
    assert (steps < 1490) == cut
    assert any("too little for a full training" in line for line in fake.said) == cut
    assert fake.now + steps * (0.1 if small else 0.2) - 1000 < time + 60


def test_too_little_time_is_refused_with_the_time_that_would_be_enough(data):
    with pytest.raises(
        InputError, match=r"--time 60 s: .*--time \d+m is enough for the least"
    ) as no:
        fitted(data, time=60.0)
    least, full = (int(minutes) for minutes in re.findall(r"--time (\d+)m", str(no.value)))
    # As nothing is chosen yet, the same folder can be used with more time.
    fake = fitted(data, time=60.0 * least)
    assert any("too little for a full training" in line for line in fake.said)
    whole = Fake()
    fit(replace(options(data, time=60.0 * full + 60), out=Path("other")), whole.around)
    assert not any("too little" in line for line in whole.said)


def test_a_number_of_epochs_that_was_asked_for_is_not_cut(data):
    fixed = ["train.epochs=1000"]
    with pytest.raises(InputError, match=r"not enough for train.epochs=1000; give --time \d+m"):
        fitted(data, time=120.0, assignments=fixed)
    fake = fitted(data, time=3600.0, assignments=fixed)
    assert settings(fake.of("train-heads")[-1]) == {"train.epochs": "1000"}


def test_a_detector_that_was_asked_for_stays(data):
    fake = fitted(data, time=400.0, assignments=["head.convs=1"])
    assert not any("tal-fpn-s" in call for call in fake.calls)


def test_an_interval_of_evaluations_that_was_asked_for_stays(data):
    fake = fitted(data, time=600.0, assignments=["train.eval_every=7"])
    assert settings(fake.of("train-heads")[-1])["train.eval_every"] == "7"


def test_the_time_counts_over_interruptions(data):
    slow = Fake(statuses={"train-heads": [0, 130]}, sample=1.0)
    with pytest.raises(KeyboardInterrupt):
        fitted(data, slow, time=900.0)
    kept = State.read(Path("work"))
    assert kept.seconds == pytest.approx(slow.now - 1000)
    fake = fitted(data, time=900.0)
    assert settings(fake.of("train-heads")[0]) == settings(slow.of("train-heads")[-1])
    assert any(line.endswith("of 15 min") for line in fake.said)
    assert State.read(Path("work")).seconds > kept.seconds + 15


def test_pictures_have_names_of_their_own_and_files(tmp_path):
    made = sound(tmp_path / "set")
    made.add("train", "sub/0.png", (1, [2, 2, 9, 9]))
    made.add("train", "gone.png", (1, [2, 2, 9, 9]))
    (made.images / "sub").mkdir()
    shutil.copy(made.images / "0.png", made.images / "sub" / "0.png")
    (train, _) = made.write()
    from fdet.pipeline.dataset.data_set import load_annotations

    found = pictured(load_annotations(train)[0], made.images)
    assert sorted(path.name for path in found) == [f"{k}.png" for k in range(6)]
    assert len(pictured(load_annotations(train)[0], made.images, 3)) == 3
    assert pictured(load_annotations(train)[0], tmp_path) == []


def fdet(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_takes_the_options(data, monkeypatch):
    fake = Fake()
    monkeypatch.setattr(session, "Surroundings", lambda: fake.around)
    monkeypatch.setattr("fdet.pipeline.tools.fitting.fit.Surroundings", lambda: fake.around)
    done = fdet("fit", data, "--out", "work", "--size", 64, "--time", "1h30m", "--disk", "1GB")
    assert (done.exit_code, done.stderr) == (0, "")
    kept = json.loads(Path("work/fit.json").read_text())
    assert kept["options"]["time"] == 5400 and kept["options"]["disk"] == 10**9


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StepFailed("fdet extract: it failed", 7), 7, "fdet: fdet extract: it failed"),
        (KeyboardInterrupt(), 130, "run the same command to continue"),
        (session.StepInterrupted(), 130, "fdet: run the same command to continue"),
        (InputError("wrong"), 2, "fdet: wrong"),
    ],
)
def test_exit_statuses_are_passed_on(error, status, said, data, monkeypatch):
    def stop(options):
        raise error

    monkeypatch.setattr("fdet.pipeline.tools.fitting.fit.fit", stop)
    done = fdet("fit", data, "--out", "work")
    assert (done.exit_code, done.stdout) == (status, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert cli.fit_command is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.json"], "nowhere.json: No such file"),
        (["DATA", "--time", "5"], "--time '5': expected a time, e.g. 30m"),
        (["DATA", "--disk", "much"], "--disk 'much': expected bytes"),
        (["DATA", "--memory-limit", "4GX"], "--memory-limit '4GX': expected bytes"),
        (["DATA", "--views", "plain,hfilp"], "did you mean 'hflip'"),
        (["DATA", "--codec", "int7"], "unknown codec 'int7'"),
        (["DATA", "--weights", "none.pth"], "none.pth: no such file"),
        (["DATA", "--long", "96"], "--long is the limit of --short; give both"),
        (["DATA", "--short", "96", "--size", "96"], "give either --size N (square) or --short N"),
        (["DATA", "--config", "tal-fpn-x"], "no such file or preset"),
        (["DATA", "--set", "optim.lrr=1"], "did you mean 'optim.lr'"),
        (["DATA", "--device", "toaster"], "--device toaster"),
        (["DATA", "--images", "nowhere"], "--images nowhere: no such folder"),
        (["DATA", "--val-images", "nowhere"], "--val-images nowhere: no such folder"),
        (["DATA", "--val", "nowhere"], "--val nowhere: No such file"),
        (["DATA", "--time", "29s"], "--time 29s: starting its commands alone takes longer"),
        (["DATA", "--seed", "-1"], "--seed: expected 0 to"),
        (["DATA", "--threads", "0"], "--threads: expected at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_anything_is_made(words, said, data):
    done = fdet("fit", *(data if w == "DATA" else w for w in words), "--out", "work")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert not Path("work").exists()


def test_a_backbone_that_is_misspelt_is_said_at_once(data):
    # In a process of its own, as names are looked up without the library only where it is not imported yet.
    words = ["fit", str(data), "--out", "work", "--backbone", "resnet19"]
    done = subprocess.run(
        [sys.executable, "-m", "fdet", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'resnet18'" in done.stderr and not Path("work").exists()


def test_classes_that_differ_are_refused_before_anything_is_extracted(data):
    val = json.loads((data / "val.json").read_text())
    val["categories"][0]["name"] = "horse"
    (data / "val.json").write_text(json.dumps(val))
    fake = Fake()
    fake._check = lambda words, lines: 0
    with pytest.raises(InputError, match=r"differing \(id, name\): \(1, 'cat'\), \(1, 'horse'\)"):
        fitted(data, fake)
    assert fake.names == ["check"]


def tables(folder: Path, classes: dict[str, str]) -> None:
    """Write a CSV file for each part, in folders of their own; classes: of the two objects of each image."""
    for number, (name, drawn) in enumerate(classes.items()):
        (folder / name).mkdir()
        rows = ["file,x1,y1,x2,y2,class"]
        for k in range(3):
            image = Image.effect_noise((64, 48), 90).convert("RGB")
            image.save(folder / name / f"{number}{k}.png")
            rows += [
                f"{number}{k}.png,{5 * i + 2},4,{5 * i + 30},40,{c}" for i, c in enumerate(drawn)
            ]
        (folder / name / f"{name}.csv").write_text("\n".join([*rows, ""]))


def test_a_part_that_lacks_a_class_gets_the_ids_of_training(tmp_path):
    tables(tmp_path, {"one": "abc", "two": "bc"})
    fake = fitted(tmp_path / "one", val=tmp_path / "two", ignore_errors=True)
    assert any("its classes get the numbers of training" in x for x in fake.said)
    _, extracted = fake.of("extract")
    assert extracted[1] == "work/parts/val.json"
    categories = json.loads(Path("work/parts/val.json").read_text())["categories"]
    assert categories == [{"id": k, "name": name} for k, name in enumerate("abc", start=1)]


def test_a_class_that_training_lacks_is_refused(tmp_path):
    tables(tmp_path, {"one": "bc", "two": "abc"})
    with pytest.raises(InputError, match=r"its classes are not those of .*'a'"):
        fitted(tmp_path / "one", val=tmp_path / "two", ignore_errors=True)
