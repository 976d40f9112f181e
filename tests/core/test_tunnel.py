"""The tunnel, fed with what cloudflared prints, in virtual time.

The lines are those of its source (cmd/cloudflared/tunnel/quick_tunnel.go: the box, the requests, the errors) and of
public bug reports: cloudflare/cloudflared#555 (no such host), #972 (failed to unmarshal), decolua/9router#1545 (429).
"""

from __future__ import annotations

import pytest

from patter_core.contract import Fault
from patter_core.errors import ConfigError
from patter_core.events import TunnelLost, TunnelOpened, TunnelUnproven
from patter_core.settings import ServerSettings
from patter_core.tunnel import (
    CloudflareTunnel,
    DropProbe,
    Failed,
    Kill,
    Lines,
    Ngrok,
    Opened,
    Probe,
    Say,
    Start,
    Static,
    Stop,
    Tunnel,
    TunnelSpec,
    TunnelState,
    quick_host,
    tunnel_spec,
)

S = 1_000_000
HOST = "quiet-river-two-words.trycloudflare.com"
OTHER = "loud-lake-other-words.trycloudflare.com"
STAMP = "2026-05-29T09:25:34Z"
ASKING = f"{STAMP} INF Requesting new quick Tunnel on trycloudflare.com...\n"
CONNECTED = f"{STAMP} INF Registered tunnel connection connIndex=0 event=0 ip=198.51.100.7 protocol=quic\n"
LOOKUP = (
    'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial tcp: lookup '
    "api.trycloudflare.com on 127.0.0.11:53: no such host\n"
)
TOO_OFTEN = (
    f"{STAMP} ERR Error unmarshaling QuickTunnel response: error code: 1015 "
    """error="invalid character 'e' looking for beginning of value" status_code="429 Too Many Requests"\n"""
    "failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value\n"
)
NO_ID = "failed to parse quick Tunnel ID: invalid UUID length: 0\n"


def box(host: str = HOST) -> str:
    rule = "+" + "-" * 92 + "+"
    words = "Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):"
    rows = (rule, f"|  {words}  |", f"|  {f'https://{host}':<88}  |", rule)
    return "".join(f"{STAMP} INF {row}\n" for row in rows)


def tunnel(spec: TunnelSpec | None = None, **settings: float) -> Tunnel:
    return Tunnel(spec or CloudflareTunnel().spec(8000), ServerSettings(**settings))


def opened(machine: Tunnel, now: int = 0, host: str = HOST) -> int:
    """Bring it up, by the shortest way; the time afterwards."""
    assert machine.start(now) == [Start()]
    assert machine.output(now, (ASKING + box(host) + CONNECTED).encode()) == [Probe(host)]
    assert machine.probed(now, 200) == [Opened(host), Say(TunnelOpened(host))]
    assert machine.open
    return now


def lost(orders: list) -> TunnelLost:
    found = [order.event for order in orders if isinstance(order, Say)]
    assert len(found) == 1
    assert isinstance(found[0], TunnelLost)
    return found[0]


# --- options ---------------------------------------------------------------------------------------------------------


def test_what_is_run_and_what_is_not() -> None:
    spec = tunnel_spec(True, 8123)
    assert spec == CloudflareTunnel().spec(8123)
    assert spec is not None
    assert spec.ours
    assert spec.program[:2] == ("cloudflared", "tunnel")
    assert "--no-autoupdate" in spec.program
    assert spec.program[-2:] == ("--url", "http://127.0.0.1:8123")
    assert CloudflareTunnel("/opt/cf").spec(1).program[0] == "/opt/cf"
    for option in (Static("a.example.com"), Ngrok("a.example.com")):
        assert tunnel_spec(option, 1) == TunnelSpec(hostname="a.example.com")
    assert tunnel_spec(None, 1) is None
    assert tunnel_spec(False, 1) is None


@pytest.mark.parametrize(
    "make", [lambda: Ngrok(), lambda: Static(" "), lambda: tunnel_spec("yes", 1), lambda: CloudflareTunnel("").spec(1)]
)
def test_options_that_name_nothing_say_what_to_give(make) -> None:
    with pytest.raises(ConfigError, match=r"hostname|tunnel must be|program"):
        make()


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (f"{STAMP} INF |  https://{HOST}    |", HOST),
        (f"Visit it at https://{HOST}", HOST),
        (f'{{"level":"info","message":"https://{HOST}"}}', HOST),
        (LOOKUP.strip(), ""),
        ("https://api.trycloudflare.com", ""),
        (f"https://api.trycloudflare.com and https://{HOST} too", HOST),
        ("Requesting new quick Tunnel on trycloudflare.com...", ""),
        (f"https://{HOST}.evil.example |", ""),
        (f"https://user@{HOST} |", ""),
        (f"https://{HOST}:8443 |", ""),
        (f"http://{HOST} |", ""),
        ("https://a.b.trycloudflare.com |", ""),
        ("https://-a.trycloudflare.com |", ""),
        ("https://developers.cloudflare.com/cloudflare-one/connections/connect-apps", ""),
    ],
)
def test_which_lines_name_a_host(line, host) -> None:
    assert quick_host(line) == host


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_lines_come_whole_however_they_are_cut(size) -> None:
    data = (ASKING + box() + "half").encode()
    lines = Lines()
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert found == (ASKING + box()).splitlines()
    assert lines.feed(b" a line\r\nnext\n") == ["half a line", "next"]


def test_a_line_that_is_too_long_is_dropped_whole_and_not_kept() -> None:
    lines = Lines(100)
    assert lines.feed(b"x" * 80) == []
    assert lines.feed(b"y" * 80) == []
    assert len(lines._rest) == 0
    for _ in range(100):
        assert lines.feed(b"z" * 100_000) == []
        assert len(lines._rest) == 0
    assert lines.feed(f"https://{HOST}\nok\n".encode()) == ["ok"]
    assert lines.feed(b"\xff\xfe\n") == ["\ufffd\ufffd"]


# --- up --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_it_is_named_then_connected_then_probed_then_open(size) -> None:
    machine = tunnel()
    assert machine.start(0) == [Start()]
    assert machine.state is TunnelState.STARTING
    assert machine.start(0) == []
    first, then = (ASKING + box()).encode(), CONNECTED.encode()
    for at in range(0, len(first), size):
        assert machine.output(0, first[at : at + size]) == []
    assert (machine.state, machine.host) == (TunnelState.NAMED, HOST)
    orders = [order for at in range(0, len(then), size) for order in machine.output(0, then[at : at + size])]
    assert orders == [Probe(HOST)]
    assert machine.state is TunnelState.PROBING
    assert machine.probed(0, 200) == [Opened(HOST), Say(TunnelOpened(HOST))]
    assert machine.open


def test_a_name_is_probed_after_a_while_even_if_nothing_says_connected() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, box().encode())
    assert machine.deadline == 5 * S
    assert machine.tick(4 * S) == []
    assert machine.tick(5 * S) == [Probe(HOST)]


def test_a_second_name_is_not_listened_to() -> None:
    machine = tunnel()
    opened(machine)
    assert machine.output(1, (box(OTHER) + CONNECTED).encode()) == []
    assert machine.host == HOST


def test_probes_go_on_until_one_is_answered() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, (box() + CONNECTED).encode())
    assert machine.probed(0, None) == []
    assert machine.deadline == 1 * S
    assert machine.tick(1 * S) == [Probe(HOST)]
    assert machine.probed(1 * S, 530) == []
    assert machine.deadline == 3 * S
    assert machine.tick(3 * S) == [Probe(HOST)]
    assert machine.tick(8 * S) == [DropProbe()]  # no answer in 5 s
    assert machine.probed(8 * S, 200) == []  # too late, and given up
    assert machine.tick(11 * S) == [Probe(HOST)]
    assert machine.probed(12 * S, 200) == [Opened(HOST), Say(TunnelOpened(HOST))]


def run_probes(machine: Tunnel, status: int | None) -> tuple[int, list]:
    """Answer every probe with this, until something else is ordered."""
    now = 0
    for _ in range(1000):
        orders = machine.probed(now, status)
        if orders:
            return now, orders
        assert machine.deadline is not None
        assert machine.deadline > now
        now = machine.deadline
        assert machine.tick(now) == [Probe(machine.host)]
    raise AssertionError("it probes for ever")


def test_a_name_that_leads_nowhere_is_given_up() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, (box() + CONNECTED).encode())
    now, orders = run_probes(machine, 530)
    assert 60 * S <= now < 70 * S
    assert Kill() in orders
    assert "530" in lost(orders).detail
    assert machine.state is TunnelState.BACKING_OFF


def test_a_name_that_only_we_cannot_reach_is_used_and_said() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, (box() + CONNECTED).encode())
    _, orders = run_probes(machine, None)
    assert orders[0] == Opened(HOST)
    assert isinstance(orders[1].event, TunnelUnproven)
    assert machine.open


def test_a_program_that_never_connected_is_not_believed() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, box().encode())
    machine.tick(5 * S)
    now, orders = 5 * S, machine.probed(5 * S, None)
    while not orders:
        now = machine.deadline or 0
        machine.tick(now)
        orders = machine.probed(now, None)
    assert Kill() in orders
    assert machine.state is TunnelState.BACKING_OFF


def test_somebody_elses_tunnel_is_only_probed() -> None:
    machine = tunnel(Static("a.example.com").spec(1))
    assert machine.start(0) == [Probe("a.example.com")]
    assert not machine.alive
    assert machine.probed(0, 200) == [Opened("a.example.com"), Say(TunnelOpened("a.example.com"))]
    assert machine.deadline is None
    assert machine.stop(1) == []


@pytest.mark.parametrize("status", [None, 502])
def test_somebody_elses_tunnel_that_does_not_answer_stops_nothing(status) -> None:
    machine = tunnel(Static("a.example.com").spec(1))
    machine.start(0)
    _, orders = run_probes(machine, status)
    assert orders[0] == Opened("a.example.com")
    assert isinstance(orders[1].event, TunnelUnproven)


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [LOOKUP, NO_ID])
def test_an_error_is_no_name_and_is_said_when_it_ends(words) -> None:
    machine = tunnel()
    machine.start(0)
    assert machine.output(0, (ASKING + words).encode()) == []
    assert machine.state is TunnelState.STARTING
    event = lost(machine.exited(0, 1))
    assert words.strip()[:150] in event.detail
    assert "status 1" in event.detail
    assert event.again_s == 1.0
    assert machine.tick(1 * S) == [Start()]


def test_restarts_are_further_and_further_apart_up_to_a_bound() -> None:
    machine, now, waits = tunnel(), 0, []
    machine.start(now)
    for _ in range(8):
        event = lost(machine.exited(now, 1))
        waits.append(event.again_s)
        assert machine.deadline == now + round(event.again_s * S)
        now = machine.deadline
        assert machine.tick(now) == [Start()]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_service_that_is_asked_too_often_is_left_alone_for_longer() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, (ASKING + TOO_OFTEN).encode())
    event = lost(machine.exited(0, 1))
    assert event.again_s == 30
    assert "429" in event.detail
    machine.tick(30 * S)
    assert lost(machine.exited(30 * S, 1)).again_s == 2  # its words of then are forgotten


def test_a_program_that_never_says_a_name_is_killed_however_much_it_talks() -> None:
    machine = tunnel()
    machine.start(0)
    for at in range(30):
        assert machine.output(at * S, (CONNECTED + "z" * 1_000_000).encode()) == []
    assert machine.deadline == 30 * S
    orders = machine.tick(30 * S)
    assert Kill() in orders
    assert "no public host in 30 s" in lost(orders).detail
    assert len(lost(orders).detail) < 1000
    assert machine.exited(31 * S, -9) == []


def test_a_missing_program_is_one_message_with_what_to_do() -> None:
    machine = tunnel()
    machine.start(0)
    (failed,) = machine.not_started(0, Fault.UNREACHABLE)
    assert isinstance(failed, Failed)
    assert failed.code == "no_tunnel_program"
    assert "cloudflared was not found" in failed.detail
    assert "brew install cloudflared" in failed.detail
    assert machine.state is TunnelState.STOPPED
    assert machine.deadline is None


def test_a_crash_while_open_starts_it_again_with_a_new_name() -> None:
    machine = tunnel()
    opened(machine)
    assert lost(machine.exited(100 * S, 2)).again_s == 1
    assert not machine.open
    assert machine.deadline == 101 * S
    opened_at = 101 * S
    assert machine.tick(opened_at) == [Start()]
    assert machine.output(opened_at, (box(OTHER) + CONNECTED).encode()) == [Probe(OTHER)]
    assert Opened(OTHER) in machine.probed(opened_at, 200)


def test_back_off_starts_anew_only_after_a_steady_minute() -> None:
    machine = tunnel()
    now = opened(machine)
    assert lost(machine.exited(now + 1 * S, 1)).again_s == 1
    machine.tick(now + 2 * S)
    machine.output(now + 2 * S, (box() + CONNECTED).encode())
    machine.probed(now + 2 * S, 200)
    assert lost(machine.exited(now + 3 * S, 1)).again_s == 2
    machine.tick(now + 5 * S)
    machine.output(now + 5 * S, (box() + CONNECTED).encode())
    machine.probed(now + 5 * S, 200)
    assert lost(machine.exited(now + 66 * S, 1)).again_s == 1


def test_a_program_that_vanishes_later_is_tried_again() -> None:
    machine = tunnel()
    opened(machine)
    machine.exited(10 * S, 0)
    machine.tick(11 * S)
    assert "was not found" in lost(machine.not_started(11 * S, Fault.UNREACHABLE)).detail
    assert machine.state is TunnelState.BACKING_OFF


def test_an_open_tunnel_is_looked_at_and_replaced_when_its_far_end_forgot_us() -> None:
    machine = tunnel()
    opened(machine)
    now = 0
    for status in (530, 530, 200, 530, None, None, 530):  # nobody answering counts neither way
        now = machine.deadline or 0
        assert machine.tick(now) == [Probe(HOST)]
        assert machine.probed(now, status) == []
        assert machine.open
    now = machine.deadline or 0
    machine.tick(now)
    orders = machine.probed(now, 530)
    assert Kill() in orders
    assert "no longer leads here" in lost(orders).detail


def test_a_look_without_an_answer_is_dropped() -> None:
    machine = tunnel()
    opened(machine)
    assert machine.tick(30 * S) == [Probe(HOST)]
    assert machine.tick(35 * S) == [DropProbe()]
    assert machine.open
    assert machine.deadline == 65 * S


# --- down ------------------------------------------------------------------------------------------------------------


def test_it_is_asked_to_end_then_made_to() -> None:
    machine = tunnel()
    opened(machine)
    assert machine.stop(0) == [Stop()]
    assert machine.stop(0) == []
    assert machine.alive
    assert machine.deadline == 3 * S
    assert machine.tick(3 * S) == [Kill()]
    assert machine.state is TunnelState.STOPPED
    assert machine.deadline is None


def test_it_ends_when_asked() -> None:
    machine = tunnel()
    opened(machine)
    machine.stop(0)
    assert machine.exited(1, 0) == []
    assert machine.state is TunnelState.STOPPED


def test_stopping_drops_the_probe_and_the_restart() -> None:
    machine = tunnel()
    machine.start(0)
    machine.output(0, (box() + CONNECTED).encode())
    assert machine.stop(0) == [DropProbe(), Stop()]
    machine = tunnel()
    machine.start(0)
    machine.exited(0, 1)
    assert machine.stop(0) == []
    assert machine.tick(100 * S) == []
    machine = tunnel()
    machine.start(0)
    machine.stop(0)
    assert machine.not_started(0, Fault.UNREACHABLE) == []


def test_what_comes_too_late_is_nothing() -> None:
    machine = tunnel()
    assert machine.output(0, box().encode()) == []
    assert machine.exited(0, 0) == []
    assert machine.not_started(0, Fault.OTHER) == []
    assert machine.probed(0, 200) == []
    assert machine.tick(0) == []
    assert machine.state is TunnelState.STOPPED
