"""Who gets an answer, for what, and with which headers."""

import errno
import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.browsing import answers
from fdet.pipeline.tools.browsing import server as server_file
from fdet.pipeline.tools.browsing.server import BrowsingServer

from .serving import asked, get, serving

PAGE = ["", "index.html", "page.css", "page.js", "ask.js", "figures.js", "list.js", "state.js"]


@pytest.fixture(params=["zarr"])
def store(request):
    """One is enough here."""
    return request.param


def test_only_loopback_listens(server):
    assert server.address.startswith(f"http://127.0.0.1:{server.server_port}/")
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("name", PAGE)
def test_the_page_comes_with_its_token_alone(server, name):
    reply = get(server, f"/{server.token}/{name}")
    assert reply.status == 200 and reply.body
    without = [f"/{name}", f"//{name}", f"/x/{name}", f"/{server.token[:-1]}/{name}"]
    for path in without:
        assert get(server, path).status == 404
    assert get(server, f"/{server.token}").status == 404


def test_tokens_are_long_and_differ(collection):
    with BrowsingServer(collection) as one, BrowsingServer(collection) as other:
        assert one.token != other.token and len(one.token) >= 32


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["evil.example"],
        ["evil.example:PORT"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1:PORT.evil.example"],
        ["127.0.0.1:PORT", "evil.example"],
        ["127.0.0.1:PORT, evil.example"],
        ["0.0.0.0:PORT"],
        ["[::1]:PORT"],
        [""],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["", "about"])
def test_foreign_hosts_are_refused(server, hosts, name):
    sent = [host.replace("PORT", str(server.server_port)) for host in hosts]
    reply = get(server, f"/{server.token}/{name}", hosts=sent)
    assert (reply.status, reply.body) == (403, b"Forbidden\n")


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1"])
def test_our_own_names_are_answered(server, host):
    sent = [f"{host}:{server.server_port}"]
    assert get(server, f"/{server.token}/about", hosts=sent).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "../server.py",
        "%2e%2e/server.py",
        "..%2fserver.py",
        "page/page.js",
        "/etc/passwd",
        "./page.js",
        "page.js/",
        "page.js%00",
        "__init__.py",
        "images/10.png",
        "fdet.json",
        "about/",
        "ABOUT",
    ],
)
def test_nothing_but_the_table_has_an_address(server, name):
    assert get(server, f"/{server.token}/{name}").status == 404


def test_addresses_are_paths_alone(server):
    for start in ("http://evil.example", server.address.partition("/" + server.token)[0]):
        assert get(server, f"{start}/{server.token}/about").status == 404


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"]
)
def test_other_methods_are_refused(server, method):
    reply = get(server, f"/{server.token}/about", method=method, body=b"GET /x HTTP/1.1\r\n\r\n")
    assert reply.status == 405
    assert reply.headers["Connection"] == "close"


def test_every_reply_has_the_headers(server, monkeypatch):
    monkeypatch.setitem(answers.ANSWERS, "broken", _broken)
    token = f"/{server.token}"
    replies = {
        200: get(server, f"{token}/"),
        404: get(server, "/"),
        403: get(server, f"{token}/", hosts=["x"]),
        405: get(server, f"{token}/", method="POST"),
        400: get(server, f"{token}/sample?image=x"),
        500: get(server, f"{token}/broken"),
    }
    replies[201] = get(server, f"{token}/about")
    for status, reply in replies.items():
        assert reply.status == (200 if status == 201 else status)
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
        assert "http" not in policy and "*" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Server"] == "fdet"
        assert "Access-Control-Allow-Origin" not in reply.headers


def _broken(collection, question):
    raise RuntimeError("a secret of the house")


def test_a_bug_stays_in_the_terminal(server, monkeypatch, caplog):
    monkeypatch.setitem(answers.ANSWERS, "broken", _broken)
    reply = get(server, f"/{server.token}/broken")
    assert (reply.status, reply.body) == (500, b"Internal Server Error\n")
    assert "a secret of the house" in caplog.text
    assert asked(server, "about")["name"]


@pytest.mark.parametrize(
    "query",
    [
        "image=-1",
        "image=1.5",
        "image=x",
        f"image={2**63}",
        f"image={'9' * 5000}",
        "image=10&view=2",
        "image=10&level=2",
        "image=%ff",
        "image=%D9%A1",
        "&".join(f"a{k}=1" for k in range(40)),
    ],
)
def test_what_no_page_of_ours_asks_is_a_bad_request(server, query):
    reply = get(server, f"/{server.token}/heat?{query}")
    assert (reply.status, reply.body) == (400, b"Bad Request\n")


def test_malformed_requests_end_their_connection_alone(server):
    for raw in (
        b"\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70_000,
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as client:
            client.sendall(raw + b"\r\n\r\n")
            client.recv(1000)
    assert asked(server, "about")["name"]


def test_many_requests_at_once(server, collection):
    ids = collection.cache.image_ids

    def one(k):
        name = ("heat", "histogram", "channels", "sample", "picture")[k % 5]
        return k % 10, asked(server, name, image=ids[k % 2], view=k % 2, level=k % 2)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(40)))
    for k, answer in found:
        assert "error" not in answer
        assert answer == dict(found)[k]


def test_a_connection_serves_several_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    for _ in range(3):
        connection.request("GET", f"/{server.token}/about")
        assert connection.getresponse().read().startswith(b"{")
    connection.close()


def test_a_port_that_is_taken_is_one_line(server, collection):
    with pytest.raises(InputError, match=f"--port {server.server_port}: Address already in use"):
        BrowsingServer(collection, server.server_port)


def test_nothing_is_logged_of_a_request(server, capfd):
    get(server, f"/{server.token}/")
    get(server, "/nothing")
    assert capfd.readouterr() == ("", "")


def test_so_many_connections_and_no_more(collection, monkeypatch):
    monkeypatch.setattr(server_file, "_CONNECTIONS", 2)
    with serving(collection) as server:
        held = [socket.create_connection(server.server_address) for _ in range(2)]
        try:
            for one in held:
                one.sendall(b"GET / HTTP/1.1\r\n")
            with socket.create_connection(server.server_address) as third:
                third.settimeout(60)
                assert third.recv(1) == b"", "it is closed at once"
        finally:
            for one in held:
                one.close()
        while server._free._value < 2:
            time.sleep(0.01)
        assert get(server, f"/{server.token}/").status == 200


def test_a_request_that_comes_too_slowly_is_broken_off(collection, monkeypatch):
    monkeypatch.setattr(server_file, "_TIMEOUT", 0.3)
    with (
        serving(collection) as server,
        socket.create_connection(server.server_address) as slow,
    ):
        slow.settimeout(60)
        with suppress(OSError):
            for _ in range(6000):
                slow.sendall(b"a")
                time.sleep(0.01)
            pytest.fail("a byte every 10 ms is no request")


def test_without_descriptors_it_waits_instead_of_asking_again_at_once(collection, monkeypatch):
    paused = []
    monkeypatch.setattr(server_file.time, "sleep", paused.append)
    with BrowsingServer(collection) as server:
        monkeypatch.setattr(server, "socket", Refusing())
        with pytest.raises(OSError, match="Too many"):
            server.get_request()
        server._handle_request_noblock()
        assert paused == [server_file._PAUSE] * 2
        monkeypatch.undo()


class Refusing:
    """A socket at the limit."""

    def accept(self):
        raise OSError(errno.EMFILE, "Too many open files")
