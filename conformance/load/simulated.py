"""A whole server and a whole carrier on virtual time: many calls, no sockets, no sleep. Prints JSON.

    python -m conformance.load.simulated --calls 1000 --seconds 60

Every caller speaks all the time and hears its echo, so every call carries 50 frames a second each way. Wall time is
what the machines alone cost; nothing here says how an event loop or a kernel would fare (``conformance.load.live``
does). Exits 1 if a call did not complete, a frame was lost, or a table was not empty afterwards.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.contract import StopRequested
from patter_core.events import CallEnded, FramesDropped
from patter_core.reasons import EndReason
from patter_core.settings import ServerSettings
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone, SimProblem
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.script import HangUp, Speak
from patter_core.switchboard import Switchboard

__all__ = ["main", "run"]

HOST = "agent.example.com"
ACCOUNT = "AC" + "0" * 31 + "1"


def run(calls: int, seconds: float, *, stagger_ms: int = 7, latency_ms: int = 20) -> dict[str, Any]:
    """Carry so many calls of that length, one starting every ``stagger_ms``; returns what there is to say of it."""
    config = ServerConfig(
        public_url=PublicUrl.parse(HOST),
        carriers=(
            CarrierSpec(name="twilio", account=ACCOUNT, keys=("load",), api_key="load", base_url="http://twilio.test"),
        ),
        agents={"": AgentSpec(engine=EchoSpec())},
        settings=ServerSettings(max_streams_per_ip=calls + 1, max_connections_per_ip=10 * calls + 10),
    )
    net = VirtualNetwork(latency_us=latency_ms * 1000)
    board = Switchboard(config, epoch=1_700_000_000_000_000, seed=b"l" * 32, bulkhead=False)
    server = net.add("server", board)
    speech = Speak(bytes([0x10, 0x90]) * 80 * round(seconds * 50))
    plans = [CallPlan(acts=(speech, HangUp()), at_ms=1 + n * stagger_ms, most_ms=1 << 30) for n in range(calls)]
    simulator = SimulatorConfig(webhook_url=f"https://{HOST}/webhooks/twilio/voice", auth_token="load", record=False)
    carrier = net.add("carrier", SimulatedCarrier(simulator, plans))
    net.place(HOST, 443, server)
    net.place("twilio.test", 80, carrier)
    most = 0

    def heard(now: int, event: Any) -> None:
        nonlocal most
        most = max(most, board.calls)

    server.on_event = heard
    started = time.perf_counter()
    net.run(while_=lambda: carrier.exit_code is None)
    wall = time.perf_counter() - started
    virtual = net.now / 1_000_000
    steps = net.steps
    server.feed(StopRequested())
    net.run(until_us=net.now + 30_000_000)
    done = carrier.told(SimCallDone)
    ended = server.told(CallEnded)
    sent = sum(event.frames_sent for event in done)
    return {
        "calls": calls,
        "completed": sum(event.outcome == "completed" for event in done),
        "caller_hung_up": sum(event.reason is EndReason.CALLER_HUNG_UP for event in ended),
        "most_at_once": most,
        "frames_sent": sent,
        "frames_in": sum(event.frames_in for event in ended),
        "frames_echoed": sum(event.bytes_received for event in done) // 160,
        "most_missing_in_a_call": max((e.frames_sent - e.bytes_received // 160 for e in done), default=0),
        "underruns": sum(event.underruns for event in done),
        "dropped": len(server.told(FramesDropped)),
        "problems": len(carrier.told(SimProblem)),
        "left": left(board),
        "exit": server.exit_code,
        "virtual_s": round(virtual, 3),
        "wall_s": round(wall, 3),
        "steps": steps,
        "us_per_step": round(wall / steps * 1e6, 2) if steps else 0,
        "us_per_frame": round(wall / sent * 1e6, 2) if sent else 0,
        "times_real_time": round(virtual / wall, 2) if wall else 0,
    }


def left(board: Any) -> dict[str, int]:
    """The tables that should be empty and are not."""
    host = board._host
    tables = {
        "connections": board._conns,
        "touched": board._touched,
        "peers": board._reception._peers,
        "addresses": board._addresses,
        "answers": board._reception._answers,
        "timers": board._timers,
        "calls": host._calls,
        "tasks": host._tasks,
        "requests": host._requests,
        "filing": host._filing,
    }
    return {name: len(table) for name, table in tables.items() if len(table)}


def main(argv: list[str] | None = None) -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--stagger-ms", type=int, default=7)
    args = parser.parse_args(argv)
    found = run(args.calls, args.seconds, stagger_ms=args.stagger_ms)
    print(json.dumps(found, indent=2))
    fine = found["completed"] == found["calls"] and not found["left"] and found["exit"] == 0 and not found["dropped"]
    return 0 if fine and found["frames_in"] == found["frames_sent"] else 1


if __name__ == "__main__":
    sys.exit(main())
