"""What a provider, a model or a caller in a hurry once did to a call: each was a bug, and is not to come back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from patter_core.built_in_tools import BUILT_INS
from patter_core.call.call import CallState
from patter_core.call.words import *  # noqa: F403
from patter_core.call.words import (
    FetchEnded,
    FetchStarted,
    LinkClosed,
    LinkOpened,
    LinkSaid,
    OpenLink,
    Reported,
    Rest,
    SayOnLink,
    Tell,
    TransferWanted,
)
from patter_core.carriers.carrier import CallStatus, CallStatusChanged, TransferEnded
from patter_core.config import AgentSpec, HandlerSpec
from patter_core.contract import Order
from patter_core.engines.elevenlabs_convai import ElevenLabsConvAI
from patter_core.engines.openai_realtime import OpenAIRealtime
from patter_core.engines.policy import ToolSpec
from patter_core.errors import ConfigError
from patter_core.events import TransferStepped
from patter_core.host import Names
from patter_core.links import Links
from patter_core.providers.keys import Resolving
from patter_core.reasons import EndReason
from patter_core.timers import Timers
from tests.core.call_kit import CALL, MS, VOICE, Phone, Rig, S, sent_bytes

RES = Resolving({"OPENAI_API_KEY": "SEKRET-OPENAI", "ELEVENLABS_API_KEY": "SEKRET-XI", "DEEPGRAM_API_KEY": "d"})
RT, XI = OpenAIRealtime().resolve(RES), ElevenLabsConvAI(agent_id="a").resolve(RES)
PAY = ToolSpec(name="pay", handler=HandlerSpec("pay"))


class Linked(Rig):
    @property
    def link(self) -> str:
        return self.all(OpenLink)[-1].name

    def j(self, **event: Any) -> Any:
        return self.do(LinkSaid(self.link, json.dumps(event)))

    def realtime(self) -> None:
        self.begin()
        self.greet()

    def greet(self) -> None:
        self.do(LinkOpened(self.link))
        self.j(type="session.created", session={"id": "s"})
        self.j(type="session.updated")

    def convai(self) -> None:
        self.begin()
        self.metadata()

    def metadata(self) -> None:
        self.do(LinkOpened(self.link))
        form = {"agent_output_audio_format": "ulaw_8000", "user_input_audio_format": "ulaw_8000"}
        self.j(type="conversation_initiation_metadata", conversation_initiation_metadata_event=form)

    def created(self, id: str = "r1") -> None:
        self.j(type="response.created", response={"id": id})

    def speech(self, ms: int, id: str = "r1") -> None:
        self.j(
            type="response.output_audio.delta",
            response_id=id,
            item_id="i" + id,
            delta=base64.b64encode(bytes(8 * ms)).decode(),
        )
        self.j(type="response.output_audio_transcript.delta", response_id=id, item_id="i" + id, delta="words. ")

    def tool(self, name: str, args: str, call: str = "c1", id: str = "r1") -> None:
        item = {
            "id": "f",
            "type": "function_call",
            "status": "completed",
            "name": name,
            "call_id": call,
            "arguments": args,
        }
        self.j(type="response.output_item.done", response_id=id, item=item)

    def done(self, id: str = "r1", **more: Any) -> None:
        self.j(type="response.done", response={"id": id, "status": "completed", **more})

    def hush(self) -> int:
        self.out += [(self.now, one) for one in self.call._conversation.hush(self.now)]
        return len(self.out)

    def after(self, n: int) -> list[Any]:
        return [one for _, one in self.out[n:]]


def rt(**k: Any) -> AgentSpec:
    return AgentSpec(**{"engine": RT, "tools": BUILT_INS, **k})


def away(rig: Linked) -> None:
    Phone(rig, 15 * MS).run(S)
    rig.do(TransferWanted("+15550009999", "", False, "ask1"))
    rig.rest()
    rig.lose(1000)
    assert rig.call.state is CallState.AWAY


def test_1_an_engine_that_dies_while_the_caller_talks_to_a_human_hangs_up_on_nobody() -> None:
    rig = Linked(rt())
    rig.realtime()
    away(rig)
    rig.do(
        Reported(
            CallStatusChanged(call_id="CA" + "9" * 32, status=CallStatus.IN_PROGRESS, raw="in-progress"), CALL + "/t1"
        )
    )
    assert rig.call._away.joined
    n = len(rig.out)
    rig.do(LinkClosed(rig.link, 1006, "invalid_api_key", 401))
    rig.later(20 * S)
    assert rig.call.state is CallState.AWAY
    assert not [one for one in rig.after(n) if type(one) is Rest]


@pytest.mark.parametrize("digits", ["1-2", "1 2 3#", "press 1", "1,2", "٣"])
def test_2_keys_that_are_none(digits: str) -> None:
    rig = Linked(rt())
    rig.realtime()
    rig.created()
    rig.tool("send_dtmf", json.dumps({"digits": digits}))
    rig.done()
    assert "bad_arguments" in rig.all(SayOnLink)[-2].text + rig.all(SayOnLink)[-1].text


def test_3_a_fallback_answers_the_question_that_was_open() -> None:
    rig = Linked(rt(fallbacks=(RT,)))
    phone = Phone(rig, 15 * MS)
    rig.realtime()
    rig.j(type="input_audio_buffer.speech_started", audio_start_ms=100, item_id="u")
    phone.run(500 * MS, lambda: VOICE)
    rig.j(type="input_audio_buffer.speech_stopped", audio_end_ms=600, item_id="u")
    rig.j(type="conversation.item.input_audio_transcription.completed", item_id="u", transcript="What time is it?")
    rig.created()
    n = len(rig.out)
    rig.j(
        type="response.done",
        response={"id": "r1", "status": "failed", "status_details": {"error": {"code": "insufficient_quota"}}},
    )
    rig.greet()
    phone.run(3 * S)
    assert any("response.create" in one.text for one in rig.after(n) if type(one) is SayOnLink)


def test_4_hushed_realtime_says_nothing() -> None:
    rig = Linked(rt())
    rig.realtime()
    rig.j(type="input_audio_buffer.speech_started", audio_start_ms=100, item_id="u")
    rig.later(500 * MS)
    rig.j(type="input_audio_buffer.speech_stopped", audio_end_ms=600, item_id="u")
    n = rig.hush()
    rig.created()
    rig.speech(1000)
    rig.done()
    rig.later(2 * S)
    assert not sent_bytes(rig.after(n))


def test_4_hushed_convai_says_nothing() -> None:
    rig = Linked(AgentSpec(engine=XI))
    rig.convai()
    n = rig.hush()
    rig.j(type="agent_response", agent_response_event={"agent_response": "Are you still there?"})
    rig.j(type="audio", audio_event={"event_id": 5, "audio_base_64": base64.b64encode(bytes(4800)).decode()})
    rig.later(2 * S)
    assert not sent_bytes(rig.after(n))


def test_5_convai_that_left_while_the_caller_was_away_hangs_up_on_nobody() -> None:
    rig = Linked(AgentSpec(engine=XI))
    rig.convai()
    away(rig)
    rig.do(LinkClosed(rig.link, 1000, ""))
    rig.do(Reported(TransferEnded(call_id=CALL, status=CallStatus.NO_ANSWER, raw="no-answer", duration_s=0), ""))
    rig.begin()
    rig.later(10 * S)
    assert rig.call.reason is not EndReason.AGENT_HUNG_UP


@pytest.mark.parametrize("key", ["sk\r\nEvil: 1", "sk☃"])
def test_6_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ConfigError):
        OpenAIRealtime(api_key=key).resolve(Resolving({}))


def test_6_a_key_with_a_line_end() -> None:
    res = Resolving({"OPENAI_API_KEY": "sk\n"})
    OpenAIRealtime().resolve(res)
    assert res.secrets["openai"][1] == "Bearer sk"


def test_7_why_an_engine_gave_up_is_told_without_the_key() -> None:
    for fallbacks in ((), (XI,)):
        rig = Linked(rt(fallbacks=fallbacks))
        rig.begin()
        rig.do(
            LinkClosed(
                rig.link,
                1006,
                '{"error":{"message":"Incorrect API key provided: SEKRET-OPENAI","code":"invalid_api_key"}}',
                401,
            )
        )
        told = repr(rig.all(Tell))
        assert "OPENAI_API_KEY" in told
        assert "SEKRET" not in told


def test_8_a_convai_tool_runs_once() -> None:
    rig = Linked(AgentSpec(engine=XI, tools=(PAY,)))
    rig.convai()
    call = {
        "type": "client_tool_call",
        "client_tool_call": {"tool_name": "pay", "tool_call_id": "T1", "parameters": {}},
    }
    rig.j(**call)
    rig.returned(rig.running("pay"), "ok")
    rig.j(**call)
    assert len(rig.runs("pay")) == 1


def test_9_a_tool_that_on_call_start_took_away_does_not_run() -> None:
    rig = Linked(
        AgentSpec(
            engine=XI,
            tools=(PAY, ToolSpec(name="look", handler=HandlerSpec("look"))),
            callbacks={"on_call_start": HandlerSpec("on_call_start")},
        )
    )
    rig.begin()
    rig.callback_returns({"tools": ["look"]})
    rig.metadata()
    rig.j(type="client_tool_call", client_tool_call={"tool_name": "pay", "tool_call_id": "T1", "parameters": {}})
    assert not rig.runs("pay")


def test_10_an_overridden_prompt_names_the_targets() -> None:
    rig = Linked(rt(system_prompt="+15550007777", callbacks={"on_call_start": HandlerSpec("on_call_start")}))
    rig.begin()
    rig.callback_returns({"system_prompt": "+15550009999"})
    rig.greet()
    rig.created()
    rig.tool("transfer_call", '{"number":"+15550009999"}')
    rig.done()
    rig.later(12 * S)
    assert "refused" not in [one.step for one in rig.events(TransferStepped)]


@pytest.mark.parametrize("wait", ["inf", "1e308"])
def test_11_retry_after(wait: str) -> None:
    from patter_core.audio.formats import PCMU_8K
    from patter_core.providers.openai_speech import OpenAITTS, OpenAIVoice
    from patter_core.settings import CallSettings

    voice = OpenAIVoice(OpenAITTS().resolve(RES), "v", PCMU_8K, CallSettings())
    name = voice.speak(0, "hello")[-1].name
    voice.handle(1, FetchStarted(name, 429, {"retry-after": wait}))
    voice.handle(2, FetchEnded(name))


def test_12_usage_beyond_floats() -> None:
    rig = Linked(rt())
    rig.realtime()
    rig.created()
    rig.speech(200)
    rig.do(
        LinkSaid(
            rig.link,
            '{"type":"response.done","response":{"id":"r1","status":"completed","usage":{"input_tokens":1'
            + "0" * 330
            + "}}}",
        )
    )
    rig.later(5 * S)
    rig.stop()


def test_13_speech_without_end_is_bounded() -> None:
    rig = Linked(rt())
    rig.realtime()
    rig.created()
    for _ in range(200):
        rig.speech(10_000)
    assert rig.call._conversation.mouth.queued_us < 700 * S


def test_14_a_link_without_a_url_is_let_go() -> None:
    out: list[Order] = []
    timers: Timers[Any] = Timers()
    links = Links(out, Names().new, timers, b"s" * 32)
    links.close(5, links.open(5, "owner", OpenLink("a", "wss://")), 1000)
    while timers.deadline is not None:
        links.due(timers.deadline, timers.due(timers.deadline)[1])  # type: ignore[index]
    assert len(links) == 0


@pytest.mark.parametrize("said", [False, True])
def test_15_a_model_that_hangs_up_without_a_goodbye_is_asked_for_one(said: bool) -> None:
    rig = Linked(rt())
    rig.realtime()
    Phone(rig, 15 * MS).run(11 * S)  # long enough for the guard
    before = len(rig.out)
    rig.created()
    if said:
        rig.speech(200)
    rig.tool("end_call", '{"reason": "done"}')
    rig.done()
    asked = [one.text for one in rig.after(before) if type(one) is SayOnLink and '"response.create"' in one.text]
    assert len(asked) == (0 if said else 1)
    assert rig.call._leaving is EndReason.AGENT_HUNG_UP
