"""A long-tailed part of a data set, with the rarest third of its classes in a few images only.

    python long_tail.py TRAIN.json TAIL.json --most 10

An image is kept or dropped with all its objects, so nothing in it is unlabelled.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=10, help="images of each rare class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    whole = json.loads(arguments.annotations.read_text())
    shown = classes_of(whole)
    kept = chosen(shown, rarest(shown), arguments.most, arguments.seed)
    part = {
        **whole,
        "images": [image for image in whole["images"] if image["id"] in kept],
        "annotations": [a for a in whole["annotations"] if a["image_id"] in kept],
    }
    arguments.out.write_text(json.dumps(part))
    left = Counter(c for image in kept for c in shown[image])
    counts = ", ".join(f"{c['name']} {left[c['id']]}" for c in whole["categories"] if left[c["id"]])
    print(f"{arguments.out}: {len(kept)} of {len(shown)} images; {counts}")


def classes_of(coco: dict) -> dict[int, set[int]]:
    """Return the ids of the classes that each image shows, by image id."""
    shown: dict[int, set[int]] = {image["id"]: set() for image in coco["images"]}
    for annotation in coco["annotations"]:
        shown[annotation["image_id"]].add(annotation["category_id"])
    return shown


def rarest(shown: dict[int, set[int]]) -> set[int]:
    """Return the rarest third of the classes, at least one."""
    ranked = [c for c, _ in Counter(c for classes in shown.values() for c in classes).most_common()]
    return set(ranked[-max(1, len(ranked) // 3) :])


def chosen(shown: dict[int, set[int]], rare: set[int], most: int, seed: int) -> set[int]:
    """Return the images to keep: all without a rare class, and in random order those others that fit."""
    order = sorted(shown)
    random.Random(seed).shuffle(order)
    left, kept = dict.fromkeys(rare, most), set()
    for image in order:
        here = shown[image] & rare
        if all(left[c] for c in here):
            left.update({c: left[c] - 1 for c in here})
            kept.add(image)
    return kept


if __name__ == "__main__":
    main()
