"""Starts the real command lines, as a user does, and keeps what they say."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import config

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START_SECONDS = 60
STOP_SECONDS = 45
TAIL = 4_000


@dataclass(frozen=True, slots=True)
class Program:
    """A running command: its process, the lines of its stdout, the file of its stderr."""

    process: subprocess.Popen[str]
    lines: "queue.SimpleQueue[str | None]"
    log: Path

    def line(self) -> str:
        """Give the next line of stdout; fails with the log's end when there is none."""
        try:
            line = self.lines.get(timeout=START_SECONDS)
        except queue.Empty:
            line = None
        if line is None:
            raise AssertionError(f"{self.process.args} said nothing:\n{self.tail()}")
        return line

    def tail(self) -> str:
        """Give the end of what it wrote to stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-TAIL:]

    def stop(self) -> int:
        """Ask it to end and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def program(
    arguments: Sequence[str], log: Path, *, cwd: Path = ROOT, **variables: str
) -> Iterator[Program]:
    """Run `.venv/bin/<arguments>`; it is ended at the end of the block."""
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [BIN / arguments[0], *arguments[1:]],
            cwd=cwd,
            env=config.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    running = Program(process, lines, log)
    try:
        yield running
    finally:
        try:
            running.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout as stdout:
        for line in stdout:
            lines.put(line.rstrip("\n"))
    lines.put(None)


def run(
    *arguments: str, stdin: str = "", cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `.venv/bin/<arguments>` to its end."""
    return subprocess.run(  # noqa: S603 - our own programs
        [BIN / arguments[0], *arguments[1:]],
        cwd=cwd,
        env=config.environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def create_credential(slug: str, *options: str, **variables: str) -> dict[str, Any]:
    """Give what `mdb apps credentials create --json` prints."""
    done = run("mdb", "apps", "credentials", "create", slug, "--json", *options, **variables)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made
