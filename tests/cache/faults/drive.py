"""Starts the accidents of a test, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from fdet.cache.stores import STORES

DRIVER = "fdet.tests.cache.faults.driver"


@cache
def drive(job: str) -> Mapping[str, dict[str, Any]]:
    """What a job of the driver finds, by store; skips the test where nothing can be traced."""
    command = [sys.executable, "-W", "error", "-m", DRIVER, job]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    drivers = {
        store: subprocess.Popen([*command, store], stdout=subprocess.PIPE, env=quiet)
        for store in STORES
    }
    printed = {store: driver.communicate()[0] for store, driver in drivers.items()}
    assert not any(driver.returncode for driver in drivers.values())
    found = {store: json.loads(text) for store, text in printed.items()}
    for result in found.values():
        if why := result.get("skip"):
            pytest.skip(why)
    return found
