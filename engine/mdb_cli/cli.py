"""The command line `mdb`: everything around the engine that is done by hand or by a script."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mdb_cli import cli_apps, cli_index, cli_manifest
from mdb_proxy.exits import FAILED, one_sentence

app = typer.Typer(
    name="mdb",
    help="Many apps, one MongoDB cluster: each app gets a private, safe slice of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_apps.app)
app.add_typer(cli_index.app)
app.add_typer(cli_manifest.app)

Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The embedded server's folder.  [.mdb]")
]
Listen = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect.  [127.0.0.1:27018]")
]
Manifests = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of <slug>.json files.  [manifests]")
]
AsJSON = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout when ready.")]


@app.command()
def dev(
    data: Data = None,
    listen: Listen = None,
    manifests: Manifests = None,
    as_json: AsJSON = False,
) -> None:
    """Start a MongoDB of your own and the proxy in front of it, and print each app's URI.

    MONGO_URI in the environment is used instead of the embedded server.
    """
    flags = {"data": data, "listen": listen, "manifests": manifests}
    with one_sentence("mdb dev"):
        from mdb_cli.screen import Screen
        from mdb_engine.observability import configure_logging
        from mdb_proxy.config import Settings, load_settings

        settings = load_settings(Settings, flags)
        configure_logging(settings.log_level, settings.log_format)
        screen = Screen()
        with screen.step("loading"):
            from mdb_cli.dev import Started, run_dev

        def tell(started: Started) -> None:
            typer.echo(started.as_json() if as_json else started.as_text(_python()))

        run_dev(settings, tell, screen)


@app.command()
def doctor() -> None:
    """Look for what commonly goes wrong on a machine; exit code 1 when something is."""
    from mdb_cli.doctor import examine

    findings = examine()
    for finding in findings:
        typer.echo(f"{'ok ' if finding.good else 'BAD'}  {finding.subject}: {finding.text}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(FAILED)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("mdb-engine"))


def _python() -> str:
    """Give this interpreter as one types it here."""
    python = Path(sys.executable)
    here = Path.cwd()
    return str(python.relative_to(here) if python.is_relative_to(here) else python)


def main() -> None:
    """Run the command line."""
    app()
