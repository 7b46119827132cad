"""GitHub's OIDC issuer and Entra's token endpoint: real signatures, checked as the real ones check them.

The shapes are those that azure-identity 1.27 sends and takes; messages as Entra words them.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.doubles.azure.wire import Answer, Request

TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT = "22222222-2222-4222-8222-222222222222"
SUBSCRIPTION = "33333333-3333-4333-8333-333333333333"
SUBJECT = "repo:acme@7/distro@42:ref:refs/heads/main"
GITHUB = "https://token.actions.githubusercontent.com"
EXCHANGE = "api://AzureADTokenExchange"
MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net/")


class BadTokenError(Exception):
    """Why a token is refused."""


class Signer:
    """Makes and checks JSON Web Tokens with RS256."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(self, claims: Mapping[str, Any]) -> str:
        head = _encoded(json.dumps({"typ": "JWT", "alg": "RS256", "kid": "double"}).encode())
        body = _encoded(json.dumps(claims).encode())
        signature = self._key.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{body}.{_encoded(signature)}"

    def check(self, token: str, *, now: float) -> dict[str, Any]:
        try:
            head, body, signature = token.split(".")
            self._key.public_key().verify(
                _decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims: dict[str, Any] = json.loads(_decoded(body))
        except (ValueError, InvalidSignature) as error:
            raise BadTokenError("its signature is wrong") from error
        if not claims["nbf"] <= now < claims["exp"]:
            raise BadTokenError("it is not within its valid time range")
        return claims


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Entra:
    """``subjects`` are those of the application's federated credentials."""

    subjects: tuple[str, ...] = (SUBJECT,)
    job_subject: str = SUBJECT
    request_token: str = "gh-request-token"
    lifetime: float = 3599.0
    now: Callable[[], float] = time.time
    assertions: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    _github: Signer = field(default_factory=Signer)
    _entra: Signer = field(default_factory=Signer)

    def serve(self, request: Request) -> Answer | None:
        """The answer to what is ours; None for anything else."""
        if request.path == "/github/token":
            return self._assertion(request)
        if request.path.endswith("/oauth2/v2.0/token"):
            return self._token(request)
        return None

    def _assertion(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"bearer {self.request_token}":
            return Answer(status=401, body={"message": "Bad credentials"})
        now = int(self.now())
        claims = {
            "iss": GITHUB,
            "aud": request.query.get("audience"),
            "sub": self.job_subject,
            "jti": str(uuid.uuid4()),
        }
        token = self._github.sign({**claims, "iat": now, "nbf": now - 300, "exp": now + 300})
        self.assertions.append(token)
        return Answer(status=200, body={"count": len(token), "value": token})

    def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode()))
        tenant = request.path.split("/")[1]
        if tenant != TENANT:
            return _refused("invalid_request", 90002, f"Tenant '{tenant}' not found.", 400)
        if form.get("client_id") != CLIENT:
            return _refused("unauthorized_client", 700016, "Application was not found in the directory.", 400)
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return _refused("invalid_client", 7000218, "The request body must contain: 'client_assertion'.", 401)
        try:
            claims = self._github.check(form.get("client_assertion", ""), now=self.now())
        except BadTokenError as error:
            return _refused("invalid_client", 700024, f"Client assertion is refused: {error}", 401)
        if claims["aud"] != EXCHANGE or claims["sub"] not in self.subjects:
            told = f"No matching federated identity record found for presented assertion subject '{claims['sub']}'."
            return _refused("invalid_client", 700213, told, 401)
        self.used.append(form["client_assertion"])
        return Answer(
            status=200,
            body={
                "token_type": "Bearer",
                "expires_in": int(self.lifetime),
                "ext_expires_in": int(self.lifetime),
                "access_token": self.access_token(form["scope"].replace("/.default", "")),
            },
        )

    def access_token(self, audience: str = MANAGEMENT[0]) -> str:
        now = int(self.now())
        claims = {"aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "appid": CLIENT, "tid": TENANT}
        return self._entra.sign({**claims, "oid": CLIENT, "iat": now - 5, "nbf": now - 5, "exp": now + self.lifetime})

    def refusal(self, request: Request) -> Answer | None:
        """ARM's answer to a request without a good token; None for one that has it."""
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return _unauthorized("AuthenticationFailed", "The 'Authorization' header is missing.")
        try:
            claims = self._entra.check(given[7:], now=self.now())
        except BadTokenError as error:
            return _unauthorized("InvalidAuthenticationToken", f"The access token is invalid: {error}.")
        if claims["aud"] not in MANAGEMENT:
            return _unauthorized("InvalidAuthenticationToken", "The access token has the wrong audience.")
        return None


def _refused(error: str, number: int, text: str, status: int) -> Answer:
    told = f"AADSTS{number}: {text} Trace ID: {uuid.uuid4()}"
    return Answer(status=status, body={"error": error, "error_description": told, "error_codes": [number]})


def _unauthorized(code: str, message: str) -> Answer:
    return Answer(status=401, body={"error": {"code": code, "message": message}})
