"""Calls in and out on each loop and each carrier, over real sockets: everything ``Patter`` offers, with the simulated
carrier at the other end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from patter_core import CallResult, Echo, EndReason, MachineDetection, PatterConnectionError, RefusedError, Twilio
from patter_core.audio.g711 import ulaw_decode
from patter_core.audio.tones import level_dbfs, tone
from patter_core.events import Bug, CallbackFailed, CallEnded, CallStarted, TranscriptLine
from patter_core.simulator.callee import Callee, Does
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.events import SimCallDone, SimDialled, SimJoined, SimKeys, SimProblem, SimTransferred
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Press, Speak, Wait, WaitForAgent

CARRIERS = ("twilio", "telnyx")
US = "+15550001234"
HUMAN, BUSY, SILENT, MACHINE = "+15550100011", "+15550100012", "+15550100013", "+15550100014"
DESK, BUSY_DESK = "+15550100021", "+15550100022"
SPEECH = bytes(range(1, 161)) * 8
VOICE = b"\x10\x90" * 4000  # 1 s of something loud
LISTENS = (WaitForAgent(40), ListenUntilQuiet(300), HangUp())
CALLEES = {
    HUMAN: Callee(acts=LISTENS, ring_ms=320, verdict_ms=200),
    BUSY: Callee(does=Does.BUSY, ring_ms=320),
    SILENT: Callee(does=Does.NO_ANSWER),
    MACHINE: Callee(does=Does.MACHINE, acts=(Wait(60_000),), ring_ms=320, verdict_ms=200, greeting_ms=400, beep=True),
    DESK: Callee(acts=(Wait(60_000),), ring_ms=320, talk_ms=300),
    BUSY_DESK: Callee(does=Does.BUSY, ring_ms=320),
}
STAYS = (Wait(60_000),)


def beep(text: str) -> bytes:
    return tone(440, 60 * len(text.split()), 16000)


@pytest.fixture(params=CARRIERS)
def carrier(request) -> str:
    return request.param


@pytest.fixture
def phone_line(line, carrier):
    """A line of one carrier, with a number."""

    def make(carriers=(carrier,), **options):
        made = line(carriers, phone_number=US, **options)
        made.agent = made.phone.agent(stt=lambda pcm, rate: "yes", tts=beep, first_message="Hello.")
        return made

    return make


def talk(line, scenario, agent=None, plans=None, **options):
    """Run it; at the end nothing is left of any call."""
    left = {}

    async def watched():
        app = line.phone._app_running
        before = set(app.handlers)
        await scenario()
        host = app.board._host
        await line.met(lambda: len(host) == 0)
        left.update(
            handlers={name for name in set(app.handlers) - before if not name.startswith("agent")},
            own=dict(line.phone._own_handlers),
            tasks=dict(host._tasks),
            requests=dict(host._requests),
        )

    options.setdefault("on_message", lambda message: "ok")
    options.setdefault("manage_webhook", False)
    simulator = {"callees": CALLEES, **options.pop("simulator", {})}
    line.talk(agent or line.agent, watched, plans, simulator, **options)
    assert line.code == 0
    assert not line.told(Bug)
    assert not line.told(CallbackFailed)
    assert not line.seen(SimProblem)
    assert left == {"handlers": set(), "own": {}, "tasks": {}, "requests": {}}


def texts(line, role="assistant") -> list[str]:
    return [event.text for event in line.told(TranscriptLine) if event.role == role]


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_caller_is_answered_echoed_and_hangs_up(phone_line, carrier):
    line = phone_line()
    plans = {carrier: [CallPlan(acts=(Speak(SPEECH), Wait(400), HangUp()))]}
    echo = line.phone.agent(engine=Echo())

    async def scenario():
        await line.until(CallEnded)

    ends = []
    talk(line, scenario, echo, plans, on_message=None, on_call_end=ends.append)
    (call,) = line.done
    assert call.outcome == "completed"
    assert SPEECH in call.heard
    (end,) = ends
    assert (end["reason"], end["telephony_provider"], end["direction"]) == ("caller_hung_up", carrier, "inbound")


def test_a_caller_is_hung_up_on_gently_and_at_once(phone_line, carrier):
    line = phone_line()
    plans = {carrier: [CallPlan(acts=STAYS), CallPlan(acts=STAYS, caller="+15550100002")]}

    async def scenario():
        await line.until(TranscriptLine, 2)
        first, second = await line.phone.active_calls()
        await line.phone.say(first, "Before I go.")
        assert await line.phone.end_call(first) is True
        assert "Before I go." in texts(line)  # it was heard first
        assert await line.phone.end_call(second, force=True) is True
        assert await line.phone.end_call(second) is False

    talk(line, scenario, plans=plans)
    assert [event.reason for event in line.told(CallEnded)] == [EndReason.AGENT_HUNG_UP] * 2
    assert [call.hung_up_by_rest for call in line.done] == [True, True]


def test_two_carriers_share_a_server(phone_line, carrier):
    line = phone_line(CARRIERS)
    plan = CallPlan(acts=LISTENS)
    providers, results = [], {}

    async def call(name):
        results[name] = await line.phone.call(HUMAN, carrier=name, wait=True)

    async def scenario():
        await line.until(CallEnded, 2)
        await line.loop.together(*(lambda name=name: call(name) for name in CARRIERS))

    ended = lambda call: providers.append((call["direction"], call["telephony_provider"]))  # noqa: E731
    talk(line, scenario, plans={name: [plan] for name in CARRIERS}, on_call_end=ended)
    assert sorted(providers) == [(way, name) for way in ("inbound", "outbound") for name in sorted(CARRIERS)]
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(CARRIERS, "answered")
    assert results["telnyx"].call_id.startswith("v3:")
    assert results["twilio"].call_id.startswith("CA")


# --- out -------------------------------------------------------------------------------------------------------------


def test_calls_out_come_to_what_they_come_to(phone_line):
    line = phone_line()
    results = {}

    async def call(to, **options):
        results[to] = await line.phone.call(to, wait=True, **options)

    async def scenario():
        await line.loop.together(
            lambda: call(HUMAN, variables={"who": "Ann"}, first_message="Good evening {who}."),
            lambda: call(BUSY),
            lambda: call(MACHINE, voicemail_message="Call us back."),
        )

    talk(line, scenario, voicemail_message="Not this one.")
    assert all(isinstance(result, CallResult) for result in results.values())
    assert {to: result.outcome for to, result in results.items()} == {
        HUMAN: "answered",
        BUSY: "busy",
        MACHINE: "voicemail",
    }
    human, machine = results[HUMAN], results[MACHINE]
    assert human.reason is EndReason.CALLER_HUNG_UP
    assert [entry["text"] for entry in human.transcript] == ["Good evening Ann."]
    assert human.duration_seconds > 0
    assert machine.reason is EndReason.VOICEMAIL_LEFT
    assert machine.machine_detection.classification == "machine"
    assert [entry["text"] for entry in machine.transcript] == ["Call us back."]
    heard = {call.call_id: call for call in line.done}
    assert level_dbfs(ulaw_decode(heard[human.call_id].heard)) > -45


def test_nobody_answers(phone_line):
    """The carrier's clock runs ten times as fast, so that five seconds of ringing are half a one."""
    line = phone_line()
    results = []

    async def scenario():
        results.append(await line.phone.call(SILENT, ring_timeout=5, wait=True))

    talk(line, scenario, simulator={"rate": 10.0})
    assert (results[0].outcome, results[0].reason) == ("no_answer", EndReason.NO_ANSWER)


def test_without_waiting_there_is_an_id_and_the_call_can_be_ended(phone_line, carrier):
    line = phone_line()
    callees = {HUMAN: Callee(acts=STAYS, ring_ms=320)}

    async def scenario():
        call_id = await line.phone.call(HUMAN)
        assert call_id in await line.phone.active_calls()
        await line.until(CallStarted)
        assert await line.phone.end_call(call_id, force=True) is True
        assert await line.phone.end_call(call_id) is False
        ids.append(call_id)

    ids = []
    talk(line, scenario, simulator={"callees": callees})
    (call,) = line.done
    assert [call.call_id] == ids
    assert call.outgoing
    assert call.hung_up_by_rest
    (ended,) = line.told(CallEnded)
    assert (ended.call_id, ended.reason) == (ids[0], EndReason.AGENT_HUNG_UP)
    (dialled,) = line.seen(SimDialled)
    assert (dialled.to, dialled.caller) == (HUMAN, US)


def test_a_ringing_call_can_be_called_off(phone_line):
    line = phone_line()
    results = []

    async def wait():
        results.append(await line.phone.call(SILENT, wait=True))

    async def call_off():
        await line.met(lambda: line.seen(SimDialled))
        (call_id,) = await line.phone.active_calls()
        await line.phone.end_call(call_id, force=True)

    async def scenario():
        await line.loop.together(wait, call_off)

    talk(line, scenario)
    assert results[0].outcome == "canceled"


def test_the_agent_given_to_the_call_is_the_one_that_talks(phone_line):
    line = phone_line()
    spoke = []

    def speaker(name):
        def tts(text):
            spoke.append((name, text))
            return beep(text)

        return tts

    served = line.phone.agent(stt=lambda pcm, rate: "yes", tts=speaker("served"), first_message="Served here.")
    given = line.phone.agent(stt=lambda pcm, rate: "yes", tts=speaker("given"), first_message="Given here.")

    async def scenario():
        await line.phone.call(HUMAN, given, wait=True)
        await line.phone.call(HUMAN, given, wait=True)  # the same functions serve it again
        await line.phone.call(HUMAN, wait=True)
        handlers.append([name for name in line.phone._app_running.handlers if name.startswith("agent")])

    handlers = []
    talk(line, scenario, served)
    assert spoke == [("given", "Given here.")] * 2 + [("served", "Served here.")]
    assert len(handlers[0]) == 3  # its stt, its tts and on_message, once


def test_machine_detection_is_told_and_forgotten(phone_line, carrier):
    line = phone_line(max_streams_per_ip=60)
    verdicts, counts = [], []

    async def told(verdict):
        verdicts.append(verdict)

    async def call(number, wait):
        await line.phone.call(number, on_machine_detection=told, wait=wait)

    async def scenario():
        app = line.phone._app_running
        counts.append(len(app.handlers))
        jobs = [(number, wait) for number in (HUMAN, BUSY) for wait in (True, False)] * 12
        jobs += [(MACHINE, True), (MACHINE, False)]
        await line.loop.together(*(lambda job=job: call(*job) for job in jobs))
        await line.until(CallEnded, 50)
        counts.append(len(app.handlers))

    talk(line, scenario)
    assert counts[0] == counts[1]
    assert all(isinstance(verdict, MachineDetection) and verdict.carrier == carrier for verdict in verdicts)
    assert sorted(verdict.classification for verdict in verdicts) == ["human"] * 24 + ["machine"] * 2
    assert len({verdict.call_id for verdict in verdicts}) == 26


def test_a_call_that_is_over_before_its_id_is_told_leaves_nothing(loop):
    """The end may be told in the same turn of the loop as the answer that names the call."""
    phone = loop.Patter(carrier=Twilio("AC1", "t"), webhook_url="x.example.com", environ={})
    asked = []

    class Drive:
        async def ask(self, verb, **args):
            asked.append((verb, len(phone._app_running.handlers)))
            return "CA1" if verb == "call" else []

    async def main():
        phone._drive, phone._app_running = Drive(), SimpleNamespace(handlers={})
        assert await phone.call(HUMAN, on_machine_detection=print) == "CA1"
        assert phone._app_running.handlers == {}
        assert phone._own_handlers == {}

    loop.run(main)
    assert asked[0] == ("call", 1)


# --- in a call -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("summary", ["", "They ask about an invoice."])
def test_a_transfer_ends_the_call_when_somebody_takes_it(phone_line, carrier, summary):
    line = phone_line()
    outcomes = []

    async def scenario():
        await line.until(TranscriptLine)
        (call_id,) = await line.phone.active_calls()
        outcomes.append(await line.phone.transfer(call_id, DESK, summary))
        await line.met(lambda: line.told(CallEnded))

    talk(line, scenario, plans={carrier: [CallPlan(acts=STAYS)]})
    assert outcomes[0]["transferred"] is True
    assert EndReason.TRANSFERRED in [event.reason for event in line.told(CallEnded)]
    assert line.seen(SimJoined) or [done for done in line.seen(SimTransferred) if done.connected]


def test_a_transfer_that_nobody_takes_brings_the_caller_back(phone_line, carrier):
    line = phone_line()
    outcomes = []

    async def scenario():
        await line.until(TranscriptLine)
        (call_id,) = await line.phone.active_calls()
        outcomes.append(await line.phone.transfer(call_id, BUSY_DESK))
        await line.until(TranscriptLine, 2)  # told so aloud
        assert await line.phone.active_calls() == [call_id]
        await line.phone.end_call(call_id, force=True)

    talk(line, scenario, plans={carrier: [CallPlan(acts=STAYS)]})
    assert outcomes[0]["transferred"] is False
    assert outcomes[0]["reason"] == "busy"
    (ended,) = line.told(CallEnded)
    assert ended.reason is EndReason.AGENT_HUNG_UP


def test_keys_are_pressed(phone_line, carrier):
    line = phone_line()
    agent = line.phone.agent(engine=Echo())

    async def scenario():
        await line.until(CallStarted)
        (call_id,) = await line.phone.active_calls()
        await line.phone.send_dtmf(call_id, "12#", delay_ms=100)
        await line.phone.end_call(call_id, force=True)

    talk(line, scenario, agent, {carrier: [CallPlan(acts=STAYS)]}, on_message=None)
    (call,) = line.done
    if carrier == "telnyx":
        assert "".join(event.digits for event in line.seen(SimKeys)).replace("w", "") == "12#"
    else:
        assert level_dbfs(ulaw_decode(call.heard)) > -45  # as tones


def test_keys_are_collected_from_inside_on_message(phone_line, carrier):
    line = phone_line()
    found = []

    async def on_message(message, call):
        assert (call.telephony_provider, call.caller) == (carrier, message["caller"])
        found.append(await call.collect_digits(most=4, timeout_s=20))
        return f"You pressed {found[-1]['digits']}."

    acts = (ListenUntilQuiet(300), Speak(VOICE), Wait(1500), Press("1"), Press("2"), Press("#"), *LISTENS)
    plans = {carrier: [CallPlan(acts=acts)]}

    async def scenario():
        await line.until(CallEnded)

    talk(line, scenario, plans=plans, on_message=on_message)
    assert found == [{"digits": "12", "ended_by": "terminator"}]
    assert texts(line)[-1] == "You pressed 12."


def test_keys_nobody_collects_are_a_message(phone_line, carrier):
    line = phone_line()
    messages = []

    def on_message(message):
        messages.append(message["text"])
        return "Thank you."

    acts = (ListenUntilQuiet(300), Press("4"), Press("2"), Press("#"), *LISTENS)

    async def scenario():
        await line.until(CallEnded)

    talk(line, scenario, plans={carrier: [CallPlan(acts=acts)]}, on_message=on_message)
    assert messages == ["[DTMF: 42#]"]


def test_a_recording_is_told_of(phone_line, carrier):
    line = phone_line()
    told = []

    async def on_recording(recording):
        told.append(recording)
        recorded.set()

    async def scenario():
        nonlocal recorded
        recorded = line.native.Event()
        await line.until(CallEnded)
        await recorded.wait()

    recorded = None
    plans = {carrier: [CallPlan(acts=(WaitForAgent(40), Wait(600), HangUp()))]}
    talk(line, scenario, plans=plans, recording=True, on_recording=on_recording)
    (recording,) = told
    assert recording["call_id"] == line.done[0].call_id
    assert recording["telephony_provider"] == carrier
    assert recording["status"] == "completed"
    assert recording["url"].startswith("http")
    assert (recording["expires_at"] is not None) is (carrier == "telnyx")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_calling_before_serving_says_so(line):
    line = line()
    for sock in (line.server_socket, line.rest_socket):
        sock.close()

    async def main():
        with pytest.raises(PatterConnectionError, match=r"call\(\) works while serve\(\) does"):
            await line.phone.call(HUMAN)

    line.loop.run(main)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"to": "5550100001"}, "E.164 number, such as"),
        ({"to": ""}, "E.164 number, such as"),
        ({"to": None}, "E.164 number, such as"),
        ({"from_number": "me"}, "one of your numbers in E.164 form"),
        ({"ring_timeout": 1}, "5 to 600 seconds"),
        ({"ring_timeout": "25"}, "5 to 600 seconds"),
        ({"carrier": "pigeon"}, "carrier must be one of"),
        ({"first_message": "x" * 5001}, "at most 5000 characters"),
    ],
)
def test_what_cannot_be_dialled_is_refused_with_advice(line, options, advice):
    line = line(phone_number=US)
    agent = line.phone.agent(engine=Echo())

    async def scenario():
        with pytest.raises(RefusedError, match=advice) as refused:
            await line.phone.call(**{"to": HUMAN, **options})
        assert refused.value.code == "cannot_dial"

    talk(line, scenario, agent, on_message=None)
    assert not line.seen(SimDialled)


def test_without_a_number_of_ones_own_none_can_be_called_from(line):
    line = line()
    agent = line.phone.agent(engine=Echo())

    async def scenario():
        with pytest.raises(RefusedError, match="set phone_number="):
            await line.phone.call(HUMAN)
        result = await line.phone.call(BUSY, from_number=US, wait=True)
        assert result.outcome == "busy"

    talk(line, scenario, agent, on_message=None)
    assert [call.outcome for call in line.seen(SimCallDone)] == ["busy"]
