"""Chat completions on the wire: what is asked, and what is read from the stream of chunks that answers.

Sources: platform.openai.com/docs/api-reference/chat-streaming and the ``openai`` package's types of a chunk (3.54);
console.groq.com/docs/api-reference (usage in ``x_groq`` of the last chunk); github.com/ollama/ollama/issues/7881 (tool
calls without ``index``, each whole); api-docs.deepseek.com/guides/thinking_mode (``reasoning_content``, wanted back
with the tools it led to); ai.google.dev/gemini-api/docs/openai (``extra_content`` of a tool call, wanted back as well).
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
from ..thoughts import Thoughts
from .options import ChatSpec

__all__ = ["ChatReading", "ChatWire"]

_ARGUMENTS = 64 << 10  # characters of one tool call
_CALLS = 64  # tool calls that are read; fewer are run
_KEPT = 64 << 10  # characters of reasoning wanted back
_BAD_NAME = re.compile(r"[^A-Za-z0-9_-]")
_ROLES = ("system", "developer", "user", "assistant")


# --- asking ----------------------------------------------------------------------------------------------------------


class ChatWire:
    """One call's requests. What never changes is made once."""

    def __init__(self, spec: ChatSpec, system_prompt: str, tools: Sequence[ToolSpec]) -> None:
        self._spec = spec
        self._system = system_prompt
        self._url = f"{spec.base_url}/chat/completions"
        self._headers = (("Content-Type", "application/json"), ("Accept", "text/event-stream"), *spec.headers)
        self._tools = [_tool(tool) for tool in tools]

    def fetch(self, name: str, exchanges: Exchanges, question: Question) -> Fetch:
        spec = self._spec
        body: dict[str, Any] = {"model": spec.model, "messages": self._messages(exchanges, question), "stream": True}
        body["stream_options"] = {"include_usage": True}
        if self._tools:
            body["tools"] = self._tools
        if spec.temperature is not None:
            body["temperature"] = spec.temperature
        if spec.max_tokens is not None:
            body[spec.max_tokens_field] = spec.max_tokens
        if spec.reasoning_effort:
            body["reasoning_effort"] = spec.reasoning_effort
        body.update(spec.extra)
        body = {key: value for key, value in body.items() if value is not None}
        return Fetch(name, "POST", self._url, self._headers, to_json(body), auth=spec.auth, max_body=ANSWER_BYTES)

    def reading(self) -> Reading:
        return ChatReading()

    def _messages(self, exchanges: Exchanges, question: Question) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self._system.strip():
            messages.append({"role": "system", "content": self._system})
        for one in exchanges.script(question.messages):
            if isinstance(one, Round):
                messages.extend(_round(one))
            elif one[0] in _ROLES:
                messages.append({"role": one[0], "content": one[1]})
        return messages


def _tool(tool: ToolSpec) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _round(one: Round) -> list[dict[str, Any]]:
    calls = []
    for called in one.calls:
        arguments = called.arguments if arguments_of(called.arguments) else "{}"
        function = {"name": _BAD_NAME.sub("_", called.name)[:64] or "_", "arguments": arguments}
        calls.append({"id": called.id, "type": "function", "function": function, **called.kept})
    said: dict[str, Any] = {"role": "assistant", "content": one.text, "tool_calls": calls, **one.kept}
    results = [{"role": "tool", "tool_call_id": called.id, "content": called.output} for called in one.calls]
    return [said, *results]


# --- reading ---------------------------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None  # of an answer in one piece
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Groq(msgspec.Struct):
    usage: _Usage | None = None
    error: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    x_groq: _Groq | None = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


class ChatReading:
    """One answer, chunk by chunk."""

    def __init__(self) -> None:
        self.calls: list[Wanted] = []
        self.spent: Spent | None = None
        self.alive = self.finished = self.done = self.passing = False
        self.wrong = self.why = ""
        self.warnings: list[tuple[str, str]] = []
        self.kept: dict[str, Any] = {}
        self._by_index: dict[int, Wanted] = {}
        self._thoughts = Thoughts()

    def push(self, event: SseEvent) -> str:
        if event.data.strip() == "[DONE]":
            self.done = True
            return ""
        return self.whole(event.data)

    def whole(self, body: bytes | str) -> str:
        try:
            chunk = _DECODER.decode(body)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            self.warnings.append(("malformed", f"a chunk that cannot be read was left out ({str(error)[:100]})"))
            return ""
        groq = chunk.x_groq or _Groq()
        if chunk.error or groq.error:
            self._failed(chunk.error or groq.error)
            return ""
        usage = chunk.usage or groq.usage
        if usage is not None and usage.prompt_tokens is not None:
            details = usage.prompt_tokens_details or _Details()
            cached = min(max(details.cached_tokens or 0, 0), max(usage.prompt_tokens, 0))
            output = max(usage.completion_tokens or 0, 0)
            self.spent = Spent(max(usage.prompt_tokens, 0) - cached, cached, output)
        return "".join([self._choice(choice) for choice in (chunk.choices or ())[:1]])

    def end(self) -> str:
        return self._thoughts.end()

    def _choice(self, choice: _Choice) -> str:
        delta = choice.delta or choice.message or _Delta()
        text = delta.content if isinstance(delta.content, str) else "".join(map(_words, delta.content or ()))
        thought = delta.reasoning_content or ""
        if thought and len(self.kept.get("reasoning_content", "")) < _KEPT:
            self.kept["reasoning_content"] = self.kept.get("reasoning_content", "") + thought
        for call in delta.tool_calls or ():
            self._call(call)
        if text or delta.refusal or thought or delta.reasoning or delta.tool_calls or choice.finish_reason:
            self.alive = True
        if choice.finish_reason:
            self.finished = True
            self._finish(choice.finish_reason)
        return self._thoughts.push(text) + (delta.refusal or "")

    def _call(self, piece: _ToolCall) -> None:
        """A call's first piece has its id and name, the others only more of its arguments. A server that leaves out
        the index, or gives every call the same, sends each call whole, with an id of its own."""
        index = piece.index
        wanted = None if index is None else self._by_index.get(index)
        if wanted is not None and piece.id and wanted.id and piece.id != wanted.id:
            wanted = None
        if wanted is None and index is None and not piece.id and not (piece.function and piece.function.name):
            wanted = self.calls[-1] if self.calls else None
        if wanted is None:
            if len(self.calls) >= _CALLS:
                return
            wanted = Wanted()
            self.calls.append(wanted)
        if index is not None:
            self._by_index[index] = wanted
        if piece.id:
            wanted.id = piece.id[:200]
        if piece.extra_content is not None:
            wanted.kept = {"extra_content": piece.extra_content}
        function = piece.function
        if function is None:
            return
        if function.name and not wanted.name:
            wanted.name = function.name[:200]
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = to_json(arguments).decode()
        if arguments and len(wanted.arguments) < _ARGUMENTS:
            wanted.arguments += arguments

    def _finish(self, reason: str) -> None:
        if reason == "length":
            self.why = "the answer reached max_tokens before its first word: raise it, or let the model reason less"
            self.warnings.append(("max_tokens", "an answer was cut at max_tokens; raise it, or ask for short answers"))
        elif reason == "content_filter":
            self.why = "the provider's content filter left nothing of the answer"

    def _failed(self, error: Any) -> None:
        code: Any = None
        if isinstance(error, dict):
            code = error.get("code") or error.get("type") or error.get("status_code")
            error = error.get("message") or code
        self.wrong = f"error in the stream: {' '.join(str(error).split())[:200]}"
        self.passing = not (isinstance(code, str) and ("invalid" in code or "quota" in code))


def _words(part: _Part) -> str:
    return part.text or "" if part.type == "text" else ""
