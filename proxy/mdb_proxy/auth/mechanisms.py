"""The mechanisms that clients may log in with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mdb_engine.credentials import SCRAM_SHA_1, SCRAM_SHA_256
from mdb_proxy.auth.conversation import Mechanism
from mdb_proxy.auth.oidc import OidcConversation
from mdb_proxy.auth.plain import PlainConversation
from mdb_proxy.auth.scram import scram_sha_1, scram_sha_256
from mdb_proxy.auth.x509 import X509Conversation

OIDC: Final = "MONGODB-OIDC"
X509: Final = "MONGODB-X509"

MECHANISMS: Final[Mapping[str, Mechanism]] = MappingProxyType({
    OIDC: OidcConversation,
    X509: X509Conversation,
    "PLAIN": PlainConversation,
    SCRAM_SHA_1: scram_sha_1,
    SCRAM_SHA_256: scram_sha_256,
})  # fmt: skip

GUESSABLE: Final = frozenset({"PLAIN", SCRAM_SHA_1, SCRAM_SHA_256})
"""Those that a password opens: who tries too many must wait."""

ADVERTISED: Final = (SCRAM_SHA_256,)
"""What `hello` says of every name, known or not: whoever may choose takes the strongest; who
wants another mechanism asks for it without looking here."""
