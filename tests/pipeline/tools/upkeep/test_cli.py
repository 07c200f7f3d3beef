"""`fdet cache ...` in a shell: what is printed where, and the exit codes."""

import shutil

import pytest
from typer.testing import CliRunner

from fdet.cache.disk.sizes import megabytes
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.info import aligned

from ...quick import damage, quick, tree

OTHER = {"zarr": "hdf5", "hdf5": "zarr"}


def fdet(*words, answer=None):
    return CliRunner().invoke(app, ["cache", *map(str, words)], input=answer)


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "c.fdet")


def test_verify_of_a_sound_cache(whole):
    result = fdet("verify", whole)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{whole}: sound, {megabytes(verify(whole).bytes)} read\n"


def test_verify_names_file_shard_level_and_image(root):
    path = damage(root, 17, view=1, level=1)
    result = fdet("verify", root)
    assert result.exit_code == 1
    first, last, advice = result.stdout.splitlines()
    assert first.startswith(f"{path.relative_to(root)}: ")
    assert first.endswith("(shard 64x64-0, level c2, image 17, view 1)")
    assert last == f"{root}: 1 damage, {megabytes(verify(root).bytes)} read"
    assert f"fdet cache rm --damaged {root}" in advice


def test_verify_of_an_unfinished_cache(dataset, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, rank=0, world=4))
    result = fdet("verify", tmp_path / "c")
    assert result.exit_code == 1
    assert "unfinished: 3 shards are not written yet" in result.stdout
    assert "--damaged" not in result.stdout


def test_verify_of_a_damaged_header(root):
    (root / "fdet.json").write_bytes((root / "fdet.json").read_bytes().replace(b"64", b"65", 1))
    result = fdet("verify", root)
    assert result.exit_code == 1
    assert result.stdout.startswith("fdet.json: it does not match its own digest")


def test_verify_tells_of_leftovers_and_is_content(root):
    (root / "commits" / ".64x64-0.json.scratch").touch()
    result = fdet("verify", root)
    assert result.exit_code == 0
    assert result.stderr.startswith("left over: commits/.64x64-0.json.scratch (")


def test_diff_of_the_same_inputs(whole, root):
    result = fdet("diff", whole, root)
    assert (result.exit_code, result.stdout) == (0, "made from the same inputs\n")


def test_diff_names_each_field(whole, dataset, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, codec="fp16", batch_size=2, limit=3))
    result = fdet("diff", whole, tmp_path / "c")
    assert (result.exit_code, result.stderr) == (1, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "codec",
        "batch_size",
        "images",
    ]


def test_convert_says_what_it_made(whole, store, tmp_path, quick_caches):
    result = fdet("convert", whole, tmp_path / "c", "--store", OTHER[store])
    assert (result.exit_code, result.stderr) == (0, "")
    size = megabytes(FeatureCache.open(tmp_path / "c").manifest.stored_bytes)
    assert result.stdout == f"24 samples, {size}, {tmp_path / 'c'}\n"
    assert tree(tmp_path / "c") == tree(quick_caches[OTHER[store]])


def test_convert_of_a_damaged_cache_is_one_line(root, store, tmp_path):
    path = damage(root, 17)
    result = fdet("convert", root, tmp_path / "c", "--store", OTHER[store])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"fdet: {path}: shard 64x64-0") and "image 17" in result.stderr
    assert result.stderr.count("\n") == 1


def test_copy_says_what_it_made(whole, tmp_path):
    result = fdet("copy", whole, tmp_path / "c", "--levels", "c2", "--limit", 4)
    assert (result.exit_code, result.stderr) == (0, "")
    size = megabytes(FeatureCache.open(tmp_path / "c").manifest.stored_bytes)
    assert result.stdout == f"8 samples, {size}, {tmp_path / 'c'}\n"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("\n", 1), ("", 1), ("y\n", 0)])
def test_rm_asks(answer, code, root):
    before = tree(root)
    result = fdet("rm", root, answer=answer)
    assert result.exit_code == code
    assert f"delete {root} and all features in it?" in result.output
    if code:
        assert tree(root) == before
    else:
        assert not root.exists()


def test_rm_yes_does_not_ask(root):
    files = tree(root)
    said = f"{len(files)} files removed, {megabytes(sum(map(len, files.values())))}\n"
    result = fdet("rm", root, "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert not root.exists()


def test_rm_spares_the_files_of_others(root):
    (root / "notes.txt").write_text("mine")
    result = fdet("rm", root, "--yes")
    assert result.exit_code == 2
    assert result.stderr.startswith("fdet: ") and "do not belong to it and stay" in result.stderr
    assert tree(root) == {"notes.txt": b"mine"}


def test_rm_leftovers_and_damaged_need_no_answer(root, whole):
    (root / ".fdet.json.scratch").write_bytes(b"1234")
    assert fdet("rm", root, "--leftovers").stdout == "1 file removed, 0.004 kB\n"
    assert tree(root) == tree(whole)
    assert fdet("rm", root, "--damaged").stdout == "0 files removed, 0 kB\n"
    assert tree(root) == tree(whole)


def test_rm_leftovers_and_damaged_exclude_each_other(root, whole):
    result = fdet("rm", root, "--leftovers", "--damaged")
    assert result.exit_code == 2
    assert result.stderr == "fdet: --leftovers and --damaged exclude each other\n"
    assert tree(root) == tree(whole)


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "X"],
        ["diff", "X", "C"],
        ["diff", "C", "X"],
        ["convert", "X", "Y", "--store", "zarr"],
        ["convert", "C", "Y", "--store", "zar"],
        ["copy", "X", "Y"],
        ["copy", "C", "Y", "--levels", "c9"],
        ["rm", "X", "--yes"],
        ["rm", "X", "--leftovers"],
        ["rm", "X", "--damaged"],
    ],
    ids=" ".join,
)
def test_what_is_no_cache_or_no_store_is_one_line_and_exit_two(words, whole, tmp_path):
    places = {"X": tmp_path, "Y": tmp_path / "y", "C": whole}
    result = fdet(*[places.get(word, word) for word in words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_long_value_goes_on_below_itself():
    values = {"id": "12", "classes": "3: black-bishop, black-knight, white-queen"}
    assert list(aligned(values, None)) == [f"{name:<9}{value}" for name, value in values.items()]
    assert list(aligned(values, 30)) == [
        "id       12",
        "classes  3: black-bishop,",
        "         black-knight,",
        "         white-queen",
    ]
