"""``Patter`` on each loop: options, callbacks, commands, and the way down."""

from __future__ import annotations

import threading
import time

import pytest

from patter_core import ConfigError, Echo, PatterConnectionError, Telnyx, Twilio
from patter_core.audio.tones import tone
from patter_core.events import (
    Bug,
    CallbackFailed,
    CallbackTimedOut,
    CallEnded,
    CallStarted,
    ShutdownStep,
    TranscriptLine,
)
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Speak, Wait, WaitForAgent

SHORT = CallPlan(acts=(Wait(200), HangUp()))
ENDLESS = CallPlan(acts=(Wait(100_000),))
VOICE = b"\x10\x90" * 4000  # 1 s of something loud


def beep(text: str) -> bytes:
    return tone(440, 60 * len(text.split()), 16000)


def test_an_echo_call_comes_back_and_everything_ends(line):
    line = line()
    speech = bytes(range(1, 161)) * 10
    line.run(line.phone.agent(engine=Echo()), [CallPlan(acts=(Speak(speech), Wait(300), HangUp()))])
    (call,) = line.done
    assert call.outcome == "completed"
    assert speech in call.heard
    assert line.code == 0
    assert [e.step for e in line.told(ShutdownStep)] == [1, 2, 3, 4, 5, 6]
    assert not line.told(Bug)


def test_callbacks_sync_and_async_see_the_documented_payloads(line):
    seen = {}
    threads = {}

    def on_call_start(call):
        threads["start"] = threading.current_thread()
        seen["start"] = call
        return {"first_message": "Hello {who}.", "variables": {"who": "Ann"}}

    async def on_transcript(entry):
        threads["transcript"] = threading.current_thread()
        seen.setdefault("lines", []).append((entry["role"], entry["text"]))

    async def on_message(message):
        seen["message"] = message
        yield "One. "
        yield "Two."

    def on_call_end(call):
        seen.setdefault("ends", []).append(call)

    def on_metrics(metrics):
        seen["metrics"] = metrics

    line = line()
    agent = line.phone.agent(stt=lambda pcm, rate: f"{rate} hertz", tts=beep)
    plan = CallPlan(acts=(ListenUntilQuiet(300), Speak(VOICE), ListenUntilQuiet(400), HangUp()))
    line.run(
        agent,
        [plan],
        on_call_start=on_call_start,
        on_call_end=on_call_end,
        on_transcript=on_transcript,
        on_message=on_message,
        on_metrics=on_metrics,
    )
    (sid,) = line.carrier.call_ids
    assert seen["start"] == {
        "call_id": sid,
        "caller": "+15550100001",
        "callee": "+15550001234",
        "direction": "inbound",
        "custom_params": {"caller": "+15550100001", "callee": "+15550001234"},
        "telephony_provider": "twilio",
    }
    assert seen["lines"] == [("assistant", "Hello Ann."), ("user", "16000 hertz"), ("assistant", "One. Two.")]
    assert seen["message"].keys() == {"text", "call_id", "caller", "callee", "telephony_provider", "history"}
    assert seen["message"]["text"] == "16000 hertz"
    assert seen["message"]["history"][-1]["role"] == "user"
    (end,) = seen["ends"]
    assert end["transcript"][-1] == {"role": "assistant", "text": "One. Two."}
    assert end["reason"] == "caller_hung_up"
    assert end["metrics"].turns[0].user_text == "16000 hertz"
    assert seen["metrics"].keys() == {"call_id", "turn", "cost_so_far", "llm_ttft_ms"}
    assert threads["start"] is not threading.main_thread()  # a plain function may block
    assert threads["transcript"] is threading.main_thread()


def test_a_failing_and_a_hanging_callback_do_not_harm_the_call(line):
    release = threading.Event()
    ends = []

    def on_call_start(call):
        raise RuntimeError("no database")

    def on_transcript(entry):
        release.wait(20)

    def on_call_end(call):
        ends.append(call["reason"])

    line = line(call_settings=CallSettings(callback_s=0.2))
    line.on_event = lambda event: release.set() if isinstance(event, CallEnded) else None
    agent = line.phone.agent(stt=lambda pcm, rate: "yes", tts=beep, first_message="Hi.")
    line.run(
        agent,
        [CallPlan(acts=(ListenUntilQuiet(300), HangUp()))],
        on_message=lambda message: "ok",
        on_call_start=on_call_start,
        on_transcript=on_transcript,
        on_call_end=on_call_end,
    )
    assert ends == ["caller_hung_up"]
    assert [e.callback for e in line.told(CallbackFailed)] == ["on_call_start"]
    assert [e.callback for e in line.told(CallbackTimedOut)] == ["on_transcript"]
    assert [e.text for e in line.told(TranscriptLine)] == ["Hi."]


def test_commands_reach_a_call(line):
    line = line()
    agent = line.phone.agent(stt=lambda pcm, rate: "yes", tts=beep, first_message="Hi.")

    async def meanwhile():
        await line.until(TranscriptLine)
        (call_id,) = await line.phone.active_calls()
        await line.phone.say(call_id, "One more thing.")
        await line.until(TranscriptLine, 2)
        assert await line.phone.end_call(call_id, force=True) is True
        assert await line.phone.end_call(call_id) is False

    line.run(agent, [ENDLESS], meanwhile=meanwhile, on_message=lambda message: "ok")
    assert [e.text for e in line.told(TranscriptLine)] == ["Hi.", "One more thing."]
    (ended,) = line.told(CallEnded)
    assert ended.reason is EndReason.AGENT_HUNG_UP
    assert line.done[0].hung_up_by_rest


def test_on_message_may_take_the_call_control(line):
    def on_message(message, call):
        assert call.caller == message["caller"]
        call.hangup()
        return ""

    line = line()
    agent = line.phone.agent(stt=lambda pcm, rate: "stop it", tts=beep)
    line.run(agent, [CallPlan(acts=(Speak(VOICE), Wait(60_000)))], on_message=on_message)
    (ended,) = line.told(CallEnded)
    assert ended.reason is EndReason.AGENT_HUNG_UP


def test_disconnect_hangs_up_and_says_why(line):
    ends, deadlines = [], []
    line = line()

    async def meanwhile():
        await line.until(CallStarted, 3)
        await line.phone.disconnect()

    line.run(
        line.phone.agent(engine=Echo()),
        [ENDLESS, ENDLESS, ENDLESS],
        meanwhile=meanwhile,
        on_call_end=lambda call: ends.append(call["reason"]),
        on_draining=deadlines.append,
    )
    assert ends == ["shutdown"] * 3
    assert len(deadlines) == 1
    assert abs(deadlines[0] - time.time()) < 60
    assert [call.hung_up_by_rest for call in line.done] == [True] * 3
    assert [e.step for e in line.told(ShutdownStep)] == [1, 2, 3, 4, 5, 6]


def test_the_server_leaves_although_a_thread_is_stuck(line):
    stuck = threading.Event()
    line = line()
    began = time.monotonic()

    def on_call_end(call):
        stuck.wait(60)

    async def meanwhile():
        await line.until(CallStarted)
        await line.phone.disconnect()
        await line.phone.disconnect()

    try:
        line.run(
            line.phone.agent(engine=Echo()),
            [ENDLESS],
            meanwhile=meanwhile,
            on_call_end=on_call_end,
            leave_s=0.2,
        )
    finally:
        took = time.monotonic() - began
        stuck.set()
    assert line.code == 0
    assert took < 20  # 10 s of drain at most, then it goes; the callback would have held it for 60


def test_what_is_not_running_says_so(loop):
    phone = loop.Patter(carrier=Twilio("AC1", "t"), webhook_url="x.example.com", environ={})

    async def main():
        await phone.disconnect()
        with pytest.raises(PatterConnectionError, match="not running"):
            await phone.end_call("CA1")
        assert await phone.active_calls() == []
        async with phone:
            pass

    loop.run(main)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"carrier": Twilio("a", "b"), "webhook_url": "http://"}, "public host"),
        ({"carrier": Twilio("a", "b"), "webhook_url": "https://a.example.com/x?y=1"}, "public host"),
        ({"carrier": [], "webhook_url": "a.b"}, "carrier must be"),
        ({"carrier": "twilio", "webhook_url": "a.b"}, "carrier must be"),
        ({"webhook_url": "a.b"}, "TWILIO_ACCOUNT_SID.*TWILIO_AUTH_TOKEN"),
        ({"carrier": Twilio("a", "b"), "webhook_url": "a.b", "tunnel": True}, "tunnel="),
        ({"carrier": Twilio("a", "b"), "tunnel": "abc.example.com"}, "tunnel must be"),
        ({"carrier": [Twilio("a", "b"), Twilio("c", "d")], "webhook_url": "a.b"}, "each carrier once"),
        ({"carrier": Telnyx(), "webhook_url": "a.b"}, "TELNYX_API_KEY.*TELNYX_PUBLIC_KEY"),
        ({"carrier": Telnyx("k", public_key="x"), "webhook_url": "a.b"}, "TELNYX_PUBLIC_KEY"),
        ({"carrier": Twilio("a", "b"), "webhook_url": "a.b", "phone_number": "5550001234"}, "E.164"),
        ({"webhook_url": "a.b", "max_streams_per_ip": 0, "carrier": Twilio("a", "b")}, "max_streams_per_ip"),
    ],
)
def test_wrong_configuration_is_refused_at_construction(loop, options, message):
    with pytest.raises(ConfigError, match=message):
        loop.Patter(environ={}, **options)


@pytest.mark.parametrize(
    ("agent", "serve", "message"),
    [
        ({"engine": Echo(), "stt": lambda pcm, rate: ""}, {}, "exclude each other"),
        ({"engine": "openai"}, {}, "engine must be"),
        ({"stt": 7, "tts": beep}, {}, "stt must be callable"),
        ({"tts": beep}, {}, "on_message="),
        ({}, {"on_message": print}, "tts="),
        ({"engine": Echo()}, {"on_message": print}, "no part in an echo"),
        ({"engine": Echo()}, {"port": 0}, "port"),
        ({"engine": Echo()}, {"port": 65536}, "port"),
        ({"engine": Echo()}, {"port": "8000"}, "port"),
        ({"engine": Echo()}, {"on_call_end": 7}, "on_call_end must be callable"),
        ({"engine": Echo()}, {"on_recording": 7}, "on_recording must be callable"),
        ({"engine": Echo()}, {"tunnel": True}, "tunnel= and webhook_url="),
        ({"engine": Echo()}, {"pricing": {"tts": 1}}, "pricing"),
        ({"engine": Echo(), "tools": [1]}, {}, "tools="),
        ({"engine": Echo(), "speed": 2}, {}, "no option speed"),
        ({"engine": Echo()}, {"ssl_certfile": "x"}, "belong together"),
        ({"engine": Echo(), "barge_in_threshold_ms": -1}, {}, "barge_in_threshold_ms"),
    ],
)
def test_wrong_agents_and_options_are_refused_before_anything_is_opened(loop, agent, serve, message):
    phone = loop.Patter(carrier=Twilio("AC1", "t"), webhook_url="x.example.com", environ={})

    async def main():
        await phone.serve(phone.agent(**agent), **serve)

    with pytest.raises(ConfigError, match=message):
        loop.run(main)


def test_without_a_public_address_nothing_is_served(loop):
    """Told by ``serve``: ``serve(tunnel=...)`` may bring one."""
    phone = loop.Patter(carrier=Twilio("AC1", "t"), environ={})

    async def main():
        await phone.serve(phone.agent(engine=Echo()))

    with pytest.raises(ConfigError, match=r"webhook_url is missing.*tunnel=True"):
        loop.run(main)


def test_credentials_come_from_the_environment(loop):
    environ = {"TWILIO_ACCOUNT_SID": "AC7", "TWILIO_AUTH_TOKEN": "old,new"}
    phone = loop.Patter(webhook_url="x.example.com", environ=environ)
    assert phone.carriers[0].account == "AC7"
    assert phone.carriers[0].keys == ("old", "new")
    assert "old" not in repr(phone.carriers[0])
    assert "new" not in repr(Twilio("AC7", "new"))


def test_an_agent_that_speaks_first_is_heard(line):
    line = line()
    agent = line.phone.agent(tts=beep, first_message="Hello there.")
    line.run(agent, [CallPlan(acts=(WaitForAgent(40), Wait(200), HangUp()))], on_message=lambda message: "")
    assert line.done[0].bytes_received > 0


def test_connections_are_bounded_by_what_the_process_may_open(loop, monkeypatch, caplog):
    from patter_core.edge import app

    monkeypatch.setattr(app, "descriptor_limit", lambda wanted: 500)
    phone = loop.Patter(carrier=Twilio("AC1", "t"), webhook_url="x.example.com", environ={})

    async def main():
        phone.stop_soon()
        await phone.serve(phone.agent(engine=Echo()), listener=app.listen("127.0.0.1", 0))

    loop.run(main)
    assert "500 connections" in caplog.text
