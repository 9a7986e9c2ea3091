"""The configurations of proxies in docs/deployment.md, each with TLS in front of the production server."""

import http.client
import json
import socket
import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from testing.http import assert_closed
from testing.processes import SECRET
from testing.servers import ServerProcess, stable_port, wait_until
from testing.timing import timed
from testing.tokens import HEADER, claims, sign

from .servers import Backend, Caddy, Certificate, Haproxy, Nginx, Postgresql, make_certificate

NAME = "todo.example.com"
ORIGIN = "http://localhost:3000"
# The origin in docs/deployment.md
FRONTEND = "https://www.example.com"
# Bytes of the largest token and of the largest body that the API accepts
MAX_TOKEN = 8192
MAX_BODY = 65536
# Requests of one client address that nginx lets through at once
MAX_REQUESTS = 32
# Seconds that a connection has for the head of a request
HEADER_TIMEOUT = 10


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return make_certificate(folder, NAME)


@pytest.fixture(scope="module")
def instance(folder: Path, postgresql: Postgresql) -> Iterator[Backend]:
    """A backend with four threads that accepts `NAME` alone as host, and cannot fetch Better Auth's keys."""
    jwks_url = f"http://127.0.0.1:{stable_port()}/jwks"
    with Backend(
        folder,
        postgresql.todo_url(),
        threads=4,
        ALLOWED_HOSTS=NAME,
        BETTER_AUTH_URL=ORIGIN,
        BETTER_AUTH_JWKS_URL=jwks_url,
    ) as instance:
        yield instance


def make_proxies(folder: Path, certificate: Certificate, instance: Backend) -> dict[str, ServerProcess]:
    return {
        "nginx": Nginx(folder, certificate, instance),
        "caddy": Caddy(folder, certificate, instance),
        "haproxy": Haproxy(folder, instance, instance, certificate),
    }


@pytest.fixture(scope="module", params=["nginx", "caddy", "haproxy"])
def proxy(
    request: pytest.FixtureRequest, folder: Path, certificate: Certificate, instance: Backend
) -> Iterator[ServerProcess]:
    with make_proxies(folder, certificate, instance)[request.param] as proxy:
        yield proxy


class Client:
    """One user over HTTPS. It verifies that the proxy has the certificate of `NAME`."""

    def __init__(self, proxy: ServerProcess, certificate: Certificate, address: str = "127.0.0.1") -> None:
        self.port = proxy.port
        self.address = address
        self.context = ssl.create_default_context(cafile=certificate.chain)
        self.token = largest_token()

    @contextmanager
    def connected(self, timeout: float = 20) -> Iterator[http.client.HTTPConnection]:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, source_address=(self.address, 0))
        with closing(http.client.HTTPConnection(NAME)) as client:
            client.sock = self.context.wrap_socket(plain, server_hostname=NAME)
            yield client

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        with self.connected() as client:
            client.request(method, path, body, {**self.headers(), **headers})
            response = client.getresponse()
            return response.status, response.headers, response.read()


def largest_token() -> str:
    """A token of `MAX_TOKEN` bytes for a new user."""
    payload = claims(str(uuid.uuid4()), name="")
    spare = MAX_TOKEN - len(sign(payload, secret=SECRET))
    token = sign({**payload, "name": "a" * (spare * 3 // 4)}, secret=SECRET)
    assert MAX_TOKEN - 4 < len(token) <= MAX_TOKEN
    return token


def task(title: str, size: int) -> bytes:
    """The JSON of a task, padded with white space to that many bytes."""
    return json.dumps({"title": title}).encode().rjust(size)


@pytest.fixture
def client(proxy: ServerProcess, certificate: Certificate) -> Client:
    return Client(proxy, certificate)


def test_a_task_is_created_and_listed(client: Client) -> None:
    """With the largest token and the largest body."""
    status, headers, body = client.request("POST", "/api/tasks", task("Buy milk", MAX_BODY), {"X-Request-ID": "mine"})
    created = json.loads(body)
    assert (status, created["title"]) == (201, "Buy milk")
    assert headers["Location"] == f"/api/tasks/{created['id']}"
    assert headers["X-Request-ID"] == "mine"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    status, headers, body = client.request("GET", "/api/tasks/?status=pending")
    assert (status, json.loads(body)) == (200, [created])


def test_slow_uploads_occupy_no_thread(client: Client) -> None:
    body = task("Buy milk", MAX_BODY)
    with ExitStack() as stack:
        uploads = [stack.enter_context(client.connected()) for _ in range(16)]
        for upload in uploads:
            upload.request("POST", "/api/tasks", headers={**client.headers(), "Content-Length": str(len(body))})
            upload.send(body[:-1])
        status, _, _ = client.request("POST", "/api/tasks", body)
        assert status == 201
        for upload in uploads:
            upload.send(body[-1:])
        # One user with as many bodies at once as the proxy reads: none is refused.
        assert {upload.getresponse().status for upload in uploads} == {201}


def test_errors_pass_unchanged(client: Client) -> None:
    status, _, body = client.request("POST", "/api/tasks", b" " * (MAX_BODY + 1))
    assert (status, body) == (413, b'{"detail":"The body is too large."}')
    client.token = sign(claims(), {**HEADER, "alg": "EdDSA", "kid": "1"}, secret=SECRET)
    status, headers, body = client.request("GET", "/api/tasks", headers={"Origin": ORIGIN})
    assert (status, json.loads(body).keys()) == (503, {"detail"})
    assert headers["Retry-After"]
    assert headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_preflight_passes(client: Client) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    status, headers, _ = client.request("OPTIONS", "/api/tasks", headers=asked)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
def test_one_address_has_a_limited_number_of_requests_at_once(proxy: ServerProcess, certificate: Certificate) -> None:
    client, neighbour = Client(proxy, certificate), Client(proxy, certificate, "127.0.0.2")

    def list_tasks() -> tuple[int, http.client.HTTPMessage, bytes]:
        return client.request("GET", "/api/tasks", headers={"Origin": FRONTEND})

    with ExitStack() as stack:
        uploads = [stack.enter_context(client.connected()) for _ in range(MAX_REQUESTS)]
        for upload in uploads:
            upload.request("POST", "/api/tasks", headers={**client.headers(), "Content-Length": "2"})
        wait_until(lambda: list_tasks()[0] == 503, "nginx has read the heads of the uploads")
        status, headers, body = list_tasks()
        assert (status, json.loads(body).keys()) == (503, {"detail"})
        assert headers["Content-Type"] == "application/json"
        assert headers["Retry-After"] == "1"
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["Access-Control-Allow-Origin"] == FRONTEND
        assert headers["Access-Control-Allow-Credentials"] == "true"
        assert headers["Access-Control-Expose-Headers"] == "Retry-After"
        assert neighbour.request("GET", "/api/tasks")[0] == 200
        for upload in uploads:
            upload.send(b"{}")
        assert {upload.getresponse().status for upload in uploads} == {422}
    wait_until(lambda: list_tasks()[0] == 200, "the address may send requests again")


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
def test_abandoned_requests_do_not_queue(proxy: ServerProcess, client: Client, postgresql: Postgresql) -> None:
    """Granian answers them in any case, so nginx lets through no more than `MAX_REQUESTS` that are not answered yet."""
    client.token = sign(claims("impatient"), secret=SECRET)
    postgresql.query(
        "INSERT INTO tasks_task (user_id, title, description, completed, created_at, updated_at)"
        " SELECT 'impatient', 'x', repeat('\x01', 1000), false, now(), now() FROM generate_series(1, 2000)"
    )
    _, one = timed(lambda: client.request("GET", "/api/tasks"))
    for _ in range(300):
        with client.connected() as abandoned:
            abandoned.request("GET", "/api/tasks", headers=client.headers())
    _, queue = timed(lambda: wait_until(lambda: client.request("GET", "/healthz")[0] == 200, "nginx lets it through"))
    print(f"one list: {one:.3f} s, the queue: {queue:.3f} s")
    assert queue < 1.5 * MAX_REQUESTS * one


def test_half_heads_are_ended_and_stop_nobody(
    files: None, tmp_path: Path, certificate: Certificate, instance: Backend
) -> None:
    """To nginx more of them than the 1536 connections that Debian's configuration allows it on two cores."""
    with ExitStack() as stack:
        half_heads = []
        for name, proxy in make_proxies(tmp_path, certificate, instance).items():
            client = Client(stack.enter_context(proxy), certificate)
            for _ in range(1600 if name == "nginx" else 1):
                # Shorter than the time after which a connection becomes free again
                half_head = stack.enter_context(client.connected(timeout=5)).sock
                half_head.sendall(b"GET /healthz HTTP/1.1\r\nHo")
                half_heads.append(half_head)
            assert client.request("GET", "/healthz")[0] == 200
        assert_closed(half_heads, HEADER_TIMEOUT + 2)
