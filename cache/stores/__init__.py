"""The stores, by the name that `fdet extract --store` takes."""

from collections.abc import Mapping

from ..errors import CorruptCache
from .hdf5_store import Hdf5Store
from .store import Store
from .zarr_store import ZarrStore

STORES: Mapping[str, Store] = {"zarr": ZarrStore(), "hdf5": Hdf5Store()}


def store_of(name: str) -> Store:
    """Return the store that a header names. Raises CorruptCache for an unknown one."""
    if name not in STORES:
        raise CorruptCache(f"fdet.json: unknown store {name!r}; known: {', '.join(STORES)}")
    return STORES[name]
