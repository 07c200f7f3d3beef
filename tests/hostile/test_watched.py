"""The watch sees every breach; without that, the corpora would prove nothing."""

import pytest

from .corpus_breaches import CASES
from .outcomes import tried

EXPECTED = {
    "nothing": None,
    "opens outside": "outside: event 0x20 on 'secret'",
    "follows a link": "/outside/secret",
    "follows a link beside a folder": "outside: event 0x20 on 'secret'",
    "opens outside, from C": "outside: event 0x20 on 'secret'",
    "opens outside, by HDF5": "outside: event 0x20 on 'secret'",
    "makes a file outside": "outside: event 0x100 on 'more'",
    "deletes outside": "outside: event 0x200 on 'secret'",
    "opens a file of the system": "opened '/etc/hosts'",
    "opens a device": "opened '/dev/null'",
    "starts a program": "subprocess.Popen",
    "hangs": "still running after 1.0 s; last heard of: attempt",
    "dies": "died with status",
    "takes memory": "memory grew by",
    "takes more memory than there is": "MemoryError",
    "raises another error": "KeyError",
    "recurses": "RecursionError",
    "names no file": "it does not name the file",
    "says too much": "a message of 30",
    "tells the terminal what to do": "its message is not printable",
    "refuses nothing": "nothing was refused",
    "cannot be made": "no room",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes():
    names = [case.name for case in CASES]
    return tried("corpus_breaches", names)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_breach_is_noticed_and_named(name, outcomes):
    problems = outcomes[name]["problems"]
    if EXPECTED[name] is None:
        assert not problems
    else:
        assert EXPECTED[name] in " ".join(problems)
