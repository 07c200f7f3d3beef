"""What the house promises of its imports: read from the sources, so that the offender has a name."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("cache", "heads", "pipeline")
OPEN_TO_HEADS = {"cache.pyramid", "cache.placement", "cache.errors"}
# Of the cache; all else there imports none.
WITH_TORCH = {"blocks", "clipping", "codec", "loader", "resident"}

FILES = [*sorted(ROOT.glob("*.py")), *(p for r in ROOMS for p in sorted((ROOT / r).rglob("*.py")))]


def module_name(path: Path) -> str:
    """cache.reader for cache/reader.py; heads.necks for its __init__; "" for the root's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import of a file, also inside functions, but none under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from statements(other)
        else:
            yield from statements(child)


def targets(name: str, statement: ast.ImportFrom) -> Iterator[str]:
    """Our modules that a relative import reaches."""
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    base = package[: len(package) - statement.level + 1]
    for alias in statement.names:
        named = ".".join([*base, *filter(None, [statement.module])])
        deeper = f"{named}.{alias.name}".lstrip(".")
        yield deeper if deeper in MODULES else named


@cache
def imports(name: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    return tuple(statements(ast.parse(MODULES[name].read_bytes())))


def imported(name: str) -> set[str]:
    """Our modules that a module imports."""
    relative = [s for s in imports(name) if isinstance(s, ast.ImportFrom) and s.level]
    return {target for statement in relative for target in targets(name, statement)}


def room(name: str) -> str:
    return name.partition(".")[0]


def test_the_sources_are_found_and_their_imports_resolve():
    assert {room(name) for name in MODULES} >= {"", *ROOMS}
    assert "cache.stores.zarr_store" in imported("cache.stores")
    assert "cache.stores" in imported("cache.reader")
    unknown = {f"{n} -> {t}" for n in MODULES for t in imported(n) if t not in MODULES}
    assert not unknown


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) in ROOMS])
def test_imports_go_downwards_only(name):
    allowed = ROOMS[: ROOMS.index(room(name)) + 1]
    upwards = {t for t in imported(name) if room(t) not in allowed}
    assert not upwards, f"{name} imports {sorted(upwards)}"


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) == "heads"])
def test_heads_take_from_the_cache_only_what_is_no_file(name):
    forbidden = {t for t in imported(name) if room(t) == "cache"} - OPEN_TO_HEADS
    assert not forbidden, f"{name} imports {sorted(forbidden)}"


# The rooms of the pipeline. Each imports from its own kind and from those before; no tool imports a tool.
GROUND = {"backbones", "dataset", "machines", "pictures", "runs", "sources", "watching", "zoo"}
STAGES = {"extraction", "evaluation", "exported", "training"}


def floor(name: str) -> tuple[int, str]:
    """(0 ground, 1 stage, 2 tool or -1 for what all use, the room) of a module of the pipeline."""
    _, first, *more = [*name.split("."), ""]
    if first == "tools":
        return 2, more[0]
    return (0 if first in GROUND else 1 if first in STAGES else -1), first


def in_pipeline() -> list[str]:
    return [n for n in MODULES if room(n) == "pipeline" and n not in ("pipeline", "pipeline.cli")]


def test_every_folder_of_the_pipeline_has_its_place():
    folders = {p.name for p in (ROOT / "pipeline").iterdir() if (p / "__init__.py").exists()}
    assert folders == GROUND | STAGES | {"tools"}
    assert {n for n in in_pipeline() if floor(n)[0] < 0} == {"pipeline.command"}


@pytest.mark.parametrize("name", in_pipeline())
def test_ground_below_stages_below_tools_and_no_tool_imports_a_tool(name):
    own, own_room = floor(name)
    taken = [t for t in imported(name) if t in in_pipeline()]
    upwards = [t for t in taken if floor(t)[0] > own]
    sideways = [t for t in taken if floor(t)[0] == own == 2 and floor(t)[1] != own_room]
    assert not upwards + sideways, f"{name} imports {upwards + sideways}"


# The rooms of pipeline/dataset. Each reaches those before it alone, also by way of the modules beside them.
DATASET = ("images", "coco", "formats", "writing", "classes", "splits", "doctor")


def reached(name: str) -> set[str]:
    """Our modules that a module imports, and those that these import, and so on."""
    found: set[str] = set()
    left = [name]
    while left:
        new = imported(left.pop()) - found
        found |= new
        left += new
    return found


def test_every_folder_of_the_data_sets_has_its_place():
    folders = {p.parent.name for p in (ROOT / "pipeline" / "dataset").glob("*/__init__.py")}
    assert folders == set(DATASET)


@pytest.mark.parametrize("number", range(len(DATASET)))
def test_the_rooms_of_the_data_sets_import_in_one_order(number):
    names = [n for n in MODULES if n.startswith(f"pipeline.dataset.{DATASET[number]}.")]
    assert len(names) >= 3
    later = tuple(f"pipeline.dataset.{other}." for other in DATASET[number + 1 :])
    upwards = {f"{n} -> {t}" for n in names for t in reached(n) if t.startswith(later)}
    assert not upwards


def test_the_program_is_put_together_from_the_command_lines_of_its_rooms():
    taken = {t for t in imported("pipeline.cli") if room(t) == "pipeline"}
    command_lines = {n for n in in_pipeline() if n.endswith(".cli")}
    others = {"command", "machines.interrupt", "machines.streams"}
    assert taken == command_lines | {f"pipeline.{name}" for name in others}


def circle_from(start: str) -> list[str] | None:
    """A path of imports that leads back to `start`."""
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop()
        for target in imported(path[-1]):
            if target == start:
                return [*path, start]
            if target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return None


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_itself_by_a_detour(name):
    circle = circle_from(name)
    assert circle is None, " -> ".join(circle)


@pytest.mark.parametrize("name", MODULES)
def test_imports_between_our_files_are_relative(name):
    absolute = []
    for statement in imports(name):
        if isinstance(statement, ast.Import):
            absolute += [alias.name for alias in statement.names]
        elif not statement.level:
            absolute.append(statement.module)
    ours = [module for module in absolute if room(module) in {"fdet", *ROOMS}]
    assert not ours, f"{name} imports {ours}"


def assert_without_torch(names: list[str]) -> None:
    """Import these modules in a new process, and fail at the first that loads torch."""
    program = "\n".join(
        [
            "import importlib, sys",
            f"for name in {names}:",
            "    importlib.import_module(f'fdet.{name}')",
            "    if 'torch' in sys.modules: sys.exit(f'fdet.{name} imports torch')",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_touches_the_disk_or_decodes_images_imports_no_torch():
    names = [n for n in MODULES if room(n) == "cache" and n.split(".")[-1] not in WITH_TORCH]
    assert {"cache.writer", "cache.verify", "cache.stores.hdf5_store"} <= set(names)
    assert_without_torch(names + [n for n in MODULES if n.startswith("pipeline.dataset")])


def test_what_is_checked_first_imports_no_torch():
    """So that a wrong name, path or setting is said at once (tests/pipeline/test_before_torch.py)."""
    last = {"checks", "cli", "command", "options", "settings"}
    names = [n for n in MODULES if n.split(".")[-1] in last]
    assert {"heads.dense.settings", "pipeline.runs.settings", "pipeline.training.checks"} <= {
        *names
    }
    tables = ("heads.build", "heads.dense", "heads.necks", "heads.roi")
    runs = ("config", "described", "folder", "history", "info", "position", "presets")
    assert_without_torch([*names, *tables, *(f"pipeline.runs.{name}" for name in runs)])


def test_the_cache_knows_no_model():
    strangers = {"torchvision", "timm", "PIL", "pycocotools", "typer", "rich", "safetensors"}
    for name in (n for n in MODULES if room(n) == "cache"):
        for statement in imports(name):
            modules = [a.name for a in statement.names]
            if isinstance(statement, ast.ImportFrom):
                modules = [statement.module or ""] if not statement.level else []
            assert not strangers & {room(m) for m in modules}, f"{name} imports {modules}"


def test_reading_loads_no_library_of_a_store():
    """Nothing of a cache is given to zarr or HDF5 to interpret, and opening one is quick."""
    program = "import sys, fdet.cache.reader, fdet.cache.verify; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"zarr", "h5py", "hdf5plugin", "obstore"} & set(done.stdout.split())


def test_every_package_is_listed_in_pyproject():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in FILES if path.name == "__init__.py"}
    found = {".".join(["fdet", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert sorted(listed) == sorted(found)
    assert {path.parent for path in FILES} == folders, "a folder of sources has no __init__.py"


@pytest.mark.parametrize("name", MODULES)
def test_every_file_says_what_holds_in_it(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_bytes())), MODULES[name]
