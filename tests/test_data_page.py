"""What docs/data.md shows works as it stands there."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from fdet.cache.reader import FeatureCache
from fdet.pipeline.cli import app

from .pipeline.dataset.formats import builders

PAGE = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
# A net of a moment.
TINY = "--backbone test_resnet --weights random --levels c1,c2 --codec fp32 --workers 0 --threads 1"


def data_sets(folder: Path) -> None:
    """The data sets that the page names, at their places."""
    builders.write_coco(folder, builders.FROM_ZERO).rename(folder / "train.json")
    builders.draw_all(folder / "photos")
    builders.write_yolo(folder / "yolo")
    voc = builders.write_voc(folder / "VOCdevkit" / "VOC2007")
    names = "".join(f"{Path(name).stem}\n" for name in builders.SIZES)
    builders.write(voc / "ImageSets" / "Main" / "val.txt", names)
    builders.write_csv(folder)


def test_the_first_examples_run(tmp_path, monkeypatch):
    data_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    block = re.search(r"\n\n((?:    fdet .*\n)+)", PAGE)
    assert block is not None
    commands = [shlex.split(line, comments=True) for line in block[1].splitlines()]
    assert len(commands) == 4
    for _, *words in commands:
        small = [{"480": "48", "640": "64"}.get(word, word) for word in words]
        assert small != words
        result = CliRunner().invoke(app, [*small, *TINY.split()])
        assert result.exit_code == 0, result.output
        out = small[small.index("--out") + 1]
        assert len(FeatureCache.open(tmp_path / out).image_ids) == len(builders.SIZES)
