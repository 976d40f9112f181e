"""The way up: ready in the first step, or after the tunnel and the webhooks, or refused with a reason and an exit code;
and its part of the way down. Every board here runs inside a ``ContractChecker`` with twins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    CancelRequest,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    Exit,
    Fault,
    Notify,
    Received,
    Refuse,
    Request,
    RequestFailed,
    ResponseStarted,
    Send,
    Spawn,
    StopListening,
    StopRequested,
    Ticked,
)
from patter_core.events import (
    ServerReady,
    ShutdownStep,
    SignatureUnchecked,
    StartupRefused,
    TunnelLost,
    TunnelOpened,
    TunnelUnproven,
    WebhookChanged,
    WebhookFailed,
    WebhookKept,
)
from patter_core.settings import ServerSettings
from patter_core.simulator.checker import ContractChecker
from patter_core.startup import REFUSED_CODE
from patter_core.switchboard import Switchboard
from patter_core.tunnel import CloudflareTunnel, Static, TunnelSpec

S = 1_000_000
ACCOUNT = "AC" + "0" * 31 + "1"
NUMBER = "+15550001111"
TWILIO = CarrierSpec(name="twilio", account=ACCOUNT, keys=("t",), base_url="https://twilio.test", api_key="t")
ECHO = AgentSpec(engine=EchoSpec())
NAME = "quiet-river-two-words.trycloudflare.com"
OTHER = "loud-lake-other-words.trycloudflare.com"
OLD = "https://old.example.com/voice"
SPEC = CloudflareTunnel().spec(8000)


def config(carriers: Any = (TWILIO,), agents: Any = None, **options: Any) -> ServerConfig:
    agents = {"": ECHO} if agents is None else agents
    return ServerConfig(public_url=PublicUrl.parse("a.example.com"), carriers=carriers, agents=agents, **options)


def hook(host: str) -> str:
    return f"https://{host}/webhooks/twilio/voice"


class Stage:
    """A board, the program it spawns, the name it probes and the carrier it asks, all by hand."""

    def __init__(self, **options: Any) -> None:
        def make() -> Switchboard:
            return Switchboard(config(numbers=(NUMBER,), **options), epoch=0, seed=b"s" * 32)

        self.inner = make()
        self.board = ContractChecker(self.inner, twin=make(), ticked=make())
        self.now = 0
        self.orders: list[Any] = []
        self.url = OLD  # what the carrier has
        self.cancelled: set[int] = set()

    # --- facts

    def feed(self, fact: Any) -> list[Any]:
        orders = self.board.handle(self.now, fact)
        self.orders += orders
        self.cancelled |= {order.request for order in orders if isinstance(order, CancelRequest)}
        return orders

    def begin(self) -> list[Any]:
        return self.feed(Ticked())

    def later(self, seconds: float) -> None:
        """Let time pass, waking the board when it asks for it."""
        end = self.now + round(seconds * S)
        while (at := self.board.deadline) is not None and at <= end:
            assert at > self.now
            self.now = at
            self.feed(Ticked())
        self.now = end
        self.feed(Ticked())

    def prints(self, *lines: str) -> None:
        self.feed(Received(self.last(Spawn).conn, "".join(f"{line}\n" for line in lines).encode()))

    def named(self, host: str = NAME) -> None:
        """The program runs, has a name and is connected."""
        self.feed(Connected(self.last(Spawn).conn))
        self.prints(f"INF |  https://{host}  |", "INF Registered tunnel connection connIndex=0")

    def probed(self, status: int = 200) -> None:
        """Answer the probe: its status is all that is waited for."""
        request = self.pending("/health").request
        self.feed(ResponseStarted(request, status))
        assert request in self.cancelled

    def carrier(self, status: int = 200) -> Request:
        """Answer the request the carrier was sent last."""
        request = self.pending("IncomingPhoneNumbers")
        if request.method == "POST" and status == 200:
            fields = dict(pair.split("=") for pair in request.body.decode().split("&"))
            self.url = fields["VoiceUrl"].replace("%3A", ":").replace("%2F", "/")
        record = {"sid": "PN" + "0" * 32, "phone_number": NUMBER, "voice_url": self.url, "voice_method": "POST"}
        page = record if request.method == "POST" else {"incoming_phone_numbers": [record]}
        self.feed(ResponseStarted(request.request, status))
        self.feed(BodyReceived(request.request, json.dumps(page).encode()))
        self.feed(BodyEnded(request.request))
        self.cancelled.add(request.request)
        return request

    # --- questions

    def last(self, kind: type) -> Any:
        return [order for order in self.orders if isinstance(order, kind)][-1]

    def pending(self, part: str) -> Request:
        found = [o for o in self.orders if isinstance(o, Request) and part in o.url and o.request not in self.cancelled]
        assert found, f"no request for {part} is open"
        return found[-1]

    def told(self, kind: type) -> list[Any]:
        return [o.event for o in self.orders if isinstance(o, Notify) and isinstance(o.event, kind)]

    def get(self, path: str) -> tuple[int, bytes]:
        conn = self.board.reserve()
        self.feed(Accepted(conn, "127.0.0.1"))
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        orders = self.feed(Received(conn, request.encode()))
        data = b"".join(order.data for order in orders if isinstance(order, Send))
        self.feed(Closed(conn))
        return int(data.split()[1]), data.partition(b"\r\n\r\n")[2]


# --- at once ---------------------------------------------------------------------------------------------------------


def test_a_server_is_ready_in_its_first_step_and_says_so_once() -> None:
    board = Switchboard(config(), epoch=0, seed=b"s")
    assert board.handle(0, Ticked()) == [Notify(ServerReady())]
    assert board.handle(1, Ticked()) == []
    assert board.deadline is None


def test_what_was_switched_off_is_said_before_it_is_ready() -> None:
    stage = Stage(require_signature=False, authenticate_streams=False)
    events = [order.event for order in stage.begin()]
    assert [type(event) for event in events] == [SignatureUnchecked, SignatureUnchecked, ServerReady]


NO_KEY = CarrierSpec(name="twilio", account=ACCOUNT, keys=("t",))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"carriers": ()}, "no_carrier"),
        ({"agents": {}}, "no_agent"),
        ({"carriers": (TWILIO, TWILIO)}, "carrier_twice"),
        ({"carriers": (NO_KEY,)}, "no_rest_credentials"),
        ({"tunnel": TunnelSpec(hostname="not a host")}, "bad_tunnel"),
    ],
)
def test_what_cannot_take_a_call_is_refused(wrong, code) -> None:
    board = Switchboard(config(**wrong), epoch=0, seed=b"s")
    orders = board.handle(0, Asked(AskId(1), "calls"))
    assert [type(order) for order in orders] == [Notify, StopListening, Refuse, Exit]
    assert isinstance(orders[0].event, StartupRefused)
    assert orders[0].event.code == code
    assert orders[-1] == Exit(REFUSED_CODE)
    assert board.deadline is None
    assert board.handle(1, Ticked()) == []


def test_a_question_in_the_first_step_is_answered_after_it_is_ready() -> None:
    board = Switchboard(config(), epoch=0, seed=b"s")
    assert board.handle(0, Asked(AskId(1), "calls")) == [Notify(ServerReady()), Answer(AskId(1), [])]


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_a_managed_webhook_is_set_before_it_is_ready_and_stays() -> None:
    stage = Stage(manage_webhook=True)
    stage.begin()
    assert stage.get("/ready") == (503, b'{"status":"starting"}')
    assert stage.get("/health")[0] == 200
    assert stage.carrier().method == "GET"
    assert stage.told(ServerReady) == []
    assert stage.carrier().auth == "twilio"
    assert stage.told(WebhookChanged) == [WebhookChanged("twilio", NUMBER, OLD, hook("a.example.com"))]
    assert stage.told(ServerReady) == [ServerReady()]
    assert stage.get("/ready")[0] == 200
    stage.feed(StopRequested())
    assert stage.last(Exit) == Exit(0)
    assert stage.url == hook("a.example.com")  # it outlives this process: the next one has the same


def test_a_webhook_that_is_right_is_kept() -> None:
    stage = Stage(manage_webhook=True)
    stage.url = hook("a.example.com")
    stage.begin()
    stage.carrier()
    assert stage.told(WebhookKept) == [WebhookKept("twilio", NUMBER, hook("a.example.com"))]
    assert stage.told(ServerReady) == [ServerReady()]


def test_an_unmanaged_webhook_is_never_asked_for() -> None:
    stage = Stage()
    stage.begin()
    stage.later(100)
    stage.feed(StopRequested())
    assert [order for order in stage.orders if isinstance(order, Request)] == []


@pytest.mark.parametrize("how", ["unauthorized", "silent", "unreachable"])
def test_a_carrier_that_cannot_be_asked_stops_nothing(how) -> None:
    stage = Stage(manage_webhook=True)
    stage.begin()
    if how == "unauthorized":
        stage.carrier(401)
    elif how == "unreachable":
        stage.feed(RequestFailed(stage.pending("Incoming").request, Fault.UNREACHABLE))
        stage.later(1)
        stage.cancelled.add(stage.pending("Incoming").request)
    stage.later(16)
    (failed,) = stage.told(WebhookFailed)
    assert hook("a.example.com") in failed.detail
    assert stage.told(ServerReady) == [ServerReady()]
    assert stage.get("/ready")[0] == 200


def test_a_stop_meanwhile_lets_the_carrier_go() -> None:
    stage = Stage(manage_webhook=True)
    stage.begin()
    request = stage.pending("Incoming").request
    stage.feed(StopRequested())
    assert CancelRequest(request) in stage.orders
    assert stage.last(Exit) == Exit(0)
    assert stage.told(ServerReady) == []


# --- tunnels ---------------------------------------------------------------------------------------------------------


def up(**options: Any) -> Stage:
    stage = Stage(tunnel=SPEC, **options)
    stage.begin()
    stage.named()
    stage.probed()
    stage.carrier()
    stage.carrier()
    assert stage.told(ServerReady) == [ServerReady()]
    return stage


def test_a_tunnel_is_opened_probed_and_announced_to_the_carrier_before_it_is_ready() -> None:
    stage = Stage(tunnel=SPEC)
    assert [type(order) for order in stage.begin()] == [Spawn]
    assert stage.last(Spawn).argv == SPEC.program
    assert stage.get("/ready") == (503, b'{"status":"starting"}')
    stage.named()
    assert stage.last(Request).url == f"https://{NAME}/health"
    stage.probed()
    assert stage.told(TunnelOpened) == [TunnelOpened(NAME)]
    stage.carrier()
    stage.carrier()
    assert stage.told(WebhookChanged) == [WebhookChanged("twilio", NUMBER, OLD, hook(NAME))]
    assert stage.told(ServerReady) == [ServerReady()]
    assert stage.get("/ready")[0] == 200


def test_a_known_tunnel_is_probed_and_its_webhook_is_only_set_when_asked() -> None:
    stage = Stage(tunnel=Static("b.example.com").spec(1))
    stage.begin()
    stage.probed()
    assert stage.told(ServerReady) == [ServerReady()]
    stage = Stage(tunnel=Static("b.example.com").spec(1), manage_webhook=True)
    stage.begin()
    stage.probed()
    stage.carrier()
    stage.carrier()
    assert stage.url == hook("b.example.com")
    stage.feed(StopRequested())
    assert stage.last(Exit) == Exit(0)
    assert stage.url == hook("b.example.com")


def test_a_known_tunnel_that_is_not_up_yet_is_said_and_waited_for_no_longer() -> None:
    stage = Stage(tunnel=Static("b.example.com").spec(1))
    stage.begin()
    stage.later(70)
    assert len(stage.told(TunnelUnproven)) == 1
    assert stage.told(ServerReady) == [ServerReady()]


def test_a_missing_program_is_refused_with_what_to_do() -> None:
    stage = Stage(tunnel=SPEC)
    stage.begin()
    orders = stage.feed(ConnectFailed(stage.last(Spawn).conn, Fault.UNREACHABLE))
    (refused,) = stage.told(StartupRefused)
    assert refused.code == "no_tunnel_program"
    assert "brew install cloudflared" in refused.detail
    assert orders[1:] == [StopListening(), Exit(REFUSED_CODE)]
    assert stage.board.deadline is None


def test_a_tunnel_that_never_opens_is_refused_with_its_last_words_and_nothing_left_running() -> None:
    stage = Stage(tunnel=SPEC)
    stage.begin()
    for _ in range(3):
        stage.feed(Connected(stage.last(Spawn).conn))
        stage.prints("ERR Error unmarshaling QuickTunnel response", "failed to unmarshal quick Tunnel")
        stage.feed(Closed(stage.last(Spawn).conn, 1))
        stage.later(5)
    spawned = stage.last(Spawn).conn
    stage.later(120)
    (refused,) = stage.told(StartupRefused)
    assert refused.code == "no_tunnel"
    assert len(stage.told(TunnelLost)) >= 3
    assert Abort(spawned) in stage.orders
    assert stage.orders[-1] == Exit(REFUSED_CODE)


def test_a_tunnel_that_fails_later_comes_back_and_the_webhook_follows_its_name() -> None:
    stage = up()
    stage.later(31)
    stage.probed()  # a look at it meanwhile
    stage.feed(Closed(stage.last(Spawn).conn, 1))
    assert stage.get("/ready") == (503, b'{"status":"starting"}')
    stage.later(1)
    stage.named(OTHER)
    stage.probed()
    assert stage.get("/ready")[0] == 200
    stage.carrier()
    stage.carrier()
    assert stage.url == hook(OTHER)
    assert stage.told(ServerReady) == [ServerReady()]
    assert stage.inner._reception._config.public_url.host == OTHER


def test_the_same_name_again_asks_the_carrier_nothing() -> None:
    stage = up()
    stage.feed(Closed(stage.last(Spawn).conn, 1))
    stage.later(1)
    stage.named()
    asked = len([order for order in stage.orders if isinstance(order, Request) and "Incoming" in order.url])
    stage.probed()
    assert len([order for order in stage.orders if isinstance(order, Request) and "Incoming" in order.url]) == asked


def test_the_way_down_puts_the_webhook_back_first_and_closes_the_tunnel_last() -> None:
    stage = up()
    stage.feed(StopRequested())
    assert not [order for order in stage.orders if isinstance(order, Exit)]
    stage.carrier()
    stage.carrier()
    assert stage.url == OLD
    assert stage.told(WebhookChanged)[-1] == WebhookChanged("twilio", NUMBER, hook(NAME), OLD)
    conn = stage.last(Spawn).conn
    assert stage.orders[-1] == Close(conn)
    assert [event.step for event in stage.told(ShutdownStep)] == [1, 2, 3, 4, 5, 6, 6]
    assert stage.feed(Closed(conn, 0)) == [Exit(0)]


def test_the_way_down_is_bounded_when_neither_the_carrier_nor_the_tunnel_answers() -> None:
    stage = up()
    began = stage.now
    conn = stage.last(Spawn).conn
    stage.feed(StopRequested())
    stage.later(3)
    assert len(stage.told(WebhookFailed)) == 1
    assert Close(conn) in stage.orders
    stage.later(3)
    assert Abort(conn) in stage.orders
    assert stage.orders[-1] == Exit(0)
    assert stage.now - began <= 7 * S


def test_somebody_in_a_hurry_ends_it_at_once() -> None:
    stage = up()
    for _ in range(10):
        stage.feed(StopRequested())
        if isinstance(stage.orders[-1], Exit):
            break
    assert stage.orders[-1] == Exit(0)
    assert Abort(stage.last(Spawn).conn) in stage.orders


def test_a_stop_while_the_tunnel_opens_closes_it() -> None:
    stage = Stage(tunnel=SPEC)
    stage.begin()
    stage.named()
    stage.feed(StopRequested())
    conn = stage.last(Spawn).conn
    assert stage.orders[-1] == Close(conn)
    assert stage.feed(Closed(conn, 0)) == [Exit(0)]
    assert stage.told(ServerReady) == []


def test_what_is_probed_can_be_somewhere_else() -> None:
    stage = Stage(tunnel=TunnelSpec(("stand-in",), probe="http://127.0.0.1:1"))
    stage.begin()
    stage.named()
    assert stage.last(Request).url == "http://127.0.0.1:1/health"


def test_bounds_of_nothing_do_not_spin() -> None:
    settings = ServerSettings(tunnel_backoff_s=0, tunnel_try_s=0, hook_s=0, hook_try_s=0, hook_backoff_s=0)
    stage = Stage(tunnel=SPEC, settings=settings)
    stage.begin()
    stage.named()
    stage.probed()
    stage.later(1)
    assert stage.told(ServerReady) == [ServerReady()]
