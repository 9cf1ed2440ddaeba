"""The certificate that the manager is known by off loopback: a given one, or one that it signs itself.

Who connects pins the certificate's SHA-256 and looks at nothing else in it, so that neither a name nor a
clock that is wrong cuts anybody off.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from storekeeper.declaration import Declaration
from storekeeper.errors import DeclarationError, Refused
from storekeeper.manager.access import write_privately

# Key and certificate in one file: they are made together or not at all.
OWN_FILE = "certificate.pem"
# Those whose clock is behind may check dates after all.
DATED_BACK = timedelta(days=1)
LASTS = timedelta(days=20 * 365)


class Channel(NamedTuple):
    """What HTTPS is served with. `fingerprint`: `sha256:HEX` of the certificate's DER, to be pinned."""

    context: ssl.SSLContext
    fingerprint: str


def channel(declaration: Declaration, directory: str | None, now: float) -> Channel:
    """The declared certificate; else the manager's own in `directory`, made when there is none.

    `now` in epoch seconds.

    Raises:
        DeclarationError: what is declared cannot be used, or there is no directory for one of its own.
        Refused: the manager's own cannot be made or used.
    """
    if declaration.certificate:
        try:
            return _channel(declaration.certificate, declaration.key)
        except (OSError, ValueError) as error:
            raise DeclarationError(
                "manager.certificate",
                f"{declaration.certificate!r} and {declaration.key!r} cannot be used ({_why(error)}); write "
                "files of PEM, the key without a password and of this certificate",
            ) from error
    if directory is None:
        raise DeclarationError(
            "manager.certificate",
            "is missing, and a database in memory has no place for one; write both keys",
        )
    path = os.path.join(directory, OWN_FILE)
    try:
        if not os.path.lexists(path):
            write_privately(path, self_signed(declaration.host_id, now))
        return _channel(path, path)
    except (OSError, ValueError) as error:
        raise Refused(
            f"The manager's certificate {path} cannot be made or used: {_why(error)}. Who moves it away gets "
            "another at the next start, which every agent must then be told of."
        ) from error


def self_signed(host_id: str, now: float) -> bytes:
    """A new key and its certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Storekeeper on {host_id}"[:64])])
    made = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - DATED_BACK)
        .not_valid_after(made + LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_id)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)


def fingerprint(pem: bytes) -> str:
    """Of the first certificate in a text of PEM, which is the server's own.

    Raises:
        ValueError: it holds none.
    """
    der = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _channel(certificate: str, key: str) -> Channel:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A key with a password would be asked for on the terminal.
    context.load_cert_chain(certificate, key, password="")
    with open(certificate, "rb") as file:
        return Channel(context, fingerprint(file.read()))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or "it is no such file"
