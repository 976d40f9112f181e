"""Every public module says what is public; both adapters offer the core's names and the same names as each other."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import patter_asyncio
import patter_core
import patter_trio

OPTIONAL = ("patter_core.edge.speech",)  # its modules need extras
NOT_LIBRARIES = ("patter_asyncio.__main__", "patter_trio.__main__")


def module_names() -> list[str]:
    names = []
    for package in (patter_core, patter_asyncio, patter_trio):
        names.append(package.__name__)
        names += [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [name for name in names if name not in NOT_LIBRARIES and not name.startswith(OPTIONAL)]


@pytest.mark.parametrize("name", module_names())
def test_all_is_there_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)
    if Path(module.__file__ or "").name == "__init__.py" and not hasattr(module, "__all__"):
        # A folder's docstring says what lives there; it may offer nothing by itself.
        assert module.__doc__
        return
    public = module.__all__
    if name not in ("patter_asyncio", "patter_trio"):  # theirs are followed by the core's
        assert list(public) == sorted(public, key=_ruff_order), name
    assert len(set(public)) == len(public)
    for item in public:
        assert hasattr(module, item), f"{name}.{item}"
        assert not item.startswith("_") or item == "__version__"


def _ruff_order(name: str) -> tuple[int, list[tuple[int, int | str]]]:
    """CONSTANTS, then Classes, then functions; numbers by value."""
    kind = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return kind, [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


@pytest.mark.parametrize("adapter", [patter_asyncio, patter_trio])
def test_adapters_offer_the_core(adapter: object) -> None:
    public = adapter.__all__  # type: ignore[attr-defined]
    for name in patter_core.__all__:
        assert name in public
        assert getattr(adapter, name) is getattr(patter_core, name)


def test_adapters_offer_the_same() -> None:
    assert patter_asyncio.__all__ == patter_trio.__all__


@pytest.mark.parametrize("name", module_names())
def test_every_public_module_says_what_it_is(name: str) -> None:
    assert (importlib.import_module(name).__doc__ or "").strip()
