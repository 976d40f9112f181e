"""The loop-neutral parts that both adapters stand on."""

from __future__ import annotations

import errno
import hashlib
import hmac
import resource
import socket
import ssl
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from patter_core.contract import (
    ConnId,
    Fault,
    Invoke,
    Lane,
    Raised,
    Request,
    RequestId,
    Returned,
    Send,
    TaskId,
    Yielded,
)
from patter_core.edge.faults import explain, fault_of
from patter_core.edge.handlers import Kind, Loopwards, ThreadWork, kind_of
from patter_core.edge.secrets import Secrets
from patter_core.edge.sockets import (
    ACCEPT_PAUSE_S,
    AcceptTrouble,
    descriptor_limit,
    interleave,
    listen,
    numeric,
    peer_name,
)
from patter_core.edge.threads import NoThreadError, Pools, Threads
from patter_core.edge.tls import Tls, client_context

# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "fault"),
    [
        (ConnectionRefusedError(), Fault.REFUSED),
        (ConnectionResetError(), Fault.RESET),
        (BrokenPipeError(), Fault.RESET),
        (TimeoutError(), Fault.TIMEOUT),
        (OSError(errno.EHOSTUNREACH, "no route"), Fault.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "no net"), Fault.UNREACHABLE),
        (OSError(errno.EACCES, "forbidden"), Fault.OTHER),
        (socket.gaierror(-2, "no such name"), Fault.UNREACHABLE),
        (FileNotFoundError(), Fault.UNREACHABLE),
        (ssl.SSLCertVerificationError(), Fault.TLS),
        (ssl.SSLEOFError(), Fault.TLS),
        (httpx.ReadTimeout("slow"), Fault.TIMEOUT),
        (httpx.RemoteProtocolError("what?"), Fault.BAD_REPLY),
        (httpx.ReadError("gone"), Fault.RESET),
        (httpx.UnsupportedProtocol("gopher"), Fault.OTHER),
        (ZeroDivisionError(), Fault.OTHER),
        (None, Fault.CANCELLED),
    ],
    ids=repr,
)
def test_fault_of_an_exception(exc: BaseException | None, fault: Fault) -> None:
    assert fault_of(exc) is fault


def test_fault_of_looks_through_what_libraries_wrap() -> None:
    wrapped = httpx.ConnectError("all attempts failed")
    middle = OSError("all attempts failed")
    middle.__cause__ = ExceptionGroup("attempts", [ConnectionRefusedError(), TimeoutError()])
    wrapped.__context__ = middle
    wrapped.__suppress_context__ = True  # raise ... from None
    assert fault_of(wrapped) is Fault.REFUSED


def test_fault_of_survives_a_circle_of_causes() -> None:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert fault_of(one) is Fault.OTHER


def test_explain_is_short() -> None:
    assert explain(ValueError("no")) == "ValueError: no"
    assert len(explain(ValueError("x" * 10_000))) == 500


@pytest.mark.parametrize("failure", [ValueError(), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_explain_an_exception_that_cannot_explain_itself(failure: BaseException) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise failure

    assert explain(Mute()) == "Mute"


def test_explain_is_fit_for_a_file() -> None:
    assert explain(OSError("no such file: caf\udce9")) == "OSError: no such file: caf?"


# --- handlers --------------------------------------------------------------------------------------------------------


def invoke(name: str = "handler") -> Invoke:
    return Invoke(TaskId(1), Lane.THREAD, name)


async def coroutine() -> None: ...


async def stream():  # type: ignore[no-untyped-def]
    yield 1


def items():  # type: ignore[no-untyped-def]
    yield 1
    yield 2
    return "end"


def test_kind_of_results() -> None:
    waiting = coroutine()
    assert kind_of(waiting) is Kind.AWAITABLE
    waiting.close()
    assert kind_of(stream()) is Kind.STREAM
    assert kind_of(items()) is Kind.ITEMS
    for value in ([1], (1,), "text", b"bytes", iter([1]), {"a": 1}, None, 0):
        assert kind_of(value) is Kind.VALUE


def test_a_threads_generator_waits_for_its_turn() -> None:
    told: list[object] = []
    semaphore = threading.Semaphore(0)

    def tell(what: object) -> None:
        told.append(what)
        semaphore.release()

    work = ThreadWork(invoke(), items, tell)
    thread = threading.Thread(target=work)
    thread.start()
    semaphore.acquire()
    assert told == [Yielded(TaskId(1), 1)]
    work.go_on()
    semaphore.acquire()
    assert told[-1] == Yielded(TaskId(1), 2)
    work.go_on()
    thread.join()
    assert told[-1] == Returned(TaskId(1), "end")


def test_work_stopped_before_it_began_does_not_begin() -> None:
    ran: list[int] = []
    work = ThreadWork(invoke(), lambda: ran.append(1), ran.append)  # type: ignore[arg-type]
    work.stop()
    work()
    assert ran == []


def test_work_hands_awaitables_to_the_loop_and_raises_as_a_fact(caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []
    ThreadWork(invoke(), coroutine, told.append)()
    assert isinstance(told[0], Loopwards)
    told[0].result.close()

    def bad() -> None:
        raise ValueError("oops")

    ThreadWork(invoke("bad"), bad, told.append)()
    assert told[1] == Raised(TaskId(1), Fault.USER, "ValueError: oops")
    assert "handler bad raised" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_work_that_wants_to_end_the_thread_has_raised(kind: type[BaseException]) -> None:
    def bad() -> None:
        raise kind("now")

    told: list[object] = []
    ThreadWork(invoke("bad"), bad, told.append)()
    assert told == [Raised(TaskId(1), Fault.USER, f"{kind.__name__}: now")]


def test_secrets_enter_beside_the_order() -> None:
    table = {"key": ("X-Key", "s3cret"), "signer": ("", "k3y")}
    secrets = Secrets(table)
    order = Request(RequestId(1), "POST", "http://a/", (("a", "1"),), b"body", auth="key", sign="signer")
    signature = hmac.new(b"k3y", b"body", hashlib.sha256).hexdigest()
    assert secrets.headers(order) == [("a", "1"), ("X-Key", "s3cret"), ("X-Patter-Signature", signature)]
    assert secrets.headers(Request(RequestId(1), "GET", "http://a/", (("a", "1"),))) == [("a", "1")]
    assert secrets.headers(Request(RequestId(1), "GET", "http://a/", auth="other")) is None
    assert secrets.headers(Request(RequestId(1), "GET", "http://a/", sign="other")) is None
    assert secrets.line(Send(ConnId(1), b"x", auth="key")) == b"X-Key: s3cret\r\n"
    assert secrets.line(Send(ConnId(1), b"x")) == b""
    assert secrets.line(Send(ConnId(1), b"x", auth="other")) is None
    assert "s3cret" not in repr(secrets)
    table["other"] = ("X-Other", "2")  # an agent that came later brought its key
    assert secrets.line(Send(ConnId(1), b"x", auth="other")) == b"X-Other: 2\r\n"


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_are_daemons_reused_and_bounded() -> None:
    pool, release, done = Threads(limit=3), threading.Event(), threading.Semaphore(0)
    running: list[threading.Thread] = []

    def job() -> None:
        running.append(threading.current_thread())
        release.wait(5)
        done.release()

    for _ in range(10):
        pool.submit(job)
    release.set()
    for _ in range(10):
        assert done.acquire(timeout=5)
    assert len(set(running)) <= 3
    assert all(thread.daemon for thread in running)
    pool.close()


@pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_job_that_raises_does_not_take_its_thread_along(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> None:
        raise kind

    pool, done = Threads(limit=1), threading.Event()
    pool.submit(bad)
    pool.submit(done.set)
    assert done.wait(5)
    pool.close()
    assert kind.__name__ in caplog.text


class Block:
    """A job that waits to be let go, and notes which thread it ran on."""

    def __init__(self) -> None:
        self.entered, self.release, self.left = threading.Event(), threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.entered.set()
        self.release.wait(5)
        self.left.set()


def test_a_job_given_up_makes_room_and_its_thread_is_not_one_too_many_later() -> None:
    pool, hung, other, third = Threads(limit=1), Block(), Block(), Block()
    seat = pool.submit(hung)
    assert hung.entered.wait(5)
    pool.submit(other)
    seat.give_up()
    seat.give_up()  # once more changes nothing
    assert other.entered.wait(5)
    assert other.thread is not hung.thread
    pool.submit(third)
    hung.release.set()
    assert hung.thread is not None
    hung.thread.join(5)
    assert not hung.thread.is_alive()  # its place is taken
    assert not third.entered.is_set()
    other.release.set()
    assert third.entered.wait(5)
    assert third.thread is other.thread
    third.release.set()
    pool.close()


def test_a_thread_that_comes_back_from_a_job_given_up_goes_on_when_there_is_room() -> None:
    pool, hung, next_one = Threads(limit=1), Block(), Block()
    seat = pool.submit(hung)
    assert hung.entered.wait(5)
    seat.give_up()
    hung.release.set()
    assert hung.left.wait(5)
    next_one.release.set()
    pool.submit(next_one)
    assert next_one.left.wait(5)
    pool.close()


def test_a_job_given_up_while_it_waits_does_not_begin_and_is_not_kept() -> None:
    pool, hung, waiting, last = Threads(limit=1), Block(), Block(), Block()
    pool.submit(hung)
    assert hung.entered.wait(5)
    seat = pool.submit(waiting)
    seat.give_up()
    assert seat.job is None
    last.release.set()
    pool.submit(last)
    hung.release.set()
    assert last.left.wait(5)
    assert not waiting.entered.is_set()
    pool.close()


def test_threads_that_hang_are_replaced_up_to_a_limit_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    pool, hung = Threads(limit=2, most=4), [Block() for _ in range(4)]
    for block in hung:
        seat = pool.submit(block)
        assert block.entered.wait(5)
        seat.give_up()
    waiting = [Block() for _ in range(3)]
    for block in waiting:
        block.release.set()
        pool.submit(block)
    assert not any(block.entered.is_set() for block in waiting)
    assert caplog.text.count("hang in jobs that were given up") == 1
    for block in hung:
        block.release.set()
    assert all(block.left.wait(5) for block in waiting)
    pool.close()


def test_without_a_further_thread_a_job_waits_and_without_any_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool, busy, waiting, later = Threads(limit=3), Block(), Block(), Block()
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    for _ in range(5):
        with pytest.raises(NoThreadError):
            pool.submit(busy)
    assert caplog.text.count("could be started: can't start new thread") == 1
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(busy)
    assert busy.entered.wait(5)
    monkeypatch.setattr(threading.Thread, "start", fails)
    pool.submit(waiting)
    assert not waiting.entered.is_set()
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(later)  # the limit is three still: both get a thread now
    assert waiting.entered.wait(5)
    assert later.entered.wait(5)
    for block in (busy, waiting, later):
        block.release.set()
    pool.close()


def test_pools_are_apart() -> None:
    pools = Pools()
    assert pools.of("file.append") is pools.of("file.create")
    assert len({pools.of("file.append"), pools.of("on_message"), pools.of("files"), pools.names}) == 3
    pools.close()


def test_closed_threads_take_nothing_and_forget_what_waited() -> None:
    pool, entered, release, ran = Threads(limit=1), threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        release.wait(5)

    pool.submit(block)
    assert entered.wait(5)
    pool.submit(ran.set)
    pool.close()
    pool.submit(ran.set)
    release.set()
    assert not ran.wait(0.05)


# --- sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_listen_gives_a_listening_socket(host: str) -> None:
    with listen(host, 0) as sock:
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        port = sock.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_listen_on_a_taken_port_raises_and_leaks_nothing() -> None:
    with listen("127.0.0.1", 0) as sock, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", sock.getsockname()[1])


def test_numeric_never_asks_a_resolver() -> None:
    assert [row[4][0] for row in numeric(("127.0.0.2", "127.0.0.1"), 80)] == ["127.0.0.2", "127.0.0.1"]
    with pytest.raises(socket.gaierror):
        numeric(("localhost",), 80)


def test_interleave_takes_turns_between_families() -> None:
    rows = [(6, "a"), (6, "b"), (6, "c"), (4, "d")]
    assert interleave(rows) == [(6, "a"), (4, "d"), (6, "b"), (6, "c")]
    assert interleave([]) == []


def test_peer_name_is_the_address_alone() -> None:
    assert peer_name(("192.0.2.1", 5)) == "192.0.2.1"
    assert peer_name(("2001:db8::1", 5, 0, 0)) == "2001:db8::1"
    assert peer_name(None) == peer_name("") == ""


def test_trouble_with_accepting_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    trouble, out = AcceptTrouble(), OSError(errno.EMFILE, "too many open files")
    assert [trouble.met(out, 1000.0 + each / 10) for each in range(599)] == [ACCEPT_PAUSE_S] * 599
    assert caplog.text.count("too many open files") == 1
    assert trouble.met(out, 1060.0) == ACCEPT_PAUSE_S
    assert caplog.text.count("too many open files") == 2
    caplog.clear()
    for code in (errno.ECONNABORTED, errno.EPROTO):
        assert AcceptTrouble().met(OSError(code, "gone"), 0.0) == 0.0
    assert caplog.text == ""


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """The soft limit is low; the hard one is given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptor_limit_raises_the_soft_limit_as_needed(few_descriptors: int) -> None:
    assert descriptor_limit(100) == 256 - 64
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, few_descriptors)
    assert descriptor_limit(300) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (364, few_descriptors)
    assert descriptor_limit(10) == 300


@pytest.mark.parametrize(
    ("limits", "wanted", "fit", "set_to"),
    [
        ((256, 512), 10_000, 448, (512, 512)),
        ((32, 32), 100, 0, (32, 32)),
        ((256, resource.RLIM_INFINITY), 1000, 1000, (1064, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1000, 1000, None),
    ],
)
def test_descriptor_limit_goes_as_far_as_the_hard_one(
    limits: tuple[int, int], wanted: int, fit: int, set_to: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: told.append(pair))
    assert descriptor_limit(wanted) == fit
    assert told == ([set_to] if set_to else [])


def test_descriptor_limit_where_the_system_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(which: int, pair: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", no)
    assert descriptor_limit(1000) == 192
    monkeypatch.setitem(sys.modules, "resource", None)
    assert descriptor_limit(1000) == 1000


# --- TLS -------------------------------------------------------------------------------------------------------------

CA = trustme.CA()


SERVER = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
CA.issue_cert("example.org").configure_cert(SERVER)
CLIENT = ssl.create_default_context()
CA.configure_trust(CLIENT)


def tls_pair(name: str = "example.org") -> tuple[Tls, Tls]:
    client, server = Tls(CLIENT, server_name=name), Tls(SERVER)
    client.start()
    server.start()
    return client, server


def shake(client: Tls, server: Tls, size: int = 65536) -> None:
    """Carry handshake bytes to and fro, at most ``size`` at a time."""
    while not (client.ready and server.ready):
        for source, target in ((client, server), (server, client)):
            data = source.take()
            for start in range(0, len(data), size):
                assert target.receive(data[start : start + size]) == b""


@given(st.lists(st.binary(max_size=40_000), max_size=4), st.integers(min_value=1, max_value=5_000))
def test_tls_says_what_was_said_however_it_is_cut(words: list[bytes], size: int) -> None:
    client, server = tls_pair()
    shake(client, server, max(size, 100))
    sealed = b"".join(client.send(each) for each in words)
    heard = b"".join(server.receive(sealed[at : at + size]) for at in range(0, len(sealed), size))
    assert heard == b"".join(words)
    assert not server.ended
    server.receive(client.farewell())
    assert server.ended


def test_tls_refuses_another_name_and_the_server_learns_why() -> None:
    client, server = tls_pair("example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, server)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert|certificate"):
        server.receive(client.take())


def test_tls_peer_that_only_hangs_up_has_ended() -> None:
    client, server = tls_pair()
    shake(client, server)
    assert server.receive(client.send(b"x")) == b"x"
    assert server.receive(b"") == b""
    assert server.ended


def test_tls_end_within_the_handshake_is_an_error() -> None:
    client, _ = tls_pair()
    with pytest.raises(ssl.SSLError):
        client.receive(b"")


def test_client_context_verifies() -> None:
    context = client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
