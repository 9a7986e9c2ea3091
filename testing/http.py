"""HTTP clients for a server in another process: `http.client`, and plain sockets."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

from testing.processes import SECRET
from testing.tokens import claims, sign

TOKEN = sign(claims(), secret=SECRET)
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


def request(address: str, method: str, path: str, body: Any = None, **headers: Any) -> tuple[int, dict[str, str], Any]:
    """Returns the status, headers and JSON of the answer. An iterator is sent in chunks, without a length."""
    client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=15)
    with closing(client):
        # The server may refuse a body before it has read all of it, and close the connection.
        with suppress(BrokenPipeError, ConnectionResetError):
            chunked = "Transfer-Encoding" in headers
            client.request(method, path, body, {**AUTHORIZATION, **headers}, encode_chunked=chunked)
        response = client.getresponse()
        content = response.read()
    return (
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        json.loads(content) if content else None,
    )


def connect(address: str) -> socket.socket:
    url = urlsplit(address)
    return socket.create_connection((url.hostname, url.port or 80), timeout=15)


def raw_request(address: str, head: bytes, body: bytes = b"") -> bytes:
    """Sends the bytes, and returns all that the server sends until it closes the connection."""
    with connect(address) as client:
        client.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def start_body(address: str, user: str, expect: str = "") -> socket.socket:
    """Sends a create of that user with the first byte of its body. With `expect`, sends that header and no byte."""
    client = connect(address)
    head = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000"
    authorization = f"Authorization: Bearer {sign(claims(user), secret=SECRET)}"
    end = f"Expect: {expect}\r\n\r\n" if expect else "\r\n{"
    client.sendall(f"{head}\r\n{authorization}\r\n{end}".encode())
    return client


def assert_closed(clients: Iterable[socket.socket], seconds: float) -> None:
    """Asserts that the server closes each of these connections within that many seconds from now."""
    start = time.monotonic()
    for client in clients:
        client.settimeout(seconds)
        while client.recv(65536):
            pass
    assert time.monotonic() - start < seconds


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Calls `call(0)`, `call(1)`, … in threads, and returns the results."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))
