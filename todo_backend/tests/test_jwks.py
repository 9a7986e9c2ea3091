import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from testing.key_server import KeyServer, SigningKey, key_server
from testing.timing import timed
from testing.tokens import base64url, claims, sign
from todo_backend import jwks

pytestmark = pytest.mark.django_db

# Seconds. Only an endless wait takes longer, even on a busy machine.
LONG = 20
ORIGIN = "http://localhost:3000"
INVALID = "Token is invalid."
SECRET = "a secret beside the keys, of 32 bytes or more"
ALGORITHMS = ["EdDSA", "ES256", "ES512", "RS256", "PS256"]
KEYS = {algorithm: SigningKey(algorithm, f"key-{algorithm}") for algorithm in ALGORITHMS}
EDDSA = KEYS["EdDSA"]


@pytest.fixture
def server(settings: Any) -> Iterator[KeyServer]:
    """A key server at the address in the settings. There is no secret, as README.md recommends."""
    with key_server(*KEYS.values()) as server:
        settings.BETTER_AUTH_SECRET = ""
        settings.BETTER_AUTH_URL = settings.BETTER_AUTH_ISSUER = settings.BETTER_AUTH_AUDIENCE = ORIGIN
        settings.BETTER_AUTH_JWKS_URL = server.url
        yield server
    jwks.published_keys.cache_clear()


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "monotonic", clock)
    return clock


def get(token: str) -> Any:
    return Client().get("/api/tasks", headers={"Authorization": f"Bearer {token}"})


def wait_for_fetches(server: KeyServer, count: int) -> None:
    """Waits until there were that many fetches and no other is running."""
    deadline = time.monotonic() + LONG
    keys = jwks.published_keys(server.url)
    while (len(server.requests) < count or keys.current_fetch()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(server.requests) == count


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> float:
    """A timeout of half a second in place of three, for a request and for a fetch."""
    assert jwks.FETCH_TIMEOUT == 3
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.5)
    return 0.5


def assert_given_up(server: KeyServer) -> None:
    """Asserts that the fetch ended, though nobody waited for it."""
    fetch = jwks.published_keys(server.url).latest_fetch
    assert fetch is not None
    fetch.join(LONG)
    assert not fetch.is_alive()


# Tokens


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_a_token_of_each_algorithm_is_accepted(key: SigningKey, server: KeyServer) -> None:
    response = Client().post(
        "/api/tasks", {"title": "x"}, "application/json", headers={"Authorization": f"Bearer {key.sign(claims())}"}
    )
    assert (response.status_code, response.json()["user_id"]) == (201, "ada")


def with_header(key: SigningKey, **header: Any) -> str:
    """A token that the key signed, with these header values."""
    return key.sign(claims(), **header)


def relabelled(key: SigningKey, algorithm: str, kid: str) -> str:
    """A token that the key signed, and whose header then got another algorithm and key id."""
    _, payload, signature = key.sign(claims()).split(".")
    return f"{base64url(json.dumps({'alg': algorithm, 'kid': kid}).encode())}.{payload}.{signature}"


REFUSED: dict[str, tuple[str, str]] = {
    "no kid": (with_header(EDDSA, kid=...), INVALID),
    "unknown kid": (with_header(EDDSA, kid="unknown"), INVALID),
    "kid empty": (with_header(EDDSA, kid=""), INVALID),
    "kid with a lone surrogate": (
        sign(claims(), {"alg": "EdDSA", "kid": "\ud800"}),
        INVALID,
    ),
    "kid a number": (sign(claims(), {"alg": "EdDSA", "kid": 1}), INVALID),
    "another's key under a known kid": (SigningKey("EdDSA", EDDSA.kid).sign(claims()), INVALID),
    "typ of the session cookie cache": (
        EDDSA.sign(claims(aud="better-auth:session-cache"), typ="better-auth.session-cache+jwt"),
        INVALID,
    ),
    "typ unknown": (with_header(EDDSA, typ="dpop+jwt"), INVALID),
    "typ a number": (sign(claims(), {"alg": "EdDSA", "kid": EDDSA.kid, "typ": 1}), INVALID),
    "typ null": (sign(claims(), {"alg": "EdDSA", "kid": EDDSA.kid, "typ": None}), INVALID),
    "crit": (with_header(EDDSA, crit=["b64"], b64=True), INVALID),
    "no issuer": (EDDSA.sign(claims(iss=...)), INVALID),
    "no audience": (EDDSA.sign(claims(aud=...)), INVALID),
    "other issuer": (
        EDDSA.sign(claims(iss="https://evil.example")),
        f"Token issuer is 'https://evil.example', expected '{ORIGIN}'.",
    ),
    "empty issuer and audience": (EDDSA.sign(claims(iss="", aud="")), f"Token issuer is '', expected '{ORIGIN}'."),
    "other audience": (EDDSA.sign(claims(aud="other")), f"Token audience is 'other', expected '{ORIGIN}'."),
    "other audiences": (EDDSA.sign(claims(aud=["a", "b"])), f"Token audience is 'a, b', expected '{ORIGIN}'."),
    "expired": (EDDSA.sign(claims(exp=1)), "Token has expired."),
    "no expiry": (EDDSA.sign(claims(exp=...)), INVALID),
    "no subject": (EDDSA.sign(claims(sub=...)), INVALID),
    "HS256 without a secret": (
        sign(claims(), {"alg": "HS256", "kid": EDDSA.kid}, secret=""),
        "Token is signed with HS256, which is accepted only when BETTER_AUTH_SECRET is set.",
    ),
    "ES384": (
        sign(claims(), {"alg": "ES384", "kid": "key-ES256"}),
        "Token is signed with ES384, which is not accepted.",
    ),
    "Ed25519 by its newer name": (
        relabelled(EDDSA, "Ed25519", EDDSA.kid),
        "Token is signed with Ed25519, which is not accepted.",
    ),
    **{
        f"{key.algorithm} relabelled {algorithm} under {kid}": (relabelled(key, algorithm, kid), INVALID)
        for key in KEYS.values()
        for algorithm in ALGORITHMS
        for kid in (key.kid, KEYS[algorithm].kid)
        if algorithm != key.algorithm
    },
}


@pytest.mark.parametrize(("token", "detail"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_token_is_401_with_its_reason(token: str, detail: str, server: KeyServer) -> None:
    response = get(token)
    assert response.status_code == 401
    assert response.json() == {"detail": detail}
    assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def encodings(key: SigningKey) -> Iterator[bytes]:
    """The published key in each encoding that an attacker may use as the secret."""
    public = key.private.public_key()
    yield json.dumps(key.jwk).encode()
    yield json.dumps(key.jwk, separators=(",", ":")).encode()
    yield json.dumps(key.jwk, sort_keys=True).encode()
    for member in ("x", "y", "n"):
        if member in key.jwk:
            yield key.jwk[member].encode()
            yield base64.urlsafe_b64decode(key.jwk[member] + "==")
    for format_ in (Encoding.PEM, Encoding.DER):
        encoded = public.public_bytes(format_, PublicFormat.SubjectPublicKeyInfo)
        yield encoded
        yield encoded.strip()
        yield base64.b64encode(encoded)
    if key.algorithm == "EdDSA":
        yield public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    yield b""


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("secret", ["", SECRET], ids=["no secret", "a secret"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_hs256_keyed_with_a_published_key_is_refused(
    key: SigningKey, secret: str, server: KeyServer, settings: Any
) -> None:
    settings.BETTER_AUTH_SECRET = secret
    assert get(key.sign(claims())).status_code == 200
    for encoding in encodings(key):
        for algorithm in ["HS256", key.algorithm]:
            header = {"alg": algorithm, "kid": key.kid}
            response = get(sign(claims(), header, secret=encoding))
            assert response.status_code == 401, encoding


def test_both_kinds_of_tokens_are_accepted_side_by_side(server: KeyServer, settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    assert get(EDDSA.sign(claims())).status_code == 200
    assert get(sign(claims())).status_code == 200


@pytest.mark.parametrize("typ", [..., "JWT", "at+jwt"])
def test_the_types_of_a_jwt_and_an_access_token_are_accepted(typ: Any, server: KeyServer) -> None:
    header = {} if typ is ... else {"typ": typ}
    assert get(EDDSA.sign(claims(), **header)).status_code == 200


def test_the_audience_may_be_in_an_array(server: KeyServer) -> None:
    assert get(EDDSA.sign(claims(aud=["other", ORIGIN]))).status_code == 200


def test_a_hs256_token_never_waits_for_the_keys(server: KeyServer, settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    assert get(sign(claims(), {"alg": "HS256", "kid": "unknown"})).status_code == 200
    assert server.requests == []


def test_addresses_in_a_token_are_not_followed(server: KeyServer, settings: Any) -> None:
    own = SigningKey("EdDSA", "own")
    with key_server(own) as attacker:
        token = own.sign(claims(), jku=attacker.url, x5u=attacker.url, jwk=own.jwk)
        assert get(token).json() == {"detail": INVALID}
        assert attacker.requests == []


# Keys


def test_the_fetch_names_this_project(server: KeyServer) -> None:
    get(EDDSA.sign(claims()))
    [request] = server.requests
    assert (request["path"], request["User-Agent"]) == ("/api/auth/jwks", "todo_backend")


def publish_jwks(server: KeyServer, *keys: Any) -> None:
    server.body = json.dumps({"keys": keys}).encode()


def test_a_symmetric_key_in_the_set_is_ignored(server: KeyServer, settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    secret = "a secret that somebody published"
    publish_jwks(server, {"kty": "oct", "k": base64url(secret.encode()), "kid": "oct", "alg": "HS256"}, EDDSA.jwk)
    assert get(EDDSA.sign(claims())).status_code == 200
    assert get(sign(claims(), {"alg": "HS256", "kid": "oct"}, secret=secret)).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"use": "enc"},
            {"kid": ...},
            {"kid": 1},
            {"kty": "EC"},
            {"crv": "X25519"},
            {"alg": "ES256"},
            {"alg": "HS256"},
        ),
        *({"key_ops": ["encrypt"]}, {"key_ops": 1}, {"x": "AAAA"}, {"x": ...}, {"x": 1}),
        pytest.param({"d": EDDSA.private_jwk["d"]}, id="a private key"),
    ],
)
def test_a_key_that_is_not_a_public_signature_key_is_ignored(change: dict[str, Any], server: KeyServer) -> None:
    jwk = {name: value for name, value in {**EDDSA.jwk, **change}.items() if value is not ...}
    publish_jwks(server, "x", None, jwk, KEYS["ES256"].jwk)
    assert get(KEYS["ES256"].sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims())).status_code == 401


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_key_without_an_algorithm_is_for_each_algorithm_of_its_type(algorithm: str, server: KeyServer) -> None:
    key = SigningKey("RS256", "rsa")
    publish_jwks(server, {name: value for name, value in key.jwk.items() if name != "alg"})
    key.algorithm = algorithm
    assert get(key.sign(claims())).status_code == 200


# Fetching


def test_keys_are_fetched_once(server: KeyServer) -> None:
    for _ in range(5):
        assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 1


def test_keys_are_fetched_again_in_the_background_after_300_seconds(server: KeyServer, clock: Clock) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    clock.now += 299
    assert get(EDDSA.sign(claims())).status_code == 200
    wait_for_fetches(server, 1)
    clock.now += 1
    with server.holding():
        assert get(EDDSA.sign(claims())).status_code == 200
        assert jwks.published_keys(server.url).current_fetch()
    wait_for_fetches(server, 2)
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 2


def test_a_key_that_is_no_longer_published_is_no_longer_accepted(server: KeyServer, clock: Clock) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    server.publish(KEYS["ES256"])
    clock.now += 301
    assert get(sent).status_code == 200
    wait_for_fetches(server, 2)
    assert get(sent).status_code == 401


FAILURES: dict[str, dict[str, Any]] = {
    "more headers than there may be": {"headers": {f"X-{number}": "x" for number in range(101)}},
    "404": {"status": 404},
    "500": {"status": 500},
    "HTML": {"body": b"<!doctype html><title>Next.js</title>"},
    "nothing": {"body": b""},
    "an empty set": {"body": b'{"keys": []}'},
    "no set": {"body": b"{}"},
    "keys a number": {"body": b'{"keys": 5}'},
    "keys null": {"body": b'{"keys": null}'},
    "an array": {"body": b"[]"},
    "a set of secrets": {"body": b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "key-EdDSA"}]}'},
    "not UTF-8": {"body": b"\xff"},
    "deeply nested": {"body": b"[" * 60_000},
    "more than 64 KiB": {"body": json.dumps({"keys": [EDDSA.jwk], "pad": "x" * 65536}).encode()},
    "a redirect": {"status": 302, "headers": {"Location": "/elsewhere"}},
    "an answer that breaks off": {"body": b'{"keys": [', "headers": {"Content-Length": "99999"}},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_while_there_are_no_keys_the_answer_is_503(
    failure: dict[str, Any], server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    good = server.body
    for name, value in failure.items():
        setattr(server, name, value)
    for _ in range(3):
        response = get(EDDSA.sign(claims()))
        assert response.status_code == 503
        assert response.json() == {"detail": "Better Auth cannot be reached for the keys that verify the token."}
        assert 1 <= int(response["Retry-After"]) <= 10
    assert len(server.requests) == 1
    assert caplog.text.count("keys cannot be fetched") == 1
    assert caplog.text.count("The token cannot be verified") == 3
    server.status, server.headers, server.body = 200, {}, good
    clock.now += 9
    assert get(EDDSA.sign(claims())).status_code == 503
    clock.now += 1
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 2


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_with_cached_keys_a_failure_changes_nothing(failure: dict[str, Any], server: KeyServer, clock: Clock) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    for name, value in failure.items():
        setattr(server, name, value)
    for round_number in range(3):
        clock.now += 301
        assert get(EDDSA.sign(claims())).status_code == 200
        wait_for_fetches(server, 2 + round_number)
        assert get(EDDSA.sign(claims())).status_code == 200
        # A failure counts towards the ten seconds.
        clock.now += 9
        assert get(EDDSA.sign(claims())).status_code == 200
        assert len(server.requests) == 2 + round_number


@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 503)])
def test_a_key_set_of_up_to_64_kib_is_accepted(size: int, status: int, server: KeyServer) -> None:
    server.body = server.body.ljust(size)
    assert get(EDDSA.sign(claims())).status_code == status


def test_without_a_key_server_hs256_is_still_accepted(server: KeyServer, settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    settings.BETTER_AUTH_JWKS_URL = "http://127.0.0.1:9/jwks"
    assert get(EDDSA.sign(claims())).status_code == 503
    assert get(sign(claims())).status_code == 200


def test_only_one_request_waits_during_an_outage(server: KeyServer, short_timeout: float) -> None:
    with server.holding():
        response, seconds = timed(lambda: get(EDDSA.sign(claims())))
        assert response.status_code == 503
        assert short_timeout - 0.1 < seconds
        count = round(LONG / short_timeout)
        responses, seconds = timed(lambda: [get(EDDSA.sign(claims())) for _ in range(count)])
        assert [response.status_code for response in responses] == [503] * count
        assert seconds < count * short_timeout
        assert len(server.requests) == 1
        assert_given_up(server)


def test_a_slow_answer_is_given_up(server: KeyServer, short_timeout: float) -> None:
    server.drip = 0.1
    response, seconds = timed(lambda: get(EDDSA.sign(claims())))
    assert response.status_code == 503
    assert short_timeout - 0.1 < seconds < LONG < len(server.body) * server.drip
    wait_for_fetches(server, 1)
    assert_given_up(server)


def test_a_late_answer_does_not_replace_newer_keys(server: KeyServer, clock: Clock) -> None:
    keys = jwks.published_keys(server.url)
    server.delay = 0.5
    keys.refresh()
    given_up = keys.latest_fetch
    assert given_up is not None
    while not server.requests:
        time.sleep(0.005)
    server.publish(KEYS["ES256"])
    server.delay = 0
    clock.now += 10
    assert get(KEYS["ES256"].sign(claims())).status_code == 200
    given_up.join(LONG)
    assert get(KEYS["ES256"].sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims())).status_code == 401


def test_an_unknown_kid_waits_for_one_fetch_in_ten_seconds(
    server: KeyServer, short_timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    keys = jwks.published_keys(server.url)
    with server.holding():
        keys.stale_at = keys.next_fetch = 0
        assert get(EDDSA.sign(claims())).status_code == 200
        # Answered, although no fetch ends.
        assert get(EDDSA.sign(claims(), kid="unknown")).status_code == 401
        assert len(server.requests) == 2
        monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 60)
        keys.next_fetch = 0
        assert get(EDDSA.sign(claims())).status_code == 200
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(get, EDDSA.sign(claims(), kid="unknown")).result(30).status_code == 401


def test_a_token_that_names_no_key_causes_no_fetch(server: KeyServer) -> None:
    assert get(EDDSA.sign(claims(), kid=...)).status_code == 401
    assert get(EDDSA.sign(claims(), kid="")).status_code == 401
    assert server.requests == []


def test_a_new_key_is_accepted_immediately_and_the_old_one_while_it_is_published(server: KeyServer) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    new = SigningKey("EdDSA", "new")
    server.publish(EDDSA, new)
    assert get(new.sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims())).status_code == 200
    # That was a fetch for an unknown key. There is no other one within ten seconds.
    assert get(EDDSA.sign(claims(), kid="unknown")).status_code == 401
    assert len(server.requests) == 2


def test_for_ten_seconds_after_a_fetch_an_unknown_kid_is_401(server: KeyServer, clock: Clock) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims(), kid="unknown")).status_code == 401
    assert len(server.requests) == 2
    new = SigningKey("EdDSA", "new")
    server.publish(new)
    clock.now += 9
    assert get(new.sign(claims())).json() == {"detail": INVALID}
    assert len(server.requests) == 2
    clock.now += 1
    assert get(new.sign(claims())).status_code == 200
    assert len(server.requests) == 3


@pytest.mark.parametrize("warm", [True, False])
def test_unknown_kids_from_many_threads_cause_one_fetch(warm: bool, server: KeyServer) -> None:
    if warm:
        assert get(EDDSA.sign(claims())).status_code == 200
    tokens = [EDDSA.sign(claims(), kid=f"unknown-{number}") for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        assert {response.status_code for response in pool.map(get, tokens)} == {401}
    assert len(server.requests) == (2 if warm else 1)


@pytest.mark.parametrize("_round", range(10))
def test_known_and_unknown_kids_together_cause_at_most_one_fetch_each(_round: int, server: KeyServer) -> None:
    server.delay = 0.02
    # These tokens have expired, so no thread needs the database, which they could not share.
    tokens = [EDDSA.sign(claims(exp=1), kid=kid) for kid in ["key-EdDSA", "unknown"] * 8]
    with ThreadPoolExecutor(16) as pool:
        assert {response.status_code for response in pool.map(get, tokens)} == {401}
    wait_for_fetches(server, len(server.requests))
    assert len(server.requests) <= 2


def test_concurrent_requests_with_a_new_key_cause_one_fetch(server: KeyServer) -> None:
    assert get(EDDSA.sign(claims(), kid="key-EdDSA")).status_code == 200
    new = SigningKey("ES256", "new")
    server.publish(EDDSA, new)
    server.delay = 0.3
    with ThreadPoolExecutor(8) as pool:
        # The token has expired, so no thread needs the database, which they could not share.
        responses = list(pool.map(get, [new.sign(claims(exp=1))] * 8))
    assert [response.json() for response in responses] == [{"detail": "Token has expired."}] * 8
    assert len(server.requests) == 2


def test_a_key_that_arrived_while_a_request_waited_for_the_lock_is_not_fetched_again(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    keys = jwks.published_keys(server.url)
    arrived, keys.keys = keys.keys, {}

    @contextmanager
    def lock() -> Iterator[None]:
        keys.keys = arrived
        yield

    monkeypatch.setattr(keys, "lock", lock())
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 1


def test_with_cached_keys_no_request_waits(server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 60)
    # The token has expired, so the other thread does not need the database, which it could not share.
    token = EDDSA.sign(claims(exp=1))
    assert get(token).json() == {"detail": "Token has expired."}
    clock.now += 301
    with ThreadPoolExecutor(1) as pool, server.holding():
        answers = pool.submit(lambda: [get(token).json() for _ in range(20)])
        assert answers.result(30) == [{"detail": "Token has expired."}] * 20
        assert jwks.published_keys(server.url).current_fetch()
    wait_for_fetches(server, 2)


# The log


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7", "it is not a JWT"),
        (sign(claims(), {"alg": "HS384"}), "it is signed with HS384"),
        (sign(claims(), {"alg": "HS256"}, secret="x"), "it is signed with HS256, and BETTER_AUTH_SECRET is not set"),
        (EDDSA.sign(claims(), kid="a\nb"), r"Better Auth publishes no EdDSA key with the id 'a\nb'"),
        (EDDSA.sign(claims(), kid="k" * 81), f"no EdDSA key with the id '{'k' * 80}'"),
        (EDDSA.sign(claims(iss="a\nb")), r"issuer is 'a\nb', expected 'http://localhost:3000'"),
        (EDDSA.sign(claims(aud="b")), "audience is 'b', expected 'http://localhost:3000'"),
        (EDDSA.sign(claims(exp=1)), "it has expired"),
        (EDDSA.sign(claims(sub=1)), "sub is missing, or is not a user id"),
        (EDDSA.sign(claims(), typ="x\ny"), "its typ is not JWT or at+jwt"),
        (SigningKey("EdDSA", EDDSA.kid).sign(claims()), "its EdDSA signature does not hold"),
    ],
)
def test_a_refused_token_is_one_line_in_the_log_with_the_reason_and_without_the_token(
    token: str, reason: str, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="todo_backend"):
        assert get(token).status_code == 401
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert reason in record.getMessage().partition(" refused: ")[2]
    assert "\n" not in record.getMessage()
    assert not any(segment in caplog.text for segment in token.split(".") if segment)
