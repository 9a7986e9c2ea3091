import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from testing.key_server import KeyServer, SigningKey, key_server
from testing.processes import manage
from testing.processes import server as run_server
from testing.servers import wait_until
from testing.timing import timed
from testing.tokens import base64url, claims, sign
from todo_backend import jwks, startup, waiting

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
    """Waits until there were that many fetches and the latest has ended."""
    deadline = time.monotonic() + LONG
    keys = jwks.published_keys(server.url)
    while len(server.requests) < count or is_fetching(keys):
        assert time.monotonic() < deadline, f"fewer than {count} fetches have ended"
        time.sleep(0.005)
    assert len(server.requests) == count


def is_fetching(keys: jwks.PublishedKeys) -> bool:
    return keys.latest_fetch is not None and keys.latest_fetch.is_alive()


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> float:
    """Lets requests wait for half a second in place of three."""
    assert jwks.WAIT_TIMEOUT == 3
    monkeypatch.setattr(jwks, "WAIT_TIMEOUT", 0.5)
    return 0.5


@pytest.fixture
def short_fetch(short_wait: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Gives up a fetch after half a second, too, in place of ten."""
    assert jwks.FETCH_TIMEOUT == 10
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.5)
    return 0.5


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


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("published_name", ["EdDSA", "Ed25519", ...])
def test_a_key_under_either_name_of_ed25519_verifies_a_token_under_either(
    name: str, published_name: Any, server: KeyServer
) -> None:
    jwk = {**EDDSA.jwk, "alg": published_name}
    publish_jwks(server, {member: value for member, value in jwk.items() if value is not ...})
    message = sign(claims(), {"alg": name, "kid": EDDSA.kid}).rpartition(".")[0]
    assert get(f"{message}.{base64url(EDDSA.private.sign(message.encode()))}").status_code == 200


@pytest.mark.parametrize("typ", [..., "JWT", "at+jwt", "jwt", "AT+JWT", "application/jwt", "Application/at+jwt"])
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


def test_a_proxy_in_the_environment_decides_no_keys(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own = SigningKey("EdDSA", "own")
    with key_server(own) as attacker:
        monkeypatch.setenv("http_proxy", attacker.url)
        assert get(own.sign(claims())).status_code == 401
        assert get(EDDSA.sign(claims())).status_code == 200
        assert attacker.requests == []


# Keys


def test_the_fetch_asks_for_json_and_names_this_project(server: KeyServer) -> None:
    get(EDDSA.sign(claims()))
    [request] = server.requests
    assert request["path"] == "/api/auth/jwks"
    assert (request["Accept"], request["User-Agent"]) == ("application/json", "todo_backend")


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


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_no_value_in_a_key_keeps_the_other_keys_from_being_used(key: SigningKey, server: KeyServer) -> None:
    values: list[Any] = [
        None,
        True,
        0,
        -1.5,
        10**400,
        "",
        "x",
        "é",
        "\ud800",
        "A" * 1000,
        [],
        [[]],
        ["verify", {}],
        {},
        {"a": []},
    ]
    names = [*key.jwk, "use", "key_ops", "d"]
    publish_jwks(server, *values, *({**key.jwk, name: value} for name in names for value in values), EDDSA.jwk)
    assert get(EDDSA.sign(claims())).status_code == 200


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_key_without_an_algorithm_is_for_each_algorithm_of_its_type(algorithm: str, server: KeyServer) -> None:
    key = SigningKey("RS256", "rsa")
    publish_jwks(server, {name: value for name, value in key.jwk.items() if name != "alg"})
    key.algorithm = algorithm
    assert get(key.sign(claims())).status_code == 200


def test_a_key_for_encryption_or_without_an_id_is_named_in_the_log_once(
    server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    encryption = {**EDDSA.jwk, "kid": "a\x1b\r\nb", "use": "enc"}
    publish_jwks(server, encryption, {"kty": "OKP"}, "x", {**EDDSA.jwk, "alg": "none"}, KEYS["ES256"].jwk)
    for _ in range(3):
        get(EDDSA.sign(claims()))
        clock.now += 10
    assert len(server.requests) == 3
    [record] = [record for record in caplog.records if record.name == "todo_backend.jwks"]
    assert record.getMessage() == (
        r"Better Auth publishes keys that are not used: a\x1b\r\nb: it is not for signatures; a key: it has no id;"
        " a key: it has no id; key-EdDSA: its type or its algorithm is not accepted"
    )
    publish_jwks(server, encryption, KEYS["ES256"].jwk)
    get(EDDSA.sign(claims()))
    assert caplog.text.count("keys that are not used") == 2


# PyJWT warns when it signs with such a key.
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize(("bits", "status"), [(1024, 401), (2047, 401), (2048, 200)])
def test_rsa_keys_have_at_least_2048_bits(
    bits: int, status: int, algorithm: str, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    key = SigningKey(algorithm, "rsa", bits)
    server.publish(key, EDDSA)
    assert get(key.sign(claims())).status_code == status
    assert get(EDDSA.sign(claims())).status_code == 200
    assert (f"rsa: it has {bits} bits, and RSA needs 2048" in caplog.text) == (status == 401)


# The encodings of the eight points of small order (y, and in the last bit the sign of x).
SMALL_ORDER = [
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "00" * 32,
    "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
# Other encodings of the same points: with the sign of a zero, or with the prime, or more, as y.
NOT_CANONICAL = [
    "01" + "00" * 30 + "80",
    *(
        first + "ff" * 30 + last
        for first, last in [("ec", "ff"), ("ed", "7f"), ("ed", "ff"), ("ee", "7f"), ("ee", "ff")]
    ),
]


def forged(public: bytes) -> str:
    """A token that verifies under a key of small order, made without a private key: S is 0, and R is such a point."""
    key = Ed25519PublicKey.from_public_bytes(public)
    for number in range(1000):
        message = ".".join(
            base64url(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": "small"}, claims(jti=number))
        )
        for r in SMALL_ORDER:
            signature = bytes.fromhex(r) + bytes(32)
            with suppress(InvalidSignature):
                key.verify(signature, message.encode())
                return f"{message}.{base64url(signature)}"
    raise AssertionError("no token could be forged")


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_an_ed25519_point_of_small_order_is_no_key(
    point: str, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    public = bytes.fromhex(point)
    publish_jwks(server, {"kty": "OKP", "crv": "Ed25519", "x": base64url(public), "kid": "small"}, EDDSA.jwk)
    assert get(forged(public)).status_code == 401
    assert get(EDDSA.sign(claims())).status_code == 200
    assert "small: its point has a small order" in caplog.text


@pytest.mark.parametrize("point", NOT_CANONICAL)
def test_an_ed25519_point_that_is_not_in_its_canonical_encoding_is_no_key(
    point: str, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(bytes.fromhex(point)), "kid": "small"}
    publish_jwks(server, jwk, EDDSA.jwk)
    assert get(EDDSA.sign(claims())).status_code == 200
    assert "small: its point has a small order, or is not in its canonical encoding" in caplog.text


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_set_with_no_other_keys_is_a_failure(server: KeyServer, caplog: pytest.LogCaptureFixture) -> None:
    key = SigningKey("RS256", "rsa", 1024)
    server.publish(key)
    assert get(key.sign(claims())).status_code == 503
    assert "there is no public signature key in the answer" in caplog.text


# Fetching


def test_the_first_fetch_starts_with_the_server(tmp_path: Path) -> None:
    with key_server(EDDSA) as keys:
        variables = {"BETTER_AUTH_URL": ORIGIN, "BETTER_AUTH_JWKS_URL": keys.url}
        # An empty database: no request reaches it.
        with keys.holding(), run_server(tmp_path / "log", DATABASE_URL=f"sqlite:///{tmp_path / 'db'}", **variables):
            wait_until(lambda: keys.requests, "the server fetches the keys")
        assert len(keys.requests) == 1


def test_the_first_fetch_needs_an_address(server: KeyServer, settings: Any) -> None:
    settings.BETTER_AUTH_URL = ""
    startup.fetch_published_keys()
    assert jwks.published_keys(server.url).latest_fetch is None
    settings.BETTER_AUTH_URL = ORIGIN
    startup.fetch_published_keys()
    wait_for_fetches(server, 1)


def test_commands_do_not_fetch(server: KeyServer) -> None:
    result = manage("check", BETTER_AUTH_URL=ORIGIN, BETTER_AUTH_JWKS_URL=server.url)
    assert result.returncode == 0
    assert server.requests == []


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
        assert is_fetching(jwks.published_keys(server.url))
    wait_for_fetches(server, 2)
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 2


@pytest.mark.parametrize("age", [301, 3599])
def test_with_keys_under_an_hour_old_no_request_waits(
    age: int, server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "WAIT_TIMEOUT", 60)
    # The token has expired, so the other thread does not need the database, which it could not share.
    token = EDDSA.sign(claims(exp=1))
    assert get(token).json() == {"detail": "Token has expired."}
    clock.now += age
    with ThreadPoolExecutor(1) as pool, server.holding():
        answers = pool.submit(lambda: [get(token).json() for _ in range(20)])
        assert answers.result(30) == [{"detail": "Token has expired."}] * 20
        assert is_fetching(jwks.published_keys(server.url))
    wait_for_fetches(server, 2)


def test_a_key_that_is_no_longer_published_is_no_longer_accepted(server: KeyServer, clock: Clock) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    server.publish(KEYS["ES256"])
    clock.now += 3599
    assert get(sent).status_code == 200
    wait_for_fetches(server, 2)
    assert get(sent).status_code == 401


def test_keys_an_hour_old_are_used_only_after_a_fetch(server: KeyServer, clock: Clock) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    server.publish(KEYS["ES256"])
    clock.now += 3600
    assert get(sent).status_code == 401
    assert len(server.requests) == 2


def test_a_fetch_that_failed_before_the_keys_were_an_hour_old_does_not_count(server: KeyServer, clock: Clock) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    server.status = 500
    clock.now += 3000
    assert get(sent).status_code == 200
    wait_for_fetches(server, 2)
    server.status = 200
    server.publish(KEYS["ES256"])
    clock.now += 600
    assert get(sent).status_code == 401


def test_if_that_fetch_fails_old_keys_are_used_and_fetched_in_the_background(server: KeyServer, clock: Clock) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    server.status = 500
    clock.now += 3600
    assert get(sent).status_code == 200
    wait_for_fetches(server, 2)
    clock.now += 10
    with server.holding():
        assert get(sent).status_code == 200
        assert is_fetching(jwks.published_keys(server.url))
    wait_for_fetches(server, 3)
    server.status = 200
    server.publish(KEYS["ES256"])
    # An hour later, that failure is as old as the keys were.
    clock.now += 3590
    assert get(sent).status_code == 401
    assert len(server.requests) == 4


def test_if_that_fetch_does_not_end_in_time_old_keys_are_used(
    server: KeyServer, clock: Clock, short_wait: float
) -> None:
    sent = EDDSA.sign(claims())
    assert get(sent).status_code == 200
    clock.now += 3600
    with server.holding():
        response, seconds = timed(lambda: get(sent))
        assert response.status_code == 200
        assert short_wait - 0.1 < seconds < LONG
        clock.now += short_wait
        response, seconds = timed(lambda: get(sent))
        assert response.status_code == 200
        assert seconds < short_wait
    wait_for_fetches(server, 2)


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
    assert caplog.text.count("keys cannot be fetched from") == 1
    assert caplog.text.count("refused: Better Auth's keys cannot be fetched") == 3
    assert ("404; Better Auth has keys there only with its jwt() plugin" in caplog.text) == (failure == {"status": 404})
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


def test_only_one_request_waits_during_an_outage(server: KeyServer, short_wait: float) -> None:
    with server.holding():
        response, seconds = timed(lambda: get(EDDSA.sign(claims())))
        assert (response.status_code, response["Retry-After"]) == (503, "1")
        assert short_wait - 0.1 < seconds
        count = round(LONG / short_wait)
        responses, seconds = timed(lambda: [get(EDDSA.sign(claims())) for _ in range(count)])
        assert [response.status_code for response in responses] == [503] * count
        assert seconds < count * short_wait
        assert len(server.requests) == 1


def test_an_answer_that_comes_after_the_waiting_is_used(server: KeyServer, short_wait: float) -> None:
    with server.holding():
        response = get(EDDSA.sign(claims()))
        assert (response.status_code, response["Retry-After"]) == (503, "1")
    wait_for_fetches(server, 1)
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 1


def test_one_fetch_runs_at_a_time(server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 60)
    assert get(EDDSA.sign(claims())).status_code == 200
    clock.now += 301
    with server.holding():
        for _ in range(3):
            assert get(EDDSA.sign(claims())).status_code == 200
            clock.now += 10
        assert get(EDDSA.sign(claims(), kid="unknown")).status_code == 503
    wait_for_fetches(server, 2)


@pytest.mark.parametrize(("fault", "value"), [("drip_headers", 0.1), ("drip", 0.1), ("delay", 2.0)])
def test_a_fetch_is_given_up_and_leaves_no_thread_and_no_connection(
    fault: str, value: float, server: KeyServer, short_fetch: float, caplog: pytest.LogCaptureFixture
) -> None:
    setattr(server, fault, value)
    server.headers = {"X-Padding": "x" * 100}
    response, seconds = timed(lambda: get(EDDSA.sign(claims())))
    assert response.status_code == 503
    assert short_fetch - 0.1 < seconds < LONG
    wait_for_fetches(server, 1)
    assert "keys cannot be fetched" in caplog.text
    deadline = time.monotonic() + LONG
    while server.open_connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


def test_an_answer_without_a_pause_is_given_up(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0)
    assert get(EDDSA.sign(claims())).status_code == 503
    assert "cannot be fetched" in caplog.text
    assert "the answer takes too long" in caplog.text


def test_an_answer_that_goes_on_without_a_body_is_given_up(server: KeyServer, caplog: pytest.LogCaptureFixture) -> None:
    server.status = 100
    server.body = b"HTTP/1.0 100 Continue\r\n\r\n" * 20_000
    assert get(EDDSA.sign(claims())).status_code == 503
    assert "the answer is larger than 262144 bytes" in caplog.text


@pytest.mark.parametrize(("threads", "waiting"), [(1, 1), (7, 1), (8, 2), (16, 4)])
def test_a_quarter_of_the_threads_may_wait(
    threads: int,
    waiting: int,
    server: KeyServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SERVER = settings.SERVER._replace(threads=threads)
    monkeypatch.setattr(jwks, "WAIT_TIMEOUT", 2 * LONG)
    # The token has expired, so no thread needs the database, which they could not share.
    token = EDDSA.sign(claims(exp=1))
    with ThreadPoolExecutor(waiting + 1) as pool:
        with server.holding():
            requests = [pool.submit(get, token) for _ in range(waiting + 1)]
            refused = next(as_completed(requests, timeout=LONG))
            assert refused.result().status_code == 503
            assert refused.result().json() == {"detail": "Better Auth's keys are being fetched; try again."}
            assert refused.result()["Retry-After"] == "1"
            assert not any(request.done() for request in requests if request is not refused)
        answers = [request.result() for request in requests if request is not refused]
    assert [answer.json() for answer in answers] == [{"detail": "Token has expired."}] * waiting
    assert "refused: too many requests wait for Better Auth's keys already" in caplog.text
    assert len(server.requests) == 1
    # The slots are free again.
    assert get(token).status_code == 401


def test_while_too_many_bodies_are_read_no_request_waits_for_keys(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "slots", waiting.slots_for(1))
    with server.holding(), waiting.slots:
        assert get(EDDSA.sign(claims())).json() == {"detail": "Better Auth's keys are being fetched; try again."}
    assert "refused: too many bodies are being read to wait for Better Auth's keys" in caplog.text
    wait_for_fetches(server, 1)
    assert get(EDDSA.sign(claims())).status_code == 200


def test_a_token_that_names_no_key_causes_no_fetch(server: KeyServer) -> None:
    assert get(EDDSA.sign(claims(), kid=...)).status_code == 401
    assert get(EDDSA.sign(claims(), kid="")).status_code == 401
    assert server.requests == []


def test_a_new_key_is_accepted_immediately_and_the_old_one_while_it_is_published(
    server: KeyServer, clock: Clock
) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    new = SigningKey("EdDSA", "new")
    server.publish(EDDSA, new)
    clock.now += 10
    assert get(new.sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 2


ANOTHER = {
    "an unknown kid": SigningKey("EdDSA", "new"),
    "another key under a known kid": SigningKey("EdDSA", EDDSA.kid),
    "another algorithm under a known kid": SigningKey("ES256", EDDSA.kid),
}


@pytest.mark.parametrize("another", ANOTHER.values(), ids=ANOTHER.keys())
def test_for_ten_seconds_after_a_fetch_another_key_is_401(another: SigningKey, server: KeyServer, clock: Clock) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    server.publish(another)
    clock.now += 9
    response = get(another.sign(claims()))
    assert (response.status_code, response.json()) == (401, {"detail": INVALID})
    assert len(server.requests) == 1
    clock.now += 1
    assert get(another.sign(claims())).status_code == 200
    assert get(EDDSA.sign(claims())).status_code == 401
    assert len(server.requests) == 2


@pytest.mark.parametrize("another", ANOTHER.values(), ids=ANOTHER.keys())
def test_another_key_is_401_only_after_a_fetch_that_succeeded(
    another: SigningKey, server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert get(EDDSA.sign(claims())).status_code == 200
    server.status = 500
    for seconds in (10, 9):
        clock.now += seconds
        response = get(another.sign(claims()))
        assert response.status_code == 503
        assert response.json() == {"detail": "Better Auth cannot be reached for the keys that verify the token."}
        assert 1 <= int(response["Retry-After"]) <= 10
        assert get(EDDSA.sign(claims())).status_code == 200
    assert len(server.requests) == 2
    assert caplog.text.count("refused: Better Auth's keys cannot be fetched") == 2
    server.status = 200
    clock.now += 1
    assert get(another.sign(claims())).status_code == 401
    assert len(server.requests) == 3


@pytest.mark.parametrize("warm", [True, False])
def test_unknown_kids_from_many_threads_cause_one_fetch(warm: bool, server: KeyServer, clock: Clock) -> None:
    if warm:
        assert get(EDDSA.sign(claims())).status_code == 200
        clock.now += 10
    tokens = [EDDSA.sign(claims(), kid=f"unknown-{number}") for number in range(100)]
    # As many threads as may wait.
    with ThreadPoolExecutor(4) as pool:
        assert {response.status_code for response in pool.map(get, tokens)} == {401}
    assert len(server.requests) == (2 if warm else 1)


@pytest.mark.parametrize("_round", range(10))
def test_known_and_unknown_kids_together_cause_one_fetch(_round: int, server: KeyServer) -> None:
    server.delay = 0.02
    # These tokens have expired, so no thread needs the database, which they could not share.
    tokens = [EDDSA.sign(claims(exp=1), kid=kid) for kid in ["key-EdDSA", "unknown"] * 8]
    with ThreadPoolExecutor(4) as pool:
        assert {response.status_code for response in pool.map(get, tokens)} == {401}
    assert len(server.requests) == 1


def test_concurrent_requests_with_a_new_key_cause_one_fetch(server: KeyServer, clock: Clock) -> None:
    assert get(EDDSA.sign(claims(), kid="key-EdDSA")).status_code == 200
    new = SigningKey("ES256", "new")
    server.publish(EDDSA, new)
    server.delay = 0.3
    clock.now += 10
    with ThreadPoolExecutor(4) as pool:
        # The token has expired, so no thread needs the database, which they could not share.
        responses = list(pool.map(get, [new.sign(claims(exp=1))] * 4))
    assert [response.json() for response in responses] == [{"detail": "Token has expired."}] * 4
    assert len(server.requests) == 2


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 503)])
def test_https_needs_a_certificate_that_is_trusted(
    trusted: bool, status: int, server: KeyServer, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = server.use_tls(tmp_path)
    settings.BETTER_AUTH_JWKS_URL = server.url
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    assert get(EDDSA.sign(claims())).status_code == status


# The log


@pytest.mark.parametrize(
    "change",
    [
        {"status": "\x1b[31m\r"},
        {"status": 500, "reason": "\x1b[31m"},
        {"status": "x" * 60_000},
    ],
)
def test_a_key_server_writes_no_control_characters_and_no_long_line_to_the_log(
    change: dict[str, Any], server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    assert get(EDDSA.sign(claims())).status_code == 503
    [record] = [record for record in caplog.records if record.name == "todo_backend.jwks"]
    message = record.getMessage()
    assert message.startswith(f"Better Auth's keys cannot be fetched from {server.url}: ")
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 700


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
