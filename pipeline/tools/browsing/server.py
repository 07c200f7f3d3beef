"""An HTTP server on the loopback interface for one page: only GET, fixed paths, nothing without the token.

A page of another site cannot reach it through a host name of its own that points at 127.0.0.1 (DNS
rebinding), because the Host header must name this server. Nor can it guess the token.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socketserver import TCPServer
from typing import Any

from ....cache.errors import InputError
from .answers import BadQuestion, answer
from .collection import Collection

log = logging.getLogger(__name__)

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# s: how long a connection may wait for a request, and a request may take. A browser keeps connections
# open, and each of them occupies a thread.
_TIMEOUT = 60
# A browser opens six connections at once.
_CONNECTIONS = 64
# s: how long to wait where no descriptors are left; to retry at once would only burn a core.
_PAUSE = 0.5


class BrowsingServer(ThreadingHTTPServer):
    """A server of one collection, which runs until it is shut down.

    port: the port to listen on, 0 for any free one. Raises InputError where it cannot be used.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, collection: Collection, port: int = 0) -> None:
        self.collection, self.page = collection, _page()
        self.token = secrets.token_urlsafe(24)
        self._free = threading.Semaphore(_CONNECTIONS)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(
                f"--port {port}: {why}; without --port any free one is taken"
            ) from error

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; raise OSError after a pause where that fails; the base class ignores it."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one more connection in a thread, or close it where too many are open."""
        if not self._free.acquire(blocking=False):
            return self.shutdown_request(request)
        return super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends, and release its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def server_bind(self) -> None:
        """Bind the socket without the host name look-up of the base class, which may use the network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection only at debug level, as a browser that breaks off is no error."""
        log.debug("connection broken off", exc_info=True)

    @property
    def hosts(self) -> tuple[str, str]:
        """The values that a Host header may have."""
        return (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}")

    @property
    def address(self) -> str:
        return f"http://{self.hosts[0]}/{self.token}/"


def _page() -> Mapping[str, bytes]:
    """Return the files of the page by name; "" is the page itself."""
    folder = files(__package__) / "page"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {**found, "": found["index.html"]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", _TIMEOUT
    server: BrowsingServer

    def handle_one_request(self) -> None:
        """Handle a request, and break the connection off when its time is over, however slowly it comes."""
        timer = threading.Timer(_TIMEOUT, self._break_off)
        timer.daemon = True
        timer.start()
        try:
            super().handle_one_request()
        finally:
            timer.cancel()

    def _break_off(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer a request that names this host and the token, and refuse all others."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            return self.send_error(HTTPStatus.FORBIDDEN)
        path, _, query = self.path.partition("?")
        name = self._behind_token(path)
        if name is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        if name in self.server.page:
            ending = name.rpartition(".")[2] or "html"
            return self._send(HTTPStatus.OK, _TYPES[ending], self.server.page[name])
        try:
            found = answer(self.server.collection, name, query)
        except BadQuestion:
            return self.send_error(HTTPStatus.BAD_REQUEST)
        except Exception:  # a bug: its traceback belongs in the terminal, not on the page
            log.exception("%s", name)
            return self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
        if found is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        return self._send(HTTPStatus.OK, "application/json", found)

    def _behind_token(self, path: str) -> str | None:
        """Return the part of the path behind the token, or None where the token is missing or wrong."""
        root, *rest = path.split("/", 2)
        if root or len(rest) < 2:
            return None
        ours = hmac.compare_digest(rest[0].encode(), self.server.token.encode())
        return rest[1] if ours else None

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send only the name of the status, and close the connection without reading what may follow."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:  # http.server's answer to other methods
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())

    def end_headers(self) -> None:
        """End the headers, and announce in them where the connection closes."""
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def version_string(self) -> str:
        return "fdet"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is for what the user asked, and each line would contain the token."""
