"""Every simulated provider is where the real one is, wants its key, and takes its plans in turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core.audio.wav import write_wav
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.deepgram_peer import DeepgramPeer
from patter_core.simulator.elevenlabs_peer import ConvAIPlan
from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
from patter_core.simulator.llm_peer import LlmAnswer
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.openai_realtime_peer import RealtimePlan
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import Routes, SimulatedProviders
from patter_core.simulator.puppet import Line, Puppet
from patter_core.wire import HttpResponse
from tests.core.carriers_world import person, talk
from tests.core.provider_kit import ProviderWorld

VOICE = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream?output_format=ulaw_8000"
ANTHROPIC = (("anthropic-version", "2023-06-01"),)


def webhook(payload: dict[str, Any]) -> list[str]:
    return ["You said ", str(payload["text"])]


SCRIPT = ProviderScript(
    realtime=(RealtimePlan(key="openai-key"),),
    convai=(ConvAIPlan(refuse=503), ConvAIPlan()),
    voice=(SpeechPlan(),),
    voice_socket=(SpeechPlan(),),
    deepgram=("hello",),
    deepgram_key="deepgram-key",
    openai=("what was said",),
    openai_key="openai-key",
    chat=[LlmAnswer(text=("one",)), LlmAnswer(text=("two",))],
    chat_key="openai-key",
    backup=[LlmAnswer(text=("spare",))],
    groq=[LlmAnswer(text=("fast",))],
    groq_key="groq-key",
    anthropic=[LlmAnswer(text=("considered",))],
    anthropic_key="anthropic-key",
    webhook=webhook,
)


class Providers:
    def __init__(self, script: ProviderScript = SCRIPT, more: Routes | None = None) -> None:
        self.net = VirtualNetwork()
        boards = [SimulatedProviders(standard(script, more)) for _ in range(3)]
        self.node = self.net.add("providers", ContractChecker(boards[0], twin=boards[1], ticked=boards[2]))
        self.board = boards[0]

    def line(self, host: str = "api.openai.com") -> Line:
        return Puppet(self.net, self.node, host=host).dial()

    def link(self, target: str, key: tuple[str, str] | None = None) -> int:
        return self.line().upgrade(target, () if key is None else [key])

    def ask(
        self, path: str, body: dict[str, Any], *headers: tuple[str, str], host: str = "api.openai.com"
    ) -> HttpResponse:
        headers = (("Content-Type", "application/json"), *headers)
        return self.line(host).ask("POST", path, headers, msgspec.json.encode(body), within_us=60_000_000)


def question(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Well?"}], **more}


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/v1/realtime?model=gpt-realtime", bearer("openai-key")),
        ("/v1/listen?encoding=mulaw&sample_rate=8000", ("Authorization", "Token deepgram-key")),
        (
            "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/multi-stream-input?output_format=pcm_16000",
            ("xi-api-key", "xi-key"),
        ),
    ],
)
def test_websockets_are_where_they_should_be_and_want_a_key(target: str, key: tuple[str, str]) -> None:
    assert Providers().link(target, key) == 101
    assert Providers().link(target, (key[0], "another")) == 401
    assert Providers(ProviderScript()).link(target, key) == 404


def test_plans_are_taken_in_turn() -> None:
    providers = Providers()
    target = "/v1/convai/conversation?agent_id=agent_1"
    assert [providers.link(target, ("xi-api-key", "xi-key")) for _ in range(3)] == [503, 101, 101]
    for text in ("one", "two", "two"):
        answer = providers.ask("/v1/chat/completions", question(), bearer("openai-key"))
        assert msgspec.json.decode(answer.body)["choices"][0]["message"]["content"] == text


def test_models_answer_at_their_hosts() -> None:
    providers = Providers()
    spare = providers.ask("/v1/chat/completions", question(), host="backup.example")
    assert b'"spare"' in spare.body
    fast = providers.ask("/openai/v1/chat/completions", question(stream=True), bearer("groq-key"), host="api.groq.com")
    assert b"x_groq" in fast.body
    considered = providers.ask(
        "/v1/messages", question(max_tokens=9, stream=True), ("x-api-key", "anthropic-key"), *ANTHROPIC
    )
    assert (considered.status, b"considered" in considered.body) == (200, True)
    assert providers.ask("/v1/chat/completions", question(), bearer("wrong")).status == 401
    assert providers.ask("/v1/messages", question(max_tokens=9), *ANTHROPIC).status == 401


def test_a_voice_speaks() -> None:
    answer = Providers().ask(VOICE, {"text": "Hello", "model_id": "m"}, ("xi-api-key", "xi-key"))
    assert answer.status == 200
    assert len(answer.body) > 1000


def test_openai_speaks_and_listens() -> None:
    providers = Providers()
    wanted = {"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": "pcm"}
    spoken = providers.ask("/v1/audio/speech", wanted, bearer("openai-key"))
    assert spoken.status == 200, spoken.body
    assert len(spoken.body) > 1000
    cut = "simulated-boundary"
    form = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (cut.encode(), name, more, value)
        for name, more, value in (
            (b"model", b"", b"whisper-1"),
            (b"file", b'; filename="a.wav"\r\nContent-Type: audio/wav', write_wav(16_000, 1, bytes(32_000))),
        )
    )
    headers = [bearer("openai-key"), ("Content-Type", f"multipart/form-data; boundary={cut}")]
    body = form + f"--{cut}--\r\n".encode()
    heard = providers.line().ask("POST", "/v1/audio/transcriptions", headers, body, within_us=60_000_000)
    assert heard.status == 200, heard.body
    assert msgspec.json.decode(heard.body)["text"] == "what was said"
    assert providers.ask("/v1/audio/speech", wanted, bearer("wrong")).status == 401


def test_an_application_answers_both_ways() -> None:
    providers = Providers()
    assert providers.ask("/webhook/agent", {"text": "hi"}).body == b"You said hi"
    line = providers.line()
    assert line.upgrade("/webhook") == 101
    line.say('{"id":"1","text":"hi"}')
    providers.net.run(until_us=providers.net.now + 1_000_000)
    assert [msgspec.json.decode(text).get("text") for text in line.texts] == ["You said ", "hi", None]


def test_what_is_added_comes_first() -> None:
    providers = Providers(more=Routes({"/v1/listen": lambda number: DeepgramPeer(None, None)}))  # type: ignore[arg-type]
    assert providers.board._routes.links["/v1/listen"](0)._service is None  # type: ignore[attr-defined]


def test_a_world_with_everything_in_it_comes_to_its_end() -> None:
    world = ProviderWorld(plans=person(talk(200)), routes=lambda: standard(SCRIPT), provider_latency_us=5_000, cut=100)
    world.run(1)
    world.over()
    assert world.outcomes() == []
    assert world.break_links() == 0
