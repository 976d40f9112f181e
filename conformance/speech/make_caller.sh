#!/bin/sh
# Makes the caller's side of the demo again: patter_core/edge/assets/caller-*.wav and caller.json.
#
# Needs Debian's flite (apt-get install -y flite) and this project's own environment (PYTHON, default python3), whose
# resampler brings the voice's 16 kHz down to the telephone's 8 kHz. The same flite gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python3}" - <<'PYTHON'
import hashlib
import json
import pathlib
import subprocess
import tempfile

import numpy as np

from patter_core.audio.resample import resample
from patter_core.audio.wav import read_wav, to_mono, write_wav

VOICE, RATE, PEAK, EDGE_MS = "rms", 8000, 10000, 60
UTTERANCES = {
    "hours": "what are your opening hours",
    "book": "book a table for two",
    "menu": "read me the menu",
    "stop": "stop please",
    "goodbye": "goodbye",
}
assets = pathlib.Path("patter_core/edge/assets")
version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "flite"], check=True, capture_output=True, text=True)
entries = []
for name, text in UTTERANCES.items():
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "flite.wav"
        subprocess.run(["flite", "-voice", VOICE, "-t", text, "-o", str(made)], check=True)
        wav = read_wav(made.read_bytes())
    sound = np.frombuffer(resample(to_mono(wav), wav.rate, RATE), "<i2").astype(np.int64)
    # The same peak for all (-10 dBFS, a normal talker on the line), and the same short silence around the words.
    loud = np.flatnonzero(abs(sound) * 100 > abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1] * PEAK // abs(sound).max()
    edge = np.zeros(RATE * EDGE_MS // 1000, np.int64)
    pcm = np.concatenate([edge, sound, edge]).astype("<i2").tobytes()
    data = write_wav(RATE, 1, pcm)
    (assets / f"caller-{name}.wav").write_bytes(data)
    entries.append({
        "name": name,
        "file": f"caller-{name}.wav",
        "text": text,
        "ms": len(pcm) * 1000 // (2 * RATE),
        "sha256": hashlib.sha256(data).hexdigest(),
        "command": f"flite -voice {VOICE} -t {text!r} -o caller-{name}.wav",
    })
manifest = {
    "comment": "The caller's side of the demo; made by conformance/speech/make_caller.sh, see PROVENANCE.md",
    "tool": "flite",
    "version": version.stdout,
    "voice": VOICE,
    "rate": RATE,
    "utterances": entries,
}
(assets / "caller.json").write_text(json.dumps(manifest, indent=2) + "\n")
PYTHON
