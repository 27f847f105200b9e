"""`mdb index`: the indexes that manifests ask for, and those that a cluster has."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mdb_proxy.exits import FAILED, one_sentence

app = typer.Typer(name="index", help="Indexes of the apps' manifests.", no_args_is_help=True)

Slug = Annotated[str | None, typer.Argument(help="Only this app.")]
MongoURI = Annotated[str | None, typer.Option(help="The cluster; better in MONGO_URI.")]
Database = Annotated[str | None, typer.Option(help="The physical database that holds all apps.")]
Manifests = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of <slug>.json files.  [manifests]")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Drop indexes that are otherwise, and make them anew.")
]


@app.command()
def plan(
    slug: Slug = None,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    manifests: Manifests = None,
    as_json: AsJSON = False,
) -> None:
    """Say what `apply` would do; changes nothing."""
    flags = {"mongo_uri": mongo_uri, "db_name": db_name, "manifests": manifests}
    with one_sentence("mdb index plan"):
        from mdb_cli.indexing import planned

        rows = planned(flags, slug)
    _show(rows, as_json=as_json)


@app.command()
def apply(
    slug: Slug = None,
    mongo_uri: MongoURI = None,
    db_name: Database = None,
    manifests: Manifests = None,
    replace: Replace = False,
    as_json: AsJSON = False,
) -> None:
    """Make the indexes that are missing; exit code 1 when the cluster refuses one."""
    flags = {"mongo_uri": mongo_uri, "db_name": db_name, "manifests": manifests}
    with one_sentence("mdb index apply"):
        from mdb_cli.indexing import applied

        rows = applied(flags, slug, replace=replace)
    _show(rows, as_json=as_json)
    if any(row["outcome"] == "refused" for row in rows):
        raise typer.Exit(FAILED)


def _show(rows: list[dict[str, str]], *, as_json: bool) -> None:
    """One line per index, or all as JSON."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['app']}  {row['outcome']:<11}  {row['index']}")
