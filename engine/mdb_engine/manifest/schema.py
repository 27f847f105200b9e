"""The JSON Schema of a manifest, made from the models; `manifest.schema.json` holds its text."""

import json
import sys
from typing import Any, Final

from mdb_engine.manifest.model import Manifest

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema as a document (Draft 2020-12)."""
    return {"$schema": DIALECT, **Manifest.model_json_schema(by_alias=True, mode="validation")}


def schema_text() -> str:
    """The text of the packaged file."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
