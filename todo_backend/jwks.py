"""Better Auth's JSON Web Key Set (RFC 7517), cached and refreshed in the background."""

import http.client
import io
import json
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from functools import cache
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings

from . import waiting
from .exceptions import BetterAuthUnavailable

logger = logging.getLogger(__name__)

# The key type and the curve that each algorithm needs (RFC 7518, section 6; RFC 8037). Ed25519 is another name of EdDSA
# with that curve (RFC 9864).
KEY_TYPE_BY_ALGORITHM = {
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
}
EDDSA_NAMES = ["EdDSA", "Ed25519"]
# RFC 7518, section 3.3.
MIN_RSA_BITS = 2048
# Ed25519 computes in the field of this prime (RFC 8032, section 5.1). Eight of its points have a small order: under
# such a key, anybody can make signatures that verify. These are the y coordinates of the eight.
ED25519_PRIME = 2**255 - 19
ORDER_8_Y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
SMALL_ORDER_Y = {0, 1, ED25519_PRIME - 1, ORDER_8_Y, ED25519_PRIME - ORDER_8_Y}

# All in seconds. The age at which keys are refreshed in the background.
REFRESH_AGE = 300
# The age at which a request waits for newer keys.
MAX_AGE = 3600
# The time between the starts of two fetches.
FETCH_INTERVAL = 10
# The time for which requests wait for a fetch, after its start.
WAIT_TIMEOUT = 3
# The time for connecting to one of the key server's addresses, for the TLS handshake, and for the whole fetch.
CONNECT_TIMEOUT = 3
FETCH_TIMEOUT = 10

# Bytes of a key set.
MAX_SIZE = 64 * 1024
# Bytes of an answer with its head, interim responses, chunk sizes and trailers.
MAX_ANSWER = 4 * MAX_SIZE
# Characters of the log that the key server may fill in one line.
MAX_LOGGED = 500

# The reasons for the log why a request does not wait for the keys
TOO_MANY_WAIT = "too many requests wait for Better Auth's keys already"
TOO_MANY_BODIES = "too many bodies are being read to wait for Better Auth's keys"
BEING_FETCHED = "Better Auth's keys are being fetched; try again."

# By id and algorithm.
Keys = dict[tuple[str, str], jwt.PyJWK]


class Fetch(threading.Thread):
    """A thread that calls a function, which returns whether it got the keys.

    The thread has the context of the request that started it, so its log lines have that request's id.
    """

    def __init__(self, fetch: Callable[[], bool]) -> None:
        super().__init__(daemon=True, name="published-keys")
        self.fetch = fetch
        self.context = copy_context()
        self.started_at = monotonic()
        self.succeeded = False

    def run(self) -> None:
        self.succeeded = self.context.run(self.fetch)


class PublishedKeys:
    """The key set at one address.

    One fetch runs at a time, and a fetch starts at most every `FETCH_INTERVAL` seconds. A fetch that succeeds replaces
    the keys, and a fetch that fails leaves them as they are.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.keys: Keys = {}
        self.left_out = ""
        # The times from which keys are refreshed in the background, and from which requests wait for newer keys.
        self.stale_at = self.expired_at = monotonic()
        self.latest_fetch: Fetch | None = None
        self.lock = threading.Lock()
        # The threads that may wait for a fetch at the same time, so that the others still answer.
        self.key_slots = threading.BoundedSemaphore(max(1, settings.SERVER.threads // 4))

    def candidates(self, kid: str, algorithm: str) -> Iterator[jwt.PyJWK]:
        """The keys that may verify a token: the cached key, and then a newer one under the same id.

        Raises `BetterAuthUnavailable` after them, unless a fetch has just shown that Better Auth publishes no other.
        """
        if monotonic() >= self.expired_at:
            self.wait_for_fetch()
        elif monotonic() >= self.stale_at:
            self.fetch_if_due()
        cached = self.keys.get((kid, algorithm))
        if cached:
            yield cached
        fetch = self.wait_for_fetch()
        # Read before the keys, because a fetch that ends now replaces them first.
        succeeded = fetch.succeeded
        newer = self.keys.get((kid, algorithm))
        if newer and newer is not cached:
            yield newer
        if not succeeded:
            running = fetch.is_alive()
            seconds = 1 if running else max(1, math.ceil(fetch.started_at + FETCH_INTERVAL - monotonic()))
            state = "are still being fetched" if running else "cannot be fetched"
            raise BetterAuthUnavailable(wait=seconds, reason=f"Better Auth's keys {state}")

    def wait_for_fetch(self) -> Fetch:
        """Waits for a fetch until `WAIT_TIMEOUT` seconds after its start. Returns it, whether it has ended or not.

        Raises `BetterAuthUnavailable` if too many requests wait already.
        """
        fetch = self.fetch_if_due()
        seconds = fetch.started_at + WAIT_TIMEOUT - monotonic()
        if fetch.is_alive() and seconds > 0:
            with slot(self.key_slots, TOO_MANY_WAIT), slot(waiting.slots, TOO_MANY_BODIES):
                fetch.join(seconds)
        return fetch

    def fetch_if_due(self) -> Fetch:
        """Starts a fetch, unless one is running or began less than `FETCH_INTERVAL` seconds ago. Returns the latest."""
        with self.lock:
            fetch = self.latest_fetch
            if not fetch or (not fetch.is_alive() and monotonic() >= fetch.started_at + FETCH_INTERVAL):
                fetch = Fetch(self.replace_keys)
                fetch.start()
                self.latest_fetch = fetch
            return fetch

    def replace_keys(self) -> bool:
        """Fetches the keys, in the thread of a `Fetch`. Returns whether it got any."""
        started_at = monotonic()
        try:
            keys, left_out = public_keys(fetch_json(self.uri))
            if left_out and left_out != self.left_out:
                logger.warning("Better Auth publishes keys that are not used: %s", left_out)
            self.left_out = left_out
            if not keys:
                raise ValueError("there is no public signature key in the answer")
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as exc:
            logger.warning("Better Auth's keys cannot be fetched from %s: %s", self.uri, escaped(str(exc)))
            if started_at >= self.expired_at:
                # Requests have waited for newer keys. The next ones do not: a fetch in the background is enough.
                self.expired_at = started_at + MAX_AGE
            return False
        self.keys = keys
        self.stale_at = started_at + REFRESH_AGE
        self.expired_at = started_at + MAX_AGE
        return True


@contextmanager
def slot(slots: threading.BoundedSemaphore, reason: str) -> Iterator[None]:
    """Holds a slot while the context lasts. Raises `BetterAuthUnavailable` with the reason if there is none."""
    if not slots.acquire(blocking=False):
        raise BetterAuthUnavailable(wait=1, detail=BEING_FETCHED, reason=reason)
    try:
        yield
    finally:
        slots.release()


class DeadlineReader(io.RawIOBase):
    """Reads from a socket. Fails after `MAX_ANSWER` bytes, and at a deadline.

    A socket's own timeout is for each read, so a server that sends one byte a second never exceeds it.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self.deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError("the answer takes too long")
        if self.received > MAX_ANSWER:
            raise OSError(f"the answer is larger than {MAX_ANSWER} bytes")
        self.sock.settimeout(seconds)
        count = self.sock.recv_into(buffer)
        self.received += count
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `HTTPResponse` calls to read from a socket."""
        return io.BufferedReader(self)


def fetch_json(uri: str) -> Any:
    """The JSON at an address. Raises `OSError`, `HTTPException`, `ValueError` or `RecursionError`.

    Redirects are errors: only the configured address decides which keys are accepted.
    """
    deadline = monotonic() + FETCH_TIMEOUT
    url = urlsplit(uri)
    connection_class = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    with closing(connection_class(url.netloc, timeout=CONNECT_TIMEOUT)) as connection:
        headers = {"Accept": "application/json", "Connection": "close", "User-Agent": "todo_backend"}
        connection.request("GET", url.path, headers=headers)
        # Not `connection.getresponse()`, which has a timeout for each read only. The response needs `makefile` alone.
        response = http.client.HTTPResponse(DeadlineReader(connection.sock, deadline))  # type: ignore[arg-type]
        response.begin()
        if response.status != 200:
            hint = "; Better Auth has keys there only with its jwt() plugin" if response.status == 404 else ""
            raise ValueError(f"the status of the answer is {response.status}{hint}")
        content = response.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise ValueError(f"the answer is larger than {MAX_SIZE} bytes")
    return json.loads(content)


def public_keys(key_set: Any) -> tuple[Keys, str]:
    """The public signature keys of a set, and a text for the log that says why the other keys are left out."""
    keys: Keys = {}
    left_out = []
    jwks = key_set.get("keys") if isinstance(key_set, dict) else None
    for jwk in jwks if isinstance(jwks, list) else []:
        try:
            keys |= signature_keys(jwk)
        except (ValueError, jwt.PyJWTError) as exc:
            left_out.append(f"{jwk['kid'] if has_id(jwk) else 'a key'}: {exc}")
    return keys, escaped("; ".join(left_out))


def has_id(jwk: Any) -> bool:
    return isinstance(jwk, dict) and isinstance(jwk.get("kid"), str)


def signature_keys(jwk: Any) -> Keys:
    """A key for each algorithm that the JWK is for. Raises `ValueError` or `PyJWTError` if there is none."""
    if not has_id(jwk):
        raise ValueError("it has no id")
    if "d" in jwk:
        raise ValueError("it is a private key")
    # RFC 7517, sections 4.2 and 4.3.
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for signatures")
    keys = {
        (jwk["kid"], algorithm): jwt.PyJWK(jwk, "EdDSA" if algorithm == "Ed25519" else algorithm)
        for algorithm, key_type in KEY_TYPE_BY_ALGORITHM.items()
        if (jwk.get("kty"), jwk.get("crv")) == key_type
        # A key for either name of EdDSA is for both.
        and jwk.get("alg", algorithm) in (EDDSA_NAMES if algorithm in EDDSA_NAMES else [algorithm])
    }
    if not keys:
        raise ValueError("its type or its algorithm is not accepted")
    for key in keys.values():
        check_strength(key.key)
    return keys


def check_strength(key: Any) -> None:
    """Raises `ValueError` for a key under which others than its owner can make signatures that verify."""
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"it has {key.key_size} bits, and RSA needs {MIN_RSA_BITS}")
    if isinstance(key, Ed25519PublicKey):
        # The highest bit is the sign of the x coordinate.
        y = int.from_bytes(key.public_bytes_raw(), "little") % 2**255
        if y >= ED25519_PRIME or y in SMALL_ORDER_Y:
            raise ValueError("its point has a small order, or is not in its canonical encoding")


def escaped(text: str) -> str:
    """The beginning of a text, in printable ASCII. The key server must not write control characters to the log."""
    return ascii(text)[1:-1][:MAX_LOGGED]


@cache
def published_keys(uri: str) -> PublishedKeys:
    return PublishedKeys(uri)
