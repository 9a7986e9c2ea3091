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
KEY_BY_ALGORITHM = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
}

# Seconds.
FRESH_FOR = 300
RETRY_AFTER = 10
TIMEOUT = 3
# Bytes.
MAX_SIZE = 64 * 1024

Keys = dict[str, dict[str, jwt.PyJWK]]


class Fetch(threading.Thread):
    """A fetch in a thread of its own. Requests wait for it until `deadline` at most, however slow the answer is.

    The thread has the context of the request that started it, so that its log has the id of that request.
    """

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=copy_context().run, args=[target], daemon=True, name="published-keys")
        self.deadline = monotonic() + TIMEOUT

    def wait(self) -> None:
        self.join(max(0, self.deadline - monotonic()))


class PublishedKeys(jwt.PyJWKClient):
    """The key set at one address. A set older than `FRESH_FOR` seconds is used while a new one is fetched.

    `PyJWKClient` makes every request wait while one of them fetches, and has no keys after a fetch that failed. Here a
    request waits only for a key that the cache does not have, and a failed fetch leaves the cache as it is.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri, headers={"User-Agent": "todo_backend"}, timeout=TIMEOUT)
        self.keys: Keys = {}
        self.stale_at = self.next_fetch = self.next_fetch_of_missing = monotonic()
        self.fetch: Fetch | None = None
        # The latest fetch for a key that the cache did not have.
        self.fetch_of_missing: Fetch
        self.lock = threading.Lock()

    def get(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key with this id for this algorithm. Raises `BetterAuthUnavailable` while the cache is empty."""
        if kid not in self.keys:
            self.wait_for(kid)
        elif monotonic() >= self.stale_at:
            self.refresh()
        if not self.keys:
            raise BetterAuthUnavailable(wait=max(1, math.ceil(self.next_fetch - monotonic())))
        return self.keys.get(kid, {}).get(algorithm)

    def refresh(self) -> None:
        with self.lock:
            if monotonic() >= self.next_fetch:
                self.start()

    def wait_for(self, kid: str) -> None:
        """Waits for a fetch, unless another one for a missing key was made less than `RETRY_AFTER` seconds ago."""
        with self.lock:
            if kid in self.keys:
                return
            cold = not self.keys
            due = monotonic() >= self.next_fetch_of_missing
            if due:
                self.fetch_of_missing = self.under_way() or self.start()
                self.next_fetch_of_missing = monotonic() + RETRY_AFTER
            fetch = self.fetch_of_missing
        fetch.wait()
        if due and cold and kid in self.keys:
            # The first fetch of all does not count, because the next missing key may be a new one.
            self.next_fetch_of_missing = monotonic()

    def under_way(self) -> Fetch | None:
        fetch = self.fetch
        return fetch if fetch and fetch.is_alive() and monotonic() < fetch.deadline else None

    def start(self) -> Fetch:
        self.next_fetch = monotonic() + RETRY_AFTER
        self.fetch = Fetch(self.run)
        self.fetch.start()
        return self.fetch

    def run(self) -> None:
        try:
            keys = public_keys(self.fetch_data())
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as exc:
            if isinstance(exc, HTTPError):
                exc.close()
            logger.warning("Better Auth's keys cannot be fetched from %s: %s", self.uri, exc)
            return
        # An older fetch that ends late must not replace the result of a newer one.
        if self.fetch is not threading.current_thread():
            return
        self.keys = keys
        self.stale_at = monotonic() + FRESH_FOR

    def fetch_data(self) -> Any:
        """The JSON at the address. Raises `OSError`, `HTTPException` or `ValueError`."""
        request = urllib.request.Request(self.uri, headers=self.headers)  # noqa: S310  The settings accept http(s) only.
        with urllib.request.build_opener(NoRedirect).open(request, timeout=self.timeout) as response:
            content = b""
            deadline = monotonic() + self.timeout
            while part := response.read1(MAX_SIZE):
                content += part
                if len(content) > MAX_SIZE:
                    raise ValueError(f"the answer is larger than {MAX_SIZE} bytes")
                if monotonic() > deadline:
                    raise TimeoutError("the answer takes too long")
        return json.loads(content)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error, because only the configured address may say which keys are accepted."""

    def redirect_request(self, *args: Any) -> None:
        return None


def public_keys(key_set: Any) -> Keys:
    """The public signature keys of a set, by id and by algorithm. Raises `ValueError` if there are none."""
    keys: Keys = {}
    jwks = key_set.get("keys") if isinstance(key_set, dict) else None
    for jwk in filter(is_public_signature_key, jwks if isinstance(jwks, list) else []):
        for algorithm, key_type in KEY_BY_ALGORITHM.items():
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
