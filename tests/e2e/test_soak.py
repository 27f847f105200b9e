"""All kinds of work for a long time: memory and tables stay as they are.

`make soak` runs it for half an hour (MINUTES=n for another time) and leaves `soak.svg` and
`soak.json` in `.soak/`; as a part of all tests it takes some seconds.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import config
from tests.support.pages import PATIENCE_SECONDS, page, soon
from tests.support.plots import picture, slope
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Proxy, serving
from tests.support.servers import free_port
from tests.support.soaking import Soaker

SHORT = 1.0
"""Minutes; below, nothing can be said of a slope."""

EVERY = 10.0 if config.SOAK_MINUTES >= SHORT else 1.0
WARM = 0.4
"""Of the time: caches fill, pools grow."""

MOST_MIB_PER_MINUTE = 1.0
TABLES = ("connections", "cursors", "sessions")


@pytest.fixture
def soaked(mongo_uri: str, tmp_path: Path) -> Iterator[tuple[Proxy, str]]:
    port = free_port()
    admin = ("--admin", f"127.0.0.1:{port}")
    with serving(mongo_uri, ROOT / "manifests", tmp_path / "log", *admin, **AT_ONCE) as running:
        yield running, f"http://127.0.0.1:{port}"
        assert "Traceback" not in running.program.log.read_text()


def sample(proxy: Proxy, admin: str) -> dict[str, float]:
    """Give what the process holds now."""
    process = Path(f"/proc/{proxy.program.process.pid}")
    resident = (process / "status").read_text().partition("VmRSS:")[2].split()[0]
    numbers = json.loads(page(f"{admin}/healthz")[1])
    server = proxy.admin.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]
    return {
        "memory (MiB)": int(resident) / 1024,
        "open files": len(list((process / "fd").iterdir())),
        **{name: numbers[name] for name in TABLES},
        "cursors of the server": server,
    }


def keep(times: list[float], curves: dict[str, list[float]], work: dict[str, Any]) -> None:
    """Write picture and numbers."""
    folder = ROOT / ".soak"
    folder.mkdir(exist_ok=True)
    (folder / "soak.svg").write_text(picture(f"{times[-1]:.1f} minutes", times, curves))
    (folder / "soak.json").write_text(json.dumps({"minutes": times, **curves, **work}))


def test_nothing_grows(soaked: tuple[Proxy, str], measured: Any) -> None:
    proxy, admin = soaked
    times: list[float] = []
    curves: dict[str, list[float]] = {}
    soakers = [Soaker(proxy, slug) for slug in ("crm", "shop")]
    began = time.monotonic()
    with ExitStack() as stack:
        for each in soakers:
            stack.enter_context(each.working())
        while (minutes := (time.monotonic() - began) / 60) < config.SOAK_MINUTES:
            now = sample(proxy, admin)
            times.append(minutes)
            for name, value in now.items():
                curves.setdefault(name, []).append(value)
            sys.stderr.write(f"{minutes:5.1f} min {now}\n")
            time.sleep(EVERY)
    work = {f"{each.slug} {what}": n for each in soakers for what, n in each.done.items()}
    failed = {f"{each.slug} {what}": n for each in soakers for what, n in each.failed.items()}
    assert all(work.values())
    assert soon(lambda: all(sample(proxy, admin)[n] == 0 for n in TABLES), PATIENCE_SECONDS), (
        sample(proxy, admin),
        failed,
    )
    if config.SOAK_MINUTES < SHORT:
        return
    keep(times, curves, {"done": work, "failed": failed})
    first = int(len(times) * WARM)
    rises = {n: slope(times[first:], found[first:]) for n, found in curves.items()}
    measured(f"{times[-1]:.0f} minutes, {sum(work.values())} deeds; rise per minute: {rises}")
    assert rises["memory (MiB)"] < MOST_MIB_PER_MINUTE, rises
    for name in (*TABLES, "open files"):
        found = curves[name]
        half = len(found) // 2
        assert max(found[half:]) <= 1.5 * max(found[:half]) + 10, name
