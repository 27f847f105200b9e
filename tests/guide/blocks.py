"""Cuts the guide into blocks: heading, number under it, language, text."""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"```(\w*)\s*\Z")
HEADING = re.compile(r"#+\s+(.*\S)")


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `number` counts those of its language under one heading, from 1."""

    heading: str
    number: int
    language: str
    text: str

    @property
    def key(self) -> tuple[str, int]:
        return self.heading, self.number


def blocks(path: Path) -> list[Block]:
    """Give every block in order."""
    found: list[Block] = []
    heading, language, lines = "", None, []
    counts: dict[tuple[str, str], int] = {}
    for line in path.read_text("utf-8").splitlines():
        fence, title = FENCE.match(line), HEADING.match(line)
        if language is None and fence:
            language, lines = fence[1], []
        elif language is not None and line == "```":
            number = counts[heading, language] = counts.get((heading, language), 0) + 1
            found.append(Block(heading, number, language, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
        elif title:
            heading = title[1]
    return found
