"""Releases end as they should: worse candidates withdrawn, equal ones promoted or left to a person."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kasauti.registry.judge import BACK, FORTH, Arms, Pairs, Rule, Verdict, judge

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "registry"))
from releases import NAMES, SCENARIOS, drawn, release


def ends(name, releases=25):
    generator = np.random.default_rng(3)
    return [release(generator, 4000, **SCENARIOS[name])[0] for _ in range(releases)]


def test_worse_candidates_are_withdrawn():
    assert set(ends("labels permuted")) == {Verdict.ROLL_BACK}
    found = ends("5 points worse")
    assert found.count(Verdict.PROMOTE) == 0
    assert found.count(Verdict.ROLL_BACK) >= 23


def test_equal_candidates_are_promoted_or_left_to_a_person():
    found = ends("equal, 2% otherwise", 40)
    assert found.count(Verdict.ROLL_BACK) <= 2 + 40 * BACK
    assert found.count(Verdict.PROMOTE) >= 35


def test_one_that_is_worse_by_the_margin_is_seldom_promoted():
    assert ends("2 points worse, the margin", 40).count(Verdict.PROMOTE) <= 3 + 40 * FORTH


def pairs(calls=2000, **how):
    return drawn(np.random.default_rng(0), calls, **how)


def test_what_nobody_has_read_promotes_nobody_and_withdraws_nobody_for_its_answers():
    found = pairs(lost=0.1)
    unread = Pairs(
        champion=found.champion, candidate=found.candidate, faults=found.faults, late=found.late,
        right=np.where(found.champion != found.candidate, np.nan, 0.0),
    )  # fmt: skip
    assert judge(unread, None, Rule(), days=1, names=NAMES).verdict is Verdict.GO_ON
    judged = judge(unread, None, Rule(), days=15, names=NAMES)
    assert judged.verdict is Verdict.PAUSE
    assert "not settled after 15.0 days" in judged.why
    assert judge(found, None, Rule(), days=1, names=NAMES).verdict is Verdict.ROLL_BACK


def test_faults_are_seen_by_pairs_and_by_the_arms_of_a_canary():
    judged = judge(pairs(faults=0.03), None, Rule(), days=1, names=NAMES)
    assert (judged.verdict, judged.why.startswith("more faults; ")) == (Verdict.ROLL_BACK, True)
    draw = np.random.default_rng(0)
    second = draw.random(2000) < 0.05
    arms = Arms(candidate=second, faults=np.zeros(2000, dtype=bool), late=second & (draw.random(2000) < 0.5))
    judged = judge(pairs(calls=10), arms, Rule(), days=0, names=NAMES)
    assert (judged.verdict, judged.why.startswith("more late answers; ")) == (Verdict.ROLL_BACK, True)


def test_a_category_that_doubles_holds_a_promotion_up():
    found = pairs(calls=3000)
    moved = np.where((found.champion == 3) & (np.arange(3000) % 2 == 0), 4, found.champion)
    moved = np.where(found.champion == 5, 4, moved)
    same = Pairs(
        champion=found.champion, candidate=moved, faults=found.faults, late=found.late, right=np.zeros(3000)
    )  # fmt: skip
    judged = judge(same, None, Rule(), days=1, names=NAMES)
    assert judged.verdict is Verdict.PAUSE
    assert judged.figures["moved"] == [NAMES[4], NAMES[5]]


def test_nothing_is_settled_by_nothing():
    judged = judge(pairs(calls=0), None, Rule(), days=0, names=())
    assert judged.verdict is Verdict.GO_ON


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("equal, 8%")])
def test_equal_candidates_that_differ_more_take_longer_and_are_not_withdrawn(name):
    assert ends(name).count(Verdict.ROLL_BACK) <= 3
