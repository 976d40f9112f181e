"""The other side of the brains: a language model's service, and an application's own server, as scripted peers.

A service checks what it is asked as the real one does (the key, the roles, tool calls and their results) and refuses
it in the real one's shape, though not in its words. Answers come in the events, the order and the fields of the real
ones, at a pace of their own. Sources: those of ``providers/chat/wire.py`` and ``providers/anthropic/wire.py``; for
errors, platform.openai.com/docs/guides/error-codes and docs.claude.com/en/api/errors.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .provider_peer import PeerAnswer, PeerBody, PeerClose, PeerDone, PeerDrop, PeerOrder, PeerRefuse, PeerSay

__all__ = ["AnthropicPeer", "ChatPeer", "LlmAnswer", "LlmScript", "ToolUse", "WebhookLinkPeer", "WebhookPeer"]

_JSON = ("content-type", "application/json")
_EVENTS = ("content-type", "text/event-stream; charset=utf-8")
_CREATED = 1_760_000_000


class ToolUse(msgspec.Struct, frozen=True):
    """A tool the model wants; its arguments come in pieces of ``cut`` characters."""

    id: str
    name: str
    arguments: str = "{}"
    cut: int = 7


class LlmAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. ``fault`` is '' or what goes wrong after the text:

    * ``drop``: the connection is gone; ``end``: the body ends without its last events;
    * ``hang``: nothing more comes; ``error``: an error event in the stream;
    * ``malformed``: an event that is no JSON in the middle of it, then it goes on;
    * ``silent``: not even a status comes.

    With a ``status`` other than 200 it is a refusal, in the service's shape, with ``code`` and ``message``.
    """

    text: tuple[str, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    thoughts: tuple[str, ...] = ()
    refusal: str = ""
    first_us: int = 300_000
    piece_us: int = 30_000
    finish: str = ""  # '': as the service would say
    usage: tuple[int, int, int] | None = (120, 0, 20)  # input in all, cached, output
    fault: str = ""
    status: int = 200
    code: str = ""
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()


LlmScript = Sequence[LlmAnswer] | Callable[[dict[str, Any]], LlmAnswer]
"""Answers in turn, of which the last is given again; or what to answer to a request's body."""


class _Timed:
    """Orders that wait for their time."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, list[PeerOrder]]] = deque()
        self._last = 0

    @property
    def deadline(self) -> int | None:
        return self._queue[0][0] if self._queue else None

    def tick(self, now: int) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        while self._queue and self._queue[0][0] <= now:
            out.extend(self._queue.popleft()[1])
        return out

    def closed(self, now: int) -> None:
        self._queue.clear()

    def _at(self, now: int) -> None:
        self._last = now

    def _then(self, after_us: int, *orders: PeerOrder) -> None:
        """After what is waiting already."""
        self._last += max(0, after_us)
        self._queue.append((self._last, list(orders)))


class _ModelPeer(_Timed):
    """What both services have in common: one request, checked, and its scripted answer."""

    def __init__(self, script: LlmScript, number: int = 0, key: str = "") -> None:
        super().__init__()
        self._script = script
        self._number = number
        self._key = key
        self.target = ""
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}  # the request's
        self.refused = ""  # why the service would not answer it

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        self._at(now)
        self.target = target
        self.headers = {name.lower(): value for name, value in headers.items()}
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError:
            value = None
        if not isinstance(value, dict):
            return self._refuse(400, "invalid_request_error", "", "the body is no JSON object")
        self.body = value
        if wrong := self._unauthorised():
            return wrong
        self.refused = self._objection(method, target)
        if self.refused:
            return self._refuse(400, "invalid_request_error", "", self.refused)
        script = self._script
        answer = script(value) if callable(script) else script[min(self._number, len(script) - 1)]
        if answer.fault == "silent":
            return []
        if answer.status != 200:
            orders = self._refuse(answer.status, answer.code or "server_error", answer.code, answer.message)
            head = orders[0]
            assert isinstance(head, PeerAnswer)
            self._then(answer.first_us, PeerAnswer(head.status, (*head.headers, *answer.headers)), *orders[1:])
        else:
            self._answer(answer)
        return self.tick(now)

    def _unauthorised(self) -> list[PeerOrder]:
        raise NotImplementedError

    def _objection(self, method: str, target: str) -> str:
        raise NotImplementedError

    def _refuse(self, status: int, kind: str, code: str, message: str) -> list[PeerOrder]:
        raise NotImplementedError

    def _answer(self, answer: LlmAnswer) -> None:
        raise NotImplementedError


# --- chat completions ------------------------------------------------------------------------------------------------


class ChatPeer(_ModelPeer):
    """A service that speaks chat completions. ``dialect``:

    * ``openai``: usage in a chunk of its own, without choices;
    * ``groq``: usage in ``x_groq`` of the last chunk;
    * ``ollama``: tool calls whole and without an index, ``stop`` as their finish reason.
    """

    def __init__(self, script: LlmScript, number: int = 0, key: str = "", dialect: str = "openai") -> None:
        super().__init__(script, number, key)
        self._dialect = dialect

    def _unauthorised(self) -> list[PeerOrder]:
        if not self._key or self.headers.get("authorization") == f"Bearer {self._key}":
            return []
        return self._refuse(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")

    def _refuse(self, status: int, kind: str, code: str, message: str) -> list[PeerOrder]:
        error = {"message": message, "type": kind, "param": None, "code": code or None}
        return [PeerAnswer(status, (_JSON,)), PeerBody(msgspec.json.encode({"error": error})), PeerDone()]

    def _objection(self, method: str, target: str) -> str:
        body = self.body
        messages = body.get("messages")
        if method != "POST" or not target.partition("?")[0].endswith("/chat/completions"):
            return f"no such place: {method} {target}"
        if not isinstance(body.get("model"), str):
            return "no model is named"
        if not isinstance(messages, list) or not messages:
            return "there are no messages"
        open_calls: list[str] = []
        for index, message in enumerate(messages):
            role = message.get("role")
            if role == "tool":
                if message.get("tool_call_id") not in open_calls:
                    return f"messages[{index}]: the result of a tool call that was not made"
                open_calls.remove(message["tool_call_id"])
                continue
            if open_calls:
                return f"messages[{index}]: tool call {open_calls[0]} has no result"
            if role not in ("system", "developer", "user", "assistant"):
                return f"messages[{index}]: there is no role {role!r}"
            if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
                return f"messages[{index}]: no content"
            for call in message.get("tool_calls") or ():
                open_calls.append(call["id"])
                try:
                    msgspec.json.decode(call["function"]["arguments"])
                except msgspec.DecodeError:
                    return f"messages[{index}]: arguments that are no JSON"
        return "a tool call has no result" if open_calls else ""

    def _answer(self, answer: LlmAnswer) -> None:
        if not self.body.get("stream"):
            self._in_one(answer)
            return
        first = {"role": "assistant", "content": ""}
        self._then(answer.first_us, PeerAnswer(200, (_EVENTS, *answer.headers)), self._chunk(first))
        for thought in answer.thoughts:
            self._then(answer.piece_us, self._chunk({"reasoning_content": thought}))
        for index, text in enumerate(answer.text):
            if answer.fault == "malformed" and index == len(answer.text) // 2:
                self._then(answer.piece_us, PeerBody(b'data: {"choices":[{"delta":{"content":\n\n'))
            self._then(answer.piece_us, self._chunk({"content": text}))
        if answer.refusal:
            self._then(answer.piece_us, self._chunk({"refusal": answer.refusal}))
        for index, tool in enumerate(answer.tools):
            self._tool(answer, index, tool)
        if answer.fault in ("drop", "end", "hang", "error"):
            self._spoil(answer)
            return
        finish = answer.finish or ("tool_calls" if answer.tools and self._dialect != "ollama" else "stop")
        usage = _chat_usage(answer)
        last: dict[str, Any] = {}
        if usage and self._dialect == "groq":
            last = {"x_groq": {"id": "req_1", "usage": {"queue_time": 0.01, **usage}}}
        self._then(answer.piece_us, self._chunk({}, finish, **last))
        options = self.body.get("stream_options") or {}
        if usage and self._dialect != "groq" and options.get("include_usage"):
            self._then(0, self._chunk(None, usage=usage))
        self._then(0, PeerBody(b"data: [DONE]\n\n"), PeerDone())

    def _spoil(self, answer: LlmAnswer) -> None:
        if answer.fault == "drop":
            self._then(answer.piece_us, PeerDrop())
        elif answer.fault == "end":
            self._then(answer.piece_us, PeerDone())
        elif answer.fault == "error":
            error = {
                "error": {"message": answer.message or "The server had an error", "type": answer.code or "server_error"}
            }
            self._then(answer.piece_us, PeerBody(b"data: " + msgspec.json.encode(error) + b"\n\n"), PeerDone())

    def _tool(self, answer: LlmAnswer, index: int, tool: ToolUse) -> None:
        if self._dialect == "ollama":
            function = {"name": tool.name, "arguments": tool.arguments}
            whole = {"id": tool.id, "type": "function", "function": function}
            self._then(answer.piece_us, self._chunk({"role": "assistant", "content": "", "tool_calls": [whole]}))
            return
        begin = {"index": index, "id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": ""}}
        self._then(answer.piece_us, self._chunk({"tool_calls": [begin]}))
        for at in range(0, len(tool.arguments), max(1, tool.cut)):
            piece = {"index": index, "function": {"arguments": tool.arguments[at : at + max(1, tool.cut)]}}
            self._then(answer.piece_us, self._chunk({"tool_calls": [piece]}))

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> PeerBody:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        chunk = {
            "id": f"chatcmpl-{self._number}",
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": self.body.get("model"),
            "choices": choices,
            **more,
        }
        return PeerBody(b"data: " + msgspec.json.encode(chunk) + b"\n\n")

    def _in_one(self, answer: LlmAnswer) -> None:
        calls = [
            {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}
            for tool in answer.tools
        ]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.text) or None}
        if calls:
            message["tool_calls"] = calls
        finish = answer.finish or ("tool_calls" if calls else "stop")
        whole = {
            "id": f"chatcmpl-{self._number}",
            "object": "chat.completion",
            "created": _CREATED,
            "model": self.body.get("model"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": _chat_usage(answer) or None,
        }
        self._then(answer.first_us, PeerAnswer(200, (_JSON,)), PeerBody(msgspec.json.encode(whole)), PeerDone())


def _chat_usage(answer: LlmAnswer) -> dict[str, Any]:
    if answer.usage is None:
        return {}
    prompt, cached, output = answer.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


# --- Anthropic's messages --------------------------------------------------------------------------------------------


class AnthropicPeer(_ModelPeer):
    """Anthropic's messages API."""

    def _unauthorised(self) -> list[PeerOrder]:
        if not self._key or self.headers.get("x-api-key") == self._key:
            return []
        return self._refuse(401, "authentication_error", "", "invalid x-api-key")

    def _refuse(self, status: int, kind: str, code: str, message: str) -> list[PeerOrder]:
        error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        return [PeerAnswer(status, (_JSON,)), PeerBody(msgspec.json.encode(error)), PeerDone()]

    def _objection(self, method: str, target: str) -> str:
        body = self.body
        messages = body.get("messages")
        if method != "POST" or target.partition("?")[0] != "/v1/messages":
            return f"Not found: {method} {target}"
        if "anthropic-version" not in self.headers:
            return "anthropic-version: header is required"
        for field in ("model", "max_tokens"):
            if field not in body:
                return f"{field}: Field required"
        if not isinstance(messages, list) or not messages:
            return "messages: at least one message is required"
        expected: set[str] = set()
        for index, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if role != ("assistant" if index % 2 else "user"):
                return 'messages: roles must alternate between "user" and "assistant", beginning with "user"'
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
                return f"messages.{index}: text content blocks must be non-empty"
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            kinds = [block["type"] for block in blocks]
            if set(results) != expected or kinds[: len(results)].count("tool_result") != len(results):
                return f"messages.{index}: does not begin with the results of just the tools called before it"
            expected = {block["id"] for block in blocks if block["type"] == "tool_use"}
        return "messages: the final message must be the user's" if messages[-1]["role"] != "user" else ""

    def _answer(self, answer: LlmAnswer) -> None:
        counted = answer.usage or (0, 0, 0)
        usage = {
            "input_tokens": counted[0] - counted[1],
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counted[1],
            "output_tokens": 1,
        }
        message: dict[str, Any] = {
            "id": f"msg_{self._number}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self.body.get("model"),
            "stop_reason": None,
            "stop_sequence": None,
        }
        if answer.usage is not None:
            message["usage"] = usage
        head = PeerAnswer(200, (_EVENTS, *answer.headers))
        self._then(answer.first_us, head, _event("message_start", message=message), _event("ping"))
        index = 0
        if answer.thoughts:
            deltas = [{"type": "thinking_delta", "thinking": thought} for thought in answer.thoughts]
            deltas.append({"type": "signature_delta", "signature": "c2lnbmVk"})
            self._block(answer, index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
            index += 1
        if answer.text:
            self._block(
                answer, index, {"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in answer.text]
            )
            index += 1
        for tool in answer.tools:
            cut = max(1, tool.cut)
            pieces = [tool.arguments[at : at + cut] for at in range(0, len(tool.arguments), cut)]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces)]
            self._block(answer, index, {"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}, deltas)
            index += 1
        if answer.fault == "drop":
            self._then(answer.piece_us, PeerDrop())
        elif answer.fault == "end":
            self._then(answer.piece_us, PeerDone())
        elif answer.fault == "error":
            error = {"type": answer.code or "overloaded_error", "message": answer.message or "Overloaded"}
            self._then(answer.piece_us, _event("error", error=error), PeerDone())
        elif answer.fault != "hang":
            delta = {
                "stop_reason": answer.finish or ("tool_use" if answer.tools else "end_turn"),
                "stop_sequence": None,
            }
            more = {} if answer.usage is None else {"usage": {"output_tokens": counted[2]}}
            self._then(answer.piece_us, _event("message_delta", delta=delta, **more))
            self._then(0, _event("message_stop"), PeerDone())

    def _block(self, answer: LlmAnswer, index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> None:
        self._then(answer.piece_us, _event("content_block_start", index=index, content_block=block))
        for number, delta in enumerate(deltas):
            if answer.fault == "malformed" and number == len(deltas) // 2:
                self._then(0, PeerBody(b'event: content_block_delta\ndata: {"type":\n\n'))
            self._then(answer.piece_us, _event("content_block_delta", index=index, delta=delta))
        self._then(0, _event("content_block_stop", index=index))


def _event(name: str, **fields: Any) -> PeerBody:
    return PeerBody(f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **fields}) + b"\n\n")


# --- an application's own server -------------------------------------------------------------------------------------


class WebhookPeer(_Timed):
    """An application that answers each message over HTTP: ``reply`` gets the payload and gives pieces of text.

    ``style``: ``text``, ``json`` or ``events``. With a ``secret`` a request whose signature is wrong is refused.
    ``fault``: '', ``drop`` (in the middle), ``hang`` (after the text) or ``silent``.
    """

    def __init__(
        self,
        reply: Callable[[dict[str, Any]], Sequence[str]],
        style: str = "text",
        secret: str = "",
        status: int = 200,
        fault: str = "",
        first_us: int = 100_000,
        piece_us: int = 20_000,
    ) -> None:
        super().__init__()
        self._reply = reply
        self._style = style
        self._secret = secret
        self._status = status
        self._fault = fault
        self._first_us = first_us
        self._piece_us = piece_us
        self.payload: dict[str, Any] = {}

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        self._at(now)
        named = {name.lower(): value for name, value in headers.items()}
        if self._secret:
            proof = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(proof, named.get("x-patter-signature", "")):
                return [PeerAnswer(401, (("content-type", "text/plain"),)), PeerBody(b"bad signature"), PeerDone()]
        self.payload = msgspec.json.decode(body)
        if self._fault == "silent":
            return []
        if self._status != 200:
            plain = ("content-type", "text/plain")
            self._then(self._first_us, PeerAnswer(self._status, (plain,)), PeerBody(b"no"), PeerDone())
            return self.tick(now)
        kind = {"text": "text/plain; charset=utf-8", "json": "application/json", "events": "text/event-stream"}
        pieces = list(self._reply(self.payload))
        self._then(self._first_us, PeerAnswer(200, (("content-type", kind[self._style]),)))
        if self._style == "json":
            pieces = [msgspec.json.encode({"text": "".join(pieces)}).decode()]
        elif self._style == "events":
            pieces = [f"data: {msgspec.json.encode({'text': piece}).decode()}\n\n" for piece in pieces]
            pieces.append('data: {"done": true}\n\n')
        for index, piece in enumerate(pieces):
            if self._fault == "drop" and index == len(pieces) // 2:
                self._then(self._piece_us, PeerDrop())
                return self.tick(now)
            self._then(self._piece_us, PeerBody(piece.encode()))
        if self._fault != "hang":
            self._then(0, PeerDone())
        return self.tick(now)


class WebhookLinkPeer(_Timed):
    """An application that answers over a WebSocket: ``reply`` gets each message and gives pieces of text.

    ``style``: ``ids`` (each answer names its message), ``json`` (none does) or ``plain`` (text frames; ``done`` is
    JSON). A server told of an interruption says ``done`` (``heeds``), or else goes on to the end. ``fault``: '',
    ``refuse``, ``drop`` (in the middle of an answer), ``hang`` (never done), ``close`` (closes after each answer
    and does not say ``done``).
    """

    def __init__(
        self,
        reply: Callable[[dict[str, Any]], Sequence[str]],
        style: str = "ids",
        heeds: bool = True,
        fault: str = "",
        first_us: int = 100_000,
        piece_us: int = 20_000,
    ) -> None:
        super().__init__()
        self._reply = reply
        self._style = style
        self._heeds = heeds
        self._fault = fault
        self._first_us = first_us
        self._piece_us = piece_us
        self.target = ""
        self.headers: dict[str, str] = {}
        self.messages: list[dict[str, Any]] = []
        self.gone = False

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        self.target = target
        self.headers = headers
        return [PeerRefuse(503, b"not now")] if self._fault == "refuse" else []

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        message = msgspec.json.decode(data)
        self.messages.append(message)
        self._at(max(now, self._last))
        id = str(message.get("id", ""))
        if message.get("type") == "interrupted":
            if self._heeds and self._queue:
                self._queue.clear()
                self._at(now)
                self._then(0, self._piece(id, done=True))
            return self.tick(now)
        pieces = list(self._reply(message))
        wait = self._first_us
        for index, piece in enumerate(pieces):
            if self._fault == "drop" and index == len(pieces) // 2:
                self._then(wait, PeerDrop())
                return self.tick(now)
            self._then(wait, self._piece(id, piece))
            wait = self._piece_us
        if self._fault == "close":
            self._then(wait, PeerClose(1000))
        elif self._fault != "hang":
            self._then(wait, self._piece(id, done=True))
        return self.tick(now)

    def closed(self, now: int) -> None:
        super().closed(now)
        self.gone = True

    def _piece(self, id: str, text: str = "", done: bool = False) -> PeerSay:
        if self._style == "plain" and not done:
            return PeerSay(text)
        said: dict[str, Any] = {"done": True} if done else {"text": text}
        if self._style == "ids":
            said["id"] = id
        return PeerSay(msgspec.json.encode(said).decode())
