"""What the engine stores beside the apps' data: the ledger of slugs, credentials, secrets."""

from mdb_engine.registry.claims import LedgerEntry
from mdb_engine.registry.ledger import entries, register, slugs
from mdb_engine.registry.secrets import proxy_secret

__all__ = ["LedgerEntry", "entries", "proxy_secret", "register", "slugs"]
