"""An S3 on this machine, by moto in a process of its own, and a proxy before it that counts and does harm."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "bucket"
SECRET = "a-secret-that-no-file-may-hold"
KEY = "AKIAANIDTHATNOFILEMAYHOLD"
SLOW_SECONDS = 0.3
# Nothing but the proxy is to be reached.
SETTINGS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str
    conditional: bool


Fault = Callable[[Request], str | None]


class Proxy(ThreadingHTTPServer):
    """requests: all that came. fault: what befalls one: "403", "503", "slow", "cut", "reset", "wrong",
    "altered" (what is sent).
    most: so many were under way at once.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.requests: list[Request] = []
        self.fault: Fault = lambda request: None
        self.befallen: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.active = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str, end: str = "") -> int:
        return sum(r.method == method and r.path.endswith(end) for r in self.requests)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def handle_any(self) -> None:
        with self.server.lock:
            self.server.active += 1
            self.server.most = max(self.server.most, self.server.active)
        try:
            self._handled()
        finally:
            with self.server.lock:
                self.server.active -= 1

    def _handled(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        conditional = "If-None-Match" in self.headers
        path = self.path.partition("?")[0]
        request = Request(self.command, path, self.headers.get("Range") or "", conditional)
        with self.server.lock:
            self.server.requests.append(request)
        fault = self.server.fault(request)
        if fault:
            with self.server.lock:
                self.server.befallen[fault] += 1
        if fault in ("403", "500", "503"):
            # What a store answers may name credentials.
            text = f"<Error><AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>{SECRET}".encode()
            return self._answer(int(fault), {}, text)
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "reset":
            self.close_connection = True
            return None
        if fault == "altered" and body:
            # As by a store that looks at no checksum.
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        status, headers, answer = self._passed_on(body)
        if fault == "wrong" and answer:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        return self._answer(status, headers, answer, cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        try:
            headers = {n: v for n, v in self.headers.items() if n.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", str(len(body)))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def s3() -> Iterator[int]:
    """The port of an S3 with one empty bucket."""
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **SETTINGS},
    )
    try:
        yield int(server.stdout.readline())
    finally:
        server.communicate()


@contextmanager
def proxy_before(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def main() -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
    print(port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
