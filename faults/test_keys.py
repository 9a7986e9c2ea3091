"""The production server, while Better Auth's key endpoint does not answer."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testing.http import AUTHORIZATION, start_body
from testing.key_server import KeyServer, key_server
from testing.processes import migrate, server
from testing.tokens import claims, sign

# Seconds for which requests are sent, and that an answer may take which needs no published key.
DURATION, LIMIT = 5, 0.2
# Seconds before the answer, and between the bytes of its headers.
FAULTS = {"accepts and never answers": (60, 0), "drips": (0, 1)}


@pytest.fixture(params=FAULTS)
def keys(request: pytest.FixtureRequest) -> Iterator[KeyServer]:
    with key_server() as keys:
        keys.delay, keys.drip_headers = FAULTS[request.param]
        yield keys


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def address(keys: KeyServer, tmp_path: Path, log: Path) -> Iterator[str]:
    database_url = f"sqlite:///{tmp_path / 'todo.sqlite3'}"
    migrate(database_url)
    variables = {"BETTER_AUTH_URL": "http://localhost:3000", "BETTER_AUTH_JWKS_URL": keys.url}
    with server(log, DATABASE_URL=database_url, THREADS="16", **variables) as address:
        yield address


def repeat(address: str, path: str, headers: dict[str, str], pause: float) -> tuple[set[int], float]:
    """Sends requests on one connection for `DURATION` seconds. Returns their statuses, and the time of the slowest."""
    statuses = set()
    slowest = 0.0
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=15)) as client:
        end = time.monotonic() + DURATION
        while (start := time.monotonic()) < end:
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            response.read()
            statuses.add(response.status)
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(pause)
    return statuses, slowest


def unsigned(number: int) -> dict[str, str]:
    """The headers of a request whose token names a key that nobody publishes."""
    header = {"alg": "EdDSA", "kid": f"unknown-{number}"}
    return {"Authorization": f"Bearer {sign(claims(), header, secret='')}"}


@pytest.fixture
def slow_bodies(address: str) -> Iterator[None]:
    """Bodies that hold three quarters of the threads."""
    with ExitStack() as stack:
        for number in range(12):
            stack.enter_context(closing(start_body(address, f"slow {number % 4}")))
        yield


def test_only_tokens_that_need_published_keys_wait_for_them(
    address: str, slow_bodies: None, keys: KeyServer, log: Path
) -> None:
    with ThreadPoolExecutor(22) as pool:
        strangers = [pool.submit(repeat, address, "/api/tasks", unsigned(number), 0.1) for number in range(20)]
        others = [pool.submit(repeat, address, "/healthz", {}, 0.02)]
        others += [pool.submit(repeat, address, "/api/tasks", AUTHORIZATION, 0.02)]
    for other in others:
        statuses, slowest = other.result()
        assert statuses == {200}
        assert slowest < LIMIT
    for stranger in strangers:
        statuses, slowest = stranger.result()
        assert statuses == {503}
        # Three seconds of waiting
        assert slowest < 3.5
    assert len(keys.requests) == 1
    assert "refused: too many bodies are being read to wait for Better Auth's keys" in log.read_text()
    assert "refused: Better Auth's keys are still being fetched" in log.read_text()
