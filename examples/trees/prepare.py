"""Preparation of two aerial photographs with hand-drawn tree crowns, with Pascal VOC XML as it comes.

The photographs come in the wheel of PyPI's `deepforest` 2.1.0 (MIT): two of a site in Yellowstone, from the
National Ecological Observatory Network. The larger one is for training; the other one is for the report
alone. `fdet extract --tiles` cuts them.
"""

import argparse
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

WHEEL = "deepforest==2.1.0"
PARTS = {
    "train": "2019_YELL_2_528000_4978000_image_crop2",
    "test": "2019_YELL_2_541000_4977000_image_crop",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    photographs = fetch(out)
    for part, name in PARTS.items():
        write_part(photographs / name, out / part)


def fetch(out: Path) -> Path:
    """Download the wheel without its dependencies and take the photographs out of it."""
    folder = out / "photographs"
    names = [
        f"deepforest/data/{name}{suffix}" for name in PARTS.values() for suffix in (".png", ".xml")
    ]
    if not all((folder / name).is_file() for name in names):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*command, "--no-deps", "--dest", str(folder), WHEEL], check=True)
        (wheel,) = folder.glob("deepforest-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, names)
        wheel.unlink()
    return folder / "deepforest" / "data"


def write_part(photograph: Path, out: Path) -> None:
    """Write a photograph and its annotation, which names it, to a folder of their own."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copy(photograph.with_suffix(".png"), out)
    annotation = ElementTree.parse(photograph.with_suffix(".xml"))
    root = annotation.getroot()
    name = root.find("filename")
    if name is None:
        name = ElementTree.SubElement(root, "filename")
    name.text = f"{photograph.name}.png"
    annotation.write(out / f"{photograph.name}.xml")
    print(f"{out.name}: {len(root.findall('object'))} crowns")


if __name__ == "__main__":
    main()
