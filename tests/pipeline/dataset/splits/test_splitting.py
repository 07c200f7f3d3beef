"""Splits of a data set: whole, with what belongs together, and the same whatever the order of the file."""

import json
import random
import shutil

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.dataset.splits.options import SplitOptions
from fdet.pipeline.dataset.splits.splitting import split_data_set

from ..made import Made, draw


def at_random(folder, seed) -> Made:
    """Thirty images in three folders, some of the same content."""
    chance, made = random.Random(seed), Made(folder)
    for k in range(30):
        name = f"{'abc'[k % 3]}/{k}.png"
        if k > 4 and chance.random() < 0.3:
            other = chance.randrange(k)
            (made.images / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.images / f"{'abc'[other % 3]}/{other}.png", made.images / name)
        else:
            draw(made.images / name, 100 * seed + k, 4, 4)
        boxes = [(chance.choice([1, 4]), [1, 2, 3, 4]) for _ in range(chance.randrange(4))]
        made.add("all", name, *boxes)
    return made


def split(made, out, to="coco", **options):
    (path,) = made.write()
    data = read_data_set(path, made.images)
    return split_data_set(data, out, SplitOptions(**options), to)


def names_of(path):
    return [image["file_name"] for image in json.loads(path.read_text())["images"]]


@pytest.mark.parametrize("seed", range(8))
def test_splits_are_a_partition_and_keep_contents_together(seed, tmp_path):
    made = at_random(tmp_path, seed)
    result = split(made, tmp_path / "out", val=0.3, test=0.1, seed=seed)
    parts = {name: names_of(tmp_path / "out" / f"{name}.json") for name in result.images}
    assert list(parts) == ["train", "val", "test"]
    everything = [image["file_name"] for image in made.splits["all"]["images"]]
    assert sorted(name for part in parts.values() for name in part) == sorted(everything)
    contents = [{(made.images / n).read_bytes() for n in part} for part in parts.values()]
    assert sum(map(len, contents)) == len(set.union(*contents))
    assert {name: count for name, (count, _) in result.images.items()} == {
        name: len(part) for name, part in parts.items()
    }
    assert sum(groups for _, groups in result.images.values()) == len(set.union(*contents))


def test_every_object_goes_with_its_image_as_it_was(tmp_path):
    made = at_random(tmp_path, 1)
    coco = made.splits["all"]
    coco["licenses"] = [{"id": 1}]
    coco["images"][3]["camera"] = "left"
    for k, box in enumerate(coco["annotations"]):
        box["score_of_labeller"] = k
    split(made, tmp_path / "out")
    parts = [json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("train", "val")]
    for part in parts:
        ids = {image["id"] for image in part["images"]}
        assert part["annotations"] == [a for a in coco["annotations"] if a["image_id"] in ids]
        assert part["images"] == [i for i in coco["images"] if i["id"] in ids]
        assert part["categories"] == coco["categories"] and part["licenses"] == [{"id": 1}]
    assert sum(len(part["annotations"]) for part in parts) == len(coco["annotations"])


def test_ids_that_are_texts_are_followed(tmp_path):
    made = at_random(tmp_path, 2)
    coco = made.splits["all"]
    coco["images"][0]["id"], coco["images"][1]["id"] = "7", "07"
    coco["images"] = coco["images"][:2]
    coco["annotations"] = [
        {"image_id": number, "category_id": 1, "bbox": [1, 2, 3, 4]} for number in ("7", "07", "7")
    ]
    split(made, tmp_path / "out", val=0.5)
    for name in ("train", "val"):
        part = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        (image,) = part["images"]
        count = {"7": 2, "07": 1}[image["id"]]
        assert [box["image_id"] for box in part["annotations"]] == [image["id"]] * count


def test_ids_in_other_spellings_are_followed(tmp_path):
    made = at_random(tmp_path, 2)
    for box in made.splits["all"]["annotations"]:
        box["image_id"] = random.Random(box["image_id"]).choice([str, float])(box["image_id"])
    split(made, tmp_path / "out")
    parts = [json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("train", "val")]
    assert sum(len(p["annotations"]) for p in parts) == len(made.splits["all"]["annotations"])
    for name in ("train", "val"):
        read_data_set(tmp_path / "out" / f"{name}.json", made.images)


def test_the_seed_decides_and_the_order_of_the_file_does_not(tmp_path):
    made = at_random(tmp_path, 3)
    split(made, tmp_path / "first", seed=4)
    random.Random(0).shuffle(made.splits["all"]["images"])
    random.Random(1).shuffle(made.splits["all"]["annotations"])
    split(made, tmp_path / "again", seed=4)
    split(made, tmp_path / "other", seed=5)
    first, again, other = (
        sorted(names_of(tmp_path / name / "val.json")) for name in ("first", "again", "other")
    )
    assert first == again != other


def test_the_shares_are_kept(tmp_path):
    made = Made(tmp_path)
    for k in range(60):
        draw(made.images / f"{k}.png", k, 4, 4)
        made.add("all", f"{k}.png", *[(1, [1, 1, 2, 2])] * (k % 3), *[(4, [1, 1, 2, 2])] * (k % 2))
    result = split(made, tmp_path / "out", val=0.25, test=0.25)
    assert {name: count for name, (count, _) in result.images.items()} == {
        "train": 30,
        "val": 15,
        "test": 15,
    }
    assert result.classes == {"cat": [30, 15, 15], "dog": [15, 8, 7]}
    assert result.remarks == ()


def test_images_of_one_folder_stay_together(tmp_path):
    made = at_random(tmp_path, 4)
    for number, path in enumerate(sorted(made.images.rglob("*.png"))):
        draw(path, 500 + number, 4, 4)
    result = split(made, tmp_path / "out", val=0.3, group_by="folder")
    folders = [
        {name.split("/")[0] for name in names_of(tmp_path / "out" / f"{part}.json")}
        for part in ("train", "val")
    ]
    assert not folders[0] & folders[1] and set.union(*folders) == set("abc")
    assert sum(groups for _, groups in result.images.values()) == 3


@pytest.mark.parametrize("pattern", [r"patient\d+", r"(patient\d+)_", r"(?:patient)(\d+)_(?:\w)"])
def test_images_whose_names_share_a_text_stay_together(pattern, tmp_path):
    made = Made(tmp_path)
    for k in range(20):
        name = f"{'xyz'[k % 3]}/patient{k // 4}_{k}.png" if k < 18 else f"other{k}.png"
        draw(made.images / name, k, 4, 4)
        made.add("all", name)
    result = split(made, tmp_path / "out", val=0.5, group_by=pattern)
    parts = [
        {name.split("_")[0].split("/")[-1] for name in names_of(tmp_path / "out" / f"{part}.json")}
        for part in ("train", "val")
    ]
    assert not parts[0] & parts[1]
    assert result.remarks == ("2 names do not fit --group-by and are groups of their own",)
    assert sum(groups for _, groups in result.images.values()) == 7


def test_what_is_worth_knowing_is_said(tmp_path):
    made = Made(tmp_path)
    for k in range(10):
        draw(made.images / f"{k}.png", k, 4, 4)
        made.add("all", f"{k}.png", (1, [1, 1, 2, 2]))
    made.splits["all"]["annotations"][0]["category_id"] = 4
    shutil.copy(made.images / "2.png", made.images / "3.png")
    (made.images / "5.png").unlink()
    (made.images / "5.png").symlink_to("/dev/null")
    with pytest.raises(InputError, match=r"1 of 10 images are missing below .*: 5\.png"):
        split(made, tmp_path / "out")
    (made.images / "5.png").unlink()
    (made.images / "5.png").write_bytes(b"")
    result = split(made, tmp_path / "out")
    assert result.remarks == (
        "1 class has too few groups of images for all splits: dog",
        "1 image repeats the content of another, and stays with it",
    )


REFUSED = [
    ({"val": 0.0}, r"--val 0 and --test 0: expected a sum above 0 and below 1"),
    ({"val": 0.5, "test": 0.5}, r"--val 0\.5 and --test 0\.5: expected a sum above 0"),
    ({"group_by": "("}, r"--group-by '\(': expected 'folder' or a regular expression: missing \)"),
    ({"group_by": "patient"}, r"--group-by 'patient': no name fits, e\.g\. a/0\.png"),
    ({"group_by": "png"}, r"1 group of images that stay together cannot fill 2 splits"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_done_is_refused_and_writes_nothing(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        split(at_random(tmp_path, 5), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_before_images_are_read(tmp_path, monkeypatch):
    made = at_random(tmp_path, 6)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    monkeypatch.setattr("fdet.pipeline.dataset.splits.splitting.file_sha256", lambda path: 1 / 0)
    with pytest.raises(InputError, match=r"it holds other files \(notes\.txt\)"):
        split(made, tmp_path / "out")


def test_the_same_command_again_changes_nothing_and_another_seed_is_refused(tmp_path):
    made = at_random(tmp_path, 7)
    split(made, tmp_path / "out")
    before = (tmp_path / "out" / "train.json").read_bytes()
    split(made, tmp_path / "out")
    with pytest.raises(InputError, match="holds something else already"):
        split(made, tmp_path / "out", seed=9)
    assert (tmp_path / "out" / "train.json").read_bytes() == before
