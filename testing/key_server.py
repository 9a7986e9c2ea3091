"""A server in place of Better Auth's key endpoint. Tests set its delay and its failures, and read its requests."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

# The settings for tokens that published keys verify. No key server listens at this address.
PUBLISHING = {
    "BETTER_AUTH_URL": "http://localhost:3000",
    "BETTER_AUTH_JWKS_URL": "http://127.0.0.1:9/jwks",
    "BETTER_AUTH_ISSUER": "http://localhost:3000",
    "BETTER_AUTH_AUDIENCE": "http://localhost:3000",
}


class SigningKey:
    """A private key, and the JWK that is published for it."""

    def __init__(self, algorithm: str, kid: str) -> None:
        self.algorithm = algorithm
        self.kid = kid
        to_jwk: Any
        if algorithm == "EdDSA":
            self.private: Any = ed25519.Ed25519PrivateKey.generate()
            to_jwk = OKPAlgorithm.to_jwk
        elif algorithm in ("ES256", "ES512"):
            self.private = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP521R1())
            to_jwk = ECAlgorithm.to_jwk
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            to_jwk = RSAAlgorithm.to_jwk
        published = json.loads(to_jwk(self.private.public_key()))
        published.pop("key_ops", None)
        # As Better Auth publishes it: with `alg` and `kid`, without `use`.
        self.jwk = {**published, "alg": algorithm, "kid": kid}
        self.private_jwk = {**json.loads(to_jwk(self.private)), "alg": algorithm, "kid": kid}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token as Better Auth signs it, without a `typ`. A header with the value `...` is left out."""
        headers = {"kid": self.kid, "typ": None, **header}
        return jwt.encode(
            claims,
            self.private,
            algorithm=self.algorithm,
            headers={name: value for name, value in headers.items() if value is not ...},
        )


class KeyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/api/auth/jwks"
        self.status = 200
        self.headers: dict[str, str] = {}
        # Seconds before an answer, and between its bytes.
        self.delay = self.drip = 0.0
        self.released = threading.Event()
        self.released.set()
        self.requests: list[dict[str, str]] = []
        self.publish(*keys)

    def publish(self, *keys: SigningKey) -> None:
        self.body = json.dumps({"keys": [key.jwk for key in keys]}).encode()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Delays every answer until the end of the context."""
        self.released.clear()
        try:
            yield
        finally:
            self.released.set()


class Handler(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        body, drip = self.server.body, self.server.drip
        self.server.requests.append({"path": self.path, **self.headers})
        time.sleep(self.server.delay)
        self.server.released.wait()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.end_headers()
            step = 1 if drip else max(1, len(body))
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(drip)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def key_server(*keys: SigningKey) -> Iterator[KeyServer]:
    with KeyServer(*keys) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
