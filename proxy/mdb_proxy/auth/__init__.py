"""How a client proves who it is: one SASL conversation per mechanism. No I/O."""

from mdb_proxy.auth.conversation import Conversation, Gate, Holder, Later, Lookup, Mechanism, Step
from mdb_proxy.auth.guests import Doors, Guest, Keys, SigningKey, TokenRule
from mdb_proxy.auth.mechanisms import ADVERTISED, GUESSABLE, MECHANISMS, OIDC, X509

__all__ = [
    "ADVERTISED",
    "GUESSABLE",
    "MECHANISMS",
    "OIDC",
    "X509",
    "Conversation",
    "Doors",
    "Gate",
    "Guest",
    "Holder",
    "Keys",
    "Later",
    "Lookup",
    "Mechanism",
    "SigningKey",
    "Step",
    "TokenRule",
]
