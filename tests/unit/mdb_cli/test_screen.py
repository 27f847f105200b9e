"""What is shown while things start."""

import re
from io import StringIO

import pytest
from rich.console import Console

from mdb_cli.screen import Screen


@pytest.mark.parametrize("terminal", [False, True])
def test_a_step_gets_a_line(terminal: bool) -> None:
    out = StringIO()
    screen = Screen(Console(file=out, force_terminal=terminal, highlight=False))
    with screen.step("server"):
        pass
    screen.say("[bold]as it is[/bold]")
    assert re.search(r"- server \(\d+\.\d s\)", out.getvalue())
    assert "- [bold]as it is[/bold]" in out.getvalue()


def test_a_step_that_failed_gets_none() -> None:
    out = StringIO()
    screen = Screen(Console(file=out))
    with pytest.raises(OSError, match="full"), screen.step("server"):
        raise OSError("full")
    assert out.getvalue() == ""
