"""The command line `mdb-proxy`: what an operator runs in production."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from mdb_proxy.exits import UNREACHABLE, one_sentence

app = typer.Typer(
    name="mdb-proxy",
    help="Gives each app its own slice of a MongoDB cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SHORT_NAME = 8
WHY = "a longer one is rarer in texts that are not about it"

MongoURI = Annotated[str | None, typer.Option(help="The cluster; better in MONGO_URI.")]
Database = Annotated[str | None, typer.Option(help="The physical database that holds all apps.")]
Manifests = Annotated[Path | None, typer.Option(help="The folder of <slug>.json files.")]
Listen = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect.")]
Listeners = Annotated[
    list[str] | None,
    typer.Option(
        "--listen", metavar="WHERE", help="HOST:PORT, tls://HOST:PORT?..., unix:///PATH?...; often."
    ),
]
Certificate = Annotated[Path | None, typer.Option(help="PEM: the chain, and perhaps the key.")]
Key = Annotated[Path | None, typer.Option(help="PEM: the key, where it stands alone.")]
ClientCA = Annotated[
    Path | None, typer.Option("--tls-client-ca", help="PEM: who signs clients' certificates.")
]
ClientCertificates = Annotated[str | None, typer.Option(help="none, optional or required.")]
Admin = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the admin pages are.")]
Workers = Annotated[str | None, typer.Option(help="Processes; auto: one for every core.")]
Indexes = Annotated[bool | None, typer.Option("--apply-indexes", help="Make the indexes first.")]
Level = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
Format = Annotated[str | None, typer.Option(help="auto, console or json.")]


@app.command()
def serve(
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    manifests: Manifests = None,
    listen: Listeners = None,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_client_ca: ClientCA = None,
    tls_client_certificates: ClientCertificates = None,
    admin: Admin = None,
    workers: Workers = None,
    apply_indexes: Indexes = None,
    log_level: Level = None,
    log_format: Format = None,
) -> None:
    """Serve clients until SIGTERM or Ctrl-C; SIGHUP reads manifests and certificates again.

    Every option is also MDB_PROXY_<OPTION> in the environment and a key of mdb-proxy.toml.
    """
    flags = dict(locals())  # the parameters, and nothing else yet
    with one_sentence("mdb-proxy"):
        _serve(flags)


def _serve(flags: dict[str, Any]) -> None:
    """Load the settings, set up the logs and serve."""
    import asyncio

    from mdb_engine.observability import configure_logging
    from mdb_proxy.config import ProxySettings, load_settings

    settings = load_settings(ProxySettings, flags)
    configure_logging(settings.log_level, settings.log_format)
    from mdb_proxy.signals import run
    from mdb_proxy.startup import Ready, serve

    def ready(now: Ready) -> None:
        for name in now.names:
            typer.echo(f"listening on {name}")
        if len(settings.db_name) < SHORT_NAME:
            typer.echo(f"mdb-proxy: {settings.db_name!r} is a short database name; {WHY}", err=True)

    again = asyncio.Event()
    job: Callable[..., Coroutine[Any, Any, None]] = serve
    if settings.processes > 1:
        from mdb_proxy.supervisor import supervise

        job = supervise
    run(lambda stop: job(settings, ready=ready, stop=stop, again=again), again)


@app.command()
def health(listen: Listen = None) -> None:
    """Ask a running proxy for its hello; exit code 4 when it does not answer."""
    from pymongo import MongoClient

    from mdb_proxy.config import Settings, load_settings

    with one_sentence("mdb-proxy"):
        place = load_settings(Settings, {"listen": listen}).listening[0]
        options: dict[str, Any] = {"tls": True, "tlsInsecure": True} if place.tls else {}
        client: MongoClient[dict[str, Any]]
        with MongoClient(
            place.path or place.host,
            place.port or None,
            directConnection=True,
            serverSelectionTimeoutMS=5_000,
            **options,
        ) as client:
            answer = client.admin.command("hello")
        if not answer.get("isWritablePrimary"):
            typer.echo("mdb-proxy: it answers, and has no cluster behind it", err=True)
            raise typer.Exit(UNREACHABLE)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("mdb-engine"))


def main() -> None:
    """Run the command line."""
    app()
