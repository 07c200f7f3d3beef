"""Small objects in large images: heads trained with and without tiles.

    python benchmarks/tiles.py --out KEPT

The data are like those of road signs: 1360x800 px, textured, with a few signs of 16 to 50 px in four classes.
Tiles are compared with whole images on a canvas as large as a tile's, and on one of as many pixels as the
canvases of all tiles of a photograph together. All heads take the same number of steps, of as many samples as
a photograph gives. Everything is kept under KEPT and resumed from there.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from kept import extracted, trained
from PIL import Image, ImageDraw, ImageFilter

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.runs import metrics_log

COLOURS = ["#c22b2b", "#2b50c2", "#d9b92a", "#c22b2b"]
CORNERS = [0, 4, 3, 8]  # 0: a disc
SIDES = (16, 50)


def main() -> None:
    arguments = parse()
    for part, count, seed in (("train", arguments.images, 0), ("val", arguments.images // 2, 1)):
        if not (arguments.out / f"{part}.json").exists():
            write_part(arguments.out, part, count, seed, arguments)
    print("| input | canvases | AP | AP50 | AP small |", "|---|---|---|---|---|", sep="\n")
    tiles = ["--size", arguments.size, "--tiles", arguments.tiles, "--overlap", arguments.overlap]
    cut = caches("tiles", tiles, arguments)
    each = canvas_pixels(cut[0]) / arguments.images
    batch = round(len(CacheHeader.read(cut[0]).layout.images) / arguments.images)
    report("tiles", cut, batch, arguments)
    for name, pixels in (("a tile's canvas", arguments.size**2), ("as many pixels", each)):
        short = side_for(pixels, arguments)
        report(
            f"whole, {name}", caches(f"whole-{short}", ["--short", short], arguments), 1, arguments
        )


def side_for(pixels: float, arguments: argparse.Namespace) -> int:
    """Return the shorter side of a whole image with that many pixels, a multiple of 32."""
    ratio = arguments.height / arguments.width
    return max(32, round((pixels * ratio) ** 0.5 / 32) * 32)


def caches(name: str, words: list[object], arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Of the training and of the validation images."""
    found = []
    for part in ("train", "val"):
        data = arguments.out / f"{part}.json"
        more = ["--threads", arguments.threads]
        if found:
            more += ["--calibration", found[0]]
        out = arguments.out / f"{part}-{name}.fdet"
        found.append(extracted(out, data, arguments.out / "images", *words, *more))
    return found[0], found[1]


def canvas_pixels(cache: Path) -> int:
    buckets = CacheHeader.read(cache).layout.buckets
    return sum(len(b.images) * b.canvas_hw[0] * b.canvas_hw[1] for b in buckets)


def report(name: str, both: tuple[Path, Path], batch: int, arguments: argparse.Namespace) -> None:
    """Print a row. both: the caches. batch: the samples of a step."""
    words = ["--set", f"train.epochs={arguments.epochs}", "--set", f"train.batch_size={batch}"]
    words += ["--threads", arguments.threads]
    figures = []
    for seed in arguments.seeds:
        out = arguments.out / "runs" / f"{both[0].stem}-{seed}"
        run = trained(out, *both, arguments.config, seed, *words, every=arguments.epochs)
        figures.append([x["metrics"] for x in metrics_log.read(run) if x["kind"] == "eval"][-1])
    layout = CacheHeader.read(both[0]).layout
    canvases = ", ".join(f"{len(b.images)} of {b.name}" for b in layout.buckets)
    shown = [shown_mean(figures, figure) for figure in ("ap", "ap50", "ap_small")]
    print(f"| {name} | {canvases} | {' | '.join(shown)} |", flush=True)


def shown_mean(figures: list[dict[str, float | None]], name: str) -> str:
    values = [100 * (each[name] or 0.0) for each in figures]
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def write_part(out: Path, part: str, count: int, seed: int, arguments: argparse.Namespace) -> None:
    """Photographs and their COCO JSON."""
    rng = np.random.default_rng(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    images, objects = [], []
    hw = arguments.height, arguments.width
    for k in range(count):
        picture, boxes = photograph(rng, hw)
        name = f"{part}-{k}.jpg"
        picture.save(out / "images" / name, quality=90)
        images.append({"id": k + 1, "file_name": name, "height": hw[0], "width": hw[1]})
        for label, (x, y, side) in boxes:
            box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
            objects.append(
                {"id": len(objects) + 1, "image_id": k + 1, "category_id": label + 1, **box}
            )
    classes = [{"id": k + 1, "name": f"sign-{k + 1}"} for k in range(len(COLOURS))]
    data = {"images": images, "annotations": objects, "categories": classes}
    (out / f"{part}.json").write_text(json.dumps(data))


def photograph(
    rng: np.random.Generator, hw: tuple[int, int]
) -> tuple[Image.Image, list[tuple[int, tuple[int, int, int]]]]:
    """Noise of all scales, distractors, and signs: the image, and the class and place of each sign."""
    height, width = hw
    values = np.zeros((height, width, 3))
    for scale in (4, 16, 64, 256):
        small = rng.uniform(0, 255, (height // scale + 2, width // scale + 2, 3)).astype(np.uint8)
        grown = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        values += np.asarray(grown) / 4
    picture = Image.fromarray(values.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, side = place(rng, hw)
        colour = tuple(int(v) for v in rng.integers(40, 220, 3))
        pen.rectangle((x, y, x + side, y + side * float(rng.uniform(0.3, 2))), fill=colour)
    boxes = []
    for _ in range(int(rng.integers(2, 6))):
        x, y, side = place(rng, hw)
        label = int(rng.integers(len(COLOURS)))
        draw_sign(pen, label, x, y, side)
        boxes.append((label, (x, y, side)))
    return picture.filter(ImageFilter.GaussianBlur(0.7)), boxes


def place(rng: np.random.Generator, hw: tuple[int, int]) -> tuple[int, int, int]:
    side = int(np.exp(rng.uniform(*np.log(SIDES))))
    return int(rng.integers(hw[1] - side)), int(rng.integers(hw[0] - side)), side


def draw_sign(pen: ImageDraw.ImageDraw, label: int, x: int, y: int, side: int) -> None:
    """Draw a coloured shape with a light middle."""
    for inset, colour in ((0.0, COLOURS[label]), (0.18, "#e8e8e0")):
        radius, centre = side * (0.5 - inset), (x + side / 2, y + side / 2)
        if CORNERS[label]:
            pen.regular_polygon((*centre, radius), CORNERS[label], fill=colour)
        else:
            pen.ellipse(tuple(c + s * radius for s in (-1, 1) for c in centre), fill=colour)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where data and runs are kept")
    parser.add_argument(
        "--images", type=int, default=60, help="for training; half as many to validate"
    )
    parser.add_argument("--width", type=int, default=1360)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--size", type=int, default=320, help="of the canvas of a tile, px")
    parser.add_argument("--tiles", type=int, default=480)
    parser.add_argument("--overlap", type=float, default=0.15)
    parser.add_argument("--config", default="tal-fpn-s", help="preset or TOML file of the heads")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=lambda s: [int(k) for k in s.split(",")], default=[0])
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
