"""Count the verdicts of an Autobahn report (``index.json``); exit with 1 if a case failed."""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path

#: UNCLEAN and WRONG CODE are verdicts on the closing handshake; INFORMATIONAL cases have no wrong answer.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def main() -> int:
    """Print one line per agent, and one per failed case."""
    failed = 0
    for agent, cases in json.loads(Path(sys.argv[1]).read_text()).items():
        for part in ("behavior", "behaviorClose"):
            counts = collections.Counter(case[part] for case in cases.values())
            print(f"{agent}: {part}: {len(cases)} cases, " + ", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
        for name, case in cases.items():
            if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD:
                failed += 1
                print(f"  {name}: {case['behavior']}, close {case['behaviorClose']} ({case['remoteCloseCode']})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
