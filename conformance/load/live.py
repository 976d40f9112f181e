"""Load on a live server over loopback: N calls, CPU per frame, latency, memory per call. Prints JSON.

    python -m conformance.load.live --calls 200 --seconds 20 [--loop trio] [--carrier telnyx [--codec l16]] [--pin]
                                    [--engine echo|openai|pipeline]

The server runs in a process of its own (with ``--pin``, on core 0; the simulated carrier on core 1), so that its CPU
time and memory are its own. Latency is measured at the carrier, from sending a marked frame to receiving its echo, on
real sockets; both sides' scheduling is in it. A frame is *lost* when its echo never came (frames in flight at hang-up
apart). With ``--codec l16`` the line carries 16 kHz, as it does for engines that have use for it; the carrier's side
resamples then, so no frame comes back as it was sent: frames are counted, latency is not measured.

With ``--engine openai`` or ``pipeline`` every caller asks and is answered, again and again, by simulated providers that
share the carrier's process. ``added_latency_ms`` is ours, thinking excluded: from a reply's first audio leaving the
provider to its arrival at the carrier, once all calls are up; first messages, while calls still begin, are counted
apart. A tenth as many echo calls run beside them, and ``ratio_to_echo`` compares the two: a busy machine delays both.
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
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from conformance.load.talking import Stamps

ACCOUNT, TOKEN = "AC" + "0" * 31 + "1", "load"
HOST = "load.example.com"
FRAME_MS = 20
GREETED_MS = 1000  # of a call, until its first message has begun
CALLEE, ECHO = "+15550001234", "+15550009999"
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
    parser.add_argument("--engine", default="echo", choices=["echo", "openai", "pipeline"])
    parser.add_argument("--rest", default="", help=argparse.SUPPRESS)
    parser.add_argument("--providers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.codec == "l16" and options.carrier != "telnyx":
        parser.error("--codec l16 needs --carrier telnyx: Twilio's streams are mu-law")
    if options.codec == "l16" and options.engine != "echo":
        parser.error("--codec l16 is for --engine echo: latency is measured on mu-law that passes through")
    if options.serve:
        return _serve(options)
    if options.engine == "echo":
        print(json.dumps(run(options), indent=2))
        return 0
    from conformance.live.engine_story import speech_missing

    if missing := speech_missing():
        print(f"SKIPPED: {missing}", file=sys.stderr)
        return 2
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
        max_streams_per_ip=_all_calls(options.engine, options.calls),
        environ={},
    )
    # A server that will run for days freezes what it has loaded: full collections then cost what the calls cost.
    gc.collect()
    gc.freeze()
    print(json.dumps({"port": listener.getsockname()[1], **_usage()}), flush=True)

    started = ended = frames_in = 0

    def report(event: Any) -> None:
        if type(event).__name__ == "CallStarted":
            nonlocal started
            started += 1
            if started == calls:
                print(json.dumps({"at": "all calls up", **_usage()}), flush=True)
        elif type(event).__name__ == "CallEnded":
            nonlocal ended, frames_in
            ended += 1
            frames_in += event.frames_in
            if ended == 1:
                print(json.dumps({"at": "first call over", **_usage()}), flush=True)
            if ended == calls:
                phone.stop_soon()

    calls = _all_calls(options.engine, options.calls)
    agent: Any = phone.agent(engine=Echo())
    if options.engine != "echo":
        from conformance.load.talking import agent_options

        agent = {CALLEE: phone.agent(**agent_options(options.engine, options.providers)), ECHO: agent}
    code: int = loop.run(lambda: phone.serve(agent, listener=listener, on_event=report, manage_webhook=False))
    print(json.dumps({"at": "exit", "frames_in": frames_in, **_usage()}), flush=True)
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


def _all_calls(engine: str, calls: int) -> int:
    """With the echo calls among them."""
    return calls if engine == "echo" else calls + max(1, calls // 10)


def _acts(engine: str, wait_ms: int, length_ms: int) -> tuple[Any, ...]:
    from patter_core.simulator.script import HangUp, Wait

    if engine == "echo":
        return (Wait(length_ms), HangUp())
    from conformance.load.talking import acts

    return acts(wait_ms, length_ms)


def _carry_with_providers(
    client: Any, engine: str, carriers: list[Any], rest: Any, providers: Any, hear: Any
) -> Stamps:
    """All on one loop, with one clock. ``carriers``: the calls', and the echo calls'."""
    from conformance.load.talking import Stamps, ears, routes
    from patter_core.simulator.providers import SimulatedProviders

    calls, echoes = carriers
    stamps = Stamps(len(calls.call_ids))
    ears(calls, stamps)
    drive = client.Drive(SimulatedProviders(routes(engine, stamps)), listener=providers)

    async def both() -> None:
        await client.together(
            lambda: client.carry(calls, listener=rest, on_event=hear), lambda: client.carry(echoes, on_event=hear)
        )
        drive.stop()

    client.run(lambda: client.together(drive.run, both))
    return stamps


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement."""
    from patter_core.edge.sockets import listen
    from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
    from patter_core.simulator.events import SimCallDone

    engine = getattr(options, "engine", "echo")
    command = [sys.executable, "-m", "conformance.load.live", "--serve", "--calls", str(options.calls)]
    rest = listen("127.0.0.1", 0)
    command += ["--loop", options.loop, "--carrier", options.carrier, "--codec", options.codec]
    command += ["--rest", f"http://127.0.0.1:{rest.getsockname()[1]}"] + (["--pin"] if options.pin else [])
    providers = None
    if engine != "echo":
        providers = listen("127.0.0.1", 0)
        command += ["--engine", engine, "--providers", str(providers.getsockname()[1])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        base = json.loads(server.stdout.readline())
        _pin(options, 1)
        step = options.ramp * 1000 / max(1, options.calls)
        length = round((options.seconds + options.ramp) * 1000)
        # Everybody hangs up together, so that for `seconds` all calls are up at once.
        # ... and no two telephones' frames come at the same moment: 7 has no divisor in common with a frame's 20 ms.
        starts = [1 + round(i * step) // FRAME_MS * FRAME_MS + 7 * i % FRAME_MS for i in range(options.calls)]
        # Nobody asks anything before all calls are up.
        up_ms = round(options.ramp * 1000) + GREETED_MS
        plans = [
            CallPlan(acts=_acts(engine, up_ms - at + at % 1000, length - at), at_ms=at, most_ms=length * 3)
            for at in starts
        ]
        config = SimulatorConfig(
            webhook_url=f"https://{HOST}/webhooks/{options.carrier}/voice",
            carrier=options.carrier,
            epoch=int(time.time() * 1e6),
            connect_to=("127.0.0.1", base["port"]),
            account_sid=ACCOUNT,
            auth_token=TOKEN,
            record=False,
            probe=options.codec == "pcmu" and engine == "echo",
        )
        done: list[SimCallDone] = []

        def hear(event: Any) -> None:
            if isinstance(event, SimCallDone):
                done.append(event)

        carrier = SimulatedCarrier(config, plans, seed=os.urandom(16))
        echoes = [
            CallPlan(acts=_acts("echo", 0, length - at), callee=ECHO, at_ms=at + 3, most_ms=length * 3)
            for at in starts[: _all_calls(engine, options.calls) - options.calls]
        ]
        client = importlib.import_module("patter_asyncio")
        gc.collect()
        gc.freeze()
        stamps: Stamps | None = None
        used = _usage()["cpu_s"]
        if providers is None:
            client.run(lambda: client.carry(carrier, listener=rest, on_event=hear))
        else:
            probing = SimulatedCarrier(msgspec.structs.replace(config, probe=True), echoes, seed=os.urandom(16))
            stamps = _carry_with_providers(client, engine, [carrier, probing], rest, providers, hear)
        used = _usage()["cpu_s"] - used
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
    calls = _all_calls(engine, options.calls)
    frames = calls * 50 * options.seconds
    result: dict[str, Any] = {
        "engine": engine,
        "loop": options.loop,
        "carrier": options.carrier,
        "codec": options.codec,
        "python": sys.version.split()[0],
        "calls": options.calls,
        "echo_calls": calls - options.calls if stamps is not None else calls,
        "completed": sum(call.outcome == "completed" for call in done),
        "seconds": options.seconds,
        "frames_sent": sent,
    }
    result["echo_latency_ms"] = percentiles(latencies)
    if stamps is None:
        result["frames_lost"] = lost
    else:
        result["frames_lost"] = next((sent - line["frames_in"] for line in lines if line["at"] == "exit"), sent)
        result["underruns"] = sum(call.underruns for call in done)
        result["replies"] = len(stamps.replies_us)
        result["added_latency_ms"] = percentiles(stamps.replies_us)
        result["added_latency_of_greetings_ms"] = percentiles(stamps.greetings_us)
        ours, echo = result["added_latency_ms"], result["echo_latency_ms"]
        result["ratio_to_echo"] = {level: round(ours[level] / echo[level], 2) for level in ours if echo.get(level)}
    result["simulator_cpu_percent_of_a_core"] = round(100 * used / (options.seconds + options.ramp), 1)
    if up is not None and over is not None:
        cpu = over["cpu_s"] - up["cpu_s"]
        result["server_cpu_ms_to_begin_a_call"] = round(1000 * (up["cpu_s"] - base["cpu_s"]) / calls, 1)
        result["server_cpu_percent_of_a_core"] = round(100 * cpu / options.seconds, 1)
        result["server_cpu_percent_per_call"] = round(100 * cpu / options.seconds / calls, 2)
        result["server_us_per_frame_in_and_out"] = round(cpu * 1e6 / frames, 1)
        result["server_kib_per_call"] = round((over["rss_kib"] - base["rss_kib"]) / calls, 1)
        result["server_rss_mib"] = round(over["rss_kib"] / 1024, 1)
    return result


if __name__ == "__main__":
    sys.exit(main())
