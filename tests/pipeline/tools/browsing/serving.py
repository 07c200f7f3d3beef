"""A collection served in a thread, an HTTP client that sends just what it is told, and an odd cache."""

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.browsing.collection import Collection
from fdet.pipeline.tools.browsing.server import BrowsingServer

from ....generated import make_dataset
from ...quick import damage, quick

HOSTILE_FILE = "<img src=x onerror=alert(1)>\u202egnp.png"
HOSTILE_CLASS = "</script><script>alert(2)</script>"
# Of the odd cache.
FAILED, DAMAGED, RENAMED = 10, 24, 31


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@contextmanager
def serving(collection: Collection) -> Iterator[BrowsingServer]:
    with BrowsingServer(collection) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: BrowsingServer, path: str, method: str = "GET", hosts=None, body=None) -> Reply:
    """path: the whole of it, as it is; hosts: the Host headers, by default ours."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for host in [server.hosts[0]] if hosts is None else hosts:
        connection.putheader("Host", host)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    reply = connection.getresponse()
    found = Reply(reply.status, dict(reply.getheaders()), reply.read())
    connection.close()
    return found


def asked(server: BrowsingServer, name: str, **values):
    """The answer to a question of the page."""
    query = "&".join(f"{key}={value}" for key, value in values.items())
    reply = get(server, f"/{server.token}/{name}?{query}")
    assert reply.status == 200, reply
    assert reply.headers["Content-Type"] == "application/json"
    return reply.json


def odd_cache(folder: Path, store: str) -> Path:
    """With a failed image, a damaged sample, a hostile file name and a hostile class; images beside it."""
    path = make_dataset(folder, images=5)
    data = json.loads(path.read_text())
    entry = next(image for image in data["images"] if image["id"] == RENAMED)
    shutil.move(folder / "images" / entry["file_name"], folder / "images" / HOSTILE_FILE)
    entry["file_name"] = HOSTILE_FILE
    for category in data["categories"]:
        category["name"] = HOSTILE_CLASS if category["id"] == 2 else category["name"]
    data["annotations"].append(
        {"id": 999, "image_id": RENAMED, "category_id": 2, "bbox": [5, 5, 50, 40], "iscrowd": 0}
    )
    path.write_text(json.dumps(data))
    failed = next(image for image in data["images"] if image["id"] == FAILED)
    (folder / "images" / failed["file_name"]).write_bytes(b"no image")
    extract(quick(path, folder / "odd.fdet", store=store))
    damage(folder / "odd.fdet", DAMAGED)
    return folder / "odd.fdet"
