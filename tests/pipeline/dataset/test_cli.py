"""`fdet dataset`: what is printed, the exit codes, and that torch is never imported."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.doctor import files
from fdet.pipeline.dataset.writing.writers import WRITERS

from .made import Made, draw, sound


@pytest.fixture
def made(tmp_path) -> Made:
    return sound(tmp_path)


def fdet(*words):
    return CliRunner().invoke(app, [str(word) for word in ("dataset", *words)])


def note(made):
    draw(made.images / "more.png", 43)


def warning(made):
    made.add("train", "3.png", (1, [1, 1, 9, 9]))


def error(made):
    (made.images / "2.png").unlink()


CODES = [([], 0), ([note], 0), ([note, warning], 3), ([warning, error, note], 2)]


@pytest.mark.parametrize(("faults", "code"), CODES)
def test_the_exit_code_is_that_of_the_worst(faults, code, made):
    for fault in faults:
        fault(made)
    result = fdet("check", *made.write())
    assert (result.exit_code, result.stderr) == (code, "")
    assert result.stdout.count("\n  ") or not faults
    severities = [line.split()[0] for line in result.stdout.splitlines() if line.endswith("]")]
    assert sorted(severities) == sorted(fault.__name__ for fault in faults)


def test_a_leak_across_splits_is_found_by_content(made):
    (made.images / "9.png").write_bytes((made.images / "0.png").read_bytes())
    result = fdet("check", made.folder)
    assert result.exit_code == 2
    assert "e.g. train: 0.png = val: 9.png" in result.stdout
    assert fdet("check", made.folder, "--quick").exit_code == 0
    for split in ("train", "val"):
        assert fdet("check", made.folder, "--split", split).exit_code in (0, 3)


@pytest.fixture(autouse=True)
def written(made):
    """The annotations are there, whatever a test does."""
    made.write()


def test_json_is_all_that_is_printed(made):
    warning(made)
    result = fdet("check", *made.write(), "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (3, "")
    assert [finding["rule"] for finding in report["findings"]] == ["listed-twice"]
    assert report["splits"][1]["name"] == "val"


def test_the_size_of_the_canvas_is_looked_at(made):
    words = ["check", *made.write(), "--short", 8, "--long", 12]
    assert "a side below 4 px at --short 8 --long 12 [small]" in fdet(*words).stdout
    result = fdet(*words[:-4], "--long", 12)
    assert (result.exit_code, result.stderr) == (
        2,
        "fdet: --long is the limit of --short; give both, or --short alone\n",
    )
    result = fdet(*words[:-2])
    assert "a side below 4 px at --short 8 --long 13 [small]" in result.stdout
    assert result.stderr == "--long 13: 1333/800 of --short 8, as it was not given\n"
    assert "expected 1 <= short <= long" in fdet(*words[:-1], 4).stderr


def test_quick_decodes_no_image(made, monkeypatch):
    monkeypatch.setattr(files, "_decoded", lambda path: 1 / 0)
    assert fdet("check", made.folder, "--quick").exit_code == 0


def test_annotations_that_cannot_be_read_are_one_line(made):
    (made.folder / "train.json").write_text("{}")
    for words in (["check"], ["convert", "--to", "yolo", "--out", made.folder / "out"]):
        result = fdet(*words, made.folder / "train.json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1


def test_control_characters_in_names_are_escaped(made):
    made.add("train", "\x1b[2J.png", (1, [1, 1, 9, 9]))
    result = fdet("check", *made.write())
    assert result.exit_code == 2
    assert "\x1b" not in result.stdout and "\\x1b[2J.png" in result.stdout


@pytest.mark.parametrize("to", WRITERS)
def test_a_converted_data_set_is_read_again_as_the_same(to, made):
    out = made.folder / "out"
    result = fdet("convert", made.folder, "--out", out, "--to", to)
    assert (result.exit_code, result.stdout) == (0, f"6 images of train, 6 images of val, {out}\n")
    assert sorted(splits_of(out)) == ["train", "val"]
    for split in ("train", "val"):
        before = read_data_set(made.folder / f"{split}.json").annotations
        after = read_data_set(out, made.images, split=split).annotations
        assert after.class_names == before.class_names
        found = {image.file_name.split("/")[-1]: after.of_image(image.id) for image in after.images}
        for image in before.images:
            mine, theirs = before.of_image(image.id), found[image.file_name]
            assert theirs.labels.tolist() == mine.labels.tolist()
            assert theirs.boxes == pytest.approx(mine.boxes, abs=1e-3)


@pytest.mark.parametrize("to", WRITERS)
def test_one_split_and_several_files_are_converted_too(to, made):
    for words in (
        [made.folder, "--split", "val"],
        [made.folder / "train.json", made.folder / "val.json"],
        [made.folder / "val.json"],
    ):
        out = made.folder / f"out-{len(words)}-{words[-1]}".replace("/", "_")
        out = made.folder / out.name
        assert fdet("convert", *words, "--out", out, "--to", to).exit_code == 0
        assert any(out.iterdir())


def test_a_conversion_is_whole_or_absent(made, monkeypatch):
    out, write = made.folder / "out", WRITERS["yolo"]

    def stopped(annotations, images, folder, split):
        if split == "val":
            raise KeyboardInterrupt
        return write(annotations, images, folder, split)

    monkeypatch.setitem(WRITERS, "yolo", stopped)
    result = fdet("convert", made.folder, "--out", out, "--to", "yolo")
    assert result.exit_code == 130
    assert not out.exists() and not list(made.folder.glob(".*"))
    monkeypatch.undo()
    assert fdet("convert", made.folder, "--out", out, "--to", "yolo").exit_code == 0


@pytest.mark.parametrize("command", ["convert", "split"])
@pytest.mark.parametrize(
    ("to", "said"),
    [("yollo", "--to 'yollo'; did you mean 'yolo'?"), ("png", "--to 'png'; known: ")],
)
def test_formats_that_cannot_be_written_are_refused_first(command, to, said, made):
    result = fdet(command, made.folder / "absent", "--out", made.folder / "out", "--to", to)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize("command", ["convert", "split"])
def test_a_folder_with_something_else_is_refused_in_a_line(command, made):
    out = made.folder / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    result = fdet(command, made.folder / "train.json", "--out", out, "--to", "coco")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1 and "it holds other files (mine.txt)" in result.stderr
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("to", WRITERS)
def test_a_split_prints_its_counts_and_where_the_images_are(to, made):
    out = made.folder / "out"
    result = fdet("split", made.folder / "train.json", "--out", out, "--val", 0.34, "--to", to)
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1:3] == [["train", "4", "4"], ["val", "2", "2"]]
    assert lines[4:7] == [["class", "train", "val"], ["cat", "4", "2"], ["dog", "4", "2"]]
    where = f": the images are in {made.images} (--images)" if to == "coco" else ""
    assert result.stdout.endswith(f"{out}{where}\n")
    assert sorted(splits_of(out)) == ["train", "val"]
    parts = [
        read_data_set(out, made.images if to == "coco" else None, split=name).annotations
        for name in ("train", "val")
    ]
    assert [len(part.images) for part in parts] == [4, 2]
    assert [len(part.packed) for part in parts] == [8, 4]


def outlined(made, split, *, all_of_them):
    """Give objects the outline of their box."""
    for entry in made.splits[split]["annotations"][: None if all_of_them else 3]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return made.write()[0]


def columns(folder):
    """The number of columns of all label files."""
    files = [file for file in folder.rglob("*.txt") if file.parent.parent.name == "labels"]
    assert len(files) == 6
    return {len(line.split()) for file in files for line in file.read_text().splitlines()}


@pytest.mark.parametrize("command", ["convert", "split"])
def test_outlines_are_kept_where_all_objects_have_one(command, made):
    words = [command, outlined(made, "train", all_of_them=True), "--to", "yolo", "--out"]
    assert fdet(*words, made.folder / "out").exit_code == 0
    assert columns(made.folder / "out") == {9}, "a class and four corners"
    result = fdet(*words, made.folder / "boxes", "--boxes-only")
    assert "the outlines of 12 objects are left out" in result.stderr
    assert columns(made.folder / "boxes") == {5}
    some = [command, outlined(sound(made.folder), "train", all_of_them=False), *words[2:]]
    assert "the outlines of 3 objects are left out" in fdet(*some, made.folder / "some").stderr


def test_a_split_of_several_must_be_chosen(made):
    out = made.folder / "out"
    result = fdet("split", made.folder, "--out", out)
    assert result.exit_code == 2 and "say which by --split" in result.stderr
    assert fdet("split", made.folder, "--out", out, "--split", "train").exit_code == 0


@pytest.mark.parametrize(("option", "value"), [("--val", 1.5), ("--test", -0.1)])
def test_shares_outside_their_range_are_refused(option, value, made):
    result = fdet("split", made.folder / "train.json", "--out", made.folder / "out", option, value)
    assert result.exit_code == 2
    assert f"{option}: expected 0 to 1, got {value}" in result.stderr


def test_torch_is_imported_by_none_of_them(made):
    commands = [
        ["check", str(made.folder)],
        ["convert", str(made.folder), "--out", str(made.folder / "a"), "--to", "yolo"],
        ["split", str(made.folder / "train.json"), "--out", str(made.folder / "b")],
    ]
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fdet.pipeline.cli import app\n"
        f"for words in {commands!r}:\n"
        "    result = CliRunner().invoke(app, ['dataset', *words])\n"
        "    assert result.exit_code == 0, result.output\n"
        "assert not {'torch', 'zarr', 'h5py', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("to", ["yolo", "voc"])
@pytest.mark.parametrize("command", ["convert", "split"])
def test_what_reading_left_out_is_printed(command, to, made):
    made.add("train", "6.png", (1, [5, 5, 0, 3]), (1, [99, 5, 3, 3]))
    path = made.write()[0]
    out = made.folder / "out"
    result = fdet(command, path, "--out", out, "--to", to)
    assert result.exit_code == 0, result.stderr
    assert "1 box of zero size is left out\n" in result.stderr
    assert "1 box outside the image is left out\n" in result.stderr
    if command == "convert":
        both = fdet("convert", *made.write(), "--out", made.folder / "both", "--to", to)
        assert "train: 1 box of zero size is left out\n" in both.stderr
        assert "val: 1 box" not in both.stderr


def test_a_split_as_coco_keeps_every_box_and_does_not_say_otherwise(made):
    made.add("train", "6.png", (1, [5, 5, 0, 3]))
    out = made.folder / "out"
    result = fdet("split", made.write()[0], "--out", out)
    assert "left out" not in result.stderr
    written = [json.loads((out / f"{name}.json").read_text()) for name in ("train", "val")]
    assert sum(len(part["annotations"]) for part in written) == 13
