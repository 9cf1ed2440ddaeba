"""The manager's certificate: made once, for its user only, and what is wrong with a given one."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from storekeeper.api.certificate import DATED_BACK, OWN_FILE, channel, fingerprint, self_signed
from storekeeper.declaration import Declaration
from storekeeper.errors import DeclarationError, Refused

NOW = 1767323045.0


def declared(**given: str) -> Declaration:
    return Declaration(host_id="flexdev01", image_storages={}, **given)  # type: ignore[arg-type]


def test_the_first_start_makes_one_and_the_next_ones_keep_it(tmp_path: Path) -> None:
    first = channel(declared(), str(tmp_path / "new"), NOW)
    assert channel(declared(), str(tmp_path / "new"), NOW + 10**6).fingerprint == first.fingerprint
    assert stat.S_IMODE(os.stat(tmp_path / "new" / OWN_FILE).st_mode) == 0o600


def test_the_fingerprint_is_the_sha_256_of_the_der_in_hexadecimal() -> None:
    pem = self_signed("flexdev01", NOW)
    text = pem[pem.index(b"-----BEGIN CERTIFICATE") :].decode()
    import hashlib

    assert fingerprint(pem) == "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()


def test_it_is_dated_back_a_day() -> None:
    certificate = x509.load_pem_x509_certificates(self_signed("flexdev01", NOW))[0]
    assert certificate.not_valid_before_utc == datetime.fromtimestamp(NOW, UTC) - DATED_BACK


def test_an_id_as_long_as_ids_may_be_has_one_too() -> None:
    assert fingerprint(self_signed("h" * 63, NOW))


def test_a_given_certificate_is_used(tmp_path: Path) -> None:
    file = tmp_path / "given.pem"
    file.write_bytes(self_signed("other", NOW))
    found = channel(declared(certificate=str(file), key=str(file)), None, NOW)
    assert found.fingerprint == fingerprint(file.read_bytes())


def test_a_given_certificate_that_cannot_be_used_is_an_error_of_the_declaration(tmp_path: Path) -> None:
    good, other, text = tmp_path / "good.pem", tmp_path / "other.pem", tmp_path / "text.pem"
    good.write_bytes(self_signed("a", NOW))
    other.write_bytes(self_signed("b", NOW))
    text.write_text("no PEM")
    for certificate, key in ((good, other), (good, text), (text, good), (tmp_path / "none", good)):
        with pytest.raises(DeclarationError, match=r"manager\.certificate: .* cannot be used"):
            channel(declared(certificate=str(certificate), key=str(key)), None, NOW)


def test_a_key_with_a_password_is_an_error_and_not_a_question_on_the_terminal(tmp_path: Path) -> None:
    good, locked = tmp_path / "good.pem", tmp_path / "locked.pem"
    good.write_bytes(self_signed("a", NOW))
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(DeclarationError):
        channel(declared(certificate=str(good), key=str(locked)), None, NOW)


def test_without_a_place_to_keep_its_own_one_must_be_given() -> None:
    with pytest.raises(DeclarationError, match=r"manager\.certificate"):
        channel(declared(), None, NOW)


def test_a_damaged_one_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / OWN_FILE).write_text("damaged")
    with pytest.raises(Refused, match=OWN_FILE):
        channel(declared(), str(tmp_path), NOW)
    assert (tmp_path / OWN_FILE).read_text() == "damaged"
