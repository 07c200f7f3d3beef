"""The backbones that somebody means by a name that the library does not have: near in spelling or family."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import takewhile

MAX_NAMES = 5
# What other places call a part of a timm name, e.g. in dinov2_vits14, ViT-B/32 and R-50.
_PARTS: Mapping[str, str] = {
    "vitt": "vit tiny",
    "vits": "vit small",
    "vitb": "vit base",
    "vitl": "vit large",
    "vith": "vit huge",
    "vitg": "vit giant",
    "t": "tiny",
    "s": "small",
    "b": "base",
    "l": "large",
    "h": "huge",
    "g": "giant",
    "n": "nano",
    "xl": "xlarge",
    "r": "resnet",
    "rn": "resnet",
    "effnet": "efficientnet",
    "cspdarknet": "cspdarknet53",
}
# Words that many families have.
_COMMON = frozenset(
    {"pico", "femto", "atto", "nano", "tiny", "small", "base", "large", "xlarge", "huge", "giant"}
    | {"patch", "window", "test"}
)
# What a number counts beside a word that is as rare.
_NUMBERS = 0.25
# Names that are spelt this much alike are near whatever they consist of, 0 to 1.
_SPELLING = 0.8


def near_backbones(name: str, known: Collection[str], tagged: Collection[str] = ()) -> list[str]:
    """Return at most five known names: one alone that differs only in punctuation, else the nearest.

    A near name is spelt alike or of the same family. known: the names of all models. tagged: names of models
    with weights, which only their letters and digits can find. Owners and hubs before the name, as in
    hf_hub:timm/resnet18, are ignored, and a tag after the name of a model is taken as it is.
    """
    bare = _bare(name[:200])
    by_letters = {_letters(_bare(each)): each for each in (*tagged, *known)}
    for given in filter(None, (_letters(bare), _letters(name[:200]))):
        if given in by_letters:
            return [by_letters[given]]
    if "." in bare and bare.partition(".")[0] in known:
        return [bare]
    plain = {
        each: _bare(each)
        for each in known
        if not each.startswith("test_") or bare.startswith("test_")
    }
    family = _likeness(name[:200], set(plain.values()))
    likeness = {
        each: (family[own], _spelt_alike(bare, own, 0.0 if family[own] else _SPELLING))
        for each, own in plain.items()
    }
    near = [each for each, (kin, spelt) in likeness.items() if kin or spelt >= _SPELLING]
    near.sort(key=lambda each: (-sum(likeness[each]), -_shared(bare, plain[each]), each))
    return near[:MAX_NAMES]


def _spelt_alike(name: str, other: str, least: float) -> float:
    """Return how much two names are spelt alike, 0 to 1; 0 where their lengths keep it below `least`."""
    matcher = SequenceMatcher(None, name.lower(), other.lower())
    return matcher.ratio() if matcher.real_quick_ratio() >= least else 0.0


def _shared(name: str, other: str) -> int:
    """Return how many letters at the beginning of two names are the same."""
    pairs = zip(name, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _bare(name: str) -> str:
    """Return a name without its owner and hub."""
    return re.split(r"[/:]", name)[-1]


def _likeness(name: str, known: Collection[str]) -> Mapping[str, float]:
    """Return how much of a family each known name is with `name`, 0 to 1; 0 without a word in common.

    It is the cosine of their parts, of which rare ones weigh most (tf-idf).
    """
    parts = {each: set(_parts_of(each)) for each in known}
    counts = Counter(part for own in parts.values() for part in own)
    weight = {
        part: math.log(1 + len(parts) / count) ** 2 * (1.0 if part.isalpha() else _NUMBERS)
        for part, count in counts.items()
    }
    wanted = {part for part in _parts_of(name) if part in weight}
    words = {part for part in wanted if part.isalpha() and part not in _COMMON}

    def cosine(own: set[str]) -> float:
        lengths = math.sqrt(sum(weight[p] for p in own) * sum(weight[p] for p in wanted))
        return sum(weight[p] for p in own & wanted) / lengths

    return {each: cosine(own) if own & words else 0.0 for each, own in parts.items()}


def _parts_of(name: str) -> Iterator[str]:
    """Yield the words and numbers of a name, as timm calls them."""
    joined = re.sub(r"[-_](?=v\d)|(?<=regnet)[-_](?=[xyz])", "", name.lower())
    for part in re.findall(r"[a-z]+|\d+", joined):
        yield from _PARTS.get(part, part).split()


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
