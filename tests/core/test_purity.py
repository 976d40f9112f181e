"""The core is pure: no module of ``patter_core`` outside ``edge/`` can reach a clock, a socket, a thread, a file, the
environment or randomness; none imports ``edge``; and ``edge`` knows no event loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "patter_core"

#: What a pure module may import, by its first name. A list of what is allowed catches what nobody thought of.
PURE = {
    "__future__", "array", "ast", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "email", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html", "http",
    "inspect", "io", "ipaddress", "itertools", "json", "keyword", "math", "operator", "re", "statistics", "string",
    "struct", "sys", "textwrap", "types", "typing", "unicodedata", "urllib", "xml", "zlib",
    "cryptography", "h11", "msgspec", "numpy", "wsproto",
}  # fmt: skip
#: ... and of those, the submodules that open sockets or files.
IMPURE_PARTS = {
    "http.client", "http.server", "http.cookiejar", "urllib.request", "urllib.robotparser", "email.utils.localtime",
    "numpy.random", "numpy.memmap", "xml.sax.make_parser",
}  # fmt: skip
FORBIDDEN_CALLS = {"open", "input", "print", "breakpoint", "exec", "eval", "compile", "__import__", "uuid4", "uuid1"}
FORBIDDEN_NAMES = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "io": {"open", "FileIO", "open_code"},
    "np": {"random", "memmap", "fromfile", "load", "save", "loadtxt", "savetxt"},
    "numpy": {"random", "memmap", "fromfile", "load", "save", "loadtxt", "savetxt"},
    "sys": {"stdout", "stderr", "stdin", "argv", "exit"},
}
FORBIDDEN_METHODS = {"tofile", "read_text", "write_text", "read_bytes", "write_bytes"}
LOOPS = {"asyncio", "trio", "anyio", "curio", "uvloop"}


def modules(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def core_modules() -> list[Path]:
    return [path for path in modules(CORE) if CORE / "edge" not in path.parents]


def edge_modules() -> list[Path]:
    return list(modules(CORE / "edge"))


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Every imported name, absolute: also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def breaches(source: str, package: tuple[str, ...]) -> list[str]:
    """What a pure module must not do, as ``line: what``."""
    tree = ast.parse(source)
    found = []
    for line, name in imports(tree, package):
        top = name.split(".")[0]
        if top == "patter_core":
            if name.split(".")[1:2] == ["edge"]:
                found.append(f"{line}: imports the edge ({name})")
        elif top not in PURE or any(name == part or name.startswith(part + ".") for part in IMPURE_PARTS):
            found.append(f"{line}: imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(f"{node.lineno}: calls {node.func.id}()")
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else owner
            if owner in FORBIDDEN_NAMES and node.attr in FORBIDDEN_NAMES[owner]:
                found.append(f"{node.lineno}: uses {owner}.{node.attr}")
            elif node.attr in FORBIDDEN_METHODS:
                found.append(f"{node.lineno}: calls .{node.attr}()")
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{node.lineno}: is asynchronous")
        elif isinstance(node, ast.Global):
            found.append(f"{node.lineno}: keeps state in the module ({', '.join(node.names)})")
    return found


def package_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).parent.parts


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_module_is_pure(path: Path) -> None:
    assert breaches(path.read_text("utf-8"), package_of(path)) == []


@pytest.mark.parametrize("path", edge_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_edge_module_knows_no_event_loop(path: Path) -> None:
    named = {name.split(".")[0] for _, name in imports(ast.parse(path.read_text("utf-8")), package_of(path))}
    assert not named & (LOOPS | {"patter_asyncio", "patter_trio"})


@pytest.mark.parametrize("adapter", ["patter_asyncio", "patter_trio"])
def test_an_adapter_knows_one_event_loop(adapter: str) -> None:
    mine = adapter.removeprefix("patter_")
    for path in modules(ROOT / adapter):
        named = {name.split(".")[0] for _, name in imports(ast.parse(path.read_text("utf-8")), package_of(path))}
        assert not named & (LOOPS - {mine}), path
        assert not named & ({"patter_asyncio", "patter_trio"} - {adapter}), path


def test_there_is_something_to_test() -> None:
    assert len(core_modules()) > 50
    assert len(edge_modules()) > 5


@pytest.mark.parametrize(
    "planted",
    [
        "import asyncio", "import trio", "import socket", "import ssl", "import httpx", "import threading",
        "import subprocess", "import sqlite3", "import logging", "import time", "import random", "import secrets",
        "import os", "import pathlib", "import uuid", "import queue", "import concurrent.futures", "import select",
        "import tempfile", "import shutil", "import multiprocessing", "import signal", "import anyio",
        "from time import monotonic", "from os import environ", "from os.path import join",
        "from urllib.request import urlopen", "import urllib.request", "from urllib import request",
        "from http.client import HTTPConnection", "from http import server", "import numpy.random",
        "from numpy import random", "def f():\n    import time", "if TYPE_CHECKING:\n    import asyncio",
        "from .edge import cli", "from . import edge", "from patter_core.edge.cli import main",
        "import patter_core.edge",
        "open('x')", "print('x')", "uuid4()", "datetime.now()", "datetime.datetime.now()", "datetime.utcnow()",
        "np.random.default_rng()", "np.fromfile('x')", "sys.stdout.write('x')", "p.read_text()", "eval('1')",
        "__import__('time')", "async def f(): pass", "def f():\n    global x",
    ],
)  # fmt: skip
def test_a_planted_breach_is_found(planted: str) -> None:
    assert breaches(planted, ("patter_core",))


@pytest.mark.parametrize(
    "harmless",
    [
        "from urllib.parse import quote", "import numpy as np", "from ..timers import Timers", "from . import wire",
        "from http import HTTPStatus", "import datetime", "x.now()", "self.open()", "from .engines import build",
    ],
)  # fmt: skip
def test_harmless_things_are_not(harmless: str) -> None:
    assert breaches(harmless, ("patter_core", "call")) == []


def test_relative_imports_are_resolved() -> None:
    tree = ast.parse("from ..edge import cli\nfrom .call import x\nfrom ... import y")
    assert [name for _, name in imports(tree, ("patter_core", "call"))][:2] == [
        "patter_core.edge.cli",
        "patter_core.call.call.x",
    ]
