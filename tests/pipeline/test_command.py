"""Options are stated once: the command gets the dataclass, and a cache may lie anywhere."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import pytest
import typer
from typer.testing import CliRunner

from fdet.cache.disk.objects import ObjectPath, located
from fdet.cache.errors import InputError
from fdet.heads.ranges import at_least
from fdet.pipeline import command as commands
from fdet.pipeline.cli import app
from fdet.pipeline.command import (
    Assignments,
    LastCounts,
    Program,
    argument,
    cache_argument,
    cache_opt,
    check_file,
    check_folder,
    check_path,
    check_ranges,
    opt,
    takes,
)


def _halves(text: str) -> tuple[str, ...]:
    return tuple(text.split("/"))


@dataclass(frozen=True, kw_only=True)
class Inner:
    cache: Annotated[Path, cache_argument("a cache")]
    more: Annotated[Sequence[Path], cache_opt("more caches", "--with")] = ()
    where: Annotated[Literal["here", "there"], opt("where")] = "here"
    hidden: int = 7


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    size: Annotated[int | None, at_least(1), opt("a size", parser=len, metavar="SIZE")] = None
    parts: Annotated[tuple[str, ...], opt("parts", parser=_halves)] = ("a", "b")
    fast: Annotated[bool, opt("be fast")] = False
    count: Annotated[int, at_least(1), opt("how many")] = 3


def run(kind, *words):
    """What the command got, and what was printed."""
    got = []

    @takes
    def command(name: Annotated[str, argument("a name")], options: kind, *, loud: bool = False):
        got.extend([name, options, loud])

    program = typer.Typer()
    program.command()(command)
    done = CliRunner().invoke(program, list(words))
    return (got, done)


# The function's annotations are read where it stands.
def test_the_command_gets_the_dataclasses_with_their_defaults():
    (name, options, loud), _ = run(Outer, "n", "folder")
    assert (name, loud) == ("n", False)
    assert options == Outer(inner=Inner(cache=Path("folder")))


def test_every_kind_of_option_reaches_its_field():
    words = ["n", "s3://b/k", "--with", "s3://b/1", "--with", "two", "--where", "there"]
    words += ["--size", "xxxx", "--parts", "c/d", "--fast", "--count", "5"]
    (_, options, _), _ = run(Outer, *words)
    assert isinstance(options.inner.cache, ObjectPath)
    assert [type(path) is ObjectPath for path in options.inner.more] == [True, False]
    assert (options.inner.where, options.inner.hidden) == ("there", 7)
    assert (options.size, options.parts, options.fast, options.count) == (4, ("c", "d"), True, 5)


def test_fields_can_be_left_out():
    (_, options, _), done = run(Annotated[Inner, ("cache",)], "n", "folder")
    assert options == Inner(cache=Path("folder")), done.output
    _, done = run(Annotated[Inner, ("cache",)], "n", "folder", "--where", "there")
    assert done.exit_code == 2 and "--where" in done.output


def test_a_choice_that_is_none_is_refused():
    got, done = run(Outer, "n", "folder", "--where", "nowhere")
    assert not got and done.exit_code == 2 and "nowhere" in done.output


def test_ranges_are_those_of_the_fields():
    check_ranges(Outer(inner=Inner(cache=Path("x"))))
    with pytest.raises(InputError, match="--count: expected at least 1, got 0"):
        check_ranges(Outer(inner=Inner(cache=Path("x")), count=0))


def options():
    """(command, its parameter) of all that fdet's commands take."""
    named = {c.name: c.callback for c in app.registered_commands}
    for group in app.registered_groups:
        for c in group.typer_instance.registered_commands:
            named[f"{group.name} {c.name}"] = c.callback
    for name, callback in named.items():
        for parameter in inspect.signature(callback).parameters.values():
            if parameter.annotation is not typer.Context:
                yield name, parameter


def info_of(parameter):
    return get_args(parameter.annotation)[1]


CACHES = {"cache", "val", "second", "val_second", "update", "calibration", "first"}
# Commands whose --val is a share of a data set, or a data set.
OF_DATA_SETS = {"dataset split", "fit"}


def test_a_cache_may_lie_in_an_object_store_wherever_a_cache_is_taken():
    taken = [(n, p) for n, p in options() if p.name in CACHES and n not in OF_DATA_SETS]
    assert len(taken) > 25
    assert {"train-heads", "retrain-classifier", "cache copy", "report"} <= {n for n, _ in taken}
    for name, parameter in taken:
        assert info_of(parameter).parser is located, f"{name} {parameter.name}"
    assert isinstance(located("s3://bucket/prefix"), ObjectPath)


def test_every_option_has_a_help():
    for name, parameter in options():
        assert info_of(parameter).help, f"{name} {parameter.name}"


def test_a_file_and_a_folder_are_what_they_are(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for good in (lambda: check_file("--a", file), lambda: check_folder("--a", tmp_path)):
        good()
    check_file("--a", None)
    check_folder("--a", None)
    for path in (file, tmp_path):
        check_path(path)


@pytest.mark.parametrize("name", ["no", "file/below", "n" * 1000, "a\0b"])
def test_what_is_not_there_is_named(name, tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(InputError, match=r"--a .*: no such file$"):
        check_file("--a", path)
    with pytest.raises(InputError, match=r"--a .*: no such folder$"):
        check_folder("--a", path)
    with pytest.raises(InputError, match=r": no such file or folder$"):
        check_path(path)


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="it is a folder; expected a file"):
        check_file("--a", tmp_path)
    with pytest.raises(InputError, match="it is a file; expected a folder"):
        check_folder("--a", tmp_path / "file")


def test_the_lines_of_a_paragraph_are_joined_in_the_help():
    """typer would keep where the source breaks them, in the second paragraph and those after it."""

    @takes
    def command() -> None:
        """Do it.

        One line of the source
        and another.

        The end.
        """

    assert command.__doc__ == "Do it.\n\nOne line of the source and another.\n\nThe end."


def test_a_default_stands_in_the_help_without_parentheses():
    @dataclass(frozen=True, kw_only=True)
    class Options:
        form: Annotated[str, opt("the form", parser=str)] = "jpg"

    @takes
    def command(options: Options) -> None:
        """Do it."""

    program = typer.Typer()
    program.command()(command)
    assert "the form; default: jpg" in CliRunner().invoke(program, ["--help"]).output


@dataclass(frozen=True, kw_only=True)
class Forms:
    form: Annotated[str, opt("the form", parser=str)] = "jpg"
    parts: Annotated[Sequence[str], opt("parts")] = ()
    assignments: Assignments = ()
    deep: Annotated[bool, opt("go deep", "--deep/--flat")] = False
    loud: Annotated[bool, opt("be loud")] = False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--form", "a", "--form=b"], ["--form: given 2 times; only the last one counts: b"]),
        (["--deep", "--flat"], ["--deep or --flat: given 2 times; only the last one counts"]),
        (
            ["--set", "optim.lr=1", "--set=train.seed=1", "--set", "optim.lr = 2"],
            ["--set optim.lr: given 2 times; only the last one counts: 2"],
        ),
        (["--parts", "a", "--parts", "b", "--loud", "--loud", "--form", "a"], []),
    ],
)
def test_what_is_given_twice_is_named_where_only_the_last_counts(words, said, caplog):
    program = Program()

    @takes
    def command(options: Forms) -> None:
        """Do it."""

    program.command()(command)
    assert CliRunner().invoke(program, words).exit_code == 0
    assert [record.getMessage() for record in caplog.records] == said


def test_a_former_name_works_and_names_what_replaced_it(monkeypatch, caplog):
    monkeypatch.setattr(commands, "REPLACED", {"--old-form": ("--form", "9.9")})

    @dataclass(frozen=True, kw_only=True)
    class Options:
        form: Annotated[str, opt("the form", "--form", "--old-form")] = "jpg"

    got, program = [], Program()

    @takes
    def command(options: Options) -> None:
        """Do it."""
        got.append(options.form)

    program.command()(command)
    for words in (["--form", "a"], ["--old-form", "b"], ["--old-form=c"]):
        assert CliRunner().invoke(program, words).exit_code == 0
    assert got == ["a", "b", "c"]
    said = "--old-form is deprecated: use --form; fdet 9.9 drops it"
    assert [record.getMessage() for record in caplog.records] == [said, said]


def test_every_former_name_has_an_option_and_its_replacement():
    flags = [flag for _, p in options() for flag in info_of(p).param_decls or ()]
    assert {f for old, (new, _) in commands.REPLACED.items() for f in (old, new)} <= set(flags)


def test_every_command_says_so():
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    kinds = {each.name: each.cls for group in groups for each in group.registered_commands}
    assert len(kinds) > 25 and all(issubclass(kind, LastCounts) for kind in kinds.values())
