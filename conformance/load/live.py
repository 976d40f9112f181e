"""Load on a live server over loopback: N echo calls, CPU per frame, echo latency, memory per call. Prints JSON.

    python -m conformance.load.live --calls 200 --seconds 20 [--loop trio] [--carrier telnyx [--codec l16]] [--pin]

The server runs in a process of its own (with ``--pin``, on core 0; the simulated carrier on core 1), so that its CPU
time and memory are its own. Latency is measured at the carrier, from sending a marked frame to receiving its echo, on
real sockets; both sides' scheduling is in it. A frame is *lost* when its echo never came (frames in flight at hang-up
apart). With ``--codec l16`` the line carries 16 kHz, as it does for engines that have use for it; the carrier's side
resamples then, so no frame comes back as it was sent: frames are counted, latency is not measured.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

ACCOUNT, TOKEN = "AC" + "0" * 31 + "1", "load"
HOST = "load.example.com"
IN_FLIGHT = 10  # frames per call that may be under way when the caller hangs up


def main(argv: list[str] | None = None) -> int:
    """Run the load, or (internally) the server or the carrier of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "trio"])
    parser.add_argument("--ramp", type=float, default=2.0, help="seconds over which the calls start")
    parser.add_argument("--pin", action="store_true", help="server on core 0, carrier on core 1")
    parser.add_argument("--carrier", default="twilio", choices=["twilio", "telnyx"])
    parser.add_argument("--codec", default="pcmu", choices=["pcmu", "l16"], help="of the media stream (l16: Telnyx)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rest", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.codec == "l16" and options.carrier != "telnyx":
        parser.error("--codec l16 needs --carrier telnyx: Twilio's streams are mu-law")
    if options.serve:
        return _serve(options)
    print(json.dumps(run(options), indent=2))
    return 0


def _pin(options: argparse.Namespace, core: int) -> None:
    if options.pin and hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


# --- the server's process --------------------------------------------------------------------------------------------


def _rss_kib() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _usage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "rss_kib": float(_rss_kib())}


def _serve(options: argparse.Namespace) -> int:
    from patter_core import Echo, Telnyx, Twilio
    from patter_core.audio.formats import L16_16K
    from patter_core.call import leg
    from patter_core.edge.sockets import listen
    from patter_core.simulator.config import SimulatorConfig

    _pin(options, 0)
    plain = SimulatorConfig(webhook_url="")
    carrier: Twilio | Telnyx = Twilio(ACCOUNT, TOKEN, base_url=options.rest)
    if options.carrier == "telnyx":
        carrier = Telnyx("load", plain.connection_id, plain.public_key, base_url=options.rest)
    if options.codec == "l16":
        leg.wanted_line = lambda spec: L16_16K  # an echo would be content with mu-law
    loop = importlib.import_module(f"patter_{options.loop}")
    listener = listen("127.0.0.1", 0)
    phone = loop.Patter(
        carrier=carrier,
        webhook_url=HOST,
        max_streams_per_ip=options.calls,
        environ={},
    )
    # A server that will run for days freezes what it has loaded: full collections then cost what the calls cost.
    gc.collect()
    gc.freeze()
    print(json.dumps({"port": listener.getsockname()[1], **_usage()}), flush=True)

    def report(event: Any) -> None:
        if type(event).__name__ == "CallStarted":
            nonlocal started
            started += 1
            if started == options.calls:
                print(json.dumps({"at": "all calls up", **_usage()}), flush=True)
        elif type(event).__name__ == "CallEnded":
            nonlocal ended
            ended += 1
            if ended == 1:
                print(json.dumps({"at": "first call over", **_usage()}), flush=True)
            if ended == options.calls:
                phone.stop_soon()

    started = ended = 0
    echo = phone.agent(engine=Echo())
    code: int = loop.run(lambda: phone.serve(echo, listener=listener, on_event=report, manage_webhook=False))
    print(json.dumps({"at": "exit", **_usage()}), flush=True)
    return code


# --- the carrier's ---------------------------------------------------------------------------------------------------


def percentiles(values: list[int]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the maximum, in milliseconds."""
    if not values:
        return {}
    values = sorted(values)

    def at(p: float) -> float:
        return round(values[min(len(values) - 1, int(p * len(values)))] / 1000, 2)

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999), "max": round(values[-1] / 1000, 2)}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement."""
    from patter_core.edge.sockets import listen
    from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
    from patter_core.simulator.events import SimCallDone
    from patter_core.simulator.script import HangUp, Wait

    command = [sys.executable, "-m", "conformance.load.live", "--serve", "--calls", str(options.calls)]
    rest = listen("127.0.0.1", 0)
    command += ["--loop", options.loop, "--carrier", options.carrier, "--codec", options.codec]
    command += ["--rest", f"http://127.0.0.1:{rest.getsockname()[1]}"] + (["--pin"] if options.pin else [])
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        base = json.loads(server.stdout.readline())
        _pin(options, 1)
        step = options.ramp * 1000 / max(1, options.calls)
        length = round((options.seconds + options.ramp) * 1000)
        # Everybody hangs up together, so that for `seconds` all calls are up at once.
        plans = [
            CallPlan(acts=(Wait(length - round(i * step)), HangUp()), at_ms=1 + round(i * step), most_ms=length * 3)
            for i in range(options.calls)
        ]
        config = SimulatorConfig(
            webhook_url=f"https://{HOST}/webhooks/{options.carrier}/voice",
            carrier=options.carrier,
            epoch=int(time.time() * 1e6),
            connect_to=("127.0.0.1", base["port"]),
            account_sid=ACCOUNT,
            auth_token=TOKEN,
            record=False,
            probe=options.codec == "pcmu",
        )
        done: list[SimCallDone] = []

        def hear(event: Any) -> None:
            if isinstance(event, SimCallDone):
                done.append(event)

        carrier = SimulatedCarrier(config, plans, seed=os.urandom(16))
        client = importlib.import_module("patter_asyncio")
        gc.collect()
        gc.freeze()
        client.run(lambda: client.carry(carrier, listener=rest, on_event=hear))
        lines = [json.loads(line) for line in server.stdout]
        server.wait(timeout=30)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        server.stdout.close()
    up = next((line for line in lines if line["at"] == "all calls up"), None)
    over = next((line for line in lines if line["at"] == "first call over"), None)
    sent = sum(call.frames_sent for call in done)
    latencies = [latency for call in done for latency in call.latencies_us]
    echoed = [len(call.latencies_us) if options.codec == "pcmu" else call.frames_heard for call in done]
    lost = sum(max(0, call.frames_sent - back - IN_FLIGHT) for call, back in zip(done, echoed, strict=True))
    frames = options.calls * 50 * options.seconds
    result: dict[str, Any] = {
        "loop": options.loop,
        "carrier": options.carrier,
        "codec": options.codec,
        "python": sys.version.split()[0],
        "calls": options.calls,
        "completed": sum(call.outcome == "completed" for call in done),
        "seconds": options.seconds,
        "frames_sent": sent,
        "frames_lost": lost,
        "echo_latency_ms": percentiles(latencies),
    }
    if up is not None and over is not None:
        cpu = over["cpu_s"] - up["cpu_s"]
        result["server_cpu_percent_of_a_core"] = round(100 * cpu / options.seconds, 1)
        result["server_us_per_frame_in_and_out"] = round(cpu * 1e6 / frames, 1)
        result["server_kib_per_call"] = round((over["rss_kib"] - base["rss_kib"]) / options.calls, 1)
        result["server_rss_mib"] = round(over["rss_kib"] / 1024, 1)
    return result


if __name__ == "__main__":
    sys.exit(main())
