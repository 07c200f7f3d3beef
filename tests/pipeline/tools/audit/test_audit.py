"""An audit from the command to the list: folds, what goes on after an interruption, and what is refused."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.format.sealed import sealed_json
from fdet.heads.types import Detections
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.audit import audit as audit_module
from fdet.pipeline.tools.audit.audit import audit
from fdet.pipeline.tools.audit.options import AuditOptions
from fdet.pipeline.tools.audit.page import write_page
from fdet.pipeline.tools.audit.results import COLUMNS, write_lists
from fdet.pipeline.tools.audit.state import State
from fdet.pipeline.tools.audit.suspicion import KINDS

from .conftest import QUICK

PLAIN = AuditOptions(**QUICK, pictures="none")


def test_every_image_is_looked_at_by_a_head_that_has_not_seen_it(finished, audited_run, dataset):
    out, results = finished
    ids = {image["id"] for image in json.loads(dataset.read_text())["images"]}
    looked_at = set()
    for number in (1, 2):
        folder = out / "folds" / str(number)
        trained = {i["id"] for i in json.loads((folder / "train.json").read_text())["images"]}
        (path,) = folder.glob("found-*.npz")
        config, own = RunInfo.read(folder / "run").config, RunInfo.read(audited_run).config
        assert config == replace(own, train=replace(own.train, patience=0))
        looked_at |= ids - trained
        assert path.stat().st_size > 0
    assert looked_at == ids
    assert (results.images, results.objects) == (len(ids), sum(results_objects(dataset)))


def results_objects(dataset):
    return [not a["iscrowd"] for a in json.loads(dataset.read_text())["annotations"]]


def test_the_annotations_of_a_fold_are_those_of_the_cache(finished, dataset):
    out, _ = finished
    known, _ = load_annotations(dataset)
    part, _ = load_annotations(out / "folds" / "1" / "train.json")
    assert part.class_ids == known.class_ids
    for image in part.images:
        ours, theirs = part.of_image(image.id), known.of_image(image.id)
        assert (ours.boxes == theirs.boxes).all() and (ours.labels == theirs.labels).all()
        assert (ours.crowd == theirs.crowd).all()


def test_the_list_says_what_is_suspected_and_what_to_do(finished, dataset):
    out, _ = finished
    content = json.loads((out / "audit.json").read_text())
    entries, known = content["entries"], load_annotations(dataset)[0]
    assert content["kinds"] == {k: min(20, n) for k, n in content["suspicions"].items()}
    assert len(entries) > 10
    assert [e["rank"] for e in entries] == list(range(1, len(entries) + 1))
    scores = [e["suspicion"] for e in entries]
    assert scores == sorted(scores, reverse=True) and 0 <= min(scores) <= max(scores) <= 1
    assert sum(content["kinds"].values()) == len(entries) and tuple(content["kinds"]) == KINDS
    for entry in entries:
        image = known.image(entry["image_id"])
        assert image.file_name == entry["image"]
        assert (entry["box"] is None) == (entry["label"] is None) == (entry["kind"] == KINDS[1])
        assert (entry["found_box"] is None) == (entry["kind"] == KINDS[2])
        assert (out / entry["picture"]).is_file()
    rows = list(csv.DictReader((out / "audit.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["suggestion"] for row in rows] == [e["suggestion"] for e in entries]
    page = (out / "audit.html").read_text()
    assert page.count("<li>") == page.count("<img") == len(entries)


def test_pictures_show_the_place_twice(finished):
    out, _ = finished
    for picture in list((out / "pictures").iterdir())[:5]:
        with Image.open(picture) as image:
            assert image.width > 1.5 * image.height or image.height > 300


def test_the_same_call_trains_nothing_again_and_a_shorter_list_drops_pictures(
    finished, audited_run, exact_cache, dataset, tmp_path, here, monkeypatch
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    monkeypatch.setattr("fdet.pipeline.tools.audit.finding.load_model", None)
    options = AuditOptions(
        **QUICK, above=0, top=1, images=dataset.parent / "images", pictures="png"
    )
    results = audit(audited_run, exact_cache, out, options)
    assert here.commands == []
    kinds = [entry.kind for entry in results.entries]
    assert len(set(kinds)) == len(kinds) > 1
    assert [p.suffix for p in (out / "pictures").iterdir()] == [".png"] * len(kinds)
    before = json.loads((finished[0] / "audit.json").read_text())["entries"]
    first = [next(e["suspicion"] for e in before if e["kind"] == kind) for kind in kinds]
    now = json.loads((out / "audit.json").read_text())["entries"]
    assert [e["suspicion"] for e in now] == first


def test_what_was_found_is_looked_for_again_where_its_file_is_damaged(
    finished, audited_run, exact_cache, tmp_path, here
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    (path,) = (out / "folds" / "1").glob("found-*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    audit(audited_run, exact_cache, out, PLAIN)
    assert here.commands == [] and path.stat().st_size == len(whole)


def test_an_interrupted_audit_keeps_the_folds_that_are_finished(
    audited_run, exact_cache, tmp_path, here
):
    out = tmp_path / "out"
    here.ends = {1: 130}
    real, here.stop_requests = here.start, []

    def start(words, log):
        if len(here.commands) == 1:
            here.stop_requests.append(0.0)
        return real(words, log)

    here.start = start
    with pytest.raises(KeyboardInterrupt):
        audit(audited_run, exact_cache, out, PLAIN)
    assert not (out / "audit.json").exists()
    weights = (out / "folds" / "1" / "run" / "best.safetensors").read_bytes()
    here.stop_requests.clear()
    here.start, here.ends = real, {}
    audit(audited_run, exact_cache, out, PLAIN)
    trained = [words[words.index("--out") + 1] for words in here.commands]
    assert [path[-6:] for path in trained] == ["/1/run", "/2/run", "/2/run"]
    assert (out / "folds" / "1" / "run" / "best.safetensors").read_bytes() == weights
    assert (out / "audit.json").is_file()


def test_a_fold_that_fails_says_why_and_the_others_are_kept(
    audited_run, exact_cache, tmp_path, here
):
    here.ends = {1: "fdet: no space left"}
    with pytest.raises(
        InputError, match=r"fold 2: fdet: no space left \(log: .*2/log\.txt\); folds"
    ):
        audit(audited_run, exact_cache, tmp_path / "out", PLAIN)
    here.ends = {2: -9}
    with pytest.raises(InputError, match=r"fold 2: its process was ended by signal 9 \(SIGKILL"):
        audit(audited_run, exact_cache, tmp_path / "out", PLAIN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 3}, "--folds was 2, is 3"),
        ({"seed": 1}, "--seed was 0, is 1"),
        ({"annotations": "fewer"}, "the annotations differ"),
    ],
)
def test_another_audit_is_refused(
    changes, said, finished, audited_run, exact_cache, dataset, tmp_path, here
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    if "annotations" in changes:
        data = json.loads(dataset.read_text())
        data["annotations"] = data["annotations"][1:]
        changes = {"annotations": tmp_path / "fewer.json"}
        changes["annotations"].write_text(json.dumps(data))
    with pytest.raises(InputError, match=f"it holds another audit: {said}"):
        audit(audited_run, exact_cache, out, replace(PLAIN, **changes))


def test_an_audit_goes_on_under_an_fdet_that_has_more_settings(
    finished, audited_run, exact_cache, tmp_path, here
):
    """The digest is another then, but what the folder keeps of the settings is the same."""
    out = shutil.copytree(finished[0], tmp_path / "out")
    before = State.read(out)
    (out / "state.json").unlink()
    replace(before, config="0" * 64).write(out)
    assert audit(audited_run, exact_cache, out, PLAIN).images == 12 and not here.commands
    settings = out / "config.toml"
    settings.write_text(settings.read_text().replace("epochs = 2", "epochs = 3"))
    said = r"the settings of the run differ \(train\.epochs was 3, is 2\); choose another"
    with pytest.raises(InputError, match=said):
        audit(audited_run, exact_cache, out, PLAIN)


def test_a_state_that_was_altered_is_refused(finished, audited_run, exact_cache, tmp_path, here):
    out = shutil.copytree(finished[0], tmp_path / "out")
    state = json.loads((out / "state.json").read_text())
    (out / "state.json").write_text(json.dumps({**state, "folds": 5}))
    with pytest.raises(CorruptCache, match=r"state\.json"):
        audit(audited_run, exact_cache, out, PLAIN)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folds", "1"], "--folds: expected 2 to 20, got 1"),
        (["--folds", "13"], "--folds 13: there are only 12 different images"),
        (["--pictures", "gif"], "--pictures 'gif'; known: jpg, none, png"),
        (["--above", "2"], "--above: expected 0 to 1, got 2.0"),
        (["--images", "TMP"], "--images TMP: it has no 10.png, an image of the cache"),
    ],
)
def test_wrong_options_are_one_line(
    options, said, finished, audited_run, exact_cache, tmp_path, here
):
    out = shutil.copytree(finished[0], tmp_path / "out") if "TMP" in options else tmp_path / "new"
    given = [word.replace("TMP", str(tmp_path)) for word in options]
    words = ["audit", str(audited_run), str(exact_cache), "--out", str(out), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--threads", "1", "--folds", "2", *given])
    assert done.exit_code == 2
    assert said.replace("TMP", str(tmp_path)) in done.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["tailed", "adapted_tail"])
def test_the_heads_of_a_run_with_a_tail_have_one_too(name, short_cache, tmp_path, here, request):
    run, out = request.getfixturevalue(name), tmp_path / "out"
    results = audit(run, short_cache, out, replace(PLAIN, above=0))
    assert results.images > 0 and len(results.entries) > 0
    for number in (1, 2):
        info = RunInfo.read(out / "folds" / str(number) / "run")
        assert (info.source, info.tail) == ("tail", RunInfo.read(run).tail)
    assert State.read(out).source == "tail"


def test_weights_are_for_a_tail(audited_run, exact_cache, tmp_path):
    given = replace(PLAIN, weights="random")
    with pytest.raises(InputError, match=r"--weights random: .* has no tail, so no backbone is"):
        audit(audited_run, exact_cache, tmp_path / "out", given)


def test_a_state_of_before_there_were_tails_is_one_of_cached_maps(tmp_path):
    texts = {"config": "a", "cache": "b", "second": "none", "annotations": "c"}
    kept = {**texts, "folds": 2, "seed": 0}
    (tmp_path / "state.json").write_bytes(sealed_json({"format": 1, **kept}))
    assert State.read(tmp_path) == State(**kept, source="cached")
    with pytest.raises(InputError, match=r"the sources .* differ"):
        State.read(tmp_path).check_same(State(**kept, source="tail"), tmp_path)


def test_a_run_without_cached_maps_is_refused(audited_run, exact_cache, tmp_path):
    run = shutil.copytree(audited_run, tmp_path / "run")
    info = RunInfo.read(run)
    (run / "run.json").write_bytes(
        replace(info, data={**info.data, "source": "finetune"}, read_digest="").to_bytes()
    )
    with pytest.raises(
        InputError, match="has trained its backbone or adapters in it, and an audit"
    ):
        audit(run, exact_cache, tmp_path / "out", PLAIN)


def test_without_the_images_there_is_a_list_alone_and_a_line_says_so(
    finished, audited_run, exact_cache, tmp_path, here, caplog
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    results = audit(audited_run, exact_cache, out, AuditOptions(**QUICK, above=0))
    assert "no pictures are drawn" in caplog.text and "give --images" in caplog.text
    assert not list((out / "pictures").iterdir())
    assert results.rows()[0]["picture"] is None
    assert "<img" not in (out / "audit.html").read_text()


def test_names_that_utf_8_cannot_write_are_escaped(finished, tmp_path):
    """COCO JSON may have half of a character, as in "\\ud800"."""
    _, results = finished
    entries = [replace(entry, image="a\ud800<b>.png") for entry in results.entries]
    odd = replace(results, names=[f"{name}\udfff" for name in results.names], entries=entries)
    write_lists(tmp_path, odd)
    write_page(tmp_path, odd)
    listed = json.loads((tmp_path / "audit.json").read_text())["entries"]
    assert listed[0]["image"] == "a\ud800<b>.png"
    assert "a\\ud800&lt;b&gt;.png" in (tmp_path / "audit.html").read_text()
    assert "a\\ud800<b>.png" in (tmp_path / "audit.csv").read_text()


def perfect(known, fold):
    """What a head finds that is never wrong."""
    found = {}
    for image_id in fold.held_out:
        objects = known.of_image(image_id)
        kept = ~objects.crowd
        boxes = torch.from_numpy(objects.boxes[kept]).float()
        found[image_id] = Detections(
            boxes, torch.full((len(boxes),), 0.9), torch.from_numpy(objects.labels[kept])
        )
    return found


def test_spoilt_labels_are_first_in_the_list(
    audited_run, exact_cache, dataset, tmp_path, here, monkeypatch
):
    known, _ = load_annotations(dataset)
    monkeypatch.setattr(audit_module, "found_in_fold", lambda look, fold: perfect(known, fold))
    data = json.loads(dataset.read_text())
    objects = [a for a in data["annotations"] if not a["iscrowd"]]
    objects[0]["category_id"] = next(i for i in (2, 5, 11) if i != objects[0]["category_id"])
    data["annotations"].remove(objects[5])
    objects[9]["bbox"][0] += 0.4 * objects[9]["bbox"][2]
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(json.dumps(data))
    results = audit(audited_run, exact_cache, tmp_path / "out", replace(PLAIN, annotations=spoilt))
    named = {(e.kind, e.image_id) for e in results.entries}
    wanted = zip(("wrong class", "missed object", "badly placed box"), (0, 5, 9), strict=True)
    assert named == {(kind, objects[k]["image_id"]) for kind, k in wanted}


def test_the_command_prints_the_list_and_where_it_is(
    finished, audited_run, exact_cache, tmp_path, here
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    words = ["audit", str(audited_run), str(exact_cache), "--out", str(out), "--device", "cpu"]
    words += ["--threads", "1", "--folds", "2", "--above", "0", "--top", "9", "--pictures", "none"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("   1 ") and lines[10].startswith("     ... and ")
    assert f"written: {out / 'audit.html'}, audit.json, audit.csv" in lines[-1]
    assert "--top" in done.stdout


def test_the_heads_are_trained_in_processes_of_their_own(audited_run, exact_cache, tmp_path):
    results = audit(audited_run, exact_cache, tmp_path / "out", PLAIN)
    assert results.images == 12
    for number in ("1", "2"):
        assert "steps in 2 epochs" in (tmp_path / "out" / "folds" / number / "log.txt").read_text()
