"""Where commands find the manager of this host, when nobody says where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from storekeeper.api.certificate import fingerprint, self_signed
from storekeeper.cli import options
from storekeeper.declaration import DEFAULT_LISTEN

CERTIFICATE = self_signed("flexdev01", 1_800_000_000.0)


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The declaration of this host's manager, which is not there yet."""
    file = tmp_path / "storekeeper.toml"
    monkeypatch.setattr(options, "DEFAULT_PATH", str(file))
    monkeypatch.setattr(options, "OWN_CERTIFICATE", str(tmp_path / "certificate.pem"))
    (tmp_path / "certificate.pem").write_bytes(CERTIFICATE)
    return file


def test_without_a_declaration_it_is_where_it_is_by_default(declared: Path) -> None:
    assert not declared.exists()
    assert options._own_manager() == (f"http://{DEFAULT_LISTEN}", "")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9", "http://127.0.0.1:9"),
        ("localhost:9", "http://localhost:9"),
        ("[::1]:9", "http://[::1]:9"),
        ("192.0.2.1:9", "https://192.0.2.1:9"),
        ("0.0.0.0:9", "https://127.0.0.1:9"),
        ("[::]:9", "https://[::1]:9"),
    ],
)
def test_off_loopback_it_is_known_by_its_own_certificate(declared: Path, listen: str, url: str) -> None:
    declared.write_text(f'[manager]\nlisten = "{listen}"\n')
    pinned = fingerprint(CERTIFICATE) if url.startswith("https") else ""
    assert options._own_manager() == (url, pinned)


def test_with_a_declared_certificate_it_is_known_by_that_on_loopback_too(declared: Path) -> None:
    other = self_signed("flexdev01", 1_800_000_000.0)
    given = declared.with_name("given.pem")
    given.write_bytes(other)
    declared.write_text(f'[manager]\nlisten = "127.0.0.1:9"\ncertificate = "{given}"\nkey = "{given}"\n')
    assert options._own_manager() == ("https://127.0.0.1:9", fingerprint(other))
