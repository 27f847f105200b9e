"""The source of chance: a seeded generator, or one whose draws Hypothesis can shrink."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Made = Callable[["Dice"], Any]


class Dice:
    """Draws what a workload is made of."""

    def __init__(self, source: random.Random, *, tags: bool = False) -> None:
        self._source = source
        self.tags = tags
        self.mistakes = 0
        self.depth = 0

    def chance(self, share: float) -> bool:
        """Say yes as often as told."""
        return self._source.random() < share

    def number(self, low: int, high: int) -> int:
        """Give a number, the bounds included."""
        return self._source.randint(low, high)

    def pick(self, choices: Sequence[T]) -> T:
        """Give one of them."""
        return choices[self._source.randrange(len(choices))]

    def some(self, choices: Sequence[T], most: int, least: int = 0) -> list[T]:
        """Give a few different ones."""
        wanted = min(self.number(least, most), len(choices))
        return self._source.sample(list(choices), wanted)

    def many(self, made: Made, most: int, least: int = 0) -> list[Any]:
        """Make a few."""
        return [made(self) for _ in range(self.number(least, most))]

    def make(self, table: Sequence[Made]) -> Any:
        """Make what one row of a table makes."""
        return self.pick(table)(self)

    def wrong(self, table: Sequence[Made]) -> Any:
        """Make a mistake, and count it."""
        self.mistakes += 1
        return self.make(table)

    def deeper(self, table: Sequence[Made]) -> Any:
        """Make what one row of a table makes, knowing how deep it stands."""
        self.depth += 1
        try:
            return self.make(table)
        finally:
            self.depth -= 1

    def weighted(self, table: Sequence[tuple[int, T]]) -> T:
        """Give one of them, by weight."""
        (found,) = self._source.choices([row for _, row in table], [w for w, _ in table])
        return found

    def maybe(self, share: float, **fields: Made) -> dict[str, Any]:
        """Make each of some optional fields as often as told."""
        return {name: made(self) for name, made in fields.items() if self.chance(share)}
