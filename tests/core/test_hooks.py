"""Webhook URLs at the carriers: looked up, compared, set, put back; a carrier of paper that keeps them."""

from __future__ import annotations

import json

import pytest

from patter_core.carriers.carrier import CarrierSpec, HookPlace, RestOutcome, RestRequest
from patter_core.contract import Fault
from patter_core.events import WebhookChanged, WebhookFailed, WebhookKept, WebhookUntouched
from patter_core.hooks import Fetch, Forget, HookKeeper, Tell
from patter_core.logline import ERROR, INFO, describe
from patter_core.settings import ServerSettings

S = 1_000_000
ORIGIN = "https://a.example.com"
OURS = f"{ORIGIN}/webhooks/paper/voice"
OLD = "https://old.example.com/voice"
ONE, TWO = "+15550001111", "+15550002222"


class PaperDialect:
    """Requests and answers in the plainest JSON. With ``shared``, all numbers have one place."""

    routes = ("voice", "status")

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared

    def find_hook(self, spec, number):
        if not number and not self.shared:
            return None
        return RestRequest("GET", f"paper:{'all' if self.shared else number}", (), b"", spec.name)

    def read_hook(self, status, body, number):
        if status != 200:
            return f"no such number ({status})"
        found = json.loads(body)
        return HookPlace(found["id"], found["url"], method=found["method"], ruled_by=found["ruled_by"])

    def set_hook(self, spec, place, url):
        return RestRequest("POST", f"paper:{place.id}", (), json.dumps([url, place.method]).encode(), spec.name)

    def outcome(self, status, body):
        if status in (200, 204):
            return RestOutcome.DONE
        return RestOutcome.RETRY if status in (429, 503) else RestOutcome.REFUSED

    def problem(self, status, body):
        return f"problem {status}"


class Paper:
    """A keeper and its carrier's books, joined: ``run`` has every request answered at once."""

    def __init__(self, *numbers: str, shared: bool = False, **settings: float) -> None:
        places = ["all"] if shared else [number for number in numbers if number]
        self.records = {name: {"id": name, "url": OLD, "method": "POST", "ruled_by": ""} for name in places}
        dialect = PaperDialect(shared)
        self.keeper = HookKeeper(
            [CarrierSpec("paper", api_key="k")],
            numbers,
            ServerSettings(**settings),
            lambda name: dialect,  # type: ignore[arg-type,return-value]
        )
        self.now = 0
        self.asked: list[RestRequest] = []
        self.events: list = []
        self.statuses: list[int] = []  # of the next answers, instead of 200

    def run(self, orders) -> None:
        orders = list(orders)
        for order in orders:
            if isinstance(order, Tell):
                self.events.append(order.event)
            elif isinstance(order, Fetch):
                self.asked.append(order.rest)
                status = self.statuses.pop(0) if self.statuses else 200
                orders += self.keeper.answered(self.now, order.place, status, self.answer(order.rest, status))

    def answer(self, rest: RestRequest, status: int) -> bytes:
        record = self.records.get(rest.url.removeprefix("paper:"))
        if status != 200 or record is None:
            return b"{}"
        if rest.method == "POST":
            record["url"], record["method"] = json.loads(rest.body)
        return json.dumps(record).encode()

    def wait(self) -> None:
        assert self.keeper.deadline is not None
        assert self.keeper.deadline > self.now
        self.now = self.keeper.deadline
        self.run(self.keeper.tick(self.now))

    def methods(self) -> list[str]:
        return [rest.method for rest in self.asked]


def test_a_different_url_is_changed_and_what_it_was_is_said() -> None:
    paper = Paper(ONE)
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.events == [WebhookChanged("paper", ONE, OLD, OURS)]
    assert paper.records[ONE]["url"] == OURS
    assert not paper.keeper.busy
    assert paper.keeper.deadline is None


def test_the_right_url_is_left_alone() -> None:
    paper = Paper(ONE)
    paper.records[ONE]["url"] = OURS
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.events == [WebhookKept("paper", ONE, OURS)]
    assert paper.methods() == ["GET"]
    paper.run(paper.keeper.restore(0))
    assert paper.methods() == ["GET"]  # nothing of ours to take back


def test_the_right_url_asked_in_the_wrong_way_is_set() -> None:
    paper = Paper(ONE)
    paper.records[ONE].update(url=OURS, method="GET")
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.records[ONE]["method"] == "POST"


def test_what_the_carrier_ignores_is_not_touched() -> None:
    paper = Paper(ONE)
    paper.records[ONE]["ruled_by"] = "TrunkSid TK1"
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.methods() == ["GET"]
    assert isinstance(paper.events[0], WebhookUntouched)
    assert "TrunkSid TK1" in paper.events[0].why


def test_every_number_has_its_place_and_a_connection_one_for_all() -> None:
    paper = Paper(ONE, TWO)
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert [event.number for event in paper.events] == [ONE, TWO]
    shared = Paper(ONE, TWO, shared=True)
    shared.run(shared.keeper.keep(0, ORIGIN))
    assert shared.methods() == ["GET", "POST"]


def test_with_nothing_to_look_up_it_says_what_to_give() -> None:
    paper = Paper()
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert isinstance(paper.events[0], WebhookUntouched)
    assert "phone_number" in paper.events[0].why
    assert not paper.keeper.busy


def test_a_failure_is_loud_says_what_should_be_there_and_stops_no_other() -> None:
    paper = Paper(ONE, TWO)
    del paper.records[ONE]
    paper.statuses = [404]
    paper.run(paper.keeper.keep(0, ORIGIN))
    failed, changed = paper.events
    assert isinstance(failed, WebhookFailed)
    assert "no such number" in failed.detail
    assert OURS in failed.detail
    assert changed == WebhookChanged("paper", TWO, OLD, OURS)


def test_a_refused_change_is_reported_in_the_carriers_words() -> None:
    paper = Paper(ONE)
    paper.statuses = [200, 400]
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert isinstance(paper.events[0], WebhookFailed)
    assert "problem 400" in paper.events[0].detail
    assert not paper.keeper.busy


def test_not_now_is_asked_again_with_back_off() -> None:
    paper = Paper(ONE)
    paper.statuses = [429, 503, 200, 429]
    paper.run(paper.keeper.keep(0, ORIGIN))
    times = [paper.now]
    while paper.keeper.busy:
        paper.wait()
        times.append(paper.now)
    assert times == [0, S // 2, S // 2 + S, 2 * S]  # 0.5 s, then 1 s; setting it starts counting anew
    assert paper.methods() == ["GET", "GET", "GET", "POST", "POST"]
    assert paper.events == [WebhookChanged("paper", ONE, OLD, OURS)]


def test_for_ever_not_now_ends_within_its_bound() -> None:
    paper = Paper(ONE)
    paper.statuses = [503] * 100
    paper.run(paper.keeper.keep(0, ORIGIN))
    while paper.keeper.busy:
        paper.wait()
    assert paper.now <= 15 * S
    assert isinstance(paper.events[0], WebhookFailed)
    assert "503" in paper.events[0].detail
    assert len(paper.asked) < 8


def test_silence_is_given_up_and_asked_again_until_the_bound() -> None:
    paper = Paper(ONE)
    keeper = paper.keeper
    orders = keeper.keep(0, ORIGIN)
    fetches = 0
    for _ in range(100):
        fetches += sum(isinstance(order, Fetch) for order in orders)
        if not keeper.busy:
            break
        now = keeper.deadline or 0
        orders = keeper.tick(now)
    assert now <= 15 * S
    assert fetches == 3
    assert Forget(0) in orders
    assert isinstance(orders[-1].event, WebhookFailed)
    assert keeper.answered(now, 0, 200, b"{}") == []
    assert keeper.failed(now, 0, Fault.RESET) == []


def test_a_failed_request_is_repeated() -> None:
    paper = Paper(ONE)
    keeper = paper.keeper
    keeper.keep(0, ORIGIN)
    assert keeper.failed(0, 0, Fault.UNREACHABLE) == []
    paper.wait()
    assert paper.events == [WebhookChanged("paper", ONE, OLD, OURS)]


def test_what_was_there_is_put_back_with_its_own_method() -> None:
    paper = Paper(ONE)
    paper.records[ONE]["method"] = "GET"
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.records[ONE] == {"id": ONE, "url": OURS, "method": "POST", "ruled_by": ""}
    paper.run(paper.keeper.restore(0))
    assert paper.records[ONE]["url"] == OLD
    assert paper.records[ONE]["method"] == "GET"
    assert paper.events[-1] == WebhookChanged("paper", ONE, OURS, OLD)


def test_an_empty_url_is_put_back_too() -> None:
    paper = Paper(ONE)
    paper.records[ONE]["url"] = ""
    paper.run(paper.keeper.keep(0, ORIGIN))
    paper.run(paper.keeper.restore(0))
    assert paper.records[ONE]["url"] == ""


def test_what_somebody_changed_meanwhile_is_theirs() -> None:
    paper = Paper(ONE)
    paper.run(paper.keeper.keep(0, ORIGIN))
    paper.records[ONE]["url"] = "https://theirs.example.com"
    paper.run(paper.keeper.restore(0))
    assert paper.records[ONE]["url"] == "https://theirs.example.com"
    assert isinstance(paper.events[-1], WebhookUntouched)


def test_what_is_back_already_is_not_touched() -> None:
    paper = Paper(ONE)
    paper.run(paper.keeper.keep(0, ORIGIN))
    paper.records[ONE]["url"] = OLD
    told = len(paper.events)
    paper.run(paper.keeper.restore(0))
    assert paper.methods() == ["GET", "POST", "GET"]
    assert len(paper.events) == told


def test_a_moved_server_sets_it_again_and_still_puts_the_first_back() -> None:
    paper = Paper(ONE)
    paper.run(paper.keeper.keep(0, ORIGIN))
    paper.run(paper.keeper.keep(0, "https://b.example.com"))
    assert paper.records[ONE]["url"] == "https://b.example.com/webhooks/paper/voice"
    paper.run(paper.keeper.restore(0))
    assert paper.records[ONE]["url"] == OLD


def test_a_set_whose_answer_was_lost_is_put_back_all_the_same() -> None:
    paper = Paper(ONE)
    keeper = paper.keeper
    keeper.keep(0, ORIGIN)
    look = paper.answer(RestRequest("GET", f"paper:{ONE}", (), b"", ""), 200)
    (order,) = keeper.answered(0, 0, 200, look)
    paper.answer(order.rest, 200)  # done there, never heard of here
    orders = keeper.restore(1)
    assert orders[0] == Forget(0)
    paper.run(orders[1:])
    assert paper.records[ONE]["url"] == OLD


def test_putting_back_has_a_shorter_bound() -> None:
    paper = Paper(ONE)
    paper.run(paper.keeper.keep(0, ORIGIN))
    paper.statuses = [503] * 100
    paper.run(paper.keeper.restore(0))
    while paper.keeper.busy:
        paper.wait()
    assert paper.now <= 3 * S
    assert isinstance(paper.events[-1], WebhookFailed)


def test_all_is_let_go_at_once() -> None:
    paper = Paper(ONE, TWO)
    paper.keeper.keep(0, ORIGIN)
    assert paper.keeper.abandon() == [Forget(0), Forget(1)]
    assert not paper.keeper.busy


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@old.example.com/x", "https://***@old.example.com/x"),
        ("https://old.example.com/x?key=secret", "https://old.example.com/x?..."),
        ("", ""),
    ],
)
def test_what_others_hide_in_a_url_is_not_logged(url, shown) -> None:
    paper = Paper(ONE)
    paper.records[ONE]["url"] = url
    paper.run(paper.keeper.keep(0, ORIGIN))
    assert paper.events == [WebhookChanged("paper", ONE, shown, OURS)]
    paper.run(paper.keeper.restore(0))
    assert paper.records[ONE]["url"] == url


def test_the_log_says_in_one_line_what_it_was_and_what_it_is() -> None:
    line = describe(WebhookChanged("paper", ONE, OLD, OURS))
    assert line == (INFO, f"webhook changed (paper +15*******11): it was {OLD} and is {OURS}", "")
    assert describe(WebhookChanged("paper", "", "", OURS))[1].startswith("webhook changed (paper): it was empty and is")
    assert describe(WebhookFailed("paper", ONE, "no"))[0] == ERROR
