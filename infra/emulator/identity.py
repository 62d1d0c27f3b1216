"""Who an instance is, in a way that others can check: identity tokens, signed with a key of the emulator's own."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from infra.emulator.defaults import default_account
from infra.emulator.model import Instance
from infra.emulator.resources import number_of

LIVES: Final = 3600
"""Seconds that a token is good for."""
ISSUER: Final = "https://accounts.google.com"


@dataclass(frozen=True)
class _Keys:
    key: rsa.RSAPrivateKey
    name: str
    certificate: str


class Identity:
    """Signs tokens; the key is made when it is first needed."""

    @cached_property
    def _keys(self) -> _Keys:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulator of identity tokens")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return _Keys(key, hashlib.sha1(pem.encode(), usedforsecurity=False).hexdigest(), pem)

    def certificates(self) -> dict[str, str]:
        """The public half, by the name of the key."""
        return {self._keys.name: self._keys.certificate}

    def token(self, instance: Instance, audience: str, full: bool, now: float) -> str:
        """A JWT that says which instance this is, meant for `audience`."""
        email = account_of(instance)
        account = number_of(email)
        claims: dict[str, Any] = {
            "aud": audience,
            "azp": account,
            "email": email,
            "email_verified": True,
            "exp": int(now) + LIVES,
            "iat": int(now),
            "iss": ISSUER,
            "sub": account,
        }
        if full:
            claims["google"] = {
                "compute_engine": {
                    "instance_creation_timestamp": int(instance.created),
                    "instance_id": str(instance.id),
                    "instance_name": instance.name,
                    "project_id": instance.project,
                    "project_number": int(number_of(instance.project)),
                    "zone": instance.zone,
                }
            }
        head = {"alg": "RS256", "kid": self._keys.name, "typ": "JWT"}
        signed = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self._keys.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"


def account_of(instance: Instance) -> str:
    """E-mail of the account that it acts as."""
    accounts = instance.asked.get("serviceAccounts", [])
    return str(accounts[0]["email"]) if accounts else default_account(instance.project)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
