"""A certificate's subject reads as openssl prints it."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mdb_proxy.subjects import SHORT, subject_of

OWN = x509.ObjectIdentifier("1.2.3.4.5.6")


def name_of(*parts: tuple[x509.ObjectIdentifier, str] | list[tuple[x509.ObjectIdentifier, str]]):
    sets = [part if isinstance(part, list) else [part] for part in parts]
    return x509.Name(
        x509.RelativeDistinguishedName(x509.NameAttribute(oid, value) for oid, value in each)
        for each in sets
    )


CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741
NAMES = {
    "CN=client,O=tests": name_of((O, "tests"), (CN, "client")),
    'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h=i/j': name_of((CN, 'a,b+c"d\\e<f>g;h=i/j')),
    "CN=\\#x#\\ ,O=\\ a b\\ ": name_of((O, " a b "), (CN, "#x# ")),
    "CN=\\C3\\BC\\0A,O=\\E6\\97\\A5": name_of((O, "日"), (CN, "ü\n")),
    "1.2.3.4.5.6=#0C0568656C6C6F,O=x": name_of((O, "x"), (OWN, "hello")),
    f"1.2.3.4.5.6=#0C8190{'61' * 144}": name_of((OWN, "a" * 144)),
    "": name_of(),
}


def test_subjects() -> None:
    for text, name in NAMES.items():
        assert subject_of(name) == text


def every_name() -> x509.Name:
    fixed = {NameOID.COUNTRY_NAME: "DE", NameOID.JURISDICTION_COUNTRY_NAME: "DE"}
    plain = [(oid, fixed.get(oid, "v")) for oid in SHORT if oid != NameOID.X500_UNIQUE_IDENTIFIER]
    return name_of(*plain, [(CN, "a"), (O, "b"), (OWN, "c")])


@pytest.mark.parametrize("name", [*NAMES.values(), every_name()])
def test_openssl_says_the_same(name: x509.Name, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    path, key = tmp_path / "x.pem", ed25519.Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    path.write_bytes(made.sign(key, None).public_bytes(Encoding.PEM))
    command = [openssl, "x509", "-in", path, "-noout", "-subject", "-nameopt", "RFC2253"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert said.stdout == f"subject={subject_of(name)}\n"
