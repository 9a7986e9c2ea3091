"""A client of a server in a process of its own, and of the wire beneath it."""

import http.client
import json
import socket
from collections.abc import Callable
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
    """Status, headers and JSON of an answer; a body that is an iterator goes out in chunks, without its length."""
    client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=15)
    with closing(client):
        # The server may answer, and close the connection, before it has read a body that it refuses.
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
    """What the server answers to those bytes, until it closes the connection."""
    with connect(address) as client:
        client.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What the calls return, each in a thread of its own and with its number."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))
