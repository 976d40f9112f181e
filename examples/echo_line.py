"""A line that says back what it hears. ``python examples/echo_line.py [trio]``

Needs TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_HOST (where Twilio reaches this machine) in the environment.
"""

import importlib
import os
import sys
from typing import Any


async def main(patter: Any, **serve: Any) -> None:
    phone = patter.Patter(carrier=patter.Twilio(), webhook_url=os.environ["PUBLIC_HOST"])
    await phone.serve(phone.agent(engine=patter.Echo()), **serve)


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    patter.run(lambda: main(patter))
