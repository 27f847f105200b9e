"""The mechanisms that clients may log in with; `hello` advertises the keys."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mdb_engine.credentials import SCRAM_SHA_256
from mdb_proxy.auth.conversation import Mechanism
from mdb_proxy.auth.scram import scram_sha_256

MECHANISMS: Final[Mapping[str, Mechanism]] = MappingProxyType({SCRAM_SHA_256: scram_sha_256})
