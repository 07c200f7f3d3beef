"""What each codec saves in bytes, and what it costs in AP.

    python benchmarks/codecs.py DATA --out KEPT --short 240 --long 320

DATA has train.json, val.json and images/. Exact caches (fp32) are extracted once, and every codec's caches
are converted from them. A fixed head, trained on exact maps, is fed decoded ones (the difference is in
points, with a paired bootstrap over the validation images), and further heads are trained and validated on
decoded maps. Everything is kept under KEPT and resumed from there. The table is printed, saved as
codecs.json and drawn.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from kept import bits_a_value, converted, extracted, trained

from fdet.cache.codecs.codec import codec_of
from fdet.cache.codecs.form import parse_form
from fdet.cache.format.chunks import compress, decompress
from fdet.cache.format.header import CacheHeader
from fdet.cache.loader import load_batch
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import plain_batches
from fdet.pipeline.evaluation.coco import resampled_ap, to_coco_results
from fdet.pipeline.evaluation.detecting import detect
from fdet.pipeline.evaluation.resampling import ResampledAP, paired_difference
from fdet.pipeline.runs.loading import load_run
from fdet.pipeline.sources.data import open_cached

CPU = torch.device("cpu")
FIXED = (
    "fp16,bf16,int8,int6,int5,int4,int8+pca,int6+pca,int5+pca,int4+pca,int5+pca128,int4+pca128,"
    "int5+pca64,int4+pca64,q2,q1.5,q1"
)
TRAINED = "int8,int6,int5,int4,int4+pca,int5+pca64,q2,q1.5,q1"


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    exact = {part: exact_cache(part, arguments) for part in ("train", "val")}
    heads = (
        [] if arguments.bits_only else [head("fp32", exact, k, arguments) for k in arguments.seeds]
    )
    reference = [matched(run, exact["val"]) for run in heads]
    rows = [row("fp32", exact["val"], exact["val"], [], [], arguments)]
    for name in arguments.codecs.split(","):
        val = coded("val", name, exact, arguments)
        rows.append(row(name, exact["val"], val, reference, heads, arguments))
        print(rows[-1], flush=True)
    for found in rows if heads else ():
        name = found["codec"]
        if name in {"fp32", *filter(None, arguments.trained.split(","))}:
            caches = (
                exact if name == "fp32" else {p: coded(p, name, exact, arguments) for p in exact}
            )
            runs = [head(name, caches, seed, arguments) for seed in arguments.seeds]
            found["trained"] = [100 * matched(run, caches["val"]).ap for run in runs]
    (arguments.out / "codecs.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))
    if heads:
        draw(rows, arguments.out / "codecs.png")


def exact_cache(part: str, arguments: argparse.Namespace) -> Path:
    words = ["--backbone", arguments.backbone, "--codec", "fp32", "--threads", arguments.threads]
    words += ["--short", arguments.short, "--long", arguments.long]
    words += ["--weights", arguments.weights] if arguments.weights else []
    data = arguments.data
    out = arguments.out / f"{part}-fp32.fdet"
    return extracted(out, data / f"{part}.json", data / "images", *words)


def coded(part: str, name: str, exact: dict[str, Path], arguments: argparse.Namespace) -> Path:
    """Return the cache of a part in this codec, whose scales are learnt on the training part."""
    train = arguments.out / f"train-{name}.fdet"
    converted(train, exact["train"], name)
    if part == "train":
        return train
    same = ["--calibration", train] if parse_form(name).calibrated else []
    return converted(arguments.out / f"val-{name}.fdet", exact["val"], name, *same)


def head(name: str, caches: dict[str, Path], seed: int, arguments: argparse.Namespace) -> Path:
    out = arguments.out / "runs" / f"{name}-{seed}"
    words = ["--threads", arguments.threads]
    return trained(out, caches["train"], caches["val"], arguments.config, seed, *words)


def matched(run: Path, val: Path) -> ResampledAP:
    _, detector = load_run(run)
    data = open_cached([val], None, CPU)
    batches = plain_batches(data.header.layout, data.image_ids, 8)
    found = detect(detector, data.source, batches, shown=False)
    results = to_coco_results(found, data.annotations.class_ids, {})
    return resampled_ap(data.annotations, found, results)


def lost_points(reference, heads, rounds: int) -> tuple[float, float, float]:
    """AP of the heads less that of the reference in points, with its 95 % interval over images."""
    pairs = list(zip(heads, reference, strict=True))
    names = [str(k) for k in range(len(pairs[0][0].classes))]
    found = paired_difference(pairs, names, rounds).ap
    return 100 * found.difference, 100 * found.low, 100 * found.high


def row(name, exact: Path, val: Path, reference, heads, arguments: argparse.Namespace) -> dict:
    lost = None
    if reference and name != "fp32":
        lost = lost_points(reference, [matched(run, val) for run in heads], arguments.rounds)
    return {
        "codec": name,
        "bits": bits_a_value(val),
        "snr": snr(exact, val),
        **speed(exact, val, arguments.images),
        "lost": lost,
        "trained": None,
    }


def pyramids(path: Path, image_ids):
    cache = FeatureCache.open(path)
    codec = codec_of(path, cache.header.key)
    for image_id in image_ids:
        yield load_batch(cache, [(image_id, 0)]).decode(codec, "cpu")


def snr(exact: Path, val: Path) -> float:
    """Return the signal-to-noise ratio in dB, of values in standard deviations of their channel."""
    ids = FeatureCache.open(exact).image_ids
    signal = error = 0.0
    for one, other in zip(pyramids(exact, ids), pyramids(val, ids), strict=True):
        for x, y in zip(one.maps, other.maps, strict=True):
            scale = x.double().var(dim=(0, 2, 3), keepdim=True)
            # A channel that is constant in an image has no deviation to divide by.
            scale = scale.clamp(min=1e-3 * float(scale.mean()))
            signal += x[0].numel()
            error += float(((x.double() - y.double()).square() / scale).sum())
    return 10 * np.log10(signal / error) if error else float("inf")


def speed(exact: Path, val: Path, images: int) -> dict[str, float]:
    """Return MB of float32 maps per second on one thread: encode and compress, decompress and decode."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ids = FeatureCache.open(exact).image_ids[:images]
    codec, hw = codec_of(val, CacheHeader.read(val).key), None
    import zstandard

    raw, encode, decode = 0, [], []
    for pyramid in pyramids(exact, ids):
        hw = pyramid.canvas_hw
        raw += sum(x.numel() * 4 for x in pyramid.maps)
        started = time.perf_counter()
        stored = [x.numpy() for x in codec.encode(pyramid)]
        frames = [compress(x[0]) for x in stored]
        encode.append(time.perf_counter() - started)
        started = time.perf_counter()
        decompressor = zstandard.ZstdDecompressor()
        back = [
            np.frombuffer(
                decompress(decompressor, f.data, len(f.data), f.crc32c, x.nbytes), x.dtype
            )
            for f, x in zip(frames, stored, strict=True)
        ]
        tensors = [
            torch.from_numpy(b.reshape(x.shape).copy()) for b, x in zip(back, stored, strict=True)
        ]
        codec.decode(tensors, hw)
        decode.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    each = raw / len(ids) / 1e6
    return {"encode": each / float(np.median(encode)), "decode": each / float(np.median(decode))}


def table(rows) -> str:
    lines = [
        "| codec | bits a value | SNR, dB | encode / decode, MB/s | fixed head: points | trained on it: AP |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        lost = r["lost"]
        fixed = f"{lost[0]:+.2f} ({lost[1]:+.2f} to {lost[2]:+.2f})" if lost else "0"
        aps = r["trained"]
        mean = f"{np.mean(aps):.1f} ({min(aps):.1f} to {max(aps):.1f})" if aps else ""
        noise = "exact" if r["snr"] == float("inf") else f"{r['snr']:.1f}"
        lines.append(
            f"| `{r['codec']}` | {r['bits']:.2f} | {noise} | {r['encode']:.0f} / {r['decode']:.0f} "
            f"| {fixed} | {mean} |"
        )
    return "\n".join(lines)


def family(codec: str) -> str:
    if codec.startswith("q"):
        return "q"
    return "+pca" if "+pca" in codec else ""


def draw(rows, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for mark, colour, label in (
        ("", "#0072b2", "channels"),
        ("+pca", "#d55e00", "components"),
        ("q", "#009e73", "blocks"),
    ):
        mine = [r for r in rows if r["lost"] and family(r["codec"]) == mark]
        x, y = [r["bits"] for r in mine], [r["lost"][0] for r in mine]
        bars = np.abs([[r["lost"][0] - r["lost"][1], r["lost"][2] - r["lost"][0]] for r in mine]).T
        axes.errorbar(x, y, bars, fmt="o", color=colour, capsize=2, label=label, lw=1)
        for r in mine:
            above = r["lost"][0] >= 0
            axes.annotate(
                r["codec"],
                (r["bits"], r["lost"][2] if above else r["lost"][1]),
                textcoords="offset points",
                xytext=(0, 4 if above else -4),
                ha="center",
                va="bottom" if above else "top",
                fontsize=7,
                rotation=90,
                color=colour,
            )
    axes.axhline(0, color="grey", lw=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 3, 4, 6, 8, 12, 16], ["1", "2", "3", "4", "6", "8", "12", "16"])
    axes.set_xlabel("bits a value on the disk")
    axes.set_ylabel("AP of a fixed head against exact maps, points")
    axes.margins(y=0.35)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train.json, val.json, images/")
    parser.add_argument("--out", type=Path, required=True, help="where caches and runs are kept")
    parser.add_argument("--short", type=int, default=240)
    parser.add_argument("--long", type=int, default=320)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights")
    parser.add_argument(
        "--config", default="retinanet-fpn-s", help="preset or TOML file of the heads"
    )
    parser.add_argument("--codecs", default=FIXED, help="fed to the fixed heads")
    parser.add_argument("--trained", default=TRAINED, help="that heads are trained on too")
    parser.add_argument("--bits-only", action="store_true", help="no head")
    parser.add_argument("--seeds", type=lambda s: [int(k) for k in s.split(",")], default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=1000, help="of the bootstrap")
    parser.add_argument(
        "--images", type=int, default=24, help="whose maps the speed is measured on"
    )
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
