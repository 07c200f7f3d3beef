"""Imports every module of a built wheel, from the wheel: `python tests/import_wheel.py X.whl`."""

import importlib
import sys
import tempfile
import zipfile
from pathlib import Path


def main(wheel: str) -> None:
    checkout = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
        sys.path.insert(0, folder)
        names = [name for name in archive.namelist() if name.endswith(".py")]
        modules = sorted(_module(name) for name in names)
        for module in modules:
            loaded = importlib.import_module(module)
            assert str(loaded.__file__).startswith(folder), f"{module}: {loaded.__file__}"
        sources = {
            p.relative_to(checkout) for room in ROOMS for p in (checkout / room).rglob("*.py")
        }
        missing = sorted(str(p) for p in sources if f"fdet/{p.as_posix()}" not in names)
        assert not missing, f"not in the wheel: {missing}"
        patterns = ("pipeline/**/*.toml", "pipeline/**/page/*")
        found = (p.relative_to(checkout) for pattern in patterns for p in checkout.glob(pattern))
        data = ["py.typed", *found]
        lacking = [str(p) for p in data if f"fdet/{p}" not in archive.namelist()]
        assert not lacking, f"not in the wheel: {lacking}"
    print(f"{len(modules)} modules imported from {Path(wheel).name}")


ROOMS = ("cache", "heads", "pipeline")


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


if __name__ == "__main__":
    main(sys.argv[1])
