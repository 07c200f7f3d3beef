"""What is found after an accident: whether it keeps every promise, and whether it can be finished."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fdet.cache.errors import FdetError, IncompleteCache, InputError
from fdet.cache.format.header import NAME as HEADER
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import NAME as MANIFEST
from fdet.cache.format.records import record_name, samples_name
from fdet.cache.format.vectors import vectors_name
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import Damage, verify

from ..handmade import all_samples, assert_exact, attempt, files_below
from .command import SEALED

Files = Mapping[str, bytes]


def shard_files(header: CacheHeader, name: str) -> list[str]:
    """Every file that must be there, whole, once a shard's record is."""
    shard = next(shard for shard in header.layout.shards if shard.name == name)
    store = STORES[header.store]
    levels = {store.level_file(shard, level) for level in header.key.levels.names}
    vectors = [vectors_name(name)] if header.key.image_vector else []
    return [*sorted(levels), *vectors, samples_name(name), record_name(name)]


def problems(
    root: Path, header: CacheHeader, versions: Sequence[Files], promised: Iterable[str]
) -> list[str]:
    """What a cache has lost, or says wrongly. versions: the finished caches that it may become."""
    found = files_below(root) if root.is_dir() else {}
    whole = any(found == version for version in versions)
    shards = [shard.name for shard in header.layout.shards]
    other_files = _beside(header, versions[0])
    kept = {n for n in shards if _same(found, versions, [*other_files, *shard_files(header, n)])}
    if whole:
        kept.add(SEALED)
    recorded = {name for name in shards if record_name(name) in found}
    sealed = {SEALED} if MANIFEST in found else set()
    wrong = [f"{name} was acknowledged and is lost" for name in set(promised) - kept]
    wrong += [f"{name} has a record, but not all its files" for name in recorded - kept]
    wrong += [f"{name}, but not whole" for name in sealed - kept]
    return wrong + _verified(root, found, whole, bool(sealed)) + _read(root, whole, bool(sealed))


def _beside(header: CacheHeader, version: Files) -> list[str]:
    """What lies beside the shards; a shard is of no use without it."""
    shards = [name for shard in header.layout.shards for name in shard_files(header, shard.name)]
    return sorted({*version} - {*shards, MANIFEST})


def _same(found: Files, versions: Sequence[Files], names: Iterable[str]) -> bool:
    return any(all(found.get(name) == version[name] for name in names) for version in versions)


def _verified(root: Path, found: Files, whole: bool, sealed: bool) -> list[str]:
    if HEADER not in found:
        return []
    result = attempt(verify, root)
    if isinstance(result, FdetError):
        return [f"verify raises {result!r}"]
    if result.sound != whole:
        return [f"verify says {'sound' if result.sound else 'not sound'}: {result.damages}"]
    return [f"verify: {damage}" for damage in result.damages if sealed or not _is_absence(damage)]


def _is_absence(damage: Damage) -> bool:
    """What lies beside the shards and the manifest may be missing until the cache is whole."""
    return "No such file" in damage.why or damage.file == MANIFEST


def _read(root: Path, whole: bool, sealed: bool) -> list[str]:
    cache = attempt(FeatureCache.open, root)
    if isinstance(cache, FdetError):
        refused = IncompleteCache if (root / HEADER).exists() else InputError
        expected = isinstance(cache, refused) if not sealed else not whole
        return [] if expected else [f"open raises {cache!r}"]
    samples = attempt(all_samples, cache)
    if isinstance(samples, FdetError):
        return [f"reading raises {samples!r}"] if whole else []
    return [why for sample in samples if (why := _read_sample(cache, sample, whole))]


def _read_sample(cache: FeatureCache, sample: tuple[int, int], whole: bool) -> str:
    try:
        assert_exact(cache, *sample)
    except FdetError as error:
        return f"{sample}: {error!r}" if whole else ""
    except AssertionError:
        return f"{sample}: wrong values"
    return ""
