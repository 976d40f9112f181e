"""Anthropic's messages on the wire: what is asked, and what is read from the stream of events that answers.

Sources: docs.claude.com/en/api/messages, .../build-with-claude/streaming (order of events; ``ping`` anywhere; ``error``
in the middle of a stream; usage in ``message_delta`` is cumulative), .../agents-and-tools/tool-use/implement-tool-use
(results first in the user's message that follows the calls), .../api/errors (529 ``overloaded_error``), and the
``anthropic`` package's types (2.12).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ...call.words import Fetch
from ...engines.policy import ToolSpec
from ...engines.stages import Question
from ..events import SseEvent
from ..exchanges import Exchanges, Round, arguments_of
from ..language import ANSWER_BYTES, Reading, Spent, Wanted
from ..sendable import to_json
from .options import AnthropicSpec

__all__ = ["AnthropicReading", "AnthropicWire"]

_VERSION = "2023-06-01"
_CONNECTED = "(The caller is on the line.)"  # a conversation must begin with the user; ours may begin with a greeting
_ARGUMENTS = 64 << 10  # characters of one tool call
_BLOCKS = 64  # content blocks of one answer
_THOUGHT = 256 << 10  # characters of one thought, with its signature
_BAD_NAME = re.compile(r"[^A-Za-z0-9_-]")
_PASSING = ("overloaded_error", "api_error", "timeout_error", "rate_limit_error")


# --- asking ----------------------------------------------------------------------------------------------------------


class AnthropicWire:
    """One call's requests."""

    def __init__(self, spec: AnthropicSpec, system_prompt: str, tools: Sequence[ToolSpec]) -> None:
        self._spec = spec
        self._system = system_prompt
        self._url = f"{spec.base_url}/v1/messages"
        self._headers = (("Content-Type", "application/json"), ("anthropic-version", _VERSION), *spec.headers)
        self._tools = [_tool(tool) for tool in tools]

    def fetch(self, name: str, exchanges: Exchanges, question: Question) -> Fetch:
        spec = self._spec
        system, messages = self._messages(exchanges, question)
        body: dict[str, Any] = {"model": spec.model, "max_tokens": spec.max_tokens, "stream": True}
        if system:
            block: dict[str, Any] = {"type": "text", "text": system}
            if spec.cache_prompt:
                block["cache_control"] = {"type": "ephemeral"}
            body["system"] = [block]
        if self._tools:
            body["tools"] = self._tools
        if spec.temperature is not None:
            body["temperature"] = spec.temperature
        body["messages"] = messages
        body.update(spec.extra)
        body = {key: value for key, value in body.items() if value is not None}
        return Fetch(name, "POST", self._url, self._headers, to_json(body), auth=spec.auth, max_body=ANSWER_BYTES)

    def reading(self) -> Reading:
        return AnthropicReading()

    def _messages(self, exchanges: Exchanges, question: Question) -> tuple[str, list[dict[str, Any]]]:
        """The system prompt and the messages: user and assistant in turns, the user first."""
        system = [self._system] if self._system.strip() else []
        messages: list[dict[str, Any]] = []

        def add(role: str, blocks: list[dict[str, Any]]) -> None:
            if not messages and role == "assistant":
                messages.append({"role": "user", "content": [{"type": "text", "text": _CONNECTED}]})
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"].extend(blocks)
            else:
                messages.append({"role": role, "content": blocks})

        for one in exchanges.script(question.messages):
            if isinstance(one, Round):
                for role, blocks in _round(one):
                    add(role, blocks)
            elif one[0] in ("user", "assistant"):
                add(one[0], [{"type": "text", "text": one[1]}])
            else:
                system.append(one[1])
        if not messages or messages[-1]["role"] == "assistant":
            add("user", [{"type": "text", "text": _CONNECTED}])
        return "\n\n".join(system), messages


def _tool(tool: ToolSpec) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    made: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        made["description"] = tool.description
    return made


def _round(one: Round) -> list[tuple[str, list[dict[str, Any]]]]:
    said: list[dict[str, Any]] = list(one.kept.get("thoughts", ()))
    if one.text:
        said.append({"type": "text", "text": one.text})
    results: list[dict[str, Any]] = []
    for called in one.calls:
        id = _BAD_NAME.sub("_", called.id)
        name = _BAD_NAME.sub("_", called.name)[:64] or "_"
        said.append({"type": "tool_use", "id": id, "name": name, "input": arguments_of(called.arguments)})
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": id, "content": called.output or "{}"}
        if called.error:
            result["is_error"] = True
        results.append(result)
    return [("assistant", said), ("user", results)]


# --- reading ---------------------------------------------------------------------------------------------------------


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_DECODER = msgspec.json.Decoder(_Event)


class AnthropicReading:
    """One answer, event by event."""

    def __init__(self) -> None:
        self.calls: list[Wanted] = []
        self.spent: Spent | None = None
        self.alive = self.finished = self.done = self.passing = False
        self.wrong = self.why = ""
        self.warnings: list[tuple[str, str]] = []
        self.kept: dict[str, Any] = {}
        self._wanted: dict[int, Wanted] = {}
        self._thoughts: dict[int, dict[str, Any]] = {}
        self._blocks = 0

    def push(self, event: SseEvent) -> str:
        try:
            said = _DECODER.decode(event.data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            self.warnings.append(("malformed", f"an event that cannot be read was left out ({str(error)[:100]})"))
            return ""
        match said.type or event.event:
            case "content_block_delta" if said.delta is not None:
                return self._more(said.index, said.delta)
            case "content_block_start" if said.content_block is not None:
                return self._block(said.index, said.content_block)
            case "message_start" if said.message is not None:
                self._spend(said.message.usage)
            case "message_delta":
                self._spend(said.usage)
                if said.delta is not None and said.delta.stop_reason:
                    self._finish(said.delta.stop_reason)
            case "message_stop":
                self.done = True
            case "error":
                self._failed(said.error or _Error())
        return ""

    def whole(self, body: bytes) -> str:
        self.wrong = "answered in one piece although a stream was asked for: is base_url= a messages API?"
        return ""

    def end(self) -> str:
        return ""

    def _block(self, index: int | None, block: _Block) -> str:
        self.alive = True
        self._blocks += 1
        if self._blocks > _BLOCKS or index is None:
            return ""
        if block.type == "tool_use":
            wanted = self._wanted[index] = Wanted(id=(block.id or "")[:200], name=(block.name or "")[:200])
            if isinstance(block.input, dict) and block.input:
                wanted.arguments = to_json(block.input).decode()
            self.calls.append(wanted)
        elif block.type == "thinking":
            thought = {"type": "thinking", "thinking": block.thinking or "", "signature": block.signature or ""}
            self._keep(index, thought)
        elif block.type == "redacted_thinking" and block.data:
            self._keep(index, {"type": "redacted_thinking", "data": block.data})
        return (block.text or "") if block.type == "text" else ""

    def _more(self, index: int | None, delta: _Delta) -> str:
        self.alive = True
        if delta.type == "text_delta":
            return delta.text or ""
        if index is None:
            return ""
        if delta.type == "input_json_delta":
            wanted = self._wanted.get(index)
            if wanted is not None and len(wanted.arguments) < _ARGUMENTS:
                wanted.arguments += delta.partial_json or ""
        elif delta.type in ("thinking_delta", "signature_delta"):
            thought = self._thoughts.get(index)
            key = delta.type.removesuffix("_delta")
            if thought is not None and key in thought and len(thought[key]) < _THOUGHT:
                thought[key] += (delta.thinking if key == "thinking" else delta.signature) or ""
        return ""

    def _keep(self, index: int, thought: dict[str, Any]) -> None:
        """Thoughts that led to a tool call are wanted back with it, unchanged."""
        self._thoughts[index] = thought
        self.kept.setdefault("thoughts", []).append(thought)

    def _spend(self, usage: _Usage | None) -> None:
        """Each report is of all so far; one that leaves a number out does not change it. What is written to the cache
        was input, too."""
        if usage is None:
            return
        before = self.spent or Spent()
        new = before.input
        if usage.input_tokens is not None:
            new = max(usage.input_tokens, 0) + max(usage.cache_creation_input_tokens or 0, 0)
        cached = before.cached if usage.cache_read_input_tokens is None else max(usage.cache_read_input_tokens, 0)
        output = before.output if usage.output_tokens is None else max(usage.output_tokens, 0)
        self.spent = Spent(new, cached, output)

    def _finish(self, reason: str) -> None:
        self.finished = self.alive = True
        if reason == "max_tokens":
            self.why = "the answer reached max_tokens before its first word: raise it"
            self.warnings.append(("max_tokens", "an answer was cut at max_tokens; raise it, or ask for short answers"))
        elif reason == "refusal":
            self.why = "the model refused to answer"
        elif reason == "model_context_window_exceeded":
            self.why = "the conversation is longer than the model can read"

    def _failed(self, error: _Error) -> None:
        kind = error.type or "error"
        self.wrong = f"{kind} in the stream: {' '.join((error.message or '').split())[:200]}"
        self.passing = kind in _PASSING
