"""A proxy for an app called `lab` among other apps, who have collections of the same names."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.proxies import Proxy, serving

LAB: Final = "lab"
OTHERS: Final = ("crm", "lab2", "tea")
"""Apps beside it; the name of one of them begins as its own does."""

COLLECTIONS: Final = ("t", "u", "w.x")


@contextmanager
def laboratory(mongo_uri: str, name: str, folder: Path, **manifests: Any) -> Iterator[Proxy]:
    """Run it; `name` is the home of `lab`, `manifests` are more fields by app."""
    for slug in (LAB, *OTHERS):
        manifest = {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}
        manifest |= {"database": name if slug == LAB else slug} | manifests.get(slug, {})
        (folder / f"{slug}.json").write_text(json.dumps(manifest), encoding="utf-8")
    with serving(mongo_uri, folder, folder / "stderr.log") as running:
        for slug in OTHERS:
            occupy(running, slug)
        yield running


def occupy(proxy: Proxy, slug: str) -> None:
    """Let another app have collections of the same names, with other things in them."""
    with proxy.client(slug) as client:
        for collection in COLLECTIONS:
            made = [{"_id": n, "n": n, "s": "tea", "canary": slug} for n in range(30)]
            client[slug][collection].insert_many(made)
        client[slug].t.create_index("n", unique=True)
