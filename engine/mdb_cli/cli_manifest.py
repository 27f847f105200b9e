"""`mdb manifest`: check manifests, print their schema."""

from pathlib import Path
from typing import Annotated

import typer

from mdb_proxy.exits import INVALID_MANIFEST

app = typer.Typer(name="manifest", help="Manifests: one JSON file per app.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(help="Files, or folders of <slug>.json files.")]


@app.command()
def validate(paths: Paths) -> None:
    """Check manifests; exit code 3 when one breaks a rule."""
    from mdb_engine.exceptions import ConfigurationError, ManifestValidationError
    from mdb_engine.manifest import load_folder, load_manifest

    bad = False
    for path in paths:
        try:
            found = load_folder(path) if path.is_dir() else {path.stem: load_manifest(path)}
        except (ConfigurationError, ManifestValidationError) as error:
            bad = True
            typer.echo(str(error), err=True)
        else:
            typer.echo(f"{path}: {', '.join(found) or 'no manifest in it'}")
    if bad:
        raise typer.Exit(INVALID_MANIFEST)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a manifest."""
    from mdb_engine.manifest.schema import schema_text

    typer.echo(schema_text(), nl=False)
