"""LVIS' evaluation of boxes, literally and slowly: the paper's rules with the reading of its own code.

Nothing is shared with what is tested, and no array is used where a loop says it.
"""

THRESHOLDS = [0.5 + 0.05 * k for k in range(10)]
RECALLS = [k / 100 for k in range(101)]
AREAS = {"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}


def lvis_figures(truth, results):
    """truth: a data set of LVIS v1. results: in COCO's format. By the names of fdet's figures."""
    kept = [r for image in truth["images"] for r in _counted(image, truth, results)]
    figures = {}
    for name, area, thresholds in (
        ("ap", "all", THRESHOLDS),
        ("ap50", "all", [0.5]),
        ("ap75", "all", [0.75]),
        ("ap_small", "small", THRESHOLDS),
        ("ap_medium", "medium", THRESHOLDS),
        ("ap_large", "large", THRESHOLDS),
    ):
        figures[name] = _mean(_class_aps(truth, kept, AREAS[area], thresholds).values())
    each = _class_aps(truth, kept, AREAS["all"], THRESHOLDS)
    for name, group in (("ap_rare", "r"), ("ap_common", "c"), ("ap_frequent", "f")):
        members = [c["id"] for c in truth["categories"] if c["frequency"] == group]
        figures[name] = _mean(each[c] for c in members)
    return figures


def _counted(image, truth, results):
    of_image = [r for r in results if r["image_id"] == image["id"]]
    of_image = sorted(of_image, key=lambda r: -r["score"])[:300]
    there = {a["category_id"] for a in truth["annotations"] if a["image_id"] == image["id"]}
    return [r for r in of_image if r["category_id"] in there | set(image["neg_category_ids"])]


def _class_aps(truth, kept, area, thresholds):
    found = {}
    for category in truth["categories"]:
        aps = [_ap(truth, kept, category["id"], area, threshold) for threshold in thresholds]
        found[category["id"]] = _mean(aps)
    return found


def _ap(truth, kept, category, area, threshold):
    objects, judged = 0, []
    for image in truth["images"]:
        mine = [r for r in kept if (r["image_id"], r["category_id"]) == (image["id"], category)]
        real = [
            a
            for a in truth["annotations"]
            if (a["image_id"], a["category_id"]) == (image["id"], category)
        ]
        objects += sum(_within(a["area"], area) for a in real)
        judged += _judged(
            mine, real, area, threshold, category in image["not_exhaustive_category_ids"]
        )
    if not objects:
        return None
    judged.sort(key=lambda pair: -pair[0])
    points, right = [], 0
    for place, (_, hit) in enumerate(judged, 1):
        right += hit
        points.append((right / objects, right / place))
    best = [max((p for r, p in points if r >= wanted), default=0.0) for wanted in RECALLS]
    return sum(best) / len(best)


def _judged(mine, real, area, threshold, partial):
    """(score, whether right) of each detection that counts."""
    taken, judged = set(), []
    for r in sorted(mine, key=lambda r: -r["score"]):
        best, choice = threshold, None
        for inside in (True, False):  # an object of another size is the last resort
            for k, a in enumerate(real):
                if k not in taken and _within(a["area"], area) == inside:
                    overlap = _iou(r["bbox"], a["bbox"])
                    if overlap >= best:
                        best, choice = overlap, k
            if choice is not None:
                break
        if choice is not None:
            taken.add(choice)
            if _within(real[choice]["area"], area):
                judged.append((r["score"], True))
        elif not partial and _within(r["bbox"][2] * r["bbox"][3], area):
            judged.append((r["score"], False))
    return judged


def _within(area, limits):
    return limits[0] <= area <= limits[1]


def _iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(0.0, width) * max(0.0, height)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


def _mean(values):
    there = [v for v in values if v is not None]
    return sum(there) / len(there) if there else None
