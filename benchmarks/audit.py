"""How many labels that were spoilt on purpose `fdet audit` finds, and how many entries of its list they are.

    python benchmarks/audit.py RUN CACHE --out FOLDER [--share 0.05] [--seed 0] [-- OPTIONS OF fdet audit]

The spoilt copy of the cache's annotations goes to the audit by --annotations, so that nothing is extracted
again. What counts as found is stated at `_is_found`. Labels that were wrong before count as mistakes of the
list.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.format.header import CacheHeader

KINDS = ("wrong class", "missed object", "invented box", "badly placed box")


def spoil(coco: dict, share: float, seed: int) -> tuple[dict, list[dict]]:
    """Return a copy of the annotations with a share of the objects spoilt, and what was done.

    A quarter each: another class, a dropped box, a box moved to an IoU of 0.3 to 0.5 with the true one, and
    an invented box, with the size of a true one, that overlaps nothing by more than 0.1.
    """
    rng = random.Random(seed)
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    objects = [dict(a) for a in coco["annotations"] if not a.get("iscrowd")]
    others = [a for a in coco["annotations"] if a.get("iscrowd")]
    classes = [c["id"] for c in coco["categories"]]
    chosen = rng.sample(range(len(objects)), round(share * len(objects)))
    done, dropped = [], set()
    for k, position in enumerate(chosen):
        kind, a = KINDS[k % 4], objects[position]
        size, before = sizes[a["image_id"]], (a["category_id"], list(a["bbox"]))
        if kind == "wrong class":
            a["category_id"] = rng.choice([c for c in classes if c != a["category_id"]])
        elif kind == "missed object":
            dropped.add(position)
        elif kind == "badly placed box":
            a["bbox"] = moved(a["bbox"], size, rng)
        else:
            boxes = [o["bbox"] for o in objects if o["image_id"] == a["image_id"]]
            place = free_place(a["bbox"], size, boxes, rng)
            if place is None:
                continue
            objects.append({**a, "bbox": place})
            done.append({"kind": kind, "image_id": a["image_id"], "box": place, "was": before})
            continue
        done.append({"kind": kind, "image_id": a["image_id"], "box": a["bbox"], "was": before})
    kept = [a for k, a in enumerate(objects) if k not in dropped] + others
    kept = [{**a, "id": k, "area": a["bbox"][2] * a["bbox"][3]} for k, a in enumerate(kept, 1)]
    return {**coco, "annotations": kept}, done


def moved(box: list[float], size: tuple[int, int], rng: random.Random) -> list[float]:
    """Return a box, moved and resized within the image, whose IoU with the old one is 0.3 to 0.5."""
    x, y, w, h = box
    for _ in range(10_000):
        scale = rng.uniform(0.7, 1.4), rng.uniform(0.7, 1.4)
        near = [x + w * rng.uniform(-0.7, 0.7), y + h * rng.uniform(-0.7, 0.7)]
        found = [*near, w * scale[0], h * scale[1]]
        if inside(found, size) and 0.3 <= iou(found, box) <= 0.5:
            return found
    raise ValueError(f"no place near {box} in an image of {size}")


def free_place(
    box: list[float], size: tuple[int, int], boxes: list[list[float]], rng: random.Random
) -> list[float] | None:
    """Return a box of that size which overlaps none by more than 0.1, None where there is no place."""
    for _ in range(1000):
        found = [rng.uniform(0, size[0] - box[2]), rng.uniform(0, size[1] - box[3]), *box[2:]]
        if all(iou(found, other) <= 0.1 for other in boxes):
            return found
    return None


def inside(box: list[float], size: tuple[int, int]) -> bool:
    return min(box[:2]) >= 0 and box[0] + box[2] <= size[0] and box[1] + box[3] <= size[1]


def iou(one: list[float], other: list[float]) -> float:
    """Return the intersection over union of two boxes [x, y, width, height]."""
    sides = [
        max(0.0, min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k]))
        for k in (0, 1)
    ]
    common = sides[0] * sides[1]
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def _is_found(spoilt: dict, entry: dict) -> bool:
    """Return whether an entry is about a spoilt label.

    It is where the label in question is the spoilt one, or for a dropped box, where what was found overlaps
    it by 0.5 or more. The kind need not be right.
    """
    if spoilt["image_id"] != entry["image_id"]:
        return False
    if spoilt["kind"] == "missed object":
        found = entry["box"] is None and entry["found_box"]
        return bool(found) and iou(entry["found_box"], spoilt["box"]) >= 0.5
    return entry["box"] is not None and iou(entry["box"], spoilt["box"]) > 0.98


def table(entries: list[dict], done: list[dict]) -> str:
    """Return precision and recall of the list, in all and by kind, and of as many entries as were spoilt."""
    hits = [next((k for k, s in enumerate(done) if _is_found(s, e)), None) for e in entries]
    lines = [
        "| kind | spoilt | of them listed | recall | listed as | of them spoilt | precision "
        "| of the first as many |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = set(hits) - {None}
    for kind in KINDS:
        own = {k for k, s in enumerate(done) if s["kind"] == kind}
        listed = [hit for e, hit in zip(entries, hits, strict=True) if e["kind"] == kind]
        lines.append(row(kind, len(own), len(found & own), listed))
    return "\n".join([*lines, row("all", len(done), len(found), hits)])


def row(kind: str, spoilt: int, found: int, listed: list[int | None]) -> str:
    """Return a line. listed: the spoilt label of each entry, None for an entry that is about none."""
    right = [hit is not None for hit in listed]
    first = sum(right[:spoilt]) / max(1, len(right[:spoilt]))
    recall, precision = found / max(1, spoilt), sum(right) / max(1, len(right))
    return (
        f"| {kind} | {spoilt} | {found} | {recall:.2f} | {len(right)} | {sum(right)} | {precision:.2f} | "
        f"{first:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    given, more = parser.parse_known_args()
    raw = read_annotations(given.cache, CacheHeader.read(given.cache))
    coco, done = spoil(json.loads(raw), given.share, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "spoilt.json"
    path.write_text(json.dumps(coco))
    (given.out / "done.json").write_text(json.dumps(done))
    words = ["audit", str(given.run), str(given.cache), "--out", str(given.out / "audit")]
    more = [word for word in more if word != "--"]
    command = [sys.executable, "-m", "fdet", *words, "--annotations", str(path), *more]
    subprocess.run(command, check=True)
    entries = json.loads((given.out / "audit" / "audit.json").read_text())["entries"]
    print(table(entries, done))


if __name__ == "__main__":
    main()
