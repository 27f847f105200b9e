"""`mdb apps`: the apps of a cluster and the credentials that open them."""

import json
import sys
from typing import Annotated, Any

import typer

from mdb_proxy.exits import FAILED, one_sentence

app = typer.Typer(name="apps", help="The apps of a cluster.", no_args_is_help=True)
credentials = typer.Typer(name="credentials", help="Who may log in.", no_args_is_help=True)
app.add_typer(credentials)

Slug = Annotated[str, typer.Argument(help="The app.")]
Login = Annotated[str, typer.Argument(help="The credential's name.")]
MongoURI = Annotated[str | None, typer.Option(help="The cluster; better in MONGO_URI.")]
Database = Annotated[str | None, typer.Option(help="The physical database that holds all apps.")]
Name = Annotated[str | None, typer.Option(help="Login name; the slug when it is free.")]
Role = Annotated[str, typer.Option(help="readWrite or read.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
Proxy = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="The proxy's address in the URI.")
]
SHA1 = Annotated[bool, typer.Option("--sha1", help="Also for clients that only know SHA-1.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="The password may also come as it is (PLAIN), over TLS.")
]
Subject = Annotated[
    str | None,
    typer.Option(metavar="CN=app,O=Example", help="Proven by a certificate of this subject."),
]
Unlimited = Annotated[bool, typer.Option("--unlimited-results", help="For dumps.")]
Lifetime = Annotated[
    str | None, typer.Option(metavar="TIME", help="Ends after 30s, 15m, 12h or 7d.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@credentials.command()
def create(
    slug: Slug,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    name: Name = None,
    role: Role = "readWrite",
    password_stdin: FromStdin = False,
    sha1: SHA1 = False,
    plain: Plain = False,
    x509_subject: Subject = None,
    expires_in: Lifetime = None,
    unlimited_results: Unlimited = False,
    proxy: Proxy = None,
    as_json: AsJSON = False,
) -> None:
    """Make a credential and print its name, password and URI; the password is shown only now."""
    password = _password(password_stdin)
    with one_sentence("mdb apps credentials create"):
        settings = _settings(mongo_uri, db_name, proxy)
        from mdb_cli.credentials import Order, create_credential
        from mdb_engine.registry.credentials import Terms

        end = _end(expires_in)
        terms = Terms(role, sha1, plain, x509_subject or "", end, unlimited_results)
        order = Order(slug, name, password, settings.listening[0], terms)
        made = create_credential(settings, order)
    if not made.known:
        typer.echo(f"warning: no manifest of {slug} was ever loaded on this cluster", err=True)
    _show([_printed(made)], as_json=as_json, single=True)


@credentials.command()
def rotate(
    name: Login,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    grace: Annotated[str, typer.Option(metavar="TIME", help="How long the old one lasts.")] = "24h",
    password_stdin: FromStdin = False,
    proxy: Proxy = None,
    as_json: AsJSON = False,
) -> None:
    """Make a credential that may do what this one may; this one ends after the grace time."""
    password = _password(password_stdin)
    with one_sentence("mdb apps credentials rotate"):
        settings = _settings(mongo_uri, db_name, proxy)
        from mdb_cli.credentials import rotate_credential
        from mdb_cli.spans import span

        made = rotate_credential(settings, name, span(grace), password)
    _show([_printed(made)], as_json=as_json, single=True)


@credentials.command(name="list")
def list_(
    slug: Annotated[str | None, typer.Argument(help="Only this app.")] = None,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    as_json: AsJSON = False,
) -> None:
    """List credentials; passwords are not known."""
    with one_sentence("mdb apps credentials list"):
        settings = _settings(mongo_uri, db_name, None)
        from mdb_cli.credentials import list_credentials

        found, unreadable = list_credentials(settings)
    now = _now()
    rows = [
        {
            "name": row.name,
            "app": row.app,
            "role": row.role,
            "state": "disabled" if row.disabled else "active" if row.live(now) else "expired",
            "expires": row.expires_at.isoformat(timespec="seconds") if row.expires_at else "never",
            "mechanisms": " ".join(row.mechanisms),
            "subject": row.x509,
        }
        for row in found
        if slug in (None, row.app)
    ]
    _show(rows, as_json=as_json)
    for each in unreadable:
        typer.echo(f"warning: what is stored as {each!r} is no credential", err=True)


@credentials.command()
def remove(name: Login, mongo_uri: MongoURI = None, db_name: Database = None) -> None:
    """Remove a credential for good."""
    with one_sentence("mdb apps credentials remove"):
        settings = _settings(mongo_uri, db_name, None)
        from mdb_cli.credentials import remove_credential

        done = remove_credential(settings, name)
    _confirm(done, name)


@credentials.command()
def disable(name: Login, mongo_uri: MongoURI = None, db_name: Database = None) -> None:
    """Refuse a credential's logins from now on, and keep its name taken."""
    with one_sentence("mdb apps credentials disable"):
        settings = _settings(mongo_uri, db_name, None)
        from mdb_cli.credentials import disable_credential

        done = disable_credential(settings, name)
    _confirm(done, name)


@credentials.command()
def enable(name: Login, mongo_uri: MongoURI = None, db_name: Database = None) -> None:
    """Allow a credential's logins again."""
    with one_sentence("mdb apps credentials enable"):
        settings = _settings(mongo_uri, db_name, None)
        from mdb_cli.credentials import disable_credential

        done = disable_credential(settings, name, disabled=False)
    _confirm(done, name)


@credentials.command()
def expire(
    name: Login,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    in_: Annotated[
        str | None, typer.Option("--in", metavar="TIME", help="30s, 15m, 12h, 7d; else never.")
    ] = None,
) -> None:
    """Refuse a credential's logins from a time on."""
    with one_sentence("mdb apps credentials expire"):
        settings = _settings(mongo_uri, db_name, None)
        from mdb_cli.credentials import expire_credential

        done = expire_credential(settings, name, _end(in_))
    _confirm(done, name)


def _password(from_stdin: bool) -> str | None:
    return sys.stdin.readline().rstrip("\r\n") if from_stdin else None


def _printed(made: Any) -> dict[str, Any]:
    """What is printed of a new credential: no password where there is none."""
    password = {"password": made.password} if made.password else {}
    return {"name": made.name, **password, "uri": made.uri}


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _end(text: str | None) -> Any:
    """When a time from now is over; None for never."""
    from mdb_cli.spans import span

    return None if text is None else _now() + span(text)


def _confirm(done: bool, name: str) -> None:
    """Say so when there was nothing to do."""
    if not done:
        typer.echo(f"there is no credential {name}", err=True)
        raise typer.Exit(FAILED)


def _settings(mongo_uri: str | None, db_name: str | None, listen: str | None) -> Any:
    """Give the settings of the proxy that these credentials are for."""
    from mdb_proxy.config import ProxySettings, load_settings

    flags = {"mongo_uri": mongo_uri, "db_name": db_name, "listen": listen}
    return load_settings(ProxySettings, flags)


def _show(rows: list[dict[str, Any]], *, as_json: bool, single: bool = False) -> None:
    """Print rows for people, or all as JSON."""
    if as_json:
        typer.echo(json.dumps(rows[0] if single else rows))
    elif single:
        for name, value in rows[0].items():
            typer.echo(f"{name:<9} {value}")
    else:
        lines = [tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)] if rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())
