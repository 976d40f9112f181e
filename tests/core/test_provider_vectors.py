"""The provider and price vectors: every file is what its schema says, every case holds here, a changed case does not,
and an implementation that is changed in one place is found out."""

from __future__ import annotations

import copy
import json
import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_prices, run_providers
from patter_core.audio.formats import AudioFormat
from patter_core.call import pricing
from patter_core.edge import secrets
from patter_core.engines.elevenlabs_convai import wire as convai
from patter_core.engines.openai_realtime import events as realtime_events
from patter_core.engines.openai_realtime import wire as realtime
from patter_core.engines.stages import Voiced
from patter_core.engines.usage import Usage
from patter_core.providers import events
from patter_core.providers.anthropic import wire as anthropic
from patter_core.providers.chat import wire as chat
from patter_core.providers.deepgram import wire as deepgram
from patter_core.providers.elevenlabs import wire as speech
from patter_core.providers.openai_speech.voice import OpenAIVoice
from patter_core.providers.remote import http_brain, pieces

CONFORMANCE = Path(__file__).parents[2] / "conformance"
RUNNERS = {"providers": run_providers.run, "price": run_prices.run}
FILES = [path for kind in RUNNERS for path in sorted((CONFORMANCE / "vectors" / kind).glob("*.json"))]
SUITES = {"openai_realtime", "elevenlabs_convai", "deepgram", "chat", "anthropic", "speech", "on_message", "prices"}


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


CASES = [(path.parent.name, case) for path in FILES for case in load(path)["cases"]]


def problem(kind: str, case: dict[str, Any]) -> str | None:
    """What is wrong with our answer. An exception is an answer too, and a wrong one."""
    try:
        return RUNNERS[kind](case)
    except Exception as exc:
        return repr(exc)


@pytest.mark.parametrize(("kind", "case"), CASES, ids=lambda given: given["id"] if isinstance(given, dict) else given)
def test_vector(kind: str, case: dict[str, Any]) -> None:
    assert RUNNERS[kind](case) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_what_its_schema_says(path: Path) -> None:
    data = load(path)
    schema = load(CONFORMANCE / "schema" / f"{path.parent.name}.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(data)
    assert data["suite"] == f"{path.parent.name}/{path.stem}"
    assert {flag for case in data["cases"] for flag in case["flags"]} == set(data["notes"])


def test_ids_are_unique_and_nothing_is_missing() -> None:
    ids = [case["id"] for _, case in CASES]
    assert len(set(ids)) == len(ids)
    assert {path.stem for path in FILES} == SUITES
    asked = {
        (case["in"].get("provider", "on_message"), case["in"]["op"]) for kind, case in CASES if kind == "providers"
    }
    assert {provider for provider, _ in asked} >= {*run_providers.PROVIDERS, "on_message"} - {"cerebras"}
    assert {op for _, op in asked} == set(run_providers.OPERATIONS)
    assert {case["in"]["op"] for kind, case in CASES if kind == "price"} == set(run_prices.OPERATIONS)


# --- a changed expectation -------------------------------------------------------------------------------------------


def _changes(value: Any) -> list[Any]:
    """``value`` with one thing changed, in every way that is to be found out."""
    if isinstance(value, dict):
        changed = [{**value, name: new} for name, item in value.items() for new in _changes(item)]
        return [*changed, {**value, "nobody sent this": 1}]
    if isinstance(value, list):
        inside = [[*value[:n], new, *value[n + 1 :]] for n, item in enumerate(value) for new in _changes(item)]
        return [*inside, [*value, value[-1] if value else 1], *([value[:-1]] if value else [])]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    return [f"{value} " if isinstance(value, str) else "other"]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=lambda given: given["id"] if isinstance(given, dict) else given)
def test_a_changed_expectation_is_found(kind: str, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner can fail, at every value of every answer."""
    if kind == "providers":  # our answer does not depend on what is expected: it is asked for once
        answer = run_providers.OPERATIONS[case["in"]["op"]](case["in"])
        monkeypatch.setitem(run_providers.OPERATIONS, case["in"]["op"], lambda given: copy.deepcopy(answer))
    for changed in _changes(case["out"]):
        assert problem(kind, {**case, "out": changed}) is not None, changed


def test_an_unknown_operation_is_a_problem() -> None:
    for kind in RUNNERS:
        assert problem(kind, {"in": {"op": "guess"}, "out": None}) == "no operation guess"


def test_an_answer_that_depends_on_how_it_is_cut_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for _, case in CASES if case["id"] == "providers/chat/answer")
    monkeypatch.setattr(events.SseReader, "_take", lambda self, piece: self._line.__init__(piece))
    assert "cut otherwise" in str(problem("providers", case))


# --- a changed implementation ----------------------------------------------------------------------------------------


class _Careless(speech.Samples):
    def whole(self, data: bytes) -> bytes:
        return data


class _Hasty(pieces.Utf8):
    def push(self, data: bytes) -> str:
        return data.decode("utf-8", "replace")


_usage_of, _output_format, _client_data, _read = (
    realtime_events.usage_of,
    speech.output_format,
    convai.client_data,
    deepgram.read,
)


def _cached_twice(tokens: Any, model: str) -> Usage:
    inputs = tokens.input_token_details
    usage = _usage_of(tokens, model)
    more = {"input_text": inputs.text_tokens or 0} if inputs is not None else {}
    return Usage(**({name: getattr(usage, name) for name in usage.__struct_fields__} | more))


def _always_mu_law(wanted: str, line: AudioFormat) -> tuple[str, AudioFormat]:
    return _output_format("ulaw_8000" if wanted == "auto" else wanted, line)


def _greets_again(spec: Any, prompt: str, first: str | None, variables: dict[str, str], ulaw: bool) -> Any:
    return _client_data(spec, prompt, first or None, variables, ulaw)


def _no_words_no_answer(text: str) -> Any:
    found = _read(text)
    return None if isinstance(found, deepgram.Result) and not found.text else found


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a text to say is not escaped": (realtime, "quoted", lambda text: f'"{text}"'),
    "audio as URL-safe base64": (realtime, "b2a_base64", lambda data, newline: urlsafe_b64encode(data)),
    "cached tokens count twice": (realtime_events, "usage_of", _cached_twice),
    "the beta's names are forgotten": (realtime_events, "_NOW_CALLED", {}),
    "an empty first message is not sent": (convai, "client_data", _greets_again),
    "a pong's id is a text": (convai, "pong", lambda event_id: f'{{"type":"pong","event_id":"{event_id}"}}'),
    "an agent that needs its dashboard is tried again": (convai, "_FATAL_TYPES", ()),
    "A-law is taken for mu-law": (deepgram, "_ENCODINGS", dict.fromkeys(deepgram._ENCODINGS, "mulaw")),
    "an answer without words is none": (deepgram, "read", _no_words_no_answer),
    "half a sample is passed on": (speech, "Samples", _Careless),
    "every line is mu-law": (speech, "output_format", _always_mu_law),
    "half a character is replaced": (http_brain, "Utf8", _Hasty),
    "only LF ends a line": (events, "_LINE_END", re.compile(rb"\n")),
    "broken arguments go back": (chat, "arguments_of", lambda text: {"x": 1}),
    "a thought loses its signature": (anthropic, "_THOUGHT", 0),
    "an error ends nothing": (anthropic, "_PASSING", ()),
    "money is rounded down": (pricing, "_share", lambda rate, amount, unit: rate * amount // unit),
    "minutes are not started": (pricing, "_billed_us", lambda us, step: us),
    "any suffix is a snapshot": (pricing, "_SNAPSHOT", re.compile(r"-.*")),
    "the signature has another header": (secrets, "SIGNATURE", "X-Signature"),
    "a voice passes on half a sample": (OpenAIVoice, "_got", lambda self, now, data, out: out.append(Voiced(data))),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_changed_implementation_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(place, attribute, mutant)
    found = [case["id"] for kind, case in CASES if problem(kind, case) is not None]
    assert found, name
