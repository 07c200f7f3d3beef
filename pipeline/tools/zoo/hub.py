"""Entries on the Hugging Face Hub: a repository has one, as card.json and run.tar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, cast

from ....cache.disk.files import read_below
from ....cache.errors import InputError, StorageError
from ....cache.wording import counted
from ...zoo.card import MAX_CARD_BYTES, Card, checked_name, parse_card
from ...zoo.entries import add_archive, archived
from ...zoo.entries import card as card_in

_CARD, _ARCHIVE, _README = "card.json", "run.tar", "README.md"


def push(zoo: Path, name: str, repo: str, *, private: bool = False) -> str:
    """Upload an entry to a repository, in one commit, and return the address of that commit.

    Raises InputError for a repository that cannot be written, StorageError where the hub does not answer.
    """
    hub = _library()
    with NamedTemporaryFile() as file, _answered(repo):
        card = archived(zoo, card_in(zoo, name), cast(BinaryIO, file))
        file.flush()
        api = hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        parts = {
            _CARD: card.to_bytes(),
            _ARCHIVE: file.name,
            _README: _readme(card).encode(),
        }
        operations = [
            hub.CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
            for path, content in parts.items()
        ]
        done = api.create_commit(repo, operations, commit_message=f"fdet zoo push {name}")
        return str(done.commit_url)


def pull(
    zoo: Path, repo: str, name: str | None, revision: str | None, *, replacing: bool = False
) -> Card:
    """Download the entry of a repository, check it against its card, and add it to a zoo.

    Raises InputError where the repository has no entry, CorruptCache, StorageError.
    """
    hub = _library()
    with _answered(repo):
        card_path, path = (
            Path(hub.hf_hub_download(repo, part, revision=revision)) for part in (_CARD, _ARCHIVE)
        )
    # The library's files are links to its own store.
    raw = read_below(card_path.resolve().parent, card_path.resolve().name, MAX_CARD_BYTES)
    card = parse_card(raw, Path(repo, _CARD))
    if name is not None:
        card = replace(card, name=checked_name(name))
    with path.open("rb") as file:
        return add_archive(zoo, card, file, replacing=replacing)


def _readme(card: Card) -> str:
    head = "---\nlibrary_name: fdet\ntags: [object-detection]\n"
    licence = f"license: {card.licence.lower()}\n" if card.licence else ""
    ap = "" if card.ap is None else f" AP {100 * card.ap:.1f}."
    return (
        f"{head}{licence}---\n\n# {card.name}\n\n{card.neck} + {card.head} on {card.backbone} "
        f"({card.weights}), {counted(len(card.classes), 'class', 'classes')}.{ap} {card.data}\n\n"
        "    fdet zoo pull REPOSITORY\n"
        f"    fdet predict zoo:{card.name} PHOTOS --out FOLDER\n"
    )


@contextmanager
def _answered(repo: str) -> Iterator[None]:
    """Turn the errors of the library into fdet's, in one line."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HFValidationError, errors.LocalTokenNotFoundError) as error:
        raise InputError(f"{repo}: {_line(error)}") from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{repo}: it has no entry that `fdet zoo push` made ({_CARD}, {_ARCHIVE})"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{repo}: no such repository, or these credentials may not see it; log in by `hf auth login`"
        ) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise StorageError(
            f"{repo}: the hub does not answer as expected: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "the Hugging Face Hub needs its library: pip install huggingface_hub"
        ) from error
    return huggingface_hub
