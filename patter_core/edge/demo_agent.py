"""The scripted agent of the keyless demo: a small restaurant's line.

Pure functions over text, so that the same call gives the same words everywhere. What it can be told is a closed list:
the recogniser of the demo follows known phrases only.
"""

from __future__ import annotations

import enum

from patter_core.edge.speech.grammar import spoken_words

__all__ = ["CALLER_SCRIPT", "FIRST_MESSAGE", "FIRST_MESSAGE_OUT", "PHRASES", "Intent", "intent", "reply"]


class Intent(enum.Enum):
    """What the caller wants."""

    HOURS = "hours"
    BOOK = "book"
    MENU = "menu"
    STOP = "stop"
    THANKS = "thanks"
    HELLO = "hello"
    GOODBYE = "goodbye"
    UNKNOWN = "unknown"


_MEANINGS: dict[str, Intent] = {
    "what are your opening hours": Intent.HOURS,
    "when are you open": Intent.HOURS,
    "are you open on sunday": Intent.HOURS,
    "book a table for two": Intent.BOOK,
    "book a table for three": Intent.BOOK,
    "book a table for four": Intent.BOOK,
    "i would like to book a table": Intent.BOOK,
    "read me the menu": Intent.MENU,
    "what is on the menu": Intent.MENU,
    "stop please": Intent.STOP,
    "thank you": Intent.THANKS,
    "no thank you": Intent.THANKS,
    "hello": Intent.HELLO,
    "goodbye": Intent.GOODBYE,
}

PHRASES: tuple[str, ...] = tuple(_MEANINGS)
"""All the agent understands: the grammar of the demo's recogniser."""

FIRST_MESSAGE = "Welcome to the Harbour Kitchen. Ask for our opening hours, the menu, or a table."
"""What the agent says when the call starts."""

FIRST_MESSAGE_OUT = "This is the Harbour Kitchen, you asked us to call. How can we help you?"
"""... and when it is the one who calls."""

CALLER_SCRIPT: tuple[str, ...] = ("hours", "book", "menu", "stop", "goodbye")
"""Names of the recorded utterances (``caller_utterances``) in the order of the scripted call. "stop" is said while the
menu is being read out: that is the barge-in."""

_MENU = (
    "Here is the menu. To begin with, there is onion soup with toasted bread, a salad of roasted beetroot, "
    "and smoked trout with horseradish. The main courses are grilled mackerel with potatoes, "
    "mushroom pie with green beans, and slow cooked lamb with white beans and rosemary. "
    "We also have a plate of cheese from the valley, with pickled pears. "
    "For dessert, there is lemon tart, chocolate mousse, or baked apples with cream. "
    "All our bread is baked here in the morning, and the coffee comes from a small roaster around the corner."
)
"""Long on purpose (about half a minute spoken): it is there to be interrupted."""

_UNKNOWN = (
    "Sorry, I did not understand. You can ask for our opening hours, the menu, or a table.",
    "I still did not understand. Try saying: what are your opening hours.",
)


def intent(text: str) -> Intent:
    """What a recognised text means; case and punctuation do not matter."""
    return _MEANINGS.get(" ".join(spoken_words(text)), Intent.UNKNOWN)


def reply(text: str, turn: int) -> str:
    """What the agent answers to ``text``, the caller's ``turn``-th utterance (0 is the first).

    Total: an unknown text (also "", nothing understood) gets help, worded anew the second time.
    """
    words = spoken_words(text)
    match intent(text):
        case Intent.HOURS if "sunday" in words:
            return "Yes. On Sunday we are open from noon until nine in the evening."
        case Intent.HOURS:
            return "We are open from nine in the morning until ten in the evening, and on Sunday from noon until nine."
        case Intent.BOOK if words[-1] == "table":
            return "Gladly. Is that a table for two, for three, or for four?"
        case Intent.BOOK:
            return f"I have booked a table for {words[-1]}, tonight at seven. What else can I do for you?"
        case Intent.MENU:
            return _MENU
        case Intent.STOP:
            return "All right, I have stopped. What else can I do for you?"
        case Intent.THANKS:
            return "You are welcome. Is there anything else?"
        case Intent.HELLO:
            return "Hello. You can ask for our opening hours, the menu, or a table."
        case Intent.GOODBYE:
            return "Thank you for calling the Harbour Kitchen. Goodbye."
        case Intent.UNKNOWN:
            return _UNKNOWN[min(max(turn, 0), 1)]
