"""Hostile annotations, images, weights, runs and settings: one clear error, and nothing executed."""

import pytest

from . import corpus_files_of_users, corpus_torch
from .outcomes import marked, tried, wanted

# Cases that the sources do not yet withstand, by the reason why.
GAPS: dict[str, tuple[str, ...]] = {
    "values too deep or too large escape the check of settings": (
        "--set: huge integers",
        "--set: nested deep",
        "config: a long dotted name",
        "config: huge integers",
        "config: huge integers for numbers",
        "config: nested deep",
    ),
    "messages are neither shortened nor made printable": (
        "--set: not an assignment",
        "COCO: an image of a name that tells the terminal what to do",
        "COCO: image.file_name replaced",
        "COCO: images that no folder has",
        "config: other types",
        "config: strange choices",
        "config: unknown names",
        "run.json: 100,000 levels",
        "run.json: a field more of the key",
        "run.json: an unknown neck",
        "run.json: another format",
        "weights: a pickle of a module",
        "weights: a pickle that evaluates",
        "weights: a pickle that fetches",
        "weights: a pickle that imports",
        "weights: a pickle that loads a pickle",
        "weights: a pickle that opens a file",
    ),
    "a box whose width is lost in rounding is kept": ("COCO: boxes of odd sizes",),
    "a checkpoint's optimiser, position and types are not checked": (
        "checkpoint: a tensor more",
        "checkpoint: an optimiser less",
        "checkpoint: complex tensors",
        "checkpoint: position: best",
        "checkpoint: position: step",
        "checkpoint: the optimiser's names",
        "checkpoint: the optimiser's shapes",
        "checkpoint: the optimiser's steps",
        "checkpoint: the optimiser's types",
    ),
    "checkpoints are opened without a look at what they are": (
        "checkpoint: nested deep",
        "run: a link to a copy outside",
        "run: a terabyte of nothing",
    ),
    "Pillow starts Ghostscript": ("image: PostScript",),
    "what is no regular file is opened": (
        "image: a FIFO",
        "image: a device",
        "image: a link to a FIFO",
        "image: a terminal",
    ),
    "Pillow only warns of images of 90 to 180 megapixels": (
        "image: a bomb of 170 megapixels, one bit",
        "image: a bomb of 90 megapixels, RGB",
        "image: a bomb of 90 megapixels, RGBA",
        "image: a bomb of 90 megapixels, grey of 16 bits",
    ),
    "image files are read whole, however long": ("image: a gigabyte behind a good image",),
    "fields of run.json are not checked for their types": (
        "run.json: an infinite number",
        "run.json: backbone_parameters replaced",
        "run.json: class_ids.0 replaced",
        "run.json: class_names replaced",
        "run.json: class_names.0 replaced",
        "run.json: classes",
        "run.json: data replaced",
        "run.json: data.source replaced",
    ),
    "settings may ask for more than a machine has": (
        "run.json: head.anchor_scales: a million",
        "run.json: head.convs: huge",
        "run.json: levels of huge maps",
        "run.json: neck.channels: huge",
        "run.json: neck.max_level: huge",
    ),
    "archives that torch would not write are unpacked": (
        "weights: an archive whose pickle grows to 1 GiB",
    ),
    "tensors that are not plain are not refused": (
        "weights: tensors of other kinds: complex",
        "weights: tensors of other kinds: meta",
        "weights: tensors of other kinds: nested",
        "weights: tensors of other kinds: quantised",
        "weights: tensors of other kinds: sparse",
    ),
}
KNOWN_GAPS = {name: reason for reason, names in GAPS.items() for name in names}

pytestmark = pytest.mark.hostile


CORPORA = {
    "corpus_files_of_users": corpus_files_of_users.CASES,
    "corpus_torch": corpus_torch.CASES,
}
CASES = [case for cases in CORPORA.values() for case in cases]


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    found, names = {}, set(wanted(request))
    for corpus, cases in CORPORA.items():
        chosen = [case.name for case in cases if case.name in names]
        if chosen:
            found |= tried(corpus, chosen, tmp_path_factory.mktemp(corpus))
    return found


def test_the_corpus_is_large_and_its_names_differ():
    names = [case.name for case in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", marked(CASES, KNOWN_GAPS))
def test_a_hostile_input_is_refused_or_does_no_harm(name, outcomes):
    assert not outcomes[name]["problems"]
