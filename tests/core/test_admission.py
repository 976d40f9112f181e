"""Who may come in: tickets, proofs, addresses, places."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.admission import PeerCounter, Tickets, TicketVerdict, client_address
from patter_core.contract import Abort, ClockSet, Request
from patter_core.events import CallEnded, Refused, SignatureUnchecked, StreamAttached, UpgradeUnsigned
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.puppet import Line

from .world import EPOCH, World, server_config, sid

NOW = EPOCH // 1_000_000
SECRET = b"secret" * 6


def code(line: Line) -> Any:
    return json.loads(line.responses[-1].body)["error"]


# --- tickets by themselves -------------------------------------------------------------------------------------------


def test_a_ticket_is_good_once_for_one_call_until_its_second_is_over() -> None:
    tickets = Tickets(SECRET, 60)
    ticket = tickets.mint("CA1", NOW)
    assert tickets.check("CA1", ticket, NOW) is TicketVerdict.VALID
    assert tickets.check("CA1", ticket, NOW + 60) is TicketVerdict.VALID
    assert tickets.check("CA1", ticket, NOW + 61) is TicketVerdict.EXPIRED
    assert tickets.check("CA2", ticket, NOW) is TicketVerdict.FORGED
    tickets.use(ticket, NOW)
    assert tickets.check("CA1", ticket, NOW) is TicketVerdict.USED
    assert tickets.check("CA1", ticket, NOW + 60) is TicketVerdict.USED


def test_another_process_with_the_secret_admits_and_one_without_does_not() -> None:
    ticket = Tickets(SECRET, 60).mint("CA1", NOW)
    assert Tickets(SECRET, 60).check("CA1", ticket, NOW) is TicketVerdict.VALID
    assert Tickets(b"other", 60).check("CA1", ticket, NOW) is TicketVerdict.FORGED


@given(st.integers(0, 39), st.integers(1, 63))
def test_no_changed_character_is_accepted(place: int, shift: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    tickets = Tickets(SECRET, 60)
    ticket = tickets.mint("CA1", NOW)
    other = alphabet[(alphabet.index(ticket[place]) + shift) % 64]
    assert tickets.check("CA1", ticket[:place] + other + ticket[place + 1 :], NOW) is TicketVerdict.FORGED


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert Tickets(SECRET, 60).check("CA1", text, NOW) is TicketVerdict.FORGED


def test_a_used_ticket_in_another_spelling_is_used() -> None:
    """base64 has two alphabets, and the decoder reads both."""
    tickets = Tickets(SECRET, 60)
    ticket = next(t for t in (tickets.mint("CA1", NOW) for _ in range(1000)) if "-" in t)
    other = ticket.replace("-", "+")
    assert base64.b64decode(other, altchars=b"-_") == base64.b64decode(ticket, altchars=b"-_")
    tickets.use(ticket, NOW)
    assert tickets.check("CA1", other, NOW) is not TicketVerdict.VALID


def test_what_was_used_is_forgotten_once_expired() -> None:
    tickets = Tickets(SECRET, 60)
    for second in range(1000):
        tickets.use(tickets.mint("CA1", NOW + second), NOW + second)
        assert len(tickets) <= 63
    tickets.use(tickets.mint("CA1", NOW + 5000), NOW + 5000)
    assert len(tickets) == 1
    assert len(tickets._expiries) == 1


def test_tickets_never_repeat() -> None:
    tickets = Tickets(SECRET, 60)
    assert len({tickets.mint("CA1", NOW) for _ in range(2000)}) == 2000


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "client"),
    [
        ("192.0.2.1", "9.9.9.9", (), "192.0.2.1"),  # nobody is trusted
        ("192.0.2.1", None, ("192.0.2.0/24",), "192.0.2.1"),
        ("192.0.2.1", "9.9.9.9", ("192.0.2.0/24",), "9.9.9.9"),
        ("192.0.2.1", "1.1.1.1, 9.9.9.9", ("192.0.2.1",), "9.9.9.9"),  # the left of it anybody could have written
        ("192.0.2.1", "1.1.1.1, 9.9.9.9, 192.0.2.9", ("192.0.2.0/24",), "9.9.9.9"),
        ("198.51.100.1", "9.9.9.9", ("192.0.2.0/24",), "198.51.100.1"),
        ("192.0.2.1", "junk", ("192.0.2.0/24",), "192.0.2.1"),
        ("192.0.2.1", "9.9.9.9, junk", ("192.0.2.0/24",), "192.0.2.1"),
        ("192.0.2.1", "", ("192.0.2.0/24",), "192.0.2.1"),
        ("192.0.2.1", "192.0.2.7, 192.0.2.8", ("192.0.2.0/24",), "192.0.2.7"),
        ("::1", "2001:db8::9", ("::1",), "2001:db8::9"),
        ("::1", "2001:DB8:0:0::9", ("::1/128",), "2001:db8::9"),  # one address, one spelling
        ("::ffff:192.0.2.1", "9.9.9.9", ("192.0.2.0/24",), "9.9.9.9"),
        ("192.0.2.1", "::ffff:192.0.2.5, 192.0.2.8", ("192.0.2.0/24",), "192.0.2.5"),
        ("a.sock", "9.9.9.9", ("192.0.2.0/24",), "a.sock"),
        ("", "9.9.9.9", ("192.0.2.0/24",), ""),
    ],
)
def test_whose_socket_it_is(peer: str, forwarded: str | None, proxies: tuple[str, ...], client: str) -> None:
    assert client_address(peer, forwarded, proxies) == client


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_header_gives_an_address(peer: str, forwarded: str) -> None:
    client_address(peer, forwarded, ("10.0.0.0/8", "::1"))
    client_address("10.0.0.1", forwarded, ("10.0.0.0/8", "::1"))


def test_a_counter_keeps_only_who_is_there() -> None:
    peers = PeerCounter()
    for _ in range(3):
        peers.add("a")
    peers.remove("a")
    assert (peers["a"], peers["b"], len(peers)) == (2, 0, 1)
    peers.remove("a")
    peers.remove("a")
    peers.remove("never")
    assert len(peers) == 0


# --- tickets at the server -------------------------------------------------------------------------------------------


def path_of(world: World, number: int = 1) -> str:
    return world.stream_path(world.voice(sid(number)))


def test_missing_and_forged_tickets_are_403() -> None:
    world = World()
    path = path_of(world)
    base, _, ticket = path.rpartition("/")
    flipped = ticket[:-1] + ("A" if ticket[-1] != "A" else "B")
    for number, bad in enumerate((base, base + "/", base + "/x", f"{base}/{flipped}", f"/ws/stream/{sid(2)}/{ticket}")):
        line = world.line(f"198.51.100.{number}")
        assert line.upgrade(bad, [world.proof(bad)]) == 403, bad
        assert code(line) == "bad_ticket"
    assert {event.code for event in world.told(Refused)} == {"ticket_forged"}
    assert world.board.media_sockets == 0
    line = world.line()
    assert line.upgrade(path, [world.proof(path)]) == 101  # none of that used it up


def test_a_ticket_admits_in_its_last_second_and_not_after() -> None:
    world = World(server_config(call=CallSettings(offer_s=100)))
    paths = [path_of(world, 1), path_of(world, 2)]
    world.run(60.9)  # the epoch is a whole second: 60.9 s is still the 60th
    assert world.line().upgrade(paths[0], [world.proof(paths[0])]) == 101
    world.run(0.2)
    late = world.line()
    assert late.upgrade(paths[1], [world.proof(paths[1])]) == 403
    assert [event.code for event in world.told(Refused)] == ["ticket_expired"]


def test_a_ticket_admits_once_even_after_its_socket_is_gone() -> None:
    world = World()
    path = path_of(world)
    line = world.line()
    assert line.upgrade(path, [world.proof(path)]) == 101
    second = world.line()
    assert second.upgrade(path, [world.proof(path)]) == 403
    line.reset()
    world.run(0.1)
    third = world.line()
    assert third.upgrade(path, [world.proof(path)]) == 403
    assert [event.code for event in world.told(Refused)] == ["ticket_used"]


def test_the_clock_may_be_set() -> None:
    world = World()
    path = path_of(world)
    world.server.feed(ClockSet(EPOCH + 3600 * 1_000_000))
    world.run(0)
    assert world.line().upgrade(path, [world.proof(path)]) == 403
    path = path_of(world, 2)
    assert world.line().upgrade(path, [world.proof(path)]) == 101


def test_another_server_with_the_secret_admits_the_call() -> None:
    first = World(server_config(ticket_secret="shared between us"))
    second = World(server_config(ticket_secret="shared between us"))
    third = World(server_config(ticket_secret="something else"))
    path = path_of(first)
    assert third.line().upgrade(path, [third.proof(path)]) == 403
    line = second.line()
    assert line.upgrade(path, [second.proof(path)]) == 101
    second.start(line, sid(1))
    assert [event.call_id for event in second.told(StreamAttached)] == [sid(1)]
    second.stop(line)
    second.run(1)
    assert [event.reason for event in second.told(CallEnded)] == [EndReason.CALLER_HUNG_UP]
    second.assert_empty()


def test_streams_may_be_left_open_to_anyone_loudly() -> None:
    world = World(server_config(authenticate_streams=False))
    path = path_of(world)
    assert path == f"/ws/stream/{sid(1)}"
    line = world.line()
    assert line.upgrade(path) == 101
    assert [event.what for event in world.told(SignatureUnchecked)] == ["streams"]
    stranger = world.line()
    assert stranger.upgrade(f"/ws/stream/{sid(2)}") == 101  # nobody announced it
    for number in range(5):  # made-up tickets are not remembered
        world.line(f"198.51.100.{number}").upgrade(f"/ws/stream/{sid(3)}/{'x' * 1000}{number}")
    assert len(world.board._reception._tickets) == 0


def test_an_announced_number_without_agent_gets_no_stream() -> None:
    world = World(server_config({"+15559999999": server_config().agents[""]}, authenticate_streams=False))
    assert world.voice(sid(1)).body.count(b"<Reject") == 1
    line = world.line()
    assert line.upgrade(f"/ws/stream/{sid(1)}") == 403
    assert code(line) == "unknown_call"


# --- the carrier's own proof -----------------------------------------------------------------------------------------


def test_a_wrong_proof_is_403_even_with_a_good_ticket() -> None:
    world = World()
    path = path_of(world)
    line = world.line()
    assert line.upgrade(path, [world.proof(path, token="wrong")]) == 403
    assert code(line) == "bad_signature"
    refused = world.told(Refused)
    assert [event.code for event in refused] == ["upgrade_signature_invalid"]
    assert path.rpartition("/")[2] not in refused[0].detail
    assert "<ticket>" in refused[0].detail
    assert "wss://" in refused[0].detail
    assert world.line().upgrade(path, [world.proof(path)]) == 101  # the real carrier still gets in


def test_an_absent_proof_is_told_once_and_the_ticket_suffices() -> None:
    world = World()
    for number in (1, 2):
        path = path_of(world, number)
        assert world.line().upgrade(path) == 101
    assert [event.call_id for event in world.told(UpgradeUnsigned)] == [sid(1)]


def test_an_absent_proof_is_403_where_it_is_required() -> None:
    world = World(server_config(require_upgrade_signature=True))
    path = path_of(world)
    assert world.line().upgrade(path) == 403
    assert world.line().upgrade(path, [world.proof(path)]) == 101


def test_two_copies_of_a_proof_are_no_proof() -> None:
    world = World()
    path = path_of(world)
    assert world.line().upgrade(path, [world.proof(path), ("X-Twilio-Signature", "x")]) == 403


# --- places ----------------------------------------------------------------------------------------------------------


def test_the_eleventh_socket_of_an_address_is_429() -> None:
    world = World()
    lines = [world.open(sid(n)) for n in range(1, 11)]
    path = path_of(world, 11)
    late = world.line()
    assert late.upgrade(path, [world.proof(path)]) == 429
    assert late.responses[-1].header("retry-after") == "1"
    assert code(late) == "too_many_streams"
    refused = [event for event in world.told(Refused) if event.status == 429]
    assert "max_streams_per_ip" in refused[0].detail
    elsewhere = world.line("198.51.100.9")
    assert elsewhere.upgrade(path, [world.proof(path)]) == 101  # another address has places of its own
    world.stop(lines[0])
    world.run(0)
    path = path_of(world, 12)
    assert world.line().upgrade(path, [world.proof(path)]) == 101  # free as soon as the stream said goodbye
    assert world.board.media_sockets == 11


def test_a_stranger_learns_nothing_from_429() -> None:
    world = World(server_config(settings=ServerSettings(max_streams_per_ip=1)))
    world.open(sid(1))
    assert world.line().upgrade(f"/ws/stream/{sid(2)}/forged") == 429
    assert [event.detail for event in world.told(Refused)] == [""]


def test_a_reset_frees_the_place() -> None:
    world = World(server_config(settings=ServerSettings(max_streams_per_ip=1)))
    line = world.open(sid(1))
    line.reset()
    world.run(0)
    path = path_of(world, 2)
    assert world.line().upgrade(path, [world.proof(path)]) == 101


def test_places_are_counted_behind_a_trusted_proxy() -> None:
    settings = ServerSettings(max_streams_per_ip=1)
    world = World(server_config(settings=settings, trusted_proxies=("203.0.113.0/24",)))
    for number, (forwarded, status) in enumerate(
        [("9.9.9.9", 101), ("1.2.3.4, 9.9.9.9", 429), ("9.9.9.8", 101), ("9.9.9.9, 203.0.113.8", 429)]
    ):
        path = path_of(world, number + 1)
        assert world.line().upgrade(path, [world.proof(path), ("X-Forwarded-For", forwarded)]) == status
    assert len(world.board._reception._peers) == 2


def test_nobody_else_is_believed_about_their_address() -> None:
    world = World(server_config(settings=ServerSettings(max_streams_per_ip=1)))
    for number, status in ((1, 101), (2, 429)):
        path = path_of(world, number)
        headers = [world.proof(path), ("X-Forwarded-For", f"9.9.9.{number}"), ("CF-Connecting-IP", f"9.9.9.{number}")]
        assert world.line().upgrade(path, headers) == status


def test_ipv6_peers_have_places_too() -> None:
    world = World(server_config(settings=ServerSettings(max_streams_per_ip=1)))
    for number, (peer, status) in enumerate([("2001:db8::1", 101), ("2001:db8::1", 429), ("2001:db8::2", 101)]):
        path = path_of(world, number + 1)
        assert world.line(peer).upgrade(path, [world.proof(path)]) == status


def test_one_socket_per_call() -> None:
    world = World()
    first = world.open(sid(1))
    answer = world.voice(sid(1))
    assert b"<Reject" in answer.body  # a live call is not answered again
    other = World(server_config(authenticate_streams=False))
    other.open_first = other.voice(sid(1))  # type: ignore[attr-defined]
    assert other.line().upgrade(f"/ws/stream/{sid(1)}") == 101
    second = other.line()
    assert second.upgrade(f"/ws/stream/{sid(1)}") == 403
    assert code(second) == "already_attached"
    assert not first.closed


def test_an_ended_call_gets_no_stream() -> None:
    world = World(server_config(authenticate_streams=False))
    world.voice(sid(1))
    line = world.line()
    line.upgrade(f"/ws/stream/{sid(1)}")
    world.start(line, sid(1))
    world.stop(line)
    world.run(1)
    again = world.line()
    assert again.upgrade(f"/ws/stream/{sid(1)}") == 403
    assert code(again) == "call_ended"


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/stream", "/ws/stream/", "/ws/stream//x", "/ws/stream/a/b/c", "/x"])
def test_upgrades_elsewhere_are_404(path: str) -> None:
    assert World().line().upgrade(path) == 404


# --- connections -----------------------------------------------------------------------------------------------------


def test_the_connection_limits() -> None:
    settings = ServerSettings(max_connections=4, max_connections_per_ip=2)
    world = World(server_config(settings=settings))
    lines = [world.line(peer) for peer in ("a", "a", "a", "b", "b", "c")]
    world.run(0)
    assert [line.closed for line in lines] == [False, False, True, False, False, True]
    assert len(world.orders(Abort)) == 2
    assert {event.code for event in world.told(Refused)} == {"max_connections_per_ip", "max_connections"}
    assert not any(line.received for line in lines)
    lines[0].close()
    world.run(0)
    again = world.line("a")
    assert again.ask("GET", "/health").status == 200
    world.run(100)
    world.assert_empty()


# --- max_calls and the voice webhook ---------------------------------------------------------------------------------


def test_max_calls_answers_busy_and_recovers() -> None:
    world = World(server_config(settings=ServerSettings(max_calls=2)))
    lines = [world.open(sid(n)) for n in (1, 2)]
    for _ in range(2):
        busy = world.voice(sid(3))
        assert (busy.status, busy.header("content-type")) == (200, "text/xml; charset=utf-8")
        assert b'<Reject reason="busy" />' in busy.body
    assert [event.code for event in world.told(Refused)] == ["max_calls"]
    world.stop(lines[0])
    world.run(0.1)
    assert world.board.calls == 1
    assert b"<Stream" in world.voice(sid(3)).body  # a carrier that tries again gets through
    assert b"<Reject" in world.voice(sid(4)).body
    assert b"<Stream" in world.voice(sid(3)).body  # the waiting one is answered again, full or not


def test_max_calls_zero_is_closed() -> None:
    world = World(server_config(settings=ServerSettings(max_calls=0)))
    assert b"<Reject" in world.voice(sid(1)).body


def test_a_stream_that_never_comes_frees_its_slot_after_thirty_seconds() -> None:
    spec = server_config().agents[""]
    world = World(server_config({"": spec}, settings=ServerSettings(max_calls=1)))
    world.voice(sid(1))
    world.run(29.9)
    assert b"<Reject" in world.voice(sid(2)).body
    world.run(0.2)
    assert b"<Stream" in world.voice(sid(2)).body
    ended = world.told(CallEnded)
    assert [(event.call_id, event.reason, event.duration_ms) for event in ended] == [
        (sid(1), EndReason.NEVER_STARTED, 0)
    ]
    assert not world.server.invoked
    assert not world.orders(Request)
    assert b"<Reject" in world.voice(sid(1)).body  # and nothing is done for the ended one


def test_a_waiting_call_gets_the_same_answer_again() -> None:
    world = World()
    first = world.voice(sid(1))
    assert first.body == world.voice(sid(1)).body
    assert world.board.calls == 1


def test_a_live_call_gets_a_fresh_ticket_only_without_its_stream() -> None:
    world = World()
    line = world.open(sid(1))
    assert b"<Reject" in world.voice(sid(1)).body
    line.reset()
    world.run(0.1)
    path = world.stream_path(world.voice(sid(1)))
    back = world.line()
    assert back.upgrade(path, [world.proof(path)]) == 101
    world.start(back, sid(1))
    world.run(1)
    assert [event.epoch for event in world.told(StreamAttached)] == [1, 2]
    assert world.board.calls == 1
    assert not world.told(CallEnded)


def test_a_socket_lost_before_start_may_come_again() -> None:
    world = World()
    line = world.socket(sid(1))
    line.reset()
    world.run(0.1)
    path = world.stream_path(world.voice(sid(1)))
    assert world.line().upgrade(path, [world.proof(path)]) == 101


def test_numbers_choose_the_agent() -> None:
    spec = server_config().agents[""]
    world = World(server_config({"+15550001111": spec}))
    assert b"<Stream" in world.voice(sid(1), callee="+15550001111").body
    assert b"<Reject" in world.voice(sid(2), callee="+15550002222").body
    assert [event.code for event in world.told(Refused)] == ["no_agent"]


def test_a_named_proxy_is_not_one_peer_among_others() -> None:
    settings = ServerSettings(max_connections_per_ip=2)
    world = World(server_config(settings=settings, trusted_proxies=("10.0.0.0/8",)))
    through = [world.line(peer="10.0.0.1") for _ in range(4)]
    direct = [world.line(peer="203.0.113.9") for _ in range(3)]
    world.run(0.1)
    assert [line.closed for line in through] == [False] * 4
    assert [line.closed for line in direct] == [False, False, True]


def test_a_used_ticket_of_a_longer_lived_process_stays_used() -> None:
    long, short = Tickets(b"s" * 32, 600), Tickets(b"s" * 32, 60)
    ticket = long.mint("CA1", 1000)
    short.use(ticket, 1000)
    for at in (1001, 1061, 1200):
        short.use(short.mint("CA2", at), at)
    assert short.check("CA1", ticket, 1200) is TicketVerdict.USED
