"""The rules that every file of the house keeps: sizes, names, imports, errors, the test mirror."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("engine", "proxy")
UNITS = ROOT / "tests" / "unit"

LINES, MEDIAN_LINES = 500, 200
LONG_FUNCTION, USUAL_FUNCTION, USUAL_SHARE = 60, 30, 0.9
PARAMETERS, CHAIN = 5, 6

CATCHERS = {
    "engine/mdb_engine/background.py",
    "engine/mdb_engine/sidecar/app.py",
    "proxy/mdb_proxy/server.py",
}
"""The three places where a bug ends: supervisor of background jobs, sidecar, connection loop."""

PRESCRIBED = ("database", "auth", "indexes", "memory")
"""Rooms of the engine whose signatures are PyMongo's."""

VAGUE = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
THIN = {"engine/mdb_engine/auth/utils.py"}
"""Names that users were promised; they only re-export."""

PROXY_MAY_IMPORT = {
    "background",
    "credentials",
    "exceptions",
    "indexes",
    "manifest",
    "observability",
    "rawbson",
    "registry",
    "scope",
    "subjects",
}
TAG_HOME = "engine/mdb_engine/scope/model.py"
TAG = re.compile(r"(?<![A-Za-z0-9_])app_id(?![A-Za-z0-9_])")
HOSTS = re.compile(
    "|".join(["files[.]pythonhosted", "pypi[.]org/" + "simple", "registry[.]" + "npmjs"])
    + "|deb[.]debian[.]org"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: where it is, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    def functions(self) -> Iterator[Function]:
        """Give every function except typing's overloads."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                names = [ast.unparse(decorator) for decorator in node.decorator_list]
                if not any(name.endswith("overload") for name in names):
                    yield node

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 0)}"


@cache
def modules() -> tuple[Module, ...]:
    paths = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    texts = ((path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths)
    return tuple(Module(path, text, ast.parse(text)) for path, text in texts)


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_modules_are_small() -> None:
    assert {m.path: m.lines for m in modules() if m.lines > LINES} == {}
    assert statistics.median(m.lines for m in modules() if m.lines) < MEDIAN_LINES


def test_functions_are_small() -> None:
    lengths = {f"{m.at(f)} {f.name}": length(f) for m in modules() for f in m.functions()}
    assert {name: n for name, n in lengths.items() if n > LONG_FUNCTION} == {}
    usual = sum(n <= USUAL_FUNCTION for n in lengths.values())
    assert usual >= USUAL_SHARE * len(lengths)


def is_exempt(module: Module) -> bool:
    """CLI options, and signatures that PyMongo or the guide prescribe."""
    path = Path(module.path)
    return path.name.startswith("cli") or any(
        module.path.startswith(f"engine/mdb_engine/{room}/") for room in PRESCRIBED
    )


def parameters(function: Function) -> int:
    names = function.args
    named = [a.arg for a in (*names.posonlyargs, *names.args, *names.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def test_functions_take_few_parameters() -> None:
    """More than that stand beside a `noqa: PLR0913` that says why."""
    found = [
        f"{m.at(f)} {f.name}"
        for m in modules()
        if not is_exempt(m)
        for f in m.functions()
        if parameters(f) > PARAMETERS and "PLR0913 -" not in m.text.splitlines()[f.lineno - 1]
    ]
    assert found == []


def chain(node: ast.If) -> int:
    count = 1
    while len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        node, count = node.orelse[0], count + 1
    return count


def test_no_long_chains_of_ifs() -> None:
    chains = [(m.at(n), chain(n)) for m in modules() for n in ast.walk(m.tree) if is_if(n)]
    assert [where for where, count in chains if count >= CHAIN] == []


def is_if(node: ast.AST) -> bool:
    return isinstance(node, ast.If)


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(k is None or ast.unparse(k) in ("Exception", "BaseException") for k in caught)


def test_only_the_named_catchers_catch_everything() -> None:
    found = [
        m.at(node)
        for m in modules()
        if m.path not in CATCHERS
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]
    assert found == []


def test_every_module_says_its_one_idea() -> None:
    unsaid = [m.path for m in modules() if not (ast.get_docstring(m.tree) or "").strip()]
    assert unsaid == []


def test_init_files_only_re_export() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    lazy = "engine/mdb_engine/__init__.py"
    found = [
        m.at(node)
        for m in modules()
        if m.path.endswith("__init__.py") and m.path != lazy
        for node in m.tree.body
        if not isinstance(node, allowed)
    ]
    assert found == []


def test_names_say_something() -> None:
    words = {m.path: set(re.split(r"[/_.]", m.path)) for m in modules() if m.path not in THIN}
    assert {path: found for path, names in words.items() if (found := names & VAGUE)} == {}


def stem(path: Path) -> str:
    return path.stem.removeprefix("test_")


def test_unit_tests_mirror_the_modules() -> None:
    """`x/y.py` has `tests/unit/x/test_y.py`, and no test is left behind; `_y.py` has none."""
    sources = {
        str(Path(m.path).relative_to(Path(m.path).parts[0]).with_suffix(""))
        for m in modules()
        if not Path(m.path).name.startswith("_")
    }
    tests = {
        str(path.relative_to(UNITS).parent / stem(path))
        for path in UNITS.rglob("test_*.py")
        if path.parent != UNITS
    }
    assert sorted(sources - tests) == [], "modules without a test"
    assert sorted(tests - sources) == [], "tests without a module"


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Give all text and byte literals except docstrings."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            yield node


def test_the_tag_is_named_in_one_place() -> None:
    found = []
    for module in modules():
        for node in strings(module.tree):
            value = node.value
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(text, str) and TAG.search(text) and module.path != TAG_HOME:
                found.append(module.at(node))
    assert found == []


def is_mutable(value: ast.expr | None) -> bool:
    calls = ("Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set")
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1] in calls
    return isinstance(value, (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp))


def assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None]:
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets], node.value
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)], node.value
    return [], None


def test_no_module_holds_state() -> None:
    """Tables are UPPER_PLURAL and never change; nothing rebinds a module's names."""
    found = []
    for module in modules():
        if module.path == "engine/mdb_engine/current.py":
            continue
        for node in module.tree.body:
            names, value = assigned(node)
            names = [name for name in names if not name.isupper() and not name.startswith("__")]
            if names and is_mutable(value):
                found.append(f"{module.at(node)} {names}")
        found += [module.at(n) for n in ast.walk(module.tree) if isinstance(n, ast.Global)]
    assert found == []


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_proxy_knows_only_some_rooms_of_the_engine() -> None:
    rooms = {
        (m.path, name.split(".")[1])
        for m in modules()
        if m.path.startswith("proxy/")
        for name in imported(m.tree)
        if name.startswith("mdb_engine.")
    }
    assert sorted(pair for pair in rooms if pair[1] not in PROXY_MAY_IMPORT) == []


@cache
def project_files() -> Mapping[str, str]:
    """Give the texts that belong to the project, by path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = {}
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            texts[name] = path.read_text("utf-8", errors="replace")
    return texts


def test_no_file_names_a_package_host() -> None:
    """Where packages come from is a matter of the machine, not of the project."""
    assert [name for name, text in project_files().items() if HOSTS.search(text)] == []


def test_lock_files_hold_no_urls() -> None:
    locks = {n: t for n, t in project_files().items() if re.search(r"(lock|-lock\.json)$", n)}
    assert len(locks) >= 3
    assert [name for name, text in locks.items() if re.search(r"https?:" + "//", text)] == []
