"""Certificates for the tests, made by the `openssl` command: an authority and what it signs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "2"


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates; keeps everything in a folder."""

    folder: Path
    name: str = "tests"

    @property
    def path(self) -> Path:
        """Give the file that whoever trusts this authority needs."""
        return self.folder / f"{self.name}-ca.pem"

    @property
    def key(self) -> Path:
        """Give the file of its key."""
        return self.folder / f"{self.name}-ca.key"

    def made(self) -> "Authority":
        """Make its own certificate."""
        what = ["-x509", "-days", DAYS, "-subj", f"/O={self.name}/CN={self.name} authority"]
        _openssl("req", *what, *_key(self.key), "-out", str(self.path))
        return self

    def issue(self, subject: str, names: str = "") -> Path:
        """Give a file with a new key and its certificate, for a server when it has names.

        `subject` as "/O=x/CN=y"; `names` as "DNS:localhost,IP:127.0.0.1".
        """
        stem = self.folder / subject.rpartition("=")[2].replace(" ", "-")
        request, key, signed = (stem.with_suffix(end) for end in (".csr", ".key", ".crt"))
        _openssl("req", "-new", "-subj", subject, *_key(key), "-out", str(request))
        usage = "serverAuth,clientAuth" if names else "clientAuth"
        lines = [f"extendedKeyUsage={usage}", *([f"subjectAltName={names}"] if names else [])]
        extensions = stem.with_suffix(".ext")
        extensions.write_text("\n".join(lines))
        signer = ["-CA", str(self.path), "-CAkey", str(self.key), "-CAcreateserial"]
        files = ["-in", str(request), "-out", str(signed), "-extfile", str(extensions)]
        _openssl("x509", "-req", "-days", DAYS, *signer, *files)
        both = stem.with_suffix(".pem")
        both.write_text(key.read_text() + signed.read_text())
        return both


def _key(path: Path) -> tuple[str, ...]:
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", str(path))


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    assert program is not None, "the tests need the openssl command"
    done = subprocess.run(  # noqa: S603 - our own arguments
        [program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
