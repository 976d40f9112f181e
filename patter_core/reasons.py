"""Why a call ended: a closed list. One reason per call, decided once, never overwritten by what follows from it."""

from __future__ import annotations

import enum

__all__ = ["EndReason"]


class EndReason(enum.Enum):
    """The one typed reason of a finished call."""

    CALLER_HUNG_UP = "caller_hung_up"  #: the carrier said ``stop``, or reported the call completed
    AGENT_HUNG_UP = "agent_hung_up"  #: a tool, a callback or the application ended it
    STREAM_LOST = "stream_lost"  #: the media socket vanished without ``stop`` and did not come back
    STREAM_SILENT = "stream_silent"  #: the media socket stayed open but nothing came any more
    PROTOCOL_ERROR = "protocol_error"  #: a flood of malformed messages (close 1008)
    UNSUPPORTED_CODEC = "unsupported_codec"  #: the stream's audio format is one we cannot read
    ENGINE_FAILED = "engine_failed"  #: nothing left that could talk; an apology was spoken where possible
    MAX_DURATION = "max_duration"  #: the call reached its length limit
    IDLE = "idle"  #: nobody said anything for as long as the agent has patience
    MAX_COST = "max_cost"  #: the call cost as much as it may
    NEVER_STARTED = "never_started"  #: answered, but no media stream came; no callback fires
    TRANSFERRED = "transferred"  #: the caller was sent elsewhere, and talked there
    VOICEMAIL_LEFT = "voicemail_left"  #: a machine answered; our message was played to it
    MACHINE_ANSWERED = "machine_answered"  #: a machine answered, and there was no message to leave
    FAX_ANSWERED = "fax_answered"  #: a fax answered
    NO_ANSWER = "no_answer"  #: dialled; nobody answered in time
    BUSY = "busy"  #: dialled; busy, or declined
    FAILED = "failed"  #: dialled; the carrier could not connect it
    CANCELED = "canceled"  #: dialled; called off before it was answered
    CARRIER_REFUSED = "carrier_refused"  #: the carrier refused an order without which there is no call
    NOT_REPORTED = "not_reported"  #: dialled; the carrier never said what became of it
    SHUTDOWN = "shutdown"  #: the server was stopped
    CANCELLED = "cancelled"  #: the program that embedded the call cancelled it
    BUG = "bug"  #: our own mistake, reported; the other calls went on
