"""How a client proves who it is: one SASL conversation per mechanism. No I/O."""

from mdb_proxy.auth.conversation import Conversation, Lookup, Mechanism, Step
from mdb_proxy.auth.mechanisms import MECHANISMS
from mdb_proxy.auth.scram import scram_sha_256

__all__ = ["MECHANISMS", "Conversation", "Lookup", "Mechanism", "Step", "scram_sha_256"]
