"""Incoming calls, the same on every carrier: they talk, they end, they are turned away; and who is not let in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from patter_core.carriers.telnyx.dialect import STREAM_TOKEN
from patter_core.contract import CancelRequest, Request
from patter_core.events import CallOffered, Refused, SignatureUnchecked, UpgradeUnsigned
from patter_core.reasons import EndReason
from patter_core.settings import ServerSettings
from patter_core.simulator.callee import Misbehaviour, RestTrouble
from patter_core.simulator.events import SimSecondStream
from patter_core.simulator.orders import HangUpCall
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import (
    CALLER,
    DESK,
    ECHO,
    HOST,
    US,
    CarriersWorld,
    audible,
    both,
    hears,
    person,
    speaker,
    talk,
    trace_name,
)


@both
def test_an_echo_talks_and_the_caller_hangs_up(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(talk(1_000), Wait(500), HangUp()))
    world.run(4)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert audible(world.done().heard) >= 900
    (end,) = world.calls["on_call_end"]
    assert (end["caller"], end["callee"], end["direction"], end["reason"]) == (CALLER, US, "inbound", "caller_hung_up")
    assert end["telephony_provider"] == carrier
    assert "outcome" not in end
    world.over()


@both
def test_a_spoken_agent_greets_listens_and_answers(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = CarriersWorld(carrier, speaker("my order", first_message="Good morning."), person(*acts))
    world.run(15)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    heard = world.done().heard
    assert hears(heard, "Good morning.")
    assert hears(heard, "You said my order")
    assert world.said() == ["Good morning.", "You said my order"]
    assert world.said("user") == ["my order"]
    (start,) = world.calls["on_call_start"]
    assert (start["call_id"], start["caller"], start["callee"]) == (world.first, CALLER, US)
    (message,) = world.calls["on_message"]
    assert message["text"] == "my order"
    world.over()


@both
@pytest.mark.parametrize("force", [True, False])
def test_the_server_hangs_up(carrier: str, force: bool) -> None:
    """By force at once; gently when what is being said was heard, and the caller had a chance to speak."""
    line = "This is what there is to say, and it takes a while."
    world = CarriersWorld(carrier, speaker(first_message=line), person())
    world.run(0.5)
    ask = world.ask("end_call", call_id=world.first, force=force)
    world.run(0.5)
    assert world.answered(ask) is force
    world.run(5)
    assert world.answer(ask) is True
    assert world.reason() is EndReason.AGENT_HUNG_UP
    done = world.done()
    assert (done.outcome, done.hung_up_by_rest) == ("completed", True)
    assert hears(done.heard, line) is not force
    assert len(world.rests(HangUpCall)) == 1
    world.over()


@both
def test_a_call_that_is_over_can_be_ended_again_and_nothing_else(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(Wait(500), HangUp()))
    world.run(3)
    assert world.answer(world.ask("end_call", call_id=world.first)) is False
    for verb, args in (("say", {"text": "Hello?"}), ("transfer", {"to": DESK}), ("send_dtmf", {"digits": "1"})):
        assert world.answer(world.ask(verb, call_id=world.first, **args))[0] == "unknown_call"
    world.over()


# --- turned away -----------------------------------------------------------------------------------------------------


@both
def test_over_max_calls_a_caller_hears_the_busy_tone(carrier: str) -> None:
    plans = (*person(at_ms=1), *person(at_ms=500), *person(at_ms=20_000))
    world = CarriersWorld(carrier, plans=plans, settings=ServerSettings(max_calls=1))
    world.run(2)
    first, second, third = world.sim.call_ids
    assert world.done(second).outcome == "busy"
    assert [(e.code, e.status) for e in world.told(Refused)] == [("max_calls", 200)]
    world.ask("end_call", call_id=first, force=True)
    world.run(20)
    assert world.leg(third).stream is not None
    assert world.calls["on_call_end"][0]["call_id"] == first
    world.over()
    assert second not in world.reasons()


@both
def test_a_number_that_nobody_answers_for_is_busy(carrier: str) -> None:
    world = CarriersWorld(carrier, {"+15550007777": ECHO}, person())
    world.run(2)
    assert world.done().outcome == "busy"
    assert [e.code for e in world.told(Refused)] == ["no_agent"]
    assert world.calls["on_call_end"] == []
    world.over()


@both
def test_a_draining_server_is_busy(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(), settings=ServerSettings(finish_calls_s=10))
    world.run(1)
    line = world.line()
    line.ask("GET", "/health")  # a connection from before: new ones are not taken any more
    world.stop(1)
    answer = world.post(world.offer(world.new_id(7)), line=line)
    assert answer.status == 200
    assert b"<Stream" not in answer.body
    world.run(0.5)
    assert [e.code for e in world.told(Refused)] == ["draining"]
    if carrier == "telnyx":
        refused = [e for e in world.orders(Request) if e.url.endswith("/actions/reject")]
        assert len(refused) == 1
    else:
        assert b"<Reject" in answer.body
    world.over()
    assert world.reasons() == {world.first: EndReason.SHUTDOWN}


@both
def test_each_number_has_its_agent(carrier: str) -> None:
    other = "+15550005555"
    agents = {US: speaker(first_message="This is one."), other: speaker(first_message="And this is another.")}
    world = CarriersWorld(carrier, agents, (*person(), *person(callee=other)))
    world.run(3)
    world.over()
    one, two = world.sim.call_ids
    assert hears(world.done(one).heard, "This is one.")
    assert hears(world.done(two).heard, "And this is another.")


# --- webhooks that come again ----------------------------------------------------------------------------------------


@both
def test_every_webhook_twice_is_still_one_call(carrier: str) -> None:
    world = CarriersWorld(
        carrier, plans=person(talk(1_000), Wait(500), HangUp()), misbehaves=frozenset({Misbehaviour.DUPLICATE_WEBHOOKS})
    )
    world.run(5)
    assert world.reasons() == {world.first: EndReason.CALLER_HUNG_UP}
    assert len(world.calls["on_call_start"]) == len(world.calls["on_call_end"]) == 1
    assert audible(world.done().heard) >= 900
    world.over()


@both
def test_a_replayed_webhook_starts_nothing(carrier: str) -> None:
    """What announces a call is taken in once, whoever sends it again: while it waits, talks, or is over."""
    world = CarriersWorld(carrier, rest=False)
    call_id = world.new_id(1)
    content = world.offer(call_id)
    first, second = world.post(content), world.post(content)
    assert first.status == second.status == 200
    assert first.body == second.body
    assert world.board.calls == 1
    assert len(world.told(CallOffered)) == 1
    world.run(40)
    why = EndReason.NEVER_STARTED if carrier == "twilio" else EndReason.CARRIER_REFUSED  # its REST API is down
    assert world.reasons() == {call_id: why}
    assert world.calls["on_call_end"] == []
    again = world.post(content)
    assert again.status == 200
    assert b"<Stream" not in again.body
    assert world.board.calls == 0
    world.over()


# --- who is not let in -----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("proof", ["bad", "another", "none"])
def test_a_webhook_without_a_good_signature_is_403(carrier: str, proof: str) -> None:
    world = CarriersWorld(carrier)
    assert world.post(world.offer(world.new_id(1)), proof=proof).status == 403
    assert [e.code for e in world.told(Refused)] == ["bad_signature"]
    assert world.board.calls == 0
    assert world.told(CallOffered) == []
    world.over()


@pytest.mark.parametrize(("ago_s", "status"), [(0, 200), (299, 200), (301, 403), (-299, 200), (-301, 403)])
def test_a_stale_signature_is_403_where_signatures_have_a_time(ago_s: int, status: int) -> None:
    """Telnyx only: Twilio signs no time. Decision of the project: 300 s both ways, like the official libraries."""
    world = CarriersWorld("telnyx", rest=False)
    assert world.post(world.offer(world.new_id(1)), ago_s=ago_s).status == status
    if status == 403:
        (refused,) = world.told(Refused)
        assert str(abs(ago_s)) in refused.detail
    world.over()


@both
def test_without_a_key_every_webhook_is_503(carrier: str) -> None:
    world = CarriersWorld(carrier, config={"keys": ()})
    assert world.post(world.offer(world.new_id(1))).status == 503
    assert [e.code for e in world.told(Refused)] == ["no_key"]
    world.over()


@both
def test_without_signatures_on_purpose_a_call_still_talks(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(talk(500), HangUp()), config={"keys": (), "require_signature": False})
    world.run(3)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert [e.what for e in world.told(SignatureUnchecked)] == ["webhooks"]
    world.over()


@both
@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"', b"{", b"\xff\xfe", b"", b"a" * 2000, b"[" * 5000])
def test_a_signed_body_that_is_no_report_is_400(carrier: str, body: bytes) -> None:
    world = CarriersWorld(carrier)
    if carrier == "twilio":  # its signature is over form fields, or over a body that its URL names
        pairs = [(body.decode("latin-1"), "1")] if body else []
        assert world.post(pairs).status == 400
    else:
        assert world.post(body).status == 400
    assert world.board.calls == 0
    assert len(world.told(Refused)) == 1
    world.over()


@both
def test_an_oversized_webhook_is_413_before_its_signature_costs_anything(carrier: str) -> None:
    world = CarriersWorld(carrier)
    pairs = [("CallSid", "C" * 70_000)]
    content: Any = pairs if carrier == "twilio" else b" " * 70_000
    assert world.post(content, proof="bad").status == 413
    assert [e.code for e in world.told(Refused)] == ["webhook_too_large"]
    world.over()


@both
def test_an_event_nobody_knows_is_taken_and_told(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person())
    world.run(1)
    if carrier == "twilio":
        pairs = [("CallSid", world.first), ("StatusCallbackEvent", "participant-levitate")]
        answer = world.post(pairs, kind="conference")
        assert world.post([("CallSid", world.first), ("CallStatus", "levitating")], kind="status").status == 204
    else:
        payload = {"call_control_id": world.first}
        data = {"data": {"event_type": "call.levitated", "id": "e-1", "payload": payload, "record_type": "event"}}
        answer = world.post(json.dumps(data).encode())
    assert answer.status in (200, 204)
    assert [e.code for e in world.told(Refused)] == ["unknown_event"]
    assert world.board.calls == 1
    world.over()


@both
def test_other_carriers_webhooks_are_not_there(carrier: str) -> None:
    world = CarriersWorld(carrier)
    other = "telnyx" if carrier == "twilio" else "twilio"
    assert world.line().ask("POST", f"/webhooks/{other}/voice").status == 404
    assert world.line().ask("POST", f"/webhooks/{carrier}/nonsense").status == 404
    assert world.line().ask("GET", f"/webhooks/{carrier}/voice").status == 405
    world.over()


# --- media sockets ---------------------------------------------------------------------------------------------------


@both
def test_a_call_id_with_reserved_characters_is_escaped_in_its_stream(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person())
    world.run(1)
    path = urlsplit(world.leg().stream.wanted.url).path
    assert path.startswith(f"/ws/stream/{quote(world.first, safe='')}/")
    assert ("%3A" in path) is (carrier == "telnyx")
    assert world.files == {} or list(world.files) == [trace_name(world.first)]
    world.over()


@both
def test_a_socket_with_a_wrong_ticket_or_none_is_403(carrier: str) -> None:
    world = CarriersWorld(carrier, rest=False)
    call_id = world.new_id(1)
    world.post(world.offer(call_id))
    name = quote(call_id, safe="")
    for path in (f"/ws/stream/{name}/forged", f"/ws/stream/{name}/", f"/ws/stream/{name}"):
        assert world.line().upgrade(path) in (403, 404), path
    assert world.line().upgrade(f"/ws/stream/{name}/forged") == 403
    assert world.board.media_sockets == 0
    world.over()


@both
def test_an_absent_proof_on_the_upgrade_is_told_once(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=(*person(), *person()), sign_upgrade=False)
    world.run(1)
    assert world.board.media_sockets == 2
    assert len(world.told(UpgradeUnsigned)) == 1
    world.over()


@both
def test_an_absent_proof_is_403_where_it_is_required(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(), sign_upgrade=False, config={"require_upgrade_signature": True})
    world.problems_expected = True
    world.run(40)
    assert world.board.media_sockets == 0
    assert "403" in world.done().detail if carrier == "twilio" else world.done().hung_up_by_rest
    assert world.reason() is EndReason.NEVER_STARTED
    world.over()


@both
def test_a_second_stream_of_a_call_is_refused(carrier: str) -> None:
    world = CarriersWorld(
        carrier, plans=person(talk(1_000), Wait(500), HangUp()), misbehaves=frozenset({Misbehaviour.TWO_STREAMS})
    )
    world.run(5)
    (second,) = world.sim_told(SimSecondStream)
    assert second.status == 403
    assert world.reasons() == {world.first: EndReason.CALLER_HUNG_UP}
    assert audible(world.done().heard) >= 900
    world.over()


@both
def test_a_wrong_token_in_the_carriers_proof_is_403(carrier: str) -> None:
    """Present and wrong is worse than absent, even with a good ticket."""
    world = CarriersWorld(carrier, rest=False)
    call_id = world.new_id(1)
    header = "X-Twilio-Signature" if carrier == "twilio" else STREAM_TOKEN
    world.post(world.offer(call_id))
    url, _ = world.board.mint(world.net.now, call_id)
    path = url.removeprefix(f"wss://{HOST}")
    assert world.line().upgrade(path, [(header, "wrong")]) == 403
    assert [e.code for e in world.told(Refused)] == ["upgrade_signature_invalid"]
    ticket = path.rpartition("/")[2]
    assert all(ticket not in e.detail for e in world.told(Refused))
    world.run(35)
    world.over()


@both
def test_orders_that_belong_to_no_call_are_bounded_and_let_go_at_the_end(carrier: str) -> None:
    """A caller is turned away by an order on Telnyx; a REST API that never answers holds no more than a hundred."""
    silent = (RestTrouble(status=0, on="RejectCall", times=-1),)
    world = CarriersWorld(carrier, settings=ServerSettings(max_calls=0), rest_trouble=silent, twins=False)
    for number in range(120):
        world.post(world.offer(world.new_id(number)))
    requests, dropped = len(world.orders(Request)), len(world.orders(CancelRequest))
    assert (requests, dropped) == ((0, 0) if carrier == "twilio" else (120, 20))
    world.over()
    assert len(world.orders(CancelRequest)) == requests
