"""Hostile annotations, images, weights, runs and settings: one clear error, and nothing executed."""

import pytest

from . import corpus_files_of_users, corpus_segmentations, corpus_torch
from .outcomes import tried, wanted

pytestmark = pytest.mark.slow


CORPORA = {
    "corpus_files_of_users": corpus_files_of_users.CASES,
    "corpus_segmentations": corpus_segmentations.CASES,
    "corpus_torch": corpus_torch.CASES,
}
CASES = [case for cases in CORPORA.values() for case in cases]


@pytest.fixture(scope="module")
def outcomes(request):
    found, names = {}, set(wanted(request))
    for corpus, cases in CORPORA.items():
        chosen = [case.name for case in cases if case.name in names]
        if chosen:
            found |= tried(corpus, chosen)
    return found


def test_the_corpus_is_large_and_its_names_differ():
    names = [case.name for case in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_hostile_input_is_refused_or_does_no_harm(name, outcomes):
    assert not outcomes[name]["problems"]
