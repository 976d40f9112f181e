"""Finds the vectors, checks them against their schemas, and runs each in process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["RUNNERS", "VECTORS", "cases", "files", "problem", "schema_problems"]

HERE = Path(__file__).parent
VECTORS = HERE / "vectors"

#: schema -> the module whose ``run(case)`` returns what is wrong, or None
RUNNERS = {
    "codec-1": "conformance.run_codec",
    "signature-1": "conformance.run_signature",
    "messages-1": "conformance.run_messages",
    "trace-1": "conformance.run_trace",
    "server-1": "conformance.run_server",
    "providers-1": "conformance.run_providers",
    "price-1": "conformance.run_prices",
}


def files() -> list[Path]:
    """Every vector file, in a stable order."""
    return sorted(VECTORS.rglob("*.json"))


def cases(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(schema, case) of a file."""
    suite = json.loads(path.read_text(encoding="utf-8"))
    for case in suite["cases"]:
        yield suite["schema"], case


def schema_problems(path: Path) -> list[str]:
    """Where a file breaks its JSON Schema. Needs ``jsonschema``."""
    import jsonschema

    suite = json.loads(path.read_text(encoding="utf-8"))
    name = suite["schema"].rsplit("-", 1)[0]
    schema = json.loads((HERE / "schema" / f"{name}.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator.iter_errors(suite)
    ]


def problem(schema: str, case: dict[str, Any]) -> str | None:
    """What is wrong with our answer to a case, or None. An exception is an answer too, and a wrong one."""
    run = importlib.import_module(RUNNERS[schema]).run
    try:
        found: str | None = run(case)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return found
