"""``phone.test``: a conversation in text, with everything of a call but its audio, on either loop."""

from __future__ import annotations

import importlib
import io
import queue
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest

import patter_core
from patter_core.edge.sockets import listen
from patter_core.edge.terminal import read_piped
from patter_core.simulator.llm_peer import LlmAnswer, ToolUse
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import SimulatedProviders

PATIENCE_S = 30


@pytest.fixture(params=["patter_asyncio", "patter_trio"])
def loop(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "patter_trio":
        pytest.importorskip("trio")
    return importlib.import_module(request.param)


class Keyboard:
    """Types each line once what it waits for was written."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        self._lines = list(lines)
        self._written: queue.Queue[str] = queue.Queue()
        self.shown: list[str] = []

    def read(self) -> str:
        if not self._lines:
            raise EOFError
        wanted, line = self._lines.pop(0)
        while wanted not in self._written.get(timeout=PATIENCE_S):
            pass
        return line

    def write(self, text: str) -> None:
        self.shown.append(text)
        self._written.put(text)


def converse(
    loop: ModuleType, lines: Sequence[tuple[str, str]], agent: dict[str, Any], **callbacks: Any
) -> tuple[list[str], dict[str, Any]]:
    """What was written, and what ``on_call_end`` got."""
    keyboard = Keyboard(lines)
    ended: list[dict[str, Any]] = []

    async def main() -> None:
        phone = loop.Patter(carrier=loop.Telnyx("key", "1", "e8SlSZ0fPhMuI7s0WSVWxzC5LU8mWR2eEZ0eXwzY1Q8="))
        await phone.test(
            phone.agent(**agent), on_call_end=ended.append, read=keyboard.read, write=keyboard.write, **callbacks
        )

    loop.run(main)
    assert len(ended) == 1
    return keyboard.shown, ended[0]


def said(text: str) -> str:
    return f"You said {text}."


SAYS = {"tts": len, "first_message": "Hello, {name}!", "variables": {"name": "Ann"}}


def answer(message: dict[str, Any]) -> str:
    return said(message["text"])


def test_a_conversation(loop: ModuleType) -> None:
    lines = [("Hello", "one"), ("said one", "two"), ("said two", "/history"), ("user: two", "/nonsense"), ("", "/quit")]
    shown, call = converse(loop, lines, SAYS, on_message=answer)
    assert "assistant: Hello, Ann!" in shown
    assert [line["text"] for line in call["transcript"]] == ["Hello, Ann!", "one", said("one"), "two", said("two")]
    assert "  user: one" in shown
    assert len([line for line in shown if line.startswith("Type what")]) == 2
    assert call["reason"] == "cancelled"
    assert call["metrics"].cost.total == 0
    assert shown[-1] == "(the call is over: you left)"


def test_the_end_of_the_input_is_the_end(loop: ModuleType) -> None:
    _, call = converse(loop, [("Hello", "one")], SAYS, on_message=answer)
    assert call["reason"] == "cancelled"


def test_on_call_start_has_its_say(loop: ModuleType) -> None:
    shown, _ = converse(
        loop, [("Hello", "/quit")], SAYS, on_message=answer, on_call_start=lambda call: {"variables": {"name": "Ben"}}
    )
    assert "assistant: Hello, Ben!" in shown


def hangs_up(message: dict[str, Any], call: Any) -> str:
    call.hangup()
    return "Bye."


def puts_through(message: dict[str, Any], call: Any) -> str:
    call.transfer("+15550002222")
    return "One moment."


@pytest.mark.parametrize(
    ("line", "on_message", "reason"),
    [
        ("x", hangs_up, "agent_hung_up"),
        ("x", puts_through, "transferred"),
        ("/hangup", answer, "caller_hung_up"),
        ("/transfer +15550002222", answer, "transferred"),
    ],
)
def test_how_it_ends(loop: ModuleType, line: str, on_message: Callable[..., Any], reason: str) -> None:
    shown, call = converse(loop, [("Hello", line), ("over", "/quit")], SAYS, on_message=on_message)
    assert call["reason"] == reason
    assert ("(transfer to +15550002222)" in shown) is (reason == "transferred")


def test_a_model_with_tools_guardrails_and_hooks(loop: ModuleType) -> None:
    used: list[dict[str, Any]] = []

    def book(arguments: dict[str, Any], context: dict[str, str]) -> str:
        used.append(arguments)
        return "booked"

    listener = listen("127.0.0.1", 0)
    script = ProviderScript(
        chat=(
            LlmAnswer(tools=(ToolUse("1", "book", '{"people": 2}'),)),
            LlmAnswer(text=("A table for two. ",)),
            LlmAnswer(text=("It belongs to Elena.",)),
            LlmAnswer(text=("Goodbye.",), tools=(ToolUse("2", "end_call", '{"reason": "done"}'),)),
        ),
        chat_key="k",
    )
    board = loop.Drive(SimulatedProviders(standard(script)), listener=listener)
    lines = [("Hello", "a table"), ("for two", "whose is it"), ("not for me", "bye"), ("over", "/quit")]
    keyboard = Keyboard(lines)
    ended: list[dict[str, Any]] = []

    async def main() -> None:
        phone = loop.Patter(carrier=loop.Twilio("AC" + "0" * 32, "token"), environ={"OPENAI_API_KEY": "k"})
        agent = phone.agent(
            stt=loop.DeepgramSTT(),  # no key for it: nothing is heard here
            llm=loop.OpenAILLM(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1"),
            first_message="Hello!",
            tools=[{"name": "book", "parameters": {"properties": {"people": {"type": "integer"}}}, "handler": book}],
            guardrails=[patter_core.Guardrail("names", ["Elena"], replacement="That is not for me to say.")],
            hooks={"after_transcribe": str.upper},
        )
        await phone.test(agent, on_call_end=ended.append, read=keyboard.read, write=keyboard.write)
        board.stop_soon()

    loop.run(lambda: loop.together(board.run, main))
    assert used == [{"people": 2}]
    assert "(book: done)" in keyboard.shown
    assert "assistant: That is not for me to say." in keyboard.shown
    texts = [line["text"] for line in ended[0]["transcript"]]
    assert texts[:3] == ["Hello!", "A TABLE", "A table for two."]
    assert "Goodbye." in texts
    assert ended[0]["reason"] == "agent_hung_up"
    assert ended[0]["metrics"].cost.llm > 0


@pytest.mark.parametrize("engine", [patter_core.OpenAIRealtime(), patter_core.ElevenLabsConvAI(), patter_core.Echo()])
def test_an_engine_that_speaks_by_itself_is_refused(loop: ModuleType, engine: Any) -> None:
    async def main() -> None:
        phone = loop.Patter(carrier=loop.Twilio("AC" + "0" * 32, "token"), environ={})
        await phone.test(phone.agent(engine=engine))

    with pytest.raises(patter_core.ConfigError, match="a conversation in text"):
        loop.run(main)


def test_an_agent_that_cannot_answer_is_refused(loop: ModuleType) -> None:
    async def main() -> None:
        phone = loop.Patter(carrier=loop.Twilio("AC" + "0" * 32, "token"), environ={})
        await phone.test(phone.agent(tts=len))

    with pytest.raises(patter_core.ConfigError, match="llm= or on_message="):
        loop.run(main)


def test_a_piped_script_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    source = io.BytesIO(b"one\nzw\xc3\xb6lf\nlast")
    monkeypatch.setattr("patter_core.edge.terminal.os.read", lambda fd, n: source.read(n))
    assert [read_piped(), read_piped(), read_piped()] == ["one\n", "zwölf\n", "last"]
    with pytest.raises(EOFError):
        read_piped()
