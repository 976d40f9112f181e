"""Every bound of a call and of the server, as a named setting with a default and a reason. Seconds as float."""

from __future__ import annotations

import math

import msgspec

from .errors import ConfigError

__all__ = ["CallSettings", "ServerSettings", "us"]


def us(seconds: float) -> int:
    """Seconds to integer microseconds."""
    return round(seconds * 1_000_000)


def _check(settings: msgspec.Struct) -> None:
    for field in settings.__struct_fields__:
        value = getattr(settings, field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ConfigError(f"{field} must be a finite number, at least 0; got {value!r}")
        if settings.__annotations__[field].startswith("int") and not isinstance(value, int):
            raise ConfigError(f"{field} must be a whole number, got {value!r}")


class CallSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one call. They travel in its trace."""

    window_s: float = 0.2  # speech sent ahead of the caller's ear: a hiccup shorter than window - message is inaudible
    message_s: float = 0.04  # speech per media message: few messages, yet little granularity in the window
    mark_s: float = 0.2  # audio between marks: how stale our knowledge of what was heard may get
    mark_patience_s: float = 2.0  # a mark later than this is taken as played, so nothing waits for ever
    unconfirmed_s: float = 3.0  # audio at the carrier without a mark back: it is not playing, stop feeding it
    start_s: float = 5.0  # a media socket that does not say `start` is somebody knocking
    offer_s: float = 30.0  # a webhook whose stream never comes frees its slot
    reattach_s: float = 2.0  # a stream lost without `stop` may come back, usually within a second or two
    silence_s: float = 60.0  # no message at all on the stream: carriers send 50 frames a second even in silence
    hangup_s: float = 3.0  # one hang-up request, retries included
    on_call_start_s: float = 2.0  # the caller is listening to silence meanwhile
    on_call_end_s: float = 10.0
    callback_s: float = 10.0  # on_transcript, on_metrics: behind the conversation, never in its way
    callback_backlog: int = 256  # callbacks waiting behind a slow one, per call
    stt_s: float = 15.0
    reply_s: float = 30.0
    tts_s: float = 10.0  # to its next audio
    reply_chars: int = 20_000  # about 20 minutes of speech: a runaway generator
    utterance_s: float = 30.0  # one caller utterance kept for recognition
    preroll_s: float = 0.3  # audio kept from before the voice detector was sure
    endpoint_s: float = 0.6  # silence that ends a caller's turn
    sentence_s: float = 60.0  # speech of one sentence (at most 300 characters): a voice that runs away
    speech_ahead_s: float = 5.0  # speech synthesised ahead of the ear before the next sentence waits
    live_backlog_s: float = 1.0  # live (echoed) audio queued beyond this is stale: oldest dropped
    history: int = 200  # lines kept for `history` in payloads
    transcript: int = 5_000  # lines kept for on_call_end
    malformed: int = 100  # malformed messages within malformed_window_s close the stream with 1008
    malformed_window_s: float = 10.0
    keys: int = 200  # keys within keys_window_s: a person presses five a second, a dialler twenty
    keys_window_s: float = 10.0
    max_duration_s: float = 14_400.0  # Twilio's own limit of a call
    dial_s: float = 10.0  # to the carrier's answer to an order to dial; it answers in well under a second
    dial_grace_s: float = 15.0  # after the ring timeout: how late the carrier may report (Twilio itself adds 5 s)
    order_s: float = 5.0  # any other order to the carrier's REST API, repetitions included
    screening_s: float = 4.0  # machine detection on: the first message waits for a verdict no longer than this
    greeting_s: float = 30.0  # a machine's greeting that nobody reports as ended
    voicemail_s: float = 60.0  # our message to a machine
    goodbye_s: float = 10.0  # what is being said when the agent hangs up: longer than this it is cut
    chance_s: float = 2.0  # the agent has spoken and hangs up: how long the caller may still begin to speak
    ring_s: float = 25.0  # a transfer's target rings this long
    brief_s: float = 60.0  # what a transfer's target is told before the caller is joined
    keys_pause_s: float = 1.0  # a pause after a key that ends what was being keyed in
    linger_s: float = 1.0  # after hang-up: how long the carrier may take to close the stream before we do

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.keys_pause_s <= 60:
            raise ConfigError(f"keys_pause_s must be above 0 and at most 60, got {self.keys_pause_s}")
        if self.message_s > self.window_s or self.message_s <= 0:
            raise ConfigError(f"message_s must be above 0 and at most window_s ({self.window_s}), got {self.message_s}")


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the server."""

    max_streams_per_ip: int = 10  # concurrent media sockets of one client; load tools raise it
    max_connections: int = 10_000  # open sockets of any kind
    max_connections_per_ip: int = 1_000  # sockets of one address: somebody flooding us
    webhook_bytes: int = 64 * 1024  # the largest seen is 20 KiB; more is refused before its signature costs anything
    max_calls: int | None = None  # over it, callers get a busy tone
    ticket_s: float = 60.0  # from webhook to media socket; carriers take well under a second
    finish_calls_s: float = 0.0  # on stop: how long calls may end by themselves before they are hung up
    hangup_all_s: float = 5.0  # step 2, all calls together
    drain_s: float = 10.0  # step 4
    close_http_s: float = 2.0  # step 6
    ended_calls: int = 10_000  # ids of ended calls remembered, so that a late webhook is not a new call
    remembered_events: int = 10_000  # webhook events whose repetition is recognised: minutes of a busy server
    remembered_refusals: int = 1_000  # peers whose refusal was already reported
    high_water: int = 64 * 1024  # unacknowledged bytes on a media socket before live audio is dropped (~3 s of it)
    kill_water: int = 1024 * 1024  # a media socket this far behind is dead
    ack_every: int = 8 * 1024  # bytes between acknowledgements asked of the adapter
    tunnel_start_s: float = 120.0  # on start: the tunnel's failures and restarts, all together
    tunnel_name_s: float = 30.0  # the tunnel program to its public name; its own request gives up after 15
    tunnel_settle_s: float = 5.0  # from its name to the first probe, unless it is connected sooner
    tunnel_probe_s: float = 60.0  # a new public name to its first answer
    tunnel_try_s: float = 5.0  # one probe
    tunnel_check_s: float = 30.0  # between looks at a tunnel that is open: its program may outlive its name
    tunnel_misses: int = 3  # looks in a row at which the tunnel's far end knows nothing of us: a new one is opened
    tunnel_backoff_s: float = 1.0  # before the first restart; doubled each time
    tunnel_backoff_most_s: float = 30.0  # and at once when its service says we ask too often
    close_tunnel_s: float = 3.0  # after step 6: the tunnel's own goodbye
    hook_s: float = 15.0  # one webhook URL at a carrier: look up, compare, set, repetitions included
    hook_try_s: float = 5.0  # one of these requests
    hook_backoff_s: float = 0.5  # before the first repetition; doubled each time
    hook_restore_s: float = 3.0  # on stop: the same, to put back what was there

    def __post_init__(self) -> None:
        _check(self)
        if self.max_streams_per_ip < 1:
            raise ConfigError("max_streams_per_ip must be at least 1")
