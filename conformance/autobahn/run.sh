#!/bin/sh
# Run the Autobahn test suite (0.8.2, Python 2.7) against the wire machine, in both roles.
#   WSTEST=/path/to/wstest PYTHON=/path/to/python conformance/autobahn/run.sh OUTDIR [CASES]
# CASES is a JSON list body; the default is every family but compression (12, 13), which we do not negotiate.
set -eu
cd "$(dirname "$0")/../.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
cases=${2:-'"1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*"'}
wstest=${WSTEST:-wstest}
python=${PYTHON:-python}
port=${FUZZING_PORT:-9001}
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT

await() { # a file with something in it, at most 10 s
    n=0
    until [ -s "$1" ]; do
        n=$((n + 1))
        [ "$n" -lt 100 ] || { echo "nothing in $1" >&2; exit 1; }
        sleep 0.1
    done
}

echo "== server role"
rm -f "$out/port"
"$python" -m conformance.autobahn.serve --port-file "$out/port" >"$out/serve.log" 2>&1 &
pid=$!
await "$out/port"
cat >"$out/fuzzingclient.json" <<END
{"outdir": "$out/server", "cases": [$cases], "exclude-cases": [], "exclude-agent-cases": {},
 "servers": [{"agent": "patter", "url": "ws://127.0.0.1:$(cat "$out/port")", "options": {"version": 18}}]}
END
"$wstest" -m fuzzingclient -s "$out/fuzzingclient.json" >"$out/fuzzingclient.log" 2>&1
kill "$pid"
pid=
server=0
"$python" conformance/autobahn/report.py "$out/server/index.json" || server=1

echo "== client role"
cat >"$out/fuzzingserver.json" <<END
{"outdir": "$out/client", "cases": [$cases], "exclude-cases": [], "exclude-agent-cases": {},
 "url": "ws://127.0.0.1:$port", "options": {"failByDrop": false}}
END
: >"$out/fuzzingserver.log"
"$wstest" -m fuzzingserver -u 0 -s "$out/fuzzingserver.json" >"$out/fuzzingserver.log" 2>&1 &
pid=$!
await "$out/fuzzingserver.log"
sleep 2 # it logs before it listens
"$python" -m conformance.autobahn.dial --port "$port"
kill "$pid"
pid=
client=0
"$python" conformance/autobahn/report.py "$out/client/index.json" || client=1
exit $((server | client))
