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
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@credentials.command()
def create(
    slug: Slug,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    name: Name = None,
    role: Role = "readWrite",
    password_stdin: FromStdin = False,
    proxy: Proxy = None,
    as_json: AsJSON = False,
) -> None:
    """Make a credential and print its name, password and URI; the password is shown only now."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    with one_sentence("mdb apps credentials create"):
        settings = _settings(mongo_uri, db_name, proxy)
        from mdb_cli.credentials import Order, create_credential

        order = Order(slug, name, role, password, settings.listening[0])
        made = create_credential(settings, order)
    if not made.known:
        typer.echo(f"warning: no manifest of {slug} was ever loaded on this cluster", err=True)
    rows = {"name": made.name, "password": made.password, "uri": made.uri}
    _show([rows], as_json=as_json, single=True)


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

        found = list_credentials(settings)
    rows = [
        {
            "name": row.name,
            "app": row.app,
            "role": row.role,
            "state": "disabled" if row.disabled else "active",
        }
        for row in found
        if slug in (None, row.app)
    ]
    _show(rows, as_json=as_json)


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
