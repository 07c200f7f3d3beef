"""No hostile cache is believed: each is refused with a clear error, or read exactly."""

import pytest

from .corpus_caches import CASES
from .outcomes import tried, wanted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(request):
    return tried("corpus_caches", wanted(request))


def test_the_corpus_is_large_and_its_names_differ():
    names = [case.name for case in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_hostile_cache_is_refused_or_read_exactly(name, outcomes):
    assert not outcomes[name]["problems"]
