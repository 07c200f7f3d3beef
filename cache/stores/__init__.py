"""The stores, by the name that `fdet extract --store` takes."""

from collections.abc import Mapping

from .hdf5_store import Hdf5Store
from .store import Store
from .zarr_store import ZarrStore

STORES: Mapping[str, Store] = {"zarr": ZarrStore(), "hdf5": Hdf5Store()}
