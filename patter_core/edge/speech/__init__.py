"""Offline speech for the keyless demo: a recogniser of known phrases, a voice, and a caller's recorded side.

It needs no account and no network. What lives here may block, read files and use threads' locks; it never imports an
event loop and never is imported by the pure core. Importing it loads no model and no library: that happens at the
first use, once per process. The packages behind it come with the optional extra ``demo``; without them
:func:`find_recogniser` and :func:`find_voice` still answer, and their ``describe`` says what is missing.
"""

from patter_core.edge.speech.caller import Utterance, caller_utterances
from patter_core.edge.speech.grammar import Grammar, build_grammar
from patter_core.edge.speech.recogniser import Listener, Recogniser, Unrecognised, find_recogniser
from patter_core.edge.speech.voice import ProgramVoice, Speaker, ToneVoice, Voice, find_voice

__all__ = [
    "Grammar",
    "Listener",
    "ProgramVoice",
    "Recogniser",
    "Speaker",
    "ToneVoice",
    "Unrecognised",
    "Utterance",
    "Voice",
    "build_grammar",
    "caller_utterances",
    "find_recogniser",
    "find_voice",
]
