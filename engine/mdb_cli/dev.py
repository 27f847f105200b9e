"""`mdb dev`: a server, the proxy in front of it, a login for every app; and the end of it all."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mdb_cli.cluster import cluster
from mdb_cli.embedded import embedded_server
from mdb_cli.keepsakes import Keepsake
from mdb_cli.logins import Wanted, logins
from mdb_cli.screen import Screen
from mdb_cli.uris import app_uri, lines_to_try, reachable
from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest, load_folder
from mdb_proxy.config import ProxySettings, Settings, load_settings
from mdb_proxy.signals import run
from mdb_proxy.startup import Ready, serve


@dataclass(frozen=True, slots=True)
class Started:
    """What is printed when everything runs."""

    proxy: str
    mongo_uri: str
    db_name: str
    uris: Mapping[str, str]

    def as_json(self) -> str:
        """Give the one line that scripts read."""
        apps = {slug: {"uri": uri} for slug, uri in self.uris.items()}
        rest = {"mongo_uri": self.mongo_uri, "db_name": self.db_name, "apps": apps}
        return json.dumps({"proxy": self.proxy, **rest})

    def as_text(self, python: str) -> str:
        """Give what a person reads: every app's URI, and what to type next."""
        width = max(map(len, self.uris), default=0)
        rows = (f"  {slug:<{width}}  {uri}" for slug, uri in self.uris.items())
        first = next(iter(self.uris.values()), "")
        tries = (f"  {line}" for line in lines_to_try(first, python))
        head = ["", "Ready. Each app has a URI of its own:", "", *rows, ""]
        tail = ["Try one of them:", "", *tries, "", "Ctrl-C stops everything.", ""]
        return "\n".join([*head, *tail])


def run_dev(settings: Settings, tell: Callable[[Started], None], screen: Screen) -> None:
    """Start everything, tell where it is, and stop it again at SIGINT or SIGTERM.

    Raises:
        EmbeddedError, ManifestValidationError, ConfigurationError, OSError: it did not start.
    """
    with _interruptible():
        manifests = load_folder(settings.manifests)
        if not manifests:
            raise ManifestValidationError("it holds no <slug>.json", source=str(settings.manifests))
        with _cluster(settings, screen) as (uri, kept_in):
            flags = settings.model_dump(exclude_unset=True) | {
                "mongo_uri": uri,
                "apply_indexes": True,
            }
            if kept_in is not None:
                flags["settle_seconds"] = 0.0  # nobody else serves what we embed
            job = _Job(load_settings(ProxySettings, flags), manifests, kept_in, tell, screen)
            run(job.work)
            screen.say("stopping")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the start-up as Ctrl-C does; both are a wish, not a failure."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _cluster(settings: Settings, screen: Screen) -> Iterator[tuple[str, Path | None]]:
    """Give the URI of the cluster, and the file of passwords if the cluster is our own."""
    if settings.mongo_uri is not None:
        yield settings.mongo_uri.get_secret_value(), None
        return
    with _stepwise(settings.data, screen) as uri:
        yield uri, settings.data / "credentials.json"


@contextmanager
def _stepwise(folder: Path, screen: Screen) -> Iterator[str]:
    """Run the embedded server, with a line on the screen for its start."""
    with ExitStack() as stack:
        with screen.step(f"embedded MongoDB, data in {folder}"):
            embedded = stack.enter_context(embedded_server(folder))
        yield embedded.uri


@dataclass(frozen=True, slots=True)
class _Job:
    """The part that lives in the event loop."""

    settings: ProxySettings
    manifests: Mapping[str, Manifest]
    kept_in: Path | None
    tell: Callable[[Started], None]
    screen: Screen

    async def work(self, stop: asyncio.Event) -> None:
        """Make the logins, serve until asked to stop, take the lent logins back."""
        uri = self.settings.mongo_uri.get_secret_value()
        active = tuple(slug for slug, manifest in self.manifests.items() if manifest.active)
        async with (
            cluster(uri) as client,
            logins(client[self.settings.db_name], Wanted(active, self.kept_in)) as kept,
        ):
            self.screen.say(f"credentials of {len(kept)} apps")
            await serve(self.settings, ready=self._ready(uri, kept), stop=stop)

    def _ready(self, uri: str, kept: Mapping[str, Keepsake]) -> Callable[[Ready], None]:
        """Give what the server calls once it listens."""

        def ready(now: Ready) -> None:
            address = reachable(now.host, now.port)
            uris = {
                slug: app_uri(kept[slug].name, kept[slug].password, address, now.homes[slug])
                for slug in now.slugs
                if slug in kept
            }
            self.tell(Started(address, uri, self.settings.db_name, uris))

        return ready
