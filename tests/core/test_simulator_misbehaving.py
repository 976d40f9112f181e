"""The simulated carrier on a bad day, and servers that send it nonsense."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio.formats import PCMU_8K
from patter_core.carriers.carrier import (
    CallOffered,
    CallStatus,
    CallStatusChanged,
    MarkReturned,
    RecordingStep,
    RestOutcome,
    RestRequest,
    StreamPlan,
    StreamStarted,
    StreamStopped,
    TransferEnded,
    WebhookAnswer,
)
from patter_core.carriers.form import encode_form
from patter_core.contract import (
    StopRequested,
)
from patter_core.simulator.callee import Callee, Does, Misbehaviour, RestTrouble
from patter_core.simulator.carrier import SimulatorConfig
from patter_core.simulator.events import (
    SimCallDone,
    SimDialled,
    SimProblem,
    SimSecondStream,
)
from patter_core.simulator.script import HangUp, Press, Speak, Wait

from .simulator_kit import (
    API,
    HOST,
    LONG,
    THEM,
    VOICE,
    World,
    both,
    dial_plan,
    one,
    transfer_plan,
    upset,
)


@both
def test_webhooks_that_come_twice(carrier: str) -> None:
    world = World(carrier, one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.DUPLICATE_WEBHOOKS))
    world.run(5)
    assert len(world.server.heard) >= 2
    assert world.server.heard[0][2] == world.server.heard[1][2]
    assert all(world.server.ids.count(one) == 2 for one in world.server.ids)
    assert world.done().outcome == "completed"
    assert len(world.server.sockets) == 1  # the second answer is not acted upon


@both
def test_reports_out_of_order(carrier: str) -> None:
    world = World(
        carrier,
        callees={THEM: Callee(ring_ms=1_000, acts=(Wait(500), HangUp()))},
        misbehaves=upset(Misbehaviour.REORDERED_REPORTS),
    )
    call_id = world.dial()
    world.run(1.5)
    world.begin_stream(call_id)
    world.run(10)
    statuses = world.statuses()
    if carrier == "twilio":
        assert [e.sequence for e in world.hooks(CallStatusChanged)] == [1, 0, 3, 2]
    else:
        assert statuses[:2] == [CallStatus.IN_PROGRESS, CallStatus.INITIATED]
    assert CallStatus.COMPLETED in statuses


@both
def test_a_report_held_back_comes_at_last(carrier: str) -> None:
    world = World(carrier, callees={THEM: Callee(does=Does.FAILED)}, misbehaves=upset(Misbehaviour.REORDERED_REPORTS))
    world.dial()
    world.run(10)
    assert CallStatus.FAILED in world.statuses()


@both
def test_the_stop_comes_late(carrier: str) -> None:
    world = World(carrier, one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.LATE_STOP), late_stop_ms=2_000)
    world.run(1.5)
    events = world.server.sockets[0]["events"]
    count = len(events)
    assert not isinstance(events[-1], StreamStopped)
    if carrier == "telnyx":
        assert world.statuses()[-1] is CallStatus.COMPLETED  # the call itself is over
    world.run(5)
    assert isinstance(events[-1], StreamStopped)
    assert len(events) > count + 20  # frames went on
    assert world.done().outcome == "completed"


@both
def test_the_stop_never_comes(carrier: str) -> None:
    world = World(carrier, one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.NO_STOP))
    world.run(30)
    socket = world.server.sockets[0]
    assert not any(isinstance(e, StreamStopped) for e in socket["events"])
    assert socket["closed"] == 0
    assert world.told(SimCallDone) == []
    world.do(lambda: world.server.close(socket))
    world.run(1)
    assert world.done().outcome == "completed"


def test_a_socket_nobody_closes_is_given_up() -> None:
    world = World("twilio", one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.NO_STOP))
    world.run(70)
    assert world.done().outcome == "completed"


@both
def test_two_streams_for_one_call(carrier: str) -> None:
    world = World(carrier, one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.TWO_STREAMS))
    world.run(5)
    first, second = world.server.sockets
    ids = [e.stream_id for s in (first, second) for e in s["events"] if isinstance(e, StreamStarted)]
    assert len(set(ids)) == 2
    assert [e.status for e in world.told(SimSecondStream)] == [101]
    assert isinstance(second["events"][-1], StreamStopped)
    assert world.done().outcome == "completed"


@both
def test_a_second_stream_that_is_refused(carrier: str) -> None:
    world = World(carrier, one(Wait(500), HangUp()), misbehaves=upset(Misbehaviour.TWO_STREAMS))

    def on_text(socket: dict[str, Any], event: Any) -> None:
        world.server.attach = False

    world.server.on_text = on_text
    world.run(5)
    assert [e.status for e in world.told(SimSecondStream)] == [403]
    assert world.done().outcome == "completed"


def chunks(world: World) -> list[int]:
    key = "chunk"
    messages = [msgspec.json.decode(text) for text in world.server.sockets[0]["texts"]]
    return [int(m["media"][key]) for m in messages if m["event"] == "media"]


@pytest.mark.parametrize("kind", [Misbehaviour.SWAPPED_MEDIA, Misbehaviour.DOUBLED_MEDIA])
def test_telnyx_frames_out_of_order_or_twice(kind: Misbehaviour) -> None:
    world = World("telnyx", one(Wait(500), HangUp()), misbehaves=upset(kind))
    world.run(5)
    expected = [9, 11, 10, 12] if kind is Misbehaviour.SWAPPED_MEDIA else [9, 10, 10, 11]
    assert chunks(world)[8:12] == expected
    assert world.done().outcome == "completed"


@both
def test_marks_that_are_lost(carrier: str) -> None:
    world = World(carrier, one(Wait(1_000), HangUp()), misbehaves=upset(Misbehaviour.LOST_MARKS))

    def on_text(socket: dict[str, Any], event: Any) -> None:
        if isinstance(event, StreamStarted):
            for text in (socket["stream"].media(VOICE), socket["stream"].mark("one"), socket["stream"].clear()):
                world.server.say(socket, text)

    world.server.on_text = on_text
    world.run(5)
    assert not any(isinstance(e, MarkReturned) for e in world.server.sockets[0]["events"])


@both
def test_a_hang_up_that_is_never_told(carrier: str) -> None:
    world = World(carrier, callees={THEM: Callee(does=Does.BUSY)}, misbehaves=upset(Misbehaviour.UNTOLD_HANGUP))
    call_id = world.dial()
    world.run(30)
    assert world.done(call_id).outcome == "busy"
    assert not any(status.final for status in world.statuses())


@both
def test_rest_trouble_by_order(carrier: str) -> None:
    """Two hang-ups fail, other orders do not, the third is taken."""
    world = World(carrier, LONG, rest_trouble=(RestTrouble(status=503, times=2, on="HangUpCall"),))
    world.run(1)
    call_id = world.sim.call_ids[0]
    outcomes = [world.outcome(world.server.dialect.hang_up(world.server.leg(call_id))) for _ in range(3)]
    assert outcomes == [RestOutcome.RETRY, RestOutcome.RETRY, RestOutcome.DONE]


def test_a_hang_up_order_that_is_done_though_never_answered() -> None:
    world = World("telnyx", LONG, rest_trouble=(RestTrouble(status=0, on="HangUpCall", done_anyway=True),))
    world.run(1)
    call_id = world.sim.call_ids[0]
    world.server.rest(world.server.dialect.hang_up(world.server.leg(call_id)))
    world.node.feed(StopRequested())
    world.run(2)
    assert world.server.answers == [world.server.answers[0]]  # only the one that answered the call
    assert world.done(call_id).hung_up_by_rest


@both
def test_the_same_story_twice_is_the_same(carrier: str) -> None:
    def story() -> tuple[list[Any], list[Any]]:
        world = World(
            carrier,
            one(Wait(300), Speak(VOICE * 5), Press("1"), HangUp(), at_ms=500),
            callees={THEM: Callee(does=Does.MACHINE, greeting_ms=500, most_ms=3_000)},
            misbehaves=upset(Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS),
        )
        world.sim_node.orders = []
        world.dial(machine_detection=True)
        world.run(20)
        return world.sim_node.orders, world.sim_node.events

    assert story() == story()


@both
def test_a_stopped_carrier_ends_what_rings_and_leaves(carrier: str) -> None:
    world = World(carrier, LONG, callees={THEM: Callee(ring_ms=60_000)})
    world.run(1)
    world.dial()
    world.run(1)
    world.sim_node.feed(StopRequested())
    world.run(2)
    assert sorted(e.outcome for e in world.told(SimCallDone)) == ["cancelled", "completed"]
    assert world.sim_node.exit_code == 0


@both
def test_nonsense_is_answered_and_harms_nothing(carrier: str) -> None:
    world = World(carrier, LONG)
    world.run(1)
    good = world.server.dialect.hang_up(world.server.leg(world.sim.call_ids[0]))
    for method, url, body in (
        ("GET", f"{API}/", b""),
        ("POST", good.url, b"\xff\xfe{"),
        ("POST", good.url, b"Twiml=%3CResponse"),
        ("POST", f"{API}/v2/calls", b"[1]"),
        ("PUT", good.url, good.body),
        ("GET", f"{API}/v2/call_control_applications/%ff", b""),
    ):
        status, _ = world.rest(RestRequest(method, url, (), body, ""))
        assert 400 <= status < 500, (method, url)
    assert world.told(SimCallDone) == []
    assert world.outcome(good) is RestOutcome.DONE


def test_the_signing_key_is_thirty_two_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SimulatorConfig(webhook_url="", signing_seed=b"short")
    assert len(base64.b64decode(SimulatorConfig(webhook_url="").public_key)) == 32


@pytest.mark.parametrize(
    "url", ["wss://[::1", "http://x/", "", "wss://a b/", "wss://h:99999/", "wss://\u00e9/", "wss:///x"]
)
@both
def test_a_stream_url_that_leads_nowhere(carrier: str, url: str) -> None:
    world = World(carrier, one(HangUp()))
    dialect = world.server.dialect
    world.server.takes = False
    text = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
    world.server.next["voice"] = WebhookAnswer(200, "text/xml", text.encode())
    world.run(0.5)
    if carrier == "telnyx":
        plan = StreamPlan(url, {}, PCMU_8K, "to\nken")
        world.rest(dialect.answer(world.server.leg(world.sim.call_ids[0]), plan))
        world.run(1)
        world.rest(dialect.hang_up(world.server.leg(world.sim.call_ids[0])))
    world.run(1)
    assert world.server.sockets == []
    assert world.done().frames_sent == 0
    if url or carrier == "twilio":
        assert len(world.told(SimProblem)) == 1


@pytest.mark.parametrize("url", ["https://[::1", "ftp://x/", "/webhooks/twilio/transfer"])
def test_an_action_may_be_relative_but_must_lead_somewhere(url: str) -> None:
    world = World("twilio", LONG, callees={THEM: Callee(does=Does.BUSY)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    text = f'<Response><Dial action="{url}"><Number>{THEM}</Number></Dial></Response>'
    request = world.server.dialect.hang_up(world.server.leg(call_id))
    body = encode_form([("Twiml", text)])
    world.server.next["transfer"] = world.server.dialect.transferred()
    assert world.rest(RestRequest("POST", request.url, request.headers, body, ""))[0] == 200
    world.run(10)
    assert world.done(call_id).outcome == "completed"
    assert len(world.hooks(TransferEnded)) == (1 if url.startswith("/") else 0)


@pytest.mark.parametrize(
    "text",
    [
        "<Response/>",
        "<Response><Gather/></Response>",
        "<Response><Pause length='2'/></Response>",
        "<Response><Hangup/></Response>",
        "<Response><Play>x</Play><Reject reason='busy'/></Response>",
        "not XML",
        "<!DOCTYPE x><Response/>",
    ],
)
def test_twiml_that_connects_nothing(text: str) -> None:
    world = World("twilio", one(HangUp()))
    world.server.next["voice"] = WebhookAnswer(200, "text/xml", text.encode())
    world.run(5)
    assert world.done().outcome == ("busy" if "busy" in text else "rejected")


def test_a_twiml_program_is_followed_to_its_end() -> None:
    """Say, pause, ask again, stream, and what comes after the stream."""
    text = (
        "<Response><Say>Hello</Say><Pause length='1'/>"
        f"<Redirect>https://{HOST}/webhooks/twilio/voice</Redirect></Response>"
    )
    world = World("twilio", LONG)
    world.server.next["voice"] = WebhookAnswer(200, "text/xml", text.encode())
    world.run(3)
    assert len(world.hooks(CallOffered)) == 2
    assert len(world.server.sockets) == 1
    after = f'<Response><Connect><Stream url="wss://{HOST}/again"/></Connect><Say>Bye</Say></Response>'
    url = world.server.dialect.hang_up(world.server.leg(world.sim.call_ids[0])).url
    assert world.rest(RestRequest("POST", url, (), encode_form([("Twiml", after)]), ""))[0] == 200
    world.run(1)
    assert isinstance(world.server.sockets[0]["events"][-1], StreamStopped)
    world.do(lambda: world.server.close(world.server.sockets[1]))
    world.run(2)
    call = world.done()
    assert (call.outcome, call.said_by_carrier, call.streams) == ("completed", ("Hello", "Bye"), 2)


def test_an_order_that_interrupts_a_room_or_a_dial_reports_its_end_too() -> None:
    world = World("twilio", LONG, callees={THEM: Callee(ring_ms=1_000, talk_ms=60_000)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    world.rest(world.server.dialect.transfer(world.server.leg(call_id), transfer_plan("twilio")))
    world.run(3)
    back = world.server.dialect.restart_stream(world.server.leg(call_id), world.server.plan())
    assert world.outcome(back) is RestOutcome.DONE
    world.run(1)
    assert [e.status for e in world.hooks(TransferEnded)] == [CallStatus.COMPLETED]
    assert len(world.server.sockets) == 2
    assert world.told(SimCallDone)[0].outgoing  # the other leg; the caller is back with the agent
    assert len(world.told(SimCallDone)) == 1


@both
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_a_server_sends_makes_it_raise(carrier: str, data: st.DataObject) -> None:
    world = World(carrier, one(Wait(500), Press("1"), HangUp(), ring_ms=500, most_ms=800))
    texts = st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            [
                '{"event":"media","media":{"payload":"////"}}',
                '{"event":"mark","mark":{"name":"x"}}',
                '{"event":"clear"}',
                '{"event":"media","media":{"payload":"?"}}',
            ]
        ),
    )

    def on_text(socket: dict[str, Any], event: Any) -> None:
        if len(socket["events"]) < 10:
            world.server.say(socket, data.draw(texts))

    world.server.on_text = on_text
    world.server.status = data.draw(st.sampled_from([0, 0, 200, 204, 404, 500]))
    world.run(0.3)
    call_id = data.draw(st.sampled_from([world.sim.call_ids[0], "x"]))
    leg, plan = world.server.leg(call_id), dial_plan(carrier, data.draw(st.sampled_from([THEM, "sip:x@y", "?"])))
    dialect = world.server.dialect
    orders = [
        dialect.dial(leg, plan), dialect.hang_up(leg), dialect.speak(leg, "x", "en")[0], dialect.join(leg, leg, plan),
        dialect.transfer(leg, transfer_plan(carrier)), dialect.restart_stream(leg, world.server.plan()),
        dialect.record(leg, RecordingStep.START, ""), dialect.send_keys(leg, "1", 100),
        dialect.answer(leg, world.server.plan()),
    ]  # fmt: skip
    given = data.draw(st.lists(st.sampled_from([order for order in orders if order is not None]), max_size=6))
    stopped = data.draw(st.integers(0, 5))  # once: asked twice it leaves at once, and tells no more
    for number, order in enumerate(given):
        body = data.draw(st.sampled_from([order.body, order.body[:10], order.body.replace(b"1", b"\xff"), b"{}"]))
        world.server.rest(RestRequest(order.method, order.url, order.headers, body, ""))
        if number == stopped:
            world.node.feed(StopRequested())
        world.run(data.draw(st.sampled_from([0.0, 0.05, 1.0])))
    world.run(300)
    assert len(world.told(SimCallDone)) == 1 + len(world.told(SimDialled))
    assert world.sim._exchange.live == 0
    assert world.sim._exchange.streams == {}
    assert not world.sim._exchange.post.pending
