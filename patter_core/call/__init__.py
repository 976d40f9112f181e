"""One telephone call and what is said in it: pure machines that know roles, not connections.

``call.py`` is the call as the carrier sees it, ``conversation.py`` what is said in it, ``playback.py`` the ledger
of what the caller heard. Nothing here knows a socket, a request id or another call.
"""
