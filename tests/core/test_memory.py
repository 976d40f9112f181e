"""What a model is shown of the conversation: what the caller heard, and nothing they did not."""

from __future__ import annotations

from patter_core.engines.memory import Memory


def lines(memory: Memory) -> list[str]:
    return [f"{message['role'][0]}: {message['content']}" for message in memory.messages()]


def test_a_conversation() -> None:
    memory = Memory(10)
    memory.spoke("first", "Welcome.")
    memory.spoke("first", "How can I help?")
    memory.ask("A table.")
    memory.spoke("r1", "For how many?")
    memory.played("first")
    memory.played("r1")
    assert lines(memory) == ["a: Welcome. How can I help?", "u: A table.", "a: For how many?"]


def test_what_was_cut_is_what_was_heard() -> None:
    memory = Memory(10)
    memory.ask("Tell me.")
    memory.spoke("r1", "It is a long story.")
    memory.spoke("r1", "It began in May.")
    memory.interrupted("r1", "It is a ")
    assert lines(memory) == ["u: Tell me.", "a: It is a"]
    memory.interrupted("r1", "")  # it is settled
    assert lines(memory) == ["u: Tell me.", "a: It is a"]


def test_what_was_never_heard_was_never_said() -> None:
    memory = Memory(10)
    memory.ask("Tell me.")
    memory.spoke("r1", "It is a long story.")
    memory.interrupted("r1", " ")
    assert lines(memory) == ["u: Tell me."]


def test_an_unknown_item_is_nothing() -> None:
    memory = Memory(10)
    memory.spoke("r1", "Yes.")
    for item in ("", "r2"):
        memory.interrupted(item, "x")
        memory.played(item)
    assert lines(memory) == ["a: Yes."]


def test_a_sentence_of_a_settled_item_is_a_line_of_its_own() -> None:
    memory = Memory(10)
    memory.spoke("r1", "Yes.")
    memory.played("r1")
    memory.spoke("r1", "No.")
    assert lines(memory) == ["a: Yes.", "a: No."]


def test_what_was_said_meanwhile_is_asked_as_one() -> None:
    memory = Memory(10)
    memory.ask("One.")
    memory.spoke("r1", "Answer.")
    memory.caller("Uh-huh.")
    memory.spoke("say", "By the way.")
    memory.caller("Right.")
    memory.ask("Uh-huh. Right.", 2)
    assert lines(memory) == ["u: One.", "a: Answer.", "a: By the way.", "u: Uh-huh. Right."]


def test_it_is_bounded_and_the_newest_stays() -> None:
    memory = Memory(3, (("user", "0"), ("assistant", "1"), ("assistant", ""), ("odd", "2")))
    assert lines(memory) == ["u: 0", "a: 1", "a: 2"]
    memory.ask("3")
    memory.ask("4")
    assert lines(memory) == ["a: 2", "u: 3", "u: 4"]
    memory.ask("all", 99)
    assert lines(memory) == ["a: 2", "u: all"]


def test_messages_are_nobodys_to_change() -> None:
    memory = Memory(3)
    memory.ask("x")
    memory.messages()[0]["content"] = "y"
    assert lines(memory) == ["u: x"]
