"""The cluster behind the proxy: connected to at the start, and waited for while it is away.

What cannot be reached may come; what refuses us (a password, a certificate, an old release) is the
configuration, and ends the start.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, OperationFailure

from mdb_engine.exceptions import InitializationError, UnreachableError
from mdb_engine.scope.model import Features
from mdb_proxy.reload import Cluster
from mdb_proxy.upstream import PoolSettings, Upstream, open_upstream

APP_NAME: Final = "mdb-proxy"
SELECTION_SECONDS: Final = 10.0
MAX_WIRE_VERSION: Final = 17
"""The newest that the kernel knows (6.0): what later servers added is not in its tables."""

FIRST_SECONDS: Final = 5.0
"""How long a start waits for a member before it serves without the cluster."""

AGAIN_SECONDS: Final = 1.0
"""Between two attempts."""

UNKNOWN: Final = Cluster("6.0.0", MAX_WIRE_VERSION, Features())
"""What clients are told of a cluster that was not reached yet."""

_PASSING: Final = frozenset({50, 64, 91, 134, 189, 211, 11600, 11602})
"""Codes of a cluster that is not ready: time was up, no majority, no keys, an election."""

log = structlog.get_logger("mdb_proxy.behind")


@dataclass(frozen=True, slots=True)
class Behind:
    """The cluster: for clients' commands, and for our own."""

    upstream: Upstream
    control: AsyncMongoClient[dict[str, Any]]
    database: AsyncDatabase[dict[str, Any]]

    async def meet(self) -> Cluster:
        """What the cluster says of itself.

        Raises:
            UnreachableError, ConnectionFailure: it is not there. InitializationError,
                OperationFailure: it refuses us, or is too old.
        """
        await self.upstream.check(FIRST_SECONDS)
        info = await self.control.server_info()
        features = self.upstream.features
        numbers = tuple(info["versionArray"][:2])
        if features.max_wire_version < MAX_WIRE_VERSION:
            msg = "the cluster must run MongoDB 6.0 or newer"
            raise InitializationError(msg)
        return Cluster(
            info["version"],
            min(features.max_wire_version, MAX_WIRE_VERSION),
            Features(version=(numbers[0], numbers[1]), standalone=features.standalone),
        )


@asynccontextmanager
async def connected(uri: str, db_name: str) -> AsyncIterator[Behind]:
    """Watch a cluster, whether it is there or not.

    Raises:
        ConfigurationError: the URI is not usable. InitializationError: its name does not resolve.
    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(
            open_upstream(
                uri,
                app_name=APP_NAME,
                pool=PoolSettings(),
                selection_timeout=SELECTION_SECONDS,
            )
        )
        control: AsyncMongoClient[dict[str, Any]] = await stack.enter_async_context(
            AsyncMongoClient(uri, appname=APP_NAME, serverSelectionTimeoutMS=10_000)
        )
        yield Behind(upstream, control, control[db_name])


class Arrival:
    """Work that needs the cluster for the first time; tried again until it is done once."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._done = False
        self._said = ""

    async def attempt(self) -> bool:
        """Whether it is done now; False: the cluster cannot be reached.

        Raises:
            InitializationError, ManifestValidationError, OperationFailure: it will not be.
        """
        if self._done:
            return True
        try:
            await self._work()
        except (UnreachableError, ConnectionFailure, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code not in _PASSING:
                raise
            self._say(str(error).partition(", Timeout:")[0].partition(" (configured")[0])
        else:
            self._done = True
            if self._said:
                log.info("cluster.reached")
        return self._done

    async def complete(self) -> None:
        """Wait until it is done.

        Raises:
            InitializationError, ManifestValidationError, OperationFailure: as `attempt`.
        """
        for pause in itertools.repeat(AGAIN_SECONDS):
            if await self.attempt():
                return
            await asyncio.sleep(pause)

    def _say(self, reason: str) -> None:
        if reason != self._said:
            log.warning("cluster.awaited", reason=reason)
            self._said = reason
