"""A line at Telnyx whose callers may key in 1 and # to be put through. ``python examples/telnyx_line.py [trio]``

Needs TELNYX_API_KEY, TELNYX_CONNECTION_ID, TELNYX_PUBLIC_KEY and DESK_NUMBER (who takes over) in the environment, and
PUBLIC_HOST (where Telnyx reaches this machine); without that it opens a tunnel, for which cloudflared must be
installed. On start the connection is told to report its calls here.
"""

import importlib
import os
import sys
from typing import Any

from patter_core.edge.speech import find_voice


async def on_message(message: dict[str, Any], call: Any) -> str:
    """Keys that nobody collects come as a message of their own."""
    if not message["text"].startswith("[DTMF: 1"):
        return "Please press one and hash to speak to somebody."
    call.transfer(os.environ["DESK_NUMBER"], summary=f"Somebody called from {message['caller']}.")
    return ""  # the next voice they hear is the desk's; or ours again, when nobody takes it


def on_call_end(call: dict[str, Any]) -> None:
    print(f"{call['caller']}: {call['reason']} after {call['metrics'].duration_seconds:.1f} s")


async def main(patter: Any, **serve: Any) -> None:
    public = os.environ.get("PUBLIC_HOST", "")
    way_in = {"webhook_url": public} if public else {"tunnel": True}
    phone = patter.Patter(carrier=patter.Telnyx(), **way_in)
    agent = phone.agent(tts=find_voice(), first_message="Harbour Kitchen. Press one and hash to speak to somebody.")
    await phone.serve(agent, on_message=on_message, on_call_end=on_call_end, **serve)


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    patter.run(lambda: main(patter))
