"""Better Auth's JSON Web Key Set (RFC 7517), cached and refreshed in the background."""

import http.client
import json
import logging
import math
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from time import monotonic
from typing import Any
from urllib.error import HTTPError

import jwt

from .exceptions import BetterAuthUnavailable

logger = logging.getLogger(__name__)

# The key type and the curve that each algorithm needs (RFC 7518, section 6; RFC 8037).
KEY_TYPE_BY_ALGORITHM = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
}

# Seconds after which cached keys are refreshed.
REFRESH_AFTER = 300
# Seconds between two fetches of stale keys, and between two fetches of missing keys.
FETCH_INTERVAL = 10
# Seconds that a request waits for a fetch, and a fetch for its answer.
FETCH_TIMEOUT = 3
# Bytes of a key set.
MAX_SIZE = 64 * 1024

Keys = dict[str, dict[str, jwt.PyJWK]]


class Fetch(threading.Thread):
    """A thread that fetches the keys. A request waits for it until `deadline` at most.

    The thread has the context of the request that started it, so its log lines have that request's id.
    """

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=copy_context().run, args=[target], daemon=True, name="published-keys")
        self.deadline = monotonic() + FETCH_TIMEOUT

    def wait(self) -> None:
        self.join(max(0, self.deadline - monotonic()))


class PublishedKeys:
    """The key set at one address. Keys older than `REFRESH_AFTER` seconds are used while they are fetched again.

    A request waits only for a key that is not in the cache, and a failed fetch leaves the cache as it is.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.keys: Keys = {}
        self.stale_at = self.next_fetch = self.next_missing_fetch = monotonic()
        self.latest_fetch: Fetch | None = None
        # The latest fetch for a key that was not in the cache.
        self.missing_fetch: Fetch
        self.lock = threading.Lock()

    def get_key(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key with this id for this algorithm. Raises `BetterAuthUnavailable` while the cache is empty."""
        if kid not in self.keys:
            self.fetch_missing(kid)
        elif monotonic() >= self.stale_at:
            self.refresh()
        if not self.keys:
            raise BetterAuthUnavailable(wait=max(1, math.ceil(self.next_fetch - monotonic())))
        return self.keys.get(kid, {}).get(algorithm)

    def refresh(self) -> None:
        with self.lock:
            if monotonic() >= self.next_fetch:
                self.start_fetch()

    def fetch_missing(self, kid: str) -> None:
        """Waits for a fetch of a missing key. At most one such fetch starts in `FETCH_INTERVAL` seconds."""
        with self.lock:
            if kid in self.keys:
                return
            cold = not self.keys
            due = monotonic() >= self.next_missing_fetch
            if due:
                self.missing_fetch = self.current_fetch() or self.start_fetch()
                self.next_missing_fetch = monotonic() + FETCH_INTERVAL
            fetch = self.missing_fetch
        fetch.wait()
        if due and cold and kid in self.keys:
            # A fetch into an empty cache does not use up the limit: the next missing key may be a new one.
            self.next_missing_fetch = monotonic()

    def current_fetch(self) -> Fetch | None:
        """The fetch that requests can still wait for, if there is one."""
        fetch = self.latest_fetch
        return fetch if fetch and fetch.is_alive() and monotonic() < fetch.deadline else None

    def start_fetch(self) -> Fetch:
        self.next_fetch = monotonic() + FETCH_INTERVAL
        self.latest_fetch = Fetch(self.fetch_and_replace)
        self.latest_fetch.start()
        return self.latest_fetch

    def fetch_and_replace(self) -> None:
        try:
            keys = public_keys(self.fetch_data())
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as exc:
            if isinstance(exc, HTTPError):
                exc.close()
            logger.warning("Better Auth's keys cannot be fetched from %s: %s", self.uri, exc)
            return
        # An older fetch that ends late must not replace the result of a newer one.
        if self.latest_fetch is not threading.current_thread():
            return
        self.keys = keys
        self.stale_at = monotonic() + REFRESH_AFTER

    def fetch_data(self) -> Any:
        """The JSON at the address. Raises `OSError`, `HTTPException` or `ValueError`."""
        headers = {"User-Agent": "todo_backend"}
        request = urllib.request.Request(self.uri, headers=headers)  # noqa: S310  The settings accept http(s) only.
        with urllib.request.build_opener(NoRedirect).open(request, timeout=FETCH_TIMEOUT) as response:
            content = b""
            deadline = monotonic() + FETCH_TIMEOUT
            while part := response.read1(MAX_SIZE):
                content += part
                if len(content) > MAX_SIZE:
                    raise ValueError(f"the answer is larger than {MAX_SIZE} bytes")
                if monotonic() > deadline:
                    raise TimeoutError("the answer takes too long")
        return json.loads(content)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: only the configured address decides which keys are accepted."""

    def redirect_request(self, *args: Any) -> None:
        return None


def public_keys(key_set: Any) -> Keys:
    """The public signature keys of a set, by id and by algorithm. Raises `ValueError` if there are none."""
    keys: Keys = {}
    jwks = key_set.get("keys") if isinstance(key_set, dict) else None
    for jwk in filter(is_public_signature_key, jwks if isinstance(jwks, list) else []):
        for algorithm, key_type in KEY_TYPE_BY_ALGORITHM.items():
            if (jwk.get("kty"), jwk.get("crv")) == key_type and jwk.get("alg", algorithm) == algorithm:
                with suppress(jwt.PyJWTError):
                    keys.setdefault(jwk["kid"], {})[algorithm] = jwt.PyJWK(jwk, algorithm)
    if not keys:
        raise ValueError("there is no public signature key in the answer")
    return keys


def is_public_signature_key(jwk: Any) -> bool:
    """Whether a key has an id, has no private part, and may verify signatures (RFC 7517, section 4)."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or "d" in jwk:
        return False
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


@cache
def published_keys(uri: str) -> PublishedKeys:
    return PublishedKeys(uri)
