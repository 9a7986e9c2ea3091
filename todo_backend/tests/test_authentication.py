import gc
import hashlib
import json
import time
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from tasks.models import WHITE_SPACE
from testing.client import UserClient
from testing.tokens import HEADER, base64url, claims, sign, token
from todo_backend import tokens

pytestmark = pytest.mark.django_db

INVALID = "Token is invalid."
EXPIRED = "Token has expired."
NOT_A_JWT = "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token."
ENCRYPTED = "This token is encrypted. Get a signed JWT from /api/auth/token."
NO_CREDENTIALS = "Authentication credentials were not provided."
NOW = int(time.time())


def get(authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return Client().get("/api/tasks", headers=headers)


def raw_claims(**literals: str) -> bytes:
    """Claims, some of them given as JSON text that `json.dumps` would not write."""
    text = json.dumps(claims(**dict.fromkeys(literals, ...)))[:-1]
    return (text + "".join(f', "{name}": {literal}' for name, literal in literals.items()) + "}").encode()


def tampered(part: int) -> str:
    segments = token().split(".")
    middle = len(segments[part]) // 2
    segments[part] = (
        segments[part][:middle] + ("A" if segments[part][middle] != "A" else "B") + segments[part][middle + 1 :]
    )
    return ".".join(segments)


def not_accepted(algorithm: str) -> str:
    return f"Token is signed with {algorithm}, which is not accepted."


def only_with_url(algorithm: str) -> str:
    return f"Token is signed with {algorithm}, which is accepted only when BETTER_AUTH_URL is set."


HEADER_JSON = json.dumps(HEADER).encode()
# Signature algorithms in IANA's registry that no setting accepts.
REGISTERED = [
    *("none", "HS384", "HS512", "RS384", "RS512", "PS384", "PS512", "ES384", "ES256K", "Ed448"),
    *("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"),
]
# Encodings that Python's JSON parser recognizes in bytes (RFC 7515, section 5.2, allows none of them).
OTHER_ENCODINGS = ["utf-8-sig", *(f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-le", "-be"))]
REFUSED = {
    # Not a JWT at all
    "session token": ("KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7", NOT_A_JWT),
    "signed session token": ("KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7.c2lnbmF0dXJlIG9mIDMyIGJ5dGVzIG9yIG1vcmU=", NOT_A_JWT),
    "one character": ("x", NOT_A_JWT),
    "two words": ("a b", NOT_A_JWT),
    "one dot": (".", NOT_A_JWT),
    "encrypted": ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVy.dGFn", ENCRYPTED),
    "four segments": (token() + ".x", INVALID),
    "six segments": (token() + ".x.y.z", INVALID),
    "three empty segments": ("..", INVALID),
    "three segments of nonsense": ("a.b.c", INVALID),
    "characters outside base64url": ("!!!.???.***", INVALID),
    "8193 bytes": ("a." * 2 + "a" * 8189, INVALID),
    "8193 bytes without a dot": ("a" * 8193, INVALID),
    "60 KB of dots": ("." * 60_000, INVALID),
    "not ASCII": ("tök.en.é", INVALID),
    "not ASCII in a good token": (token() + "\u00ff", INVALID),
    "a space in it": (token().replace(".", ". "), INVALID),
    "two tokens": (token() + "," + token(), ENCRYPTED),
    # Segments
    "header changed": (tampered(0), INVALID),
    "payload changed": (tampered(1), INVALID),
    "signature changed": (tampered(2), INVALID),
    "signature cut off": (token().rpartition(".")[0] + ".", INVALID),
    "signature shortened": (token()[:-4], INVALID),
    "signature padded": (token() + "=", INVALID),
    "header padded": (base64url(HEADER_JSON + b" ") + "=" + token()[token().index(".") :], INVALID),
    "signed with another secret": (sign(claims(), secret="another secret that has 32 bytes"), INVALID),
    "signed with an empty secret": (sign(claims(), secret=""), INVALID),
    "signed over another payload": (f"{token('bob').rpartition('.')[0]}.{token('ada').rpartition('.')[2]}", INVALID),
    # Headers
    "header not base64": ("%%%" + token()[token().index(".") :], INVALID),
    "header not JSON": (sign(claims(), b"{alg: HS256}"), INVALID),
    "header not UTF-8": (sign(claims(), b'{"alg":"HS256","x":"\xff"}'), INVALID),
    "header an array": (sign(claims(), []), INVALID),
    "header a string": (sign(claims(), "HS256"), INVALID),
    "header null": (sign(claims(), None), INVALID),
    "header with a number of 5000 digits": (sign(claims(), b'{"alg":"HS256","x":' + b"9" * 5000 + b"}"), INVALID),
    "no algorithm": (sign(claims(), {"typ": "JWT"}), INVALID),
    "algorithm null": (sign(claims(), {"alg": None}), INVALID),
    "algorithm a number": (sign(claims(), {"alg": 256}), INVALID),
    "algorithm an array": (sign(claims(), {"alg": ["HS256"]}), INVALID),
    "algorithm an object": (sign(claims(), {"alg": {"HS256": 1}}), INVALID),
    "algorithm empty": (sign(claims(), {"alg": ""}), INVALID),
    "algorithm in lower case": (sign(claims(), {"alg": "hs256"}), INVALID),
    "algorithm unregistered": (sign(claims(), {"alg": "HS257"}), INVALID),
    "algorithm a lone surrogate": (sign(claims(), {"alg": "\ud800"}), INVALID),
    "algorithm for encryption": (sign(claims(), {"alg": "RSA-OAEP"}), INVALID),
    "algorithm none, unsigned": (sign(claims(), {"alg": "none"}).rpartition(".")[0] + ".", not_accepted("none")),
    "algorithm None": (sign(claims(), {"alg": "None"}), INVALID),
    "HS384 by its digest": (sign(claims(), {"alg": "HS384"}, digest=hashlib.sha384), not_accepted("HS384")),
    "HS512 by its digest": (sign(claims(), {"alg": "HS512"}, digest=hashlib.sha512), not_accepted("HS512")),
    **{name: (sign(claims(), {"alg": name}), not_accepted(name)) for name in REGISTERED},
    "EdDSA": (sign(claims(), {"alg": "EdDSA", "kid": "k"}), only_with_url("EdDSA")),
    "ES256": (sign(claims(), {"alg": "ES256"}), only_with_url("ES256")),
    "ES512": (sign(claims(), {"alg": "ES512"}), only_with_url("ES512")),
    "RS256": (sign(claims(), {"alg": "RS256"}), only_with_url("RS256")),
    "PS256": (sign(claims(), {"alg": "PS256"}), only_with_url("PS256")),
    "critical extension": (sign(claims(), {**HEADER, "crit": ["exp"], "exp": 1}), INVALID),
    "critical extension that PyJWT knows": (sign(claims(), {**HEADER, "crit": ["b64"], "b64": True}), INVALID),
    "empty list of critical extensions": (sign(claims(), {**HEADER, "crit": []}), INVALID),
    "detached payload": (sign(claims(), {**HEADER, "b64": False}), INVALID),
    # Payloads
    "payload not JSON": (sign(b"{sub: ada}"), INVALID),
    "payload empty": (sign(b""), INVALID),
    "payload not UTF-8": (sign(b'{"sub":"\xff"}'), INVALID),
    **{f"payload in {code}": (sign(json.dumps(claims()).encode(code)), INVALID) for code in OTHER_ENCODINGS},
    **{f"header in {code}": (sign(claims(), HEADER_JSON.decode().encode(code)), INVALID) for code in OTHER_ENCODINGS},
    "payload an array": (sign([claims()]), INVALID),
    "payload a string": (sign("ada"), INVALID),
    "payload null": (sign(None), INVALID),
    **{f"payload with {name}": (sign(raw_claims(x=name)), INVALID) for name in ("NaN", "Infinity", "-Infinity")},
    "header with NaN": (sign(claims(), b'{"alg":"HS256","x":NaN}'), INVALID),
    "payload with a number of 5000 digits": (sign(raw_claims(x="9" * 5000)), INVALID),
    "payload cut off": (sign(json.dumps(claims())[:-1].encode()), INVALID),
    "the session cookie cache": (sign({"session": {"token": "t"}, "user": {"id": "ada"}, "exp": NOW + 900}), INVALID),
    "the e-mail verification token": (sign({"email": "ada@example.com", "iat": NOW, "exp": NOW + 900}), INVALID),
    # Expiry
    "expired an hour ago": (token(exp=NOW - 3600), EXPIRED),
    "expired a second ago": (token(exp=NOW - 1), EXPIRED),
    "expired in 1970": (token(exp=3600), EXPIRED),
    "expired before 1970": (token(exp=-1), EXPIRED),
    "expired with a fraction": (token(exp=NOW - 0.5), EXPIRED),
    "expiry 400 digits below zero": (sign(raw_claims(exp="-" + "9" * 400)), EXPIRED),
    "no expiry": (token(exp=...), INVALID),
    "expiry null": (token(exp=None), INVALID),
    "expiry true": (token(exp=True), INVALID),
    "expiry a string": (token(exp=str(NOW + 900)), INVALID),
    "expiry an array": (token(exp=[NOW + 900]), INVALID),
    "expiry in milliseconds": (token(exp=(NOW + 900) * 1000), INVALID),
    "expiry in year 10000": (token(exp=253402300800), INVALID),
    "expiry of 400 digits": (sign(raw_claims(exp="9" * 400)), INVALID),
    "expiry of 1e999": (sign(raw_claims(exp="1e999")), INVALID),
    "expiry NaN": (sign(raw_claims(exp="NaN")), INVALID),
    "expiry Infinity": (sign(raw_claims(exp="Infinity")), INVALID),
    # Not before
    "not before in an hour": (token(nbf=NOW + 3600), INVALID),
    "not before null": (token(nbf=None), INVALID),
    "not before a string": (token(nbf=str(NOW)), INVALID),
    "not before true": (token(nbf=True), INVALID),
    "not before NaN": (sign(raw_claims(nbf="NaN")), INVALID),
    "not before of 400 digits": (sign(raw_claims(nbf="9" * 400)), INVALID),
    # Subject
    "no subject, but id and email": (token(sub=...), INVALID),
    "subject null": (token(None), INVALID),
    "subject a number": (token(1), INVALID),
    "subject true": (token(True), INVALID),
    "subject an array": (token(["ada"]), INVALID),
    "subject an object": (token({"id": "ada"}), INVALID),
    "subject empty": (token(""), INVALID),
    **{f"subject {character!a}": (token(character), INVALID) for character in WHITE_SPACE},
    "subject of 256 characters": (token("a" * 256), INVALID),
    "subject with NUL": (token("a\0da"), INVALID),
    "subject with a newline": (token("ada\n"), INVALID),
    "subject with DEL": (token("ada\x7f"), INVALID),
    "subject with a C1 control": (token("ada\x85x"), INVALID),
    "subject with a lone surrogate": (token("ada\ud800"), INVALID),
}


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize(("raw_token", "detail"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_token_is_401_with_its_reason_and_without_a_query(
    raw_token: str, detail: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        response = get(f"Bearer {raw_token}")
    assert response.status_code == 401
    assert response.content == json.dumps({"detail": detail}, separators=(",", ":")).encode()
    assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.requirement("SC-002")
@pytest.mark.parametrize("authorization", [None, "", " "])
def test_without_authorization_the_answer_is_no_credentials(authorization: str | None) -> None:
    response = get(authorization)
    assert response.status_code == 401
    assert response.json() == {"detail": NO_CREDENTIALS}
    assert response["WWW-Authenticate"] == "Bearer"


NO_TOKEN = 'There is no token after "Bearer": get one from /api/auth/token first.'
NOT_BEARER = 'Send the token as "Authorization: Bearer <token>".'
CHALLENGE = 'Bearer error="invalid_token"'


def no_token_in(placeholder: str) -> str:
    return f'There is no token in "Bearer {placeholder}": get one from /api/auth/token first.'


@pytest.mark.requirement("SC-002")
@pytest.mark.requirement("SC-006")
@pytest.mark.parametrize(
    ("authorization", "detail", "challenge"),
    [
        ("Bearer", NO_TOKEN, "Bearer"),
        ("bearer  ", NO_TOKEN, "Bearer"),
        ("Basic YWRhOnB3", NOT_BEARER, "Bearer"),
        (f"Token {token()}", NOT_BEARER, "Bearer"),
        (f"JWT {token()}", NOT_BEARER, "Bearer"),
        (token(), NOT_BEARER, "Bearer"),
        (f"Bearer{token()}", NOT_BEARER, "Bearer"),
        (f"Bearer:{token()}", NOT_BEARER, "Bearer"),
        ("undefined", NOT_BEARER, "Bearer"),
        (f"Bearer Bearer {token()}", NOT_BEARER, CHALLENGE),
        (f"bearer  BEARER {token()}", NOT_BEARER, CHALLENGE),
        ("Bearer Bearer undefined", NOT_BEARER, CHALLENGE),
        ("Bearer Bearer", NOT_BEARER, CHALLENGE),
        ("Bearer undefined", no_token_in("undefined"), CHALLENGE),
        ("bearer null ", no_token_in("null"), CHALLENGE),
        ("Bearer [object Object]", no_token_in("[object Object]"), CHALLENGE),
        ("Bearer undefined2", NOT_A_JWT, CHALLENGE),
        ("Bearer bearerx", NOT_A_JWT, CHALLENGE),
    ],
)
def test_the_answer_says_how_to_send_a_token(
    authorization: str, detail: str, challenge: str, django_assert_num_queries: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with django_assert_num_queries(0):
        response = get(authorization)
    assert response.status_code == 401
    assert response.json() == {"detail": detail}
    assert response["WWW-Authenticate"] == challenge
    [line] = caplog.messages
    assert ", refused: " in line
    assert token()[:20] not in line


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_case_of_the_scheme_does_not_matter(scheme: str) -> None:
    assert get(f"{scheme} {token()}").status_code == 200


@pytest.mark.parametrize("depth", [100, 900, 1000, 2000, 2900])
def test_a_deeply_nested_token_is_accepted_or_refused(depth: int) -> None:
    """The depth that Python can parse depends on its version. A deeper token is refused."""
    nested = b"[" * depth + b"]" * depth
    for deep in [sign(claims(), b'{"alg":"HS256","x":' + nested + b"}"), sign(raw_claims(x=nested.decode()))]:
        assert len(deep) <= 8192
        response = get(f"Bearer {deep}")
        assert response.status_code in (200, 401)
        assert response.status_code == 200 or response.json() == {"detail": INVALID}
        assert response.status_code == 200 or depth > 500


ACCEPTED = {
    "as Better Auth's sign hook makes it": token(),
    "as Better Auth's signJWT makes it": sign({"sub": "ada", "iat": NOW, "exp": NOW + 900}, {"alg": "HS256"}),
    "with a kid": sign(claims(), {**HEADER, "kid": "unknown"}),
    "of another type": sign(claims(), {"alg": "HS256", "typ": "secevent+jwt"}),
    "with keys to follow": sign(claims(), {**HEADER, "jku": "http://127.0.0.1:9/", "x5u": "x", "jwk": {"kty": "oct"}}),
    "issued in the future": token(iat=NOW + 3600),
    "issued at a time that is no number": token(iat="yesterday"),
    "issued at a 400-digit time": sign(raw_claims(iat="9" * 400)),
    "with a jti that is no string": token(jti=1),
    "with a token_type": token(token_type="refresh"),
    "with a fraction in exp": token(exp=NOW + 900.5),
    "with exp as an exponent": sign(raw_claims(exp="2e9")),
    "that expires in year 9999": token(exp=253402300799),
    "valid from five seconds on": token(nbf=NOW + 5),
    "valid since long": token(nbf=0),
    "with an issuer, where none is expected": token(iss="anybody", aud=["anything"]),
    "in 8192 bytes": sign(claims(pad="x" * 5730)),
}


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("raw_token", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_valid_token_is_accepted(raw_token: str) -> None:
    assert len(raw_token) <= 8192
    assert get(f"Bearer {raw_token}").status_code == 200


def test_the_longest_accepted_token_has_8192_bytes() -> None:
    sizes = {len(sign(claims(pad="x" * length))) for length in range(5600, 5900)}
    assert 8192 in sizes
    for length in range(5600, 5900):
        raw_token = sign(claims(pad="x" * length))
        if len(raw_token) in (8192, 8193):
            assert get(f"Bearer {raw_token}").status_code == (200 if len(raw_token) == 8192 else 401)


@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize(
    "user_id", ["1", "a" * 255, "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7", "auth0|x/y", " ada ", "😀", "a'; --", "%00"]
)
def test_the_user_is_exactly_the_sub(user_id: str, ada: UserClient) -> None:
    ada.task()
    response = Client().post(
        "/api/tasks", {"title": "x"}, "application/json", headers={"Authorization": f"Bearer {token(user_id)}"}
    )
    assert response.json()["user_id"] == user_id
    assert [task["user_id"] for task in get(f"Bearer {token(user_id)}").json()] == [user_id]


def test_the_user_is_never_the_id_or_the_email() -> None:
    response = Client().post(
        "/api/tasks", {"title": "x"}, "application/json", headers={"Authorization": f"Bearer {token('ada', id='bob')}"}
    )
    assert response.json()["user_id"] == "ada"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> int:
    """The time at which the clock of `tokens` stands still."""
    moment = int(time.time())
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: float(moment)))
    return moment


@pytest.mark.parametrize(("offset", "accepted"), [(-1, False), (0, False), (0.001, True), (1, True)])
def test_exp_is_respected_to_the_second(offset: float, accepted: bool, now: int) -> None:
    response = get(f"Bearer {token(exp=now + offset)}")
    assert response.status_code == (200 if accepted else 401)
    assert accepted or response.json() == {"detail": EXPIRED}


@pytest.mark.parametrize(("offset", "accepted"), [(-1, True), (9, True), (10, True), (10.001, False), (11, False)])
def test_nbf_has_ten_seconds_of_leeway(offset: float, accepted: bool, now: int) -> None:
    response = get(f"Bearer {token(nbf=now + offset)}")
    assert response.status_code == (200 if accepted else 401)
    assert accepted or response.json() == {"detail": INVALID}


def test_an_accepted_token_is_refused_once_it_expires(now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = f"Bearer {token(exp=now + 1)}"
    assert [get(sent).status_code for _ in range(2)] == [200, 200]
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now + 1.0))
    response = get(sent)
    assert (response.status_code, response.json()) == (401, {"detail": EXPIRED})


@pytest.mark.requirement("FR-001")
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_the_secret_is_the_raw_string(settings: Any) -> None:
    for secret in ["short", " surrounded ", "c2VjcmV0", "ünïcödé-ünïcödé-ünïcödé", "{}${x}'\""]:
        settings.BETTER_AUTH_SECRET = secret
        assert get(f"Bearer {sign(claims(), secret=secret)}").status_code == 200
        assert get(f"Bearer {sign(claims(), secret=secret.strip() + '.')}").status_code == 401


def test_tokens_under_an_old_secret_are_refused(settings: Any) -> None:
    old = token()
    assert get(f"Bearer {old}").status_code == 200
    settings.BETTER_AUTH_SECRET = "a new secret, of 32 bytes or more"
    assert get(f"Bearer {old}").json() == {"detail": INVALID}
    assert get(f"Bearer {token()}").status_code == 200


def test_without_a_secret_hs256_is_not_accepted(settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = ""
    settings.BETTER_AUTH_URL = settings.BETTER_AUTH_ISSUER = settings.BETTER_AUTH_AUDIENCE = "http://localhost:3000"
    for secret in ["", "anything that anybody could think of"]:
        response = get(f"Bearer {sign(claims(), secret=secret)}")
        assert response.status_code == 401
        assert response.json() == {
            "detail": "Token is signed with HS256, which is accepted only when BETTER_AUTH_SECRET is set."
        }


@pytest.fixture
def better_auth_url(settings: Any) -> None:
    settings.BETTER_AUTH_URL = settings.BETTER_AUTH_ISSUER = settings.BETTER_AUTH_AUDIENCE = "http://localhost:3000"


ORIGIN = "http://localhost:3000"
RECIPIENTS = {
    "both match": ({}, None),
    "both absent": ({"iss": ..., "aud": ...}, None),
    "audience in an array": ({"aud": ["x", ORIGIN]}, None),
    "other issuer": ({"iss": "https://evil.example"}, f"Token issuer is 'https://evil.example', expected '{ORIGIN}'."),
    "issuer with a slash": ({"iss": ORIGIN + "/"}, f"Token issuer is '{ORIGIN}/', expected '{ORIGIN}'."),
    "issuer empty": ({"iss": ""}, f"Token issuer is '', expected '{ORIGIN}'."),
    "issuer of 201 characters": ({"iss": "x" * 201}, f"Token issuer is '{'x' * 200}', expected '{ORIGIN}'."),
    "issuer null": ({"iss": None}, INVALID),
    "issuer a number": ({"iss": 1}, INVALID),
    "issuer an array": ({"iss": [ORIGIN]}, INVALID),
    "other audience": ({"aud": "other"}, f"Token audience is 'other', expected '{ORIGIN}'."),
    "other audiences": ({"aud": ["a", "b"]}, f"Token audience is 'a, b', expected '{ORIGIN}'."),
    "audiences of 202 characters": (
        {"aud": ["😀" * 99, "a" * 101]},
        f"Token audience is '{'😀' * 99}, {'a' * 99}', expected '{ORIGIN}'.",
    ),
    "no audience in the array": ({"aud": []}, f"Token audience is '', expected '{ORIGIN}'."),
    "audience empty": ({"aud": ""}, f"Token audience is '', expected '{ORIGIN}'."),
    "audience null": ({"aud": None}, INVALID),
    "audience an array of numbers": ({"aud": [1]}, INVALID),
    "audience an object": ({"aud": {ORIGIN: 1}}, INVALID),
    "issuer a lone surrogate": ({"iss": "\ud800"}, f"Token issuer is '\ud800', expected '{ORIGIN}'."),
    "expired, too": ({"iss": "other", "exp": 1}, EXPIRED),
}


@pytest.mark.parametrize(("changes", "detail"), RECIPIENTS.values(), ids=RECIPIENTS.keys())
def test_with_better_auth_url_issuer_and_audience_must_match_if_present(
    changes: dict[str, Any], detail: str | None, better_auth_url: None
) -> None:
    response = get(f"Bearer {token(**changes)}")
    if detail is None:
        assert response.status_code == 200
    else:
        assert response.status_code == 401
        assert json.loads(response.content) == {"detail": detail}


@pytest.mark.requirement("FR-011")
def test_the_answer_names_the_issuer_only_if_the_signature_is_valid(better_auth_url: None) -> None:
    response = get(f"Bearer {sign(claims(iss='https://evil.example'), secret='not the secret of this server!!!')}")
    assert response.json() == {"detail": INVALID}


def test_issuer_and_audience_can_be_configured(settings: Any, better_auth_url: None) -> None:
    settings.BETTER_AUTH_ISSUER = "https://issuer.example"
    settings.BETTER_AUTH_AUDIENCE = "todo"
    assert get(f"Bearer {token(iss='https://issuer.example', aud='todo')}").status_code == 200
    assert get(f"Bearer {token(aud='todo')}").json() == {
        "detail": "Token issuer is 'http://localhost:3000', expected 'https://issuer.example'."
    }


LARGE_VALUES = {
    "a claim": lambda number: sign(claims(id=number, x=[[]] * 1400)),
    "an audience": lambda number: sign(claims(id=number, aud=[ORIGIN, *(f"{item:x}" for item in range(700))])),
    "a header": lambda number: sign(claims(id=number), {**HEADER, "x": [[number], *[[]] * 1000]}),
    "a type": lambda number: sign(claims(id=number), {**HEADER, "typ": [[number], *[[]] * 1000]}),
}


@pytest.mark.parametrize("large_token", LARGE_VALUES.values(), ids=LARGE_VALUES.keys())
def test_an_accepted_token_occupies_little_more_memory_than_its_text(
    large_token: Callable[[int], str], better_auth_url: None
) -> None:
    sent = [f"Bearer {large_token(number)}" for number in range(30)]
    assert all(len(authorization) < 8192 for authorization in sent)

    def statuses(authorizations: list[str]) -> list[int]:
        return [get(authorization).status_code for authorization in authorizations]

    tracemalloc.start()
    try:
        assert statuses(sent[:10]) == [200] * 10
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        assert statuses(sent[10:]) == [200] * 20
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 20 < 30_000


def test_a_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    raw_token = token()
    get(f"Bearer {raw_token}")
    get(f"Bearer {raw_token}x")
    assert " 401 in " in caplog.text
    assert not any(part in caplog.text for part in raw_token.split("."))


@pytest.mark.requirement("FR-001")
def test_another_character_at_any_position_is_refused() -> None:
    raw_token = token()
    for position, character in enumerate(raw_token):
        if character == ".":
            continue
        changed = raw_token[:position] + ("x" if character != "x" else "y") + raw_token[position + 1 :]
        assert get(f"Bearer {changed}").status_code == 401, position
