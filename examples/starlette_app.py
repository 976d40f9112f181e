"""One call inside somebody else's server: Starlette does HTTP and WebSocket, ``run_call`` does the call.

``uvicorn examples.starlette_app:app`` with TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_HOST in the environment.
"""

import os
import time
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from patter_asyncio import Echo, Patter, Twilio, run_call
from patter_core.admission import Tickets, TicketVerdict
from patter_core.carriers.carrier import CallOffered, Verdict
from patter_core.carriers.form import parse_form
from patter_core.carriers.twilio import signature, twiml, webhook

HOST = os.environ.get("PUBLIC_HOST", "app.example.com")
phone = Patter(carrier=Twilio(), webhook_url=HOST)
TOKENS = phone.carriers[0].keys
agent = phone.agent(engine=Echo())
tickets = Tickets(os.urandom(32), lifetime_s=60)


async def voice(request: Request) -> Response:
    """The carrier announces a call: check that it is the carrier, answer with where the audio goes."""
    form = parse_form(await request.body())
    given = request.headers.get("x-twilio-signature")
    if signature.verify(TOKENS, f"https://{HOST}{request.url.path}", form, given) is not Verdict.VALID:
        return Response("invalid signature", 403)
    call = webhook.parse_voice(form)
    if not isinstance(call, CallOffered):
        return Response(call.code.value, 400)
    ticket = tickets.mint(call.call_id, int(time.time()))
    url = f"wss://{HOST}/media/{quote(call.call_id)}/{ticket}"
    return Response(twiml.connect_stream(url, {"caller": call.caller, "callee": call.callee}), media_type="text/xml")


async def media(socket: WebSocket) -> None:
    """The carrier's media stream: admit it by its ticket, then hand over its messages."""
    call_id, ticket = socket.path_params["call_id"], socket.path_params["ticket"]
    now = int(time.time())
    if tickets.check(call_id, ticket, now) is not TicketVerdict.VALID:
        await socket.close(1008)
        return
    tickets.use(ticket, now)
    await socket.accept()
    await run_call(phone.plan(agent, call_id), socket.receive_text, socket.send_text)
    if socket.application_state.name == "CONNECTED" and socket.client_state.name == "CONNECTED":
        await socket.close()


app = Starlette(routes=[Route("/voice", voice, methods=["POST"]), WebSocketRoute("/media/{call_id}/{ticket}", media)])
