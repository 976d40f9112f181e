"""The loop-neutral parts that both adapters stand on."""

from __future__ import annotations

import errno
import socket
import ssl
import threading

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from patter_core.contract import Fault, Invoke, Lane, Raised, Returned, TaskId, Yielded
from patter_core.edge.faults import explain, fault_of
from patter_core.edge.handlers import Kind, Loopwards, ThreadWork, kind_of
from patter_core.edge.http import headers_of
from patter_core.edge.sockets import interleave, listen, numeric, peer_name
from patter_core.edge.threads import Threads
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


def test_headers_of_adds_the_secret() -> None:
    assert headers_of((("a", "1"),), "Bearer x") == [("a", "1"), ("Authorization", "Bearer x")]
    assert headers_of((("a", "1"),), None) == [("a", "1")]


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


def test_a_job_that_raises_does_not_take_its_thread_along(caplog: pytest.LogCaptureFixture) -> None:
    pool, done = Threads(limit=1), threading.Event()
    pool.submit(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    pool.submit(done.set)
    assert done.wait(5)
    pool.close()
    assert "ZeroDivisionError" in caplog.text


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
