"""No hostile cache is believed: each is refused with a clear error, or read exactly."""

import pytest

from .corpus_caches import CASES
from .outcomes import marked, tried, wanted

# Cases that the sources do not yet withstand, by the reason why.
GAPS: dict[str, tuple[str, ...]] = {
    "Path.resolve fails for a link to itself before Python 3.13": (
        "32x32/: a link to itself",
        "32x32/p3/: a link to itself",
        "commits/: a link to itself",
        "samples/: a link to itself",
    ),
    "verify hashes a file whose length alone gives it away": (
        "a level file: a terabyte longer",
        "a level file: a terabyte of zeros",
        "a samples table: a terabyte longer",
        "a samples table: a terabyte of zeros",
        "annotations.json.zst: a terabyte longer",
        "annotations.json.zst: a terabyte of zeros",
    ),
    "the annotation copy may take gigabytes": (
        "annotation copy: 1073741824 bytes, sparse",
        "annotation copy: a gigabyte of zeros",
        "annotation copy: declares as much as it may",
    ),
    "a header may take gigabytes": (
        "fdet.json: 12 million empty lists",
        "fdet.json: as long as it may be, of zeros",
    ),
    "messages are neither shortened nor made printable": (
        "fdet.json: a number of 4,200 digits",
        "fdet.json: format nested 920 to 980 deep",
        "fdet.json: format: a megabyte",
        "fdet.json: format: tells the terminal what to do",
        "header: channels: huge",
        "header: dtype: strange",
        "header: frame: paths that leave",
        "header: key: a field more",
        "header: views: a megabyte each",
        "record: failures: a megabyte",
        "record: failures: no strings",
        "record: failures: tell the terminal what to do",
        "record: file sizes",
        "record: of another shard",
        "record: paths that leave",
        "stray: a name that is not UTF-8",
        "stray: a name that moves the cursor",
    ),
    "fields of the header are not checked for their types and ranges": (
        "header: backbone replaced",
        "header: backbone: strange",
        "header: channels: no integer",
        "header: channels: true",
        "header: file names: that are no strings",
        "header: file names: that leave",
        "header: file names: that no file has",
        "header: ids: a float that equals one",
        "header: ids: of other types",
        "header: image sizes: strange",
        "header: key.divisor replaced",
        "header: key.long replaced",
        "header: key.seed replaced",
        "header: key.short replaced",
        "header: key.weights_sha256 replaced",
        "header: layout.buckets.0.image_hw.0.0 replaced",
        "header: layout.buckets.0.image_ids.0 replaced",
        "header: level names: no file can have",
        "header: level names: that tells the terminal what to do",
        "header: store replaced",
        "header: store: no string",
        "header: store: unknown",
        "header: stride: no integer",
        "header: views: strange",
        "header: views: tell the terminal what to do",
    ),
    "a samples table may take gigabytes": ("header: four hundred million samples, and a table",),
    "counts are not checked": (
        "manifest: counts",
        "record: counts that no machine has",
        "record: numbers that no machine has",
    ),
    "failures may name slots that are not there": (
        "record: failures: no slots",
        "record: failures: of slots that are not there",
    ),
    "verify cannot look at a path that is too long": ("stray: 600 folders deep",),
    "placements are not checked for finite numbers and against the header": (
        "table: canvas_hw: negative",
        "table: canvas_hw: none",
        "table: canvas_hw: of another bucket",
        "table: canvas_hw: vast",
        "table: content_hw: negative",
        "table: content_hw: none",
        "table: content_hw: vast",
        "table: image_hw: another than the header's",
        "table: image_hw: negative",
        "table: image_hw: none",
        "table: image_hw: vast",
        "table: scale: NaN",
        "table: scale: infinite",
        "table: scale: minus infinity",
        "table: scale: none",
        "table: shift: NaN",
        "table: shift: infinite",
        "table: shift: minus infinity",
    ),
}
KNOWN_GAPS = {name: reason for reason, names in GAPS.items() for name in names}

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    return tried("corpus_caches", wanted(request), tmp_path_factory.mktemp("caches"))


def test_the_corpus_is_large_and_its_names_differ():
    names = [case.name for case in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", marked(CASES, KNOWN_GAPS))
def test_a_hostile_cache_is_refused_or_read_exactly(name, outcomes):
    assert not outcomes[name]["problems"]
