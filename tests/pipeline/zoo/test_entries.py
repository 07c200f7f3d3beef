"""Runs that are added to a zoo and fetched from it: the same bytes, checked; nothing else comes along."""

import io
import json
import shutil
import tarfile
from dataclasses import replace

import pytest

from fdet.cache.disk.objects import located
from fdet.cache.errors import CorruptCache, InputError
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.zoo import entries
from fdet.pipeline.zoo.archive import pack
from fdet.pipeline.zoo.card import card_of, checked_name
from fdet.pipeline.zoo.entries import add, archive_name, card, cards, fetched
from fdet.pipeline.zoo.option import run_place
from fdet.pipeline.zoo.places import PLACE, fetched_folder, zoo_place

from ..tools.reporting.made_up import write_run

SENT = {
    "best.safetensors",
    "codec/c3/step.npy",
    "config.toml",
    "evaluation-val.json",
    "metrics.jsonl",
    "run.json",
}


@pytest.fixture
def run(tmp_path):
    """With all that a run has, and with what is nobody else's business."""
    folder = write_run(tmp_path / "runs" / "first", 0.4, errors={"missed": 0.1})
    (folder / "codec" / "c3").mkdir(parents=True)
    (folder / "codec" / "c3" / "step.npy").write_bytes(b"numbers")
    for name in ("options.json", "curve.png", "secret.txt", "codec/notes.txt"):
        (folder / name).write_text("/home/me")
    return folder


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def added(run, zoo, name="first", **more):
    return add(run, zoo, card_of(run, name, "BCCD", "CC-BY-4.0"), **more)


def test_an_entry_comes_back_with_what_others_need_and_no_more(run, tmp_path):
    zoo = tmp_path / "zoo"
    kept = added(run, zoo)
    assert cards(zoo) == [kept] == [card(zoo, "first")]
    assert (kept.backbone, kept.head, kept.neck) == ("test_resnet", "retinanet", "fpn")
    assert (kept.data, kept.licence, kept.ap) == ("BCCD", "CC-BY-4.0", pytest.approx(0.4))
    folder = fetched("first", zoo)
    assert folder.parent == fetched_folder() and files(folder) == SENT
    for name in SENT:
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    assert RunInfo.read(folder) == RunInfo.read(run)


def test_what_was_fetched_is_not_fetched_again(run, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    added(run, zoo)
    folder = fetched("first", zoo)
    monkeypatch.setattr(entries, "download", None)
    assert fetched("first", zoo) == folder
    assert [p.name for p in fetched_folder().iterdir()] == [folder.name]


def test_the_archive_of_a_run_is_always_the_same(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "run.json").touch()
    one, two = io.BytesIO(), io.BytesIO()
    pack(run, one)
    pack(tmp_path / "copy", two)
    assert one.getvalue() == two.getvalue()


def test_a_name_is_taken_once_and_may_be_replaced(run, tmp_path):
    zoo = tmp_path / "zoo"
    first = added(run, zoo)
    folder = fetched("first", zoo)
    other = write_run(tmp_path / "other", 0.5)
    with pytest.raises(InputError, match=r"zoo:first: the zoo .* --replace"):
        added(other, zoo)
    assert card(zoo, "first") == first
    second = added(other, zoo, replacing=True)
    assert card(zoo, "first") == second != first
    assert fetched("first", zoo) != folder and (zoo / archive_name(first)).exists()


def test_a_run_directory_is_an_entry_as_it_is(run, tmp_path, monkeypatch):
    monkeypatch.setenv(PLACE, str(run.parent))
    (found,) = cards(zoo_place())
    assert (found.name, found.archive_sha256, found.ap) == ("first", "", pytest.approx(0.4))
    assert run_place("zoo:first") == run
    assert run_place("runs/a").parts == ("runs", "a")


def test_an_object_store_is_a_zoo(run, prefix, monkeypatch):
    monkeypatch.setenv(PLACE, prefix)
    zoo = located(prefix)
    assert cards(zoo) == []
    kept = added(run, zoo)
    assert cards(zoo) == [kept]
    assert files(run_place("zoo:first")) == SENT
    with pytest.raises(InputError, match="an entry of that name"):
        added(run, zoo)


def test_an_entry_that_is_not_there_is_named_with_those_that_are(run, tmp_path):
    with pytest.raises(InputError, match=f"no such entry.*{PLACE} names another zoo"):
        fetched("first", tmp_path / "nowhere")
    added(run, tmp_path / "zoo")
    with pytest.raises(InputError, match="did you mean 'first'"):
        fetched("frist", tmp_path / "zoo")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a zoo"):
        cards(tmp_path / "file")


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "../x", ".hidden", "a..b", "-x", "a b", "é", "x" * 101]
)
def test_names_that_could_be_paths_or_options_are_refused(name):
    with pytest.raises(InputError, match="expected at most 100 letters"):
        checked_name(name)


def test_a_run_without_weights_is_refused(run):
    (run / "best.safetensors").unlink()
    with pytest.raises(InputError, match=r"it has no best\.safetensors"):
        card_of(run, "first")
    with pytest.raises(InputError, match="is not a run"):
        card_of(run.parent, "first")


def test_every_damage_of_an_archive_is_seen(run, tmp_path):
    zoo = tmp_path / "zoo"
    kept = added(run, zoo)
    path = zoo / archive_name(kept)
    whole = path.read_bytes()
    for position in range(0, len(whole), 997):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptCache, match="damaged or altered"):
            fetched("first", zoo)
    for part, said in ((whole[:-1], "its card says"), (whole + b"x", "its card says")):
        path.write_bytes(part)
        with pytest.raises(CorruptCache, match=said):
            fetched("first", zoo)
    path.unlink()
    with pytest.raises(CorruptCache):
        fetched("first", zoo)
    assert not list(fetched_folder().iterdir())


def test_every_damage_of_a_card_is_seen_and_others_are_still_listed(run, tmp_path, caplog):
    zoo = tmp_path / "zoo"
    added(run, zoo)
    added(run, zoo, "second")
    path = zoo / "first.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises((CorruptCache, InputError)):
            card(zoo, "first")
    assert [found.name for found in cards(zoo)] == ["second"]
    assert "first.json" in caplog.text
    shutil.copy(zoo / "second.json", path)
    with pytest.raises(CorruptCache, match="it is the card of second"):
        card(zoo, "first")


def with_member(run, change):
    """The archive of a run with one more member, or a changed one."""
    file = io.BytesIO()
    pack(run, file)
    file.seek(0)
    made = io.BytesIO()
    with tarfile.open(fileobj=file) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        extra = tarfile.TarInfo("evaluation-x.json")
        extra.size = 4
        change(extra)
        new.addfile(extra, io.BytesIO(b"evil") if extra.isreg() else None)
    return made


def named(name):
    def change(member):
        member.name = name

    return change


def of_type(kind):
    def change(member):
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    return change


@pytest.mark.parametrize(
    "change",
    [
        *map(
            named,
            ("../run.json", "/etc/passwd", "code.py", "model.pkl", "run.json/x", "options.json"),
        ),
        *map(
            named, ("codec/../../x.npy", "codec/c3/x.pkl", "second/run.json", "evaluation-/x.json")
        ),
        *map(of_type, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)),
        of_type(tarfile.GNUTYPE_SPARSE),
    ],
)
def test_an_archive_with_anything_else_in_it_is_refused(run, tmp_path, change):
    """By its card it is whole: whoever made both meant it."""
    zoo = tmp_path / "zoo"
    kept = added(run, zoo)
    file = with_member(run, change)
    forged = replace(kept, archive_sha256=entries._sha256(file), size=len(file.getvalue()))
    (zoo / archive_name(forged)).write_bytes(file.getvalue())
    (zoo / "first.json").write_bytes(forged.to_bytes())
    with pytest.raises(CorruptCache, match=r"which is no file of a run|cannot be read"):
        fetched("first", zoo)
    assert not list(fetched_folder().iterdir())


def test_the_run_of_another_card_is_refused(run, tmp_path):
    zoo = tmp_path / "zoo"
    kept = added(run, zoo)
    other = added(write_run(tmp_path / "other", 0.5, seed=3), zoo, "other")
    forged = replace(other, name="first", run=kept.run)
    shutil.copy(zoo / archive_name(other), zoo / archive_name(forged))
    (zoo / "first.json").write_bytes(forged.to_bytes())
    with pytest.raises(CorruptCache, match="the run in the archive is not the one of its card"):
        fetched("first", zoo)


def test_a_newer_card_is_named(run, tmp_path):
    zoo = tmp_path / "zoo"
    added(run, zoo)
    content = json.loads((zoo / "first.json").read_bytes())
    from fdet.cache.format.sealed import sealed_json

    del content["sha256"]
    (zoo / "first.json").write_bytes(sealed_json({**content, "format": 2}))
    with pytest.raises(InputError, match="format 2; this fdet reads format 1"):
        card(zoo, "first")
