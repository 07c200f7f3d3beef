"""The engines that write the shards of a cache: each is given shards and reports when they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from ...cache.codecs.codec import codec_of
from ...cache.format import manifest as manifest_file
from ...cache.format.header import CacheHeader
from ...cache.layout import Shard
from ...cache.reader import FeatureCache
from ..dataset.data_set import DataSet
from ..dataset.images.canvases import recipe_of
from ..machines.world import World
from .creation import created_or_resumed
from .options import ExtractConfig
from .preparation import Prepared, prepared
from .ray_engine import on_ray
from .reuse import Reused, check_same_codec, find_reusable, open_older
from .writing import write_shards


class Engine(Protocol):
    """An engine for one command, which has passed all checks that need no folder of the cache."""

    def create(self) -> CacheHeader:
        """Create the cache, or resume the existing one. Raises InputError, KeyMismatch."""

    def write(self, header: CacheHeader, shards: Sequence[Shard]) -> Iterator[int]:
        """Write the shards; yield for each, in any order, how many of its images were taken over."""


@dataclass
class Local:
    """The engine that writes in this process."""

    config: ExtractConfig
    world: World
    begun: Prepared
    older: FeatureCache | None

    def create(self) -> CacheHeader:
        begun = self.begun
        return created_or_resumed(
            self.config, self.world, begun.header, begun.backbone, begun.annotations
        )

    def write(self, header: CacheHeader, shards: Sequence[Shard]) -> Iterator[int]:
        """Write all shards, then yield for each how many of its images were taken over."""
        config, begun, reused = self.config, self.begun, Reused()
        recipe = recipe_of(header.key, config.image_folder)
        if self.older is not None:
            check_same_codec(self.older, header)
            reused = find_reusable(self.older, recipe, shards)
        codec = codec_of(config.out, header.key, begun.device)
        # All shards are written in one call, so that decoding can run ahead beyond a shard's end.
        write_shards(
            config.out, header, shards, recipe, begun.backbone, codec, config.workers, reused
        )
        for shard in shards:
            yield sum(image.id in reused.ids for image in shard.images)


@contextmanager
def local(config: ExtractConfig, world: World, data: DataSet) -> Iterator[Engine]:
    """Yield the engine that writes in this process. Raises InputError, KeyMismatch."""
    begun = prepared(config, world, data)
    older = None
    if config.update is not None and not (config.out / manifest_file.NAME).exists():
        older = open_older(config.update, begun.header)
    yield Local(config, world, begun, older)


ENGINES: Mapping[str, Callable[[ExtractConfig, World, DataSet], AbstractContextManager[Engine]]] = {
    "local": local,
    "ray": on_ray,
}


def engine_of(config: ExtractConfig, world: World, data: DataSet) -> AbstractContextManager[Engine]:
    """Return the engine that a command which `check_extraction` passed names, as a context manager."""
    return ENGINES[config.engine](config, world, data)
