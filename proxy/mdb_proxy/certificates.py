"""TLS towards clients: a context out of files, and what a handshake told of who came.

A context is built whole and then replaced, never changed: connections keep the one that they
began with.
"""

from __future__ import annotations

import ssl
from typing import Final
from weakref import WeakKeyDictionary

from cryptography import x509

from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.listeners import Keys
from mdb_proxy.subjects import subject_of

VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}

_asked: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
"""The host name that a client asked for; there is no other way to learn of it afterwards."""


def _remember(
    connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext
) -> None:
    if name is not None and isinstance(connection, ssl.SSLObject):
        _asked[connection] = name


def context_of(keys: Keys) -> ssl.SSLContext:
    """Read the files.

    Raises:
        ConfigurationError: one of them cannot be read, or they do not belong together.
    """
    assert keys.certificate is not None, "a listener with TLS has one"  # noqa: S101
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([])
    try:
        # A key with a passphrase would ask the terminal for it.
        context.load_cert_chain(keys.certificate, keys.key, _no_passphrase)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"certificate {keys.certificate}: {_why(error)}") from None
    if keys.client_ca is not None:
        try:
            context.load_verify_locations(keys.client_ca)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"client_ca {keys.client_ca}: {_why(error)}") from None
    context.verify_mode = VERIFY[keys.client_certificates]
    context.sni_callback = _remember
    return context


def _no_passphrase() -> str:
    msg = "the key has a passphrase"
    raise ValueError(msg)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)


def server_name(connection: ssl.SSLObject) -> str:
    """The host name that the client asked for (SNI); "" for none."""
    return _asked.get(connection, "")


def client_subject(connection: ssl.SSLObject) -> str:
    """The subject of the client's certificate, which was verified; "" when it showed none."""
    shown = connection.getpeercert(binary_form=True)
    return "" if shown is None else subject_of(x509.load_der_x509_certificate(shown).subject)
