"""docs/engine.md tells the truth: its blocks run as they stand there."""

import re
import subprocess
import sys
from uuid import uuid4

import pytest
from pymongo import MongoClient

from tests.support import config
from tests.support.programs import ROOT

TEXT = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SERVED = """
import asyncio, httpx

async def ask():
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://notes") as client:
            made = (await client.post("/entries", json={"day": 1})).json()["id"]
            found = (await client.get("/entries")).json()
            print(found == [{"_id": made, "day": 1, "app_id": "notes"}])

asyncio.run(ask())
"""
"""What a client asks of the block that makes an app."""
SAID = ["hello notes\nday 1\n", "$where at filter.$where\n1\n", "True\n"]
SECONDS = 120


@pytest.mark.parametrize(("block", "said"), list(zip(BLOCKS, SAID, strict=True)))
def test_python(mongo_uri: str, block: str, said: str) -> None:
    name = f"papers_{uuid4().hex[:12]}"
    try:
        done = subprocess.run(  # noqa: S603 - our own text
            [sys.executable, "-c", block + (SERVED if "create_app" in block else "")],
            env=config.environment(
                MONGO_URI=mongo_uri, MONGO_DB_NAME=name, PYTHONPATH=":".join(sys.path)
            ),
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    finally:
        with MongoClient[dict[str, object]](mongo_uri) as client:
            client.drop_database(name)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "[" not in line] == said.splitlines()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
