"""What an app says about itself: load it, check it, turn it into a scope."""

from mdb_engine.manifest.load import load_folder, load_manifest, parse
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.validator import ManifestValidator

__all__ = ["Manifest", "ManifestValidator", "load_folder", "load_manifest", "parse"]
