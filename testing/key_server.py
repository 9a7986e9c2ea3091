"""A server in place of Better Auth's key endpoint. Tests set its delay and its failures, and read its requests."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
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

    def __init__(self, algorithm: str, kid: str, rsa_bits: int = 2048) -> None:
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
            self.private = rsa.generate_private_key(65537, rsa_bits)
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
        self.status: int | str = 200
        self.reason = "OK"
        self.headers: dict[str, str] = {}
        # Seconds before an answer, between the bytes of its headers, and between the bytes of its body.
        self.delay = self.drip_headers = self.drip = 0.0
        self.released = threading.Event()
        self.released.set()
        self.requests: list[dict[str, str]] = []
        self.open_connections = 0
        self.publish(*keys)

    def publish(self, *keys: SigningKey) -> None:
        self.body = json.dumps({"keys": [key.jwk for key in keys]}).encode()

    def use_tls(self, folder: Path) -> Path:
        """Changes to HTTPS, with a certificate that signs itself. Returns the certificate's file."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        certificate = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
        chain = folder / "chain.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")
        return chain

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
        server = self.server
        server.requests.append({"path": self.path, **self.headers})
        server.open_connections += 1
        time.sleep(server.delay)
        server.released.wait()
        lines = [
            f"HTTP/1.0 {server.status} {server.reason}",
            *(f"{name}: {server.headers[name]}" for name in server.headers),
        ]
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send("\r\n".join([*lines, "\r\n"]).encode(), server.drip_headers)
            self.send(server.body, server.drip)
        server.open_connections -= 1

    def send(self, data: bytes, drip: float) -> None:
        step = 1 if drip else max(1, len(data))
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
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
