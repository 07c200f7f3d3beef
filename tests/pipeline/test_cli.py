"""The command line: bad input is one line and exit 2, and help costs no torch."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import fdet as package
from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.format.header import CacheHeader
from fdet.cache.info import describe, described, facts_of
from fdet.heads.build import HEADS
from fdet.heads.necks import NECKS
from fdet.pipeline import cli as cli_file
from fdet.pipeline.cli import app
from fdet.pipeline.machines.progress import progress_line
from fdet.pipeline.tools.upkeep.info import fact_lines

from ..generated import make_dataset
from .quick import command
from .test_command import info_of, options

DATA, IMAGES, OUT, CACHE = "DATA", "IMAGES", "OUT", "CACHE"
EXTRACT = ["extract", DATA, "--images", IMAGES, "--out", OUT]
INT5 = [*EXTRACT, "--size", "64", "--codec", "int5"]
CONVERT = ["cache", "convert", CACHE, OUT]
TRAIN = ["train-heads", CACHE, "--out", OUT]


def fdet(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def places(dataset, exact_cache, tmp_path):
    """What the placeholders of the tables stand for."""
    for name, content in (
        ("malformed.json", '{"images": ['),
        ("no-boxes.json", '{"images": [], "categories": []}'),
        ("bad.toml", "[train\n"),
        ("unknown.toml", "[train]\nepoch = 3\n"),
        ("weights.pth", "not weights"),
    ):
        (tmp_path / name).write_text(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    data = json.loads(dataset.read_text())
    data["images"][0]["file_name"] = "../../etc/passwd"
    (tmp_path / "leaving.json").write_text(json.dumps(data))
    own = {
        DATA: dataset,
        IMAGES: dataset.parent / "images",
        OUT: tmp_path / "out",
        CACHE: exact_cache,
    }
    return lambda word: str(own.get(word, str(word).replace("TMP", str(tmp_path))))


BAD = [
    ([*EXTRACT, "--size", "64", "--short", "64"], "give either --size N (square) or --short N"),
    ([*EXTRACT], "give either --size N (square) or --short N"),
    ([*EXTRACT, "--size", "64", "--engine", "rey"], "--engine 'rey'; did you mean 'ray'?"),
    ([*EXTRACT, "--size", "64", "--ray-cpus", "2"], "--ray-cpus: belongs to --engine ray"),
    ([*EXTRACT, "--size", "0"], "--size: expected 1 to 65536, got 0"),
    ([*EXTRACT, "--short", "90", "--long", "60"], "expected 1 <= short <= long"),
    ([*EXTRACT, "--size", "64", "--backbone", "resnet19"], "did you mean 'resnet18'"),
    ([*EXTRACT, "--size", "64", "--codec", "fp61"], "unknown codec 'fp61'; did you mean 'fp16'?"),
    ([*EXTRACT, "--size", "64", "--codec", "int7"], "unknown codec 'int7'; did you mean 'int"),
    (
        [*EXTRACT, "--size", "64", "--codec", "int5+pac"],
        "unknown codec 'int5+pac'; did you mean 'int5'?; +pca or +pca64 after it keeps",
    ),
    ([*EXTRACT, "--size", "64", "--codec", "int5+pca0"], "unknown codec 'int5+pca0'"),
    ([*INT5, "--calibration-images", "0"], "--calibration-images: expected at least 1, got 0"),
    ([*INT5, "--calibration", "TMP/empty"], "TMP/empty is not a cache"),
    ([*INT5, "--calibration", CACHE], "codec: int5 here, fp32 there"),
    (
        [*EXTRACT, "--size", "64", "--codec", "fp16", "--calibration", CACHE],
        "codec fp16 has no scales; leave it out",
    ),
    ([*INT5, "--calibration", CACHE, "--update", CACHE], "--update takes that of the older cache"),
    ([*CONVERT], "nothing to convert: give --store, --codec or both"),
    ([*CONVERT, "--codec", "int7"], "unknown codec 'int7'; did you mean 'int"),
    ([*CONVERT, "--codec", "fp16", "--calibration", CACHE], "codec fp16 has no scales"),
    (
        [*CONVERT, "--codec", "int5", "--calibration-images", "0"],
        "--calibration-images: expected at least 1, got 0",
    ),
    ([*CONVERT, "--codec", "int5", "--calibration", CACHE], "codec: int5 here, fp32 there"),
    ([*EXTRACT, "--size", "64", "--precision", "fp8"], "--precision 'fp8'"),
    ([*EXTRACT, "--size", "64", "--levels", "c3,c9"], "has no level 'c9'; it has c1, c2, c3"),
    ([*EXTRACT, "--size", "64", "--views", "plain,hfilp"], "did you mean 'hflip'?"),
    ([*EXTRACT, "--size", "64", "--device", "toaster"], "--device toaster: not usable here"),
    ([*EXTRACT, "--size", "64", "--weights", "TMP/no.pth"], "no.pth: no such file"),
    ([*EXTRACT, "--size", "64", "--weights", "TMP/weights.pth"], "cannot be read safely"),
    ([*EXTRACT, "--size", "64", "--images", "TMP/no"], "no such folder"),
    ([*EXTRACT, "--size", "64", "--images", "TMP/empty"], "12 of 12 images are missing below"),
    ([*EXTRACT, "--size", "64", "--out", "TMP/full"], "the folder is not empty"),
    ([*EXTRACT, "--size", "64", "--out", "TMP/bad.toml"], "cannot write"),
    ([*EXTRACT, "--size", "64", "--out", CACHE], "was made from other inputs: short: 64 here"),
    ([*EXTRACT, "--size", "64", "--store", "hfd5"], "--store 'hfd5'; did you mean 'hdf5'?"),
    ([*EXTRACT, "--size", "64", "--rank", "0"], "--rank and --world belong together"),
    ([*EXTRACT, "--size", "64", "--rank", "2", "--world", "2"], "expected 0 to 1, got 2"),
    ([*EXTRACT, "--size", "64", "--update", OUT], "choose another --out"),
    (["extract", "TMP/no.json", *EXTRACT[2:], "--size", "64"], "no.json: No such file"),
    (["extract", "TMP/malformed.json", *EXTRACT[2:], "--size", "64"], "malformed.json: not JSON"),
    (["extract", "TMP/no-boxes.json", *EXTRACT[2:], "--size", "64"], "'images' is empty"),
    (["extract", "TMP/leaving.json", *EXTRACT[2:], "--size", "64"], "leaves the image folder"),
    ([*TRAIN, "--neck", "fpm"], "unknown neck 'fpm'; did you mean 'fpn'?"),
    ([*TRAIN, "--head", "retnanet"], "unknown head 'retnanet'; did you mean 'retinanet'?"),
    (
        [*TRAIN, "--head", "cascade-rcnn", "--set", "head.masks=true"],
        "segmentation (id 1): expected polygons or run lengths, which masks need, got nothing",
    ),
    (
        [*TRAIN, "--head", "faster-rcnn", "--masks"],
        "segmentation (id 1): expected polygons or run lengths, which masks need, got nothing",
    ),
    (
        [*TRAIN, "--masks"],
        "--masks: head tal finds none; expected faster-rcnn or cascade-rcnn",
    ),
    (
        ["model", "retinanet-fpn-s", "--cache", CACHE, "--masks"],
        "--masks: head retinanet finds none; expected faster-rcnn or cascade-rcnn",
    ),
    ([*TRAIN, "--set", "optim.lrr=1"], "unknown setting 'optim.lrr'; did you mean 'optim.lr'?"),
    ([*TRAIN, "--set", "epochs"], "expected section.name=value"),
    ([*TRAIN, "--set", "train.epochs=many"], "setting 'train.epochs': expected int, got 'many'"),
    ([*TRAIN, "--config", "TMP/no.toml"], "no.toml: No such file"),
    ([*TRAIN, "--config", "TMP/bad.toml"], "bad.toml: not TOML"),
    ([*TRAIN, "--config", "TMP/unknown.toml"], "unknown setting 'train.epoch'"),
    (["train-heads", "TMP/empty", "--out", OUT], "is not a cache: it has no fdet.json"),
    (["train-heads", CACHE, "TMP/empty", "--out", OUT], "TMP/empty is not a cache"),
    (["train-heads", CACHE, CACHE, "--out", OUT], "image id 10 is in both"),
    (
        ["train-heads", CACHE, CACHE, "--out", OUT, "--source", "online", "--images", IMAGES],
        "--source online takes one cache, got 2",
    ),
    ([*TRAIN, "--set", "train.shuffle_shards=-1"], "setting 'train.shuffle_shards': expected at"),
    (["evaluate", "TMP/empty", CACHE], "TMP/empty"),
    (["predict", "TMP/empty", IMAGES, "--out", OUT], "TMP/empty"),
    (["check-equivalence", "TMP/empty", "--images", IMAGES], "TMP/empty is not a cache"),
    (["check-equivalence", CACHE, "--images", "TMP/no"], "--images TMP/no: no such folder"),
    (
        ["check-equivalence", CACHE, "--images", "TMP/empty"],
        "none of the 12 sampled images is there",
    ),
    (
        ["check-equivalence", CACHE, "--images", IMAGES, "--set", "neck.min_level=1"],
        "neck fpn needs level c1",
    ),
    (["cache", "info", "TMP/empty"], "is not a cache: it has no fdet.json"),
    (["cache", "info", "TMP/no"], "is not a cache: it has no fdet.json"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_two(words, said, places, tmp_path):
    result = fdet(*map(places, words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fdet: ")
    assert places(said) in result.stderr
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n")
    assert not any((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "words",
    [
        ["extract"],
        [*EXTRACT, "--size", "wide"],
        [*EXTRACT, "--sise", "64"],
        ["extrct"],
        ["cache", "info"],
        [*TRAIN, "--source", "offline"],
        [*TRAIN, "--resident", "disk"],
        [*TRAIN, "--on-corrupt", "ignore"],
        ["train-heads", "--out", OUT],
        ["check-equivalence", CACHE],
        ["cache", "convert", CACHE, OUT],
        ["cache", "diff", CACHE],
        [*EXTRACT, "--rank", "first"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_two_without_a_traceback(words):
    result = fdet(*words)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback(places, monkeypatch):
    def broken(config):
        raise RuntimeError("a bug")

    monkeypatch.setattr("fdet.pipeline.extraction.extract.extract", broken)
    result = fdet(*map(places, EXTRACT), "--size", 64)
    assert isinstance(result.exception, RuntimeError)


def test_bad_input_in_a_real_process_is_one_line(tmp_path):
    words = ["extract", str(tmp_path / "a.json"), "--images", ".", "--out", "c", "--size", "64"]
    done = subprocess.run(
        [sys.executable, "-m", "fdet", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"fdet: annotations {tmp_path / 'a.json'}: No such file or directory\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *(
            [*words, "--help"]
            for words in (
                ["extract"],
                ["retrain-classifier"],
                ["cache"],
                ["cache", "rm"],
                ["dataset"],
                ["dataset", "split"],
                ["check-equivalence"],
            )
        ),
    ],
)
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom fdet.pipeline.cli import main\n"
        f"sys.argv = ['fdet', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'zarr', 'h5py', 'timm', 'PIL', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("table", [NECKS, HEADS], ids=["necks", "heads"])
def test_help_names_every_neck_and_head(table):
    wide = {"COLUMNS": "400"}
    text = CliRunner().invoke(app, ["train-heads", "--help"], env=wide).stdout
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [name for name in table if name not in text or f"`{name}`" not in readme] == []


def test_help_shows_the_defaults_of_the_config():
    text = CliRunner().invoke(app, ["extract", "--help"], env={"COLUMNS": "200"}).stdout
    for default in ("tf_efficientnet_lite0", "plain", "int5", "fp32", "256", "zarr"):
        assert f"[default: {default}]" in text


def test_an_extraction_ends_with_one_line_and_says_when_nothing_was_left(places, tmp_path):
    words = [*map(places, EXTRACT), "--size", 64, "--workers", 0, "--threads", 1, "--limit", 2]
    first, again = fdet(*words), fdet(*words)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert re.match(r"2 samples, [\d.]+ kB, ", first.stdout)
    assert first.stdout.endswith(f", {tmp_path / 'out'}\n") and first.stdout.count("\n") == 1
    assert again.stdout.endswith(f", {tmp_path / 'out'} (nothing was left to do)\n")
    assert (first.stderr, again.stderr) == ("", "")


def test_a_part_of_several_says_what_is_left_to_the_others(dataset, tmp_path):
    line = command(dataset, tmp_path / "c", rank=1, world=3)
    result = fdet(*line)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first.startswith("6 samples, ")
    assert second.startswith("3 shards of other processes are not there yet; whoever")


def test_an_update_says_how_much_was_taken_over(dataset, quick_caches, tmp_path):
    older = quick_caches["zarr"]
    result = fdet(*command(dataset, tmp_path / "c", update=older))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(f" (24 of 24 taken over from {older})\n")


def test_a_corrupt_image_is_listed_and_the_exit_code_is_three(tmp_path):
    data = make_dataset(tmp_path, images=3)
    bad = tmp_path / "images" / "10.png"
    sound = bad.read_bytes()
    bad.write_bytes(b"no image")
    out = ["--out", tmp_path / "c", "--size", 64, "--workers", 0, "--threads", 1]
    words = ["extract", data, "--images", tmp_path / "images", *out]
    result = fdet(*words)
    assert result.exit_code == 3
    assert result.stdout.startswith("3 samples")
    listed, advice = result.stderr.splitlines()
    assert listed == "failed: 10.png: not an image that can be read"
    assert advice.startswith("1 image failed;") and "--retry-failed" in advice
    assert fdet(*words).exit_code == 3, "it is still so"
    bad.write_bytes(sound)
    mended = fdet(*words, "--retry-failed")
    assert (mended.exit_code, mended.stderr) == (0, "")


def test_many_failures_are_cut_to_twenty(tmp_path):
    data = make_dataset(tmp_path, images=23)
    for path in (tmp_path / "images").rglob("*.png"):
        path.write_bytes(b"no image")
    out = ["--out", tmp_path / "c", "--size", 64, "--workers", 0, "--threads", 1]
    result = fdet("extract", data, "--images", tmp_path / "images", *out, "--codec", "fp16")
    assert result.exit_code == 3
    assert result.stderr.count("not an image") == 20
    assert "failed: ... and 3 more" in result.stderr


def test_cache_info_of_a_whole_cache(exact_cache):
    facts = json.loads(fdet("cache", "info", exact_cache, "--json").stdout)
    assert facts["state"] == "whole"
    assert (facts["images"], facts["samples"], facts["failed"]) == (12, 24, 0)
    assert (facts["views"], facts["codec"], facts["store"]) == (["plain", "hflip"], "fp32", "zarr")
    assert facts["canvases"] == [{"name": "128x128", "hw": [128, 128], "images": 12}]
    assert facts["levels"][1] == {"name": "c4", "stride": 16, "channels": 112}
    assert facts["backbone"]["name"] == "tf_efficientnet_lite0"
    assert facts["resize"] == {"short": 128, "long": 128, "square": True, "divisor": 32}
    stored = sum(p.stat().st_size for p in exact_cache.glob("*/*/c.*"))
    assert facts["bytes"] == pytest.approx(stored, rel=0.05)
    assert facts["sample_bytes"] == round(facts["bytes"] / 24)
    header = CacheHeader.read(exact_cache)
    data = json.loads(read_annotations(exact_cache, header))
    assert facts["boxes"] == len(data["annotations"]) > 0
    assert facts["crowds"] == sum(a["iscrowd"] for a in data["annotations"])
    assert facts["classes"] == [{"id": c["id"], "name": c["name"]} for c in data["categories"]]


def test_cache_info_in_words(exact_cache):
    text = fdet("cache", "info", exact_cache).stdout
    shown = {line[:11].strip(): line[11:].strip() for line in text.splitlines()}
    for name, value in describe(exact_cache).items():
        assert shown[name] == str(value)
    assert shown["resize"] == "to a square of 128 px (--size 128)"
    facts = json.loads(fdet("cache", "info", exact_cache, "--json").stdout)
    names = [each["name"] for each in facts["classes"]]
    assert shown["classes"] == f"{len(names)}: {', '.join(names)}"
    assert shown["boxes"].split(",")[0] == str(facts["boxes"])
    many = [{"id": k, "name": f"class {k}"} for k in range(14)]
    lines = fact_lines({**facts, "classes": many, "crowds": 2})
    assert lines["classes"].startswith("14: class 0, class 1,")
    assert lines["classes"].endswith("class 9 and 4 more")
    assert lines["boxes"] == f"{facts['boxes']}, 2 of them crowds"


def test_cache_info_names_the_sides_of_a_canvas_that_keeps_the_aspect(exact_cache):
    facts = facts_of(exact_cache)
    rule = {"short": 480, "long": 800, "square": False, "divisor": 32}
    assert described({**facts, "resize": rule})["resize"] == (
        "shorter side 480 px, longer side at most 800 px (--short 480 --long 800), padded to multiples of 32"
    )


def test_cache_info_works_without_the_annotations(exact_cache, tmp_path):
    out = shutil.copytree(exact_cache, tmp_path / "c")
    (out / "annotations.json.zst").write_bytes(b"no annotations")
    result = fdet("cache", "info", out)
    assert result.exit_code == 0 and "classes      not known: " in result.stdout
    facts = json.loads(fdet("cache", "info", out, "--json").stdout)
    assert facts["classes"] is facts["boxes"] is None and "annotations" in facts["annotations"]


def test_cache_info_of_an_unfinished_cache(exact_cache, tmp_path):
    out = shutil.copytree(exact_cache, tmp_path / "c")
    (out / "manifest.json").unlink()
    shards = len(list((out / "commits").iterdir()))
    (out / "commits" / "128x128-0.json").unlink()
    result = fdet("cache", "info", out, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["state"] == "unfinished"
    assert (facts["shards_done"], facts["shards"]) == (shards - 1, shards)
    text = fdet("cache", "info", out).stdout
    assert f"unfinished: {shards - 1} of {shards} shards; the command that made it" in text
    assert "samples" not in facts
    assert facts["images"] == 12


@pytest.mark.parametrize("name", ["fdet.json", "manifest.json"])
def test_cache_info_of_an_altered_cache_is_one_line(name, exact_cache, tmp_path):
    out = shutil.copytree(exact_cache, tmp_path / "c")
    path = out / name
    path.write_bytes(path.read_bytes().replace(b"12", b"13", 1))
    result = fdet("cache", "info", out)
    assert result.exit_code == 2
    assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1
    assert "altered" in result.stderr or "digest" in result.stderr


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_waiting_threads_do_not_spin_unless_asked_to(given):
    """Set before torch is loaded, for this process and its children."""
    program = (
        "import os, sys; from fdet.pipeline import cli; sys.argv = ['fdet', '--help']\n"
        "assert 'torch' not in sys.modules\n"
        "try: cli.main()\n"
        "except SystemExit: print('policy', os.environ['OMP_WAIT_POLICY'])"
    )
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = plain if given is None else {**plain, "OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith(f"policy {given or 'PASSIVE'}\n")


STRANGE = "a\x1b]0;owned\x07\udcff.fdet"


def test_names_of_files_tell_the_terminal_nothing(places, warm, tmp_path):
    """Control characters, and bytes that are no UTF-8, also in what is printed when all is done."""
    out = tmp_path / STRANGE
    words = [*map(places, EXTRACT), "--size", 64, "--workers", 0, "--threads", 1, "--limit", 2]
    words[words.index("--out") + 1] = out
    done = subprocess.run([warm.fdet, *map(os.fsencode, map(str, words))], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rb"a\x1b]0;owned\x07\udcff.fdet" in done.stdout
    for words in (["cache", "info", out], ["cache", "verify", out], ["cache", "rm", "--yes", out]):
        done = subprocess.run([warm.fdet, *map(os.fsencode, map(str, words))], capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
    assert not out.exists()


def test_messages_of_the_log_are_shown_too(capsys):
    record = logging.LogRecord("fdet", logging.WARNING, "", 0, "%s is odd", ("\x1b[2J.png",), None)
    assert cli_file._Printable("%(message)s").format(record) == "\\x1b[2J.png is odd"


def test_a_helper_that_was_killed_is_told_in_a_line(monkeypatch):
    """The end of what it had to say, where click would make `Aborted.` of it."""

    def killed(*_):
        raise EOFError("unexpected EOF")

    monkeypatch.setattr("fdet.pipeline.tools.upkeep.info.cache_facts", killed)
    done = fdet("cache", "info", "x")
    assert done.exit_code == 2
    assert "a process that helped this one was killed (out of memory?)" in done.stderr
    assert "Aborted" not in done.stderr


def test_a_line_of_the_log_stands_above_a_progress_line(monkeypatch):
    """Which takes the place of sys.stderr while it is shown."""
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    handler, log = cli_file._OnStderr(), logging.getLogger("fdet.a_test")
    log.addHandler(handler)
    try:
        with progress_line("train", 10) as line:
            line.advance()
            log.warning("something happened")
            line.bar.refresh()
    finally:
        log.removeHandler(handler)
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue())
    rows = [row for row in re.split(r"[\r\n]+", shown) if "something" in row]
    assert [row.strip() for row in rows] == ["something happened"]


def test_help_has_a_short_name_everywhere_and_the_version_is_told():
    for words in [(), ("dataset",), ("cache", "info"), ("presets",)]:
        short, long = (fdet(*words, flag) for flag in ("-h", "--help"))
        assert (short.exit_code, short.stdout) == (0, long.stdout), words
    assert fdet("--version").stdout == f"fdet {package.__version__}\n"
    for _, parameter in options():
        assert "-h" not in (getattr(info_of(parameter), "param_decls", None) or ())
