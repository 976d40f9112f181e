"""A thousand calls through one server, without waiting for one of them."""

from __future__ import annotations

import pytest

from conformance.load.simulated import main, run


@pytest.mark.slow
def test_a_thousand_three_second_calls() -> None:
    found = run(1000, 3)
    assert found["completed"] == found["caller_hung_up"] == 1000
    assert found["most_at_once"] > 400
    assert found["frames_in"] == found["frames_sent"] == 151_000
    assert found["most_missing_in_a_call"] <= 3  # in flight when the caller hung up: 20 ms each way, one being played
    assert (found["dropped"], found["problems"], found["underruns"]) == (0, 0, 0)
    assert found["left"] == {}
    assert found["exit"] == 0


def test_the_same_run_twice_is_the_same() -> None:
    timed = ("wall_s", "us_per_step", "us_per_frame", "times_real_time")
    first, second = ({k: v for k, v in run(5, 1).items() if k not in timed} for _ in range(2))
    assert first == second


def test_the_command_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--calls", "3", "--seconds", "0.5"]) == 0
    assert '"completed": 3' in capsys.readouterr().out
