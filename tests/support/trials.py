"""Workloads run on both sides; one that shows a difference is made short."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pprint import pformat

from tests.support.allowed import allowed
from tests.support.twins import Difference, Twins
from tests.support.workloads.commands import Step
from tests.support.workloads.dice import Dice
from tests.support.workloads.work import Work

ATTEMPTS = 300
ENOUGH = 10
"""So many differences are told by one run."""


@dataclass(slots=True)
class Tally:
    """What has been done: commands, those that succeeded, seeds, differences that are allowed."""

    commands: int = 0
    succeeded: int = 0
    seeds: list[int] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        rows = ", ".join(f"{count} x {row}" for row, count in self.rows.most_common())
        return (
            f"{self.commands} commands ({self.succeeded} succeeded), {len(self.seeds)} seeds from"
            f" {self.seeds[0]} to {self.seeds[-1]}, {seconds:.0f} s; allowed: {rows or 'none'}"
        )


class DifferentError(AssertionError):
    """Both sides did not say the same."""

    def __init__(self, seed: int, steps: list[Step], difference: Difference) -> None:
        self.steps, self.d = steps, difference
        lines = [
            f"different replies; again: make prove SEED={seed}",
            *(f"{s.number}. {s.db}: {s.command}" for s in steps),
            f"compared: {difference.step.view}, mistakes: {difference.step.mistakes}",
            "private: " + pformat(difference.private, width=160),
            "ours:    " + pformat(difference.ours, width=160),
        ]
        super().__init__("\n".join(lines))


class Trials:
    """Runs workloads and counts."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins
        self.tally = Tally()

    def run(self, seed: int, length: int, *, tags: bool = False) -> None:
        """Run the workload of a seed.

        Raises:
            DifferentError: with a workload that is short and shows it too.
        """
        self.tally.seeds.append(seed)
        steps, found = self.play(random.Random(seed), length, tags=tags)  # noqa: S311 - no secret
        if found is None:
            return
        raise DifferentError(seed, *self._shortened(steps, found))

    def play(
        self, source: random.Random, length: int, *, tags: bool = False
    ) -> tuple[list[Step], Difference | None]:
        """Run a workload to its end or to a difference; give its steps."""
        work, steps = Work(Dice(source, tags=tags)), []
        try:
            for _ in range(length):
                step = work.next()
                steps.append(step)
                reply, found = self._twins.run(step)
                self.tally.commands += 1
                self.tally.succeeded += bool(reply.get("ok"))
                if found is not None and not self._allows(found):
                    return steps, found
                if found is not None and found.parts:
                    break
                work.note(step, reply)
                if work.blurred:
                    break
        finally:
            self._twins.reset()
        return steps, None

    def _allows(self, found: Difference) -> bool:
        row = allowed(found)
        self.tally.rows.update([row] if row else [])
        return bool(row)

    def _replay(self, steps: list[Step]) -> Difference | None:
        try:
            for step in steps:
                _, found = self._twins.run(step)
                if found is not None and not allowed(found):
                    return found
        finally:
            self._twins.reset()
        return None

    def _shortened(self, steps: list[Step], found: Difference) -> tuple[list[Step], Difference]:
        """Leave out what can be left out, in large pieces first."""
        size, attempts = max(len(steps) // 2, 1), 0
        while size and attempts < ATTEMPTS:
            at = 0
            while at < len(steps) and attempts < ATTEMPTS:
                fewer = [*steps[:at], *steps[at + size :]]
                attempts += 1
                again = self._replay(fewer)
                if again is None:
                    at += size
                else:
                    steps, found = fewer, again
            size //= 2
        return steps, found


Report = Callable[[str], None]


def many(trials: Trials, first: int, commands: int, length: int, report: Report) -> None:
    """Run seeds one after the other until there were so many commands, past what differs.

    Raises:
        ExceptionGroup: of each seed that differed.
    """
    seed, found = first, list[DifferentError]()
    while trials.tally.commands < commands and len(found) < ENOUGH:
        try:
            trials.run(seed, length)
        except DifferentError as error:
            found.append(error)
            report(str(error))
        seed += 1
        if seed % 20 == 0:
            report(str(trials.tally))
    report(str(trials.tally))
    if found:
        raise ExceptionGroup(f"{len(found)} seeds differ", found)
