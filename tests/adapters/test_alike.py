"""The two adapters are the same in shape: a difference is either the loop's or a mistake."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import patter_asyncio
import patter_trio
from patter_core import edge

ASYNCIO = Path(patter_asyncio.__file__).parent
TRIO = Path(patter_trio.__file__).parent
EDGE = Path(edge.__file__).parent

ALIKE = ("_gate.py", "_jobs.py", "_drive.py")
#: The faces: the same in shape too, but with documented defaults of their own.
FACES = ("_patter.py", "_call.py", "_together.py", "__init__.py", "__main__.py")

#: What only one loop needs, and why.
ALLOWED = {
    "_drive.py": {
        "Drive.start",  # trio: a task needs a nursery to live in
        "Drive._watch",  # trio: the alarm is a task's deadline; asyncio has call_at
    },
    "_jobs.py": {
        "Jobs._next",  # trio: starts tasks in any order, so that what was ordered first must be looked up
    },
    "_gate.py": set(),
}

#: Adapters decide nothing: they need no protocol, no format and no clock but the loop's.
BANNED = {"json", "h11", "wsproto", "time", "datetime", "random", "numpy", "base64", "hmac", "hashlib"}

#: Microseconds in a second, the first name, the first process pipe; sizes and delays have names of their own.
NUMBERS = {0, 1, 1_000_000}


def shape(path: Path) -> list[str]:
    """Classes, their methods and functions, in order, with their parameters."""
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
            names += [f"{node.name}.{each.name}" for each in node.body if isinstance(each, DEF)]
        elif isinstance(node, DEF):
            names.append(node.name)
    return names


DEF = (ast.FunctionDef, ast.AsyncFunctionDef)


def imports(path: Path) -> set[str]:
    """Top-level packages a module imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", [*ALIKE, *FACES])
def test_same_names_in_the_same_order(name: str) -> None:
    allowed = ALLOWED.get(name, set())
    one, other = ([each for each in shape(home / name) if each not in allowed] for home in (ASYNCIO, TRIO))
    assert one == other


@pytest.mark.parametrize("name", [*ALIKE, *FACES])
def test_the_allow_list_has_nothing_superfluous(name: str) -> None:
    one, other = set(shape(ASYNCIO / name)), set(shape(TRIO / name))
    assert one ^ other == ALLOWED.get(name, set())


def test_every_order_has_the_same_arm() -> None:
    def arms(home: Path) -> list[tuple[str, str]]:
        for node in ast.walk(ast.parse((home / "_drive.py").read_text())):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "self._arms":
                assert isinstance(node.value, ast.Dict)
                return [
                    (ast.unparse(key), ast.unparse(value))
                    for key, value in zip(node.value.keys, node.value.values, strict=True)
                    if key is not None
                ]
        raise AssertionError("no table of arms")

    assert arms(ASYNCIO) == arms(TRIO)
    assert len(arms(ASYNCIO)) == 17


@pytest.mark.parametrize("home", [ASYNCIO, TRIO], ids=["asyncio", "trio"])
@pytest.mark.parametrize("name", [*ALIKE, *FACES, "_transport.py", "_run.py"])
def test_an_adapter_knows_no_protocol_and_no_other_loop(home: Path, name: str) -> None:
    other = {"trio"} if home == ASYNCIO else {"asyncio"}
    assert imports(home / name) & (BANNED | other) == set()


@pytest.mark.parametrize("home", [ASYNCIO, TRIO], ids=["asyncio", "trio"])
@pytest.mark.parametrize("name", ALIKE)
def test_an_adapter_has_no_numbers_of_its_own(home: Path, name: str) -> None:
    tree = ast.parse((home / name).read_text())
    defaults = {id(each) for node in ast.walk(tree) if isinstance(node, DEF) for each in node.args.kw_defaults}
    numbers = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and id(node) not in defaults
    }
    assert numbers <= NUMBERS


@pytest.mark.parametrize(
    "name",
    [
        *("__init__", "app", "cli", "control", "demo", "faults", "files", "handlers", "http", "line", "patter"),
        *("sockets", "threads", "tls"),
    ],
)
def test_what_both_share_knows_no_loop(name: str) -> None:
    assert imports(EDGE / f"{name}.py") & {"asyncio", "trio", "anyio"} == set()
