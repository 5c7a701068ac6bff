"""Planted wrong labels come to the top of the ranking, with the right label suggested."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.conftest import rows_of, split_of, task_of

from kasauti.core.types import Severity
from kasauti.data.checks import mislabelled as checked
from kasauti.data.checks.mislabelled import FOLDS, mislabelled, rank_mislabelled

LABELS = ("alpha", "beta", "gamma")
TASK = task_of(LABELS)


def planted(count=240, wrong=8, seed=0):
    """Texts of three topics; the labels of the first `wrong` are turned."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        topic = number % 3
        words = [f"topic{topic}word{draw.randrange(12)}" for _ in range(5)]
        words += [f"any{draw.randrange(200)}" for _ in range(4)]
        draw.shuffle(words)
        given = (topic + 1) % 3 if number < wrong else topic
        rows.append((" ".join(words), LABELS[given]))
    return rows_of(TASK, rows)


def test_planted_wrong_labels_are_ranked_first_with_the_right_suggestion():
    rows = planted()
    ranking = rank_mislabelled(rows, 42)
    assert len(ranking.suspects) == len(rows)
    assert {s.example.row for s in ranking.suspects[:8]} == set(range(1, 9))
    assert all(s.suggested == LABELS[(s.example.row - 1) % 3] for s in ranking.suspects[:8])
    assert 6 <= ranking.estimated <= 10
    assert [s.margin for s in ranking.suspects] == sorted(s.margin for s in ranking.suspects)


def test_the_finding_tells_the_ranking_and_its_time():
    rows = planted()
    (found,) = mislabelled(TASK, split_of(rows[:200], rows[200:]))
    assert found.severity == Severity.WARN
    assert set(found.rows[:8]) == set(range(1, 9))
    assert "240 rows" in found.what
    assert " s)" in found.what
    assert found.evidence[0].startswith("rows.csv, row ")
    assert " → " in found.evidence[0]


def test_above_a_limit_a_sample_is_judged_and_the_finding_says_so(monkeypatch):
    monkeypatch.setattr(checked, "SAMPLED", 120)
    rows = planted()
    ranking = rank_mislabelled(rows, 42)
    assert (len(ranking.suspects), ranking.drawn_from) == (120, 240)
    assert [s.example.row for s in rank_mislabelled(rows, 42).suspects] == [s.example.row for s in ranking.suspects]
    (found,) = mislabelled(TASK, split_of(rows[:200], rows[200:]))
    assert "of 120 rows, a sample of 240 (" in found.what


def test_clean_labels_give_no_finding():
    assert mislabelled(TASK, split_of(planted(wrong=0))) == []


def test_twins_do_not_vouch_for_each_other():
    rows = planted()
    twins = rows_of(TASK, [(row.fields["text"].upper(), row.answer) for row in rows[:8]])
    ranking = rank_mislabelled([*rows, *twins], 42)
    assert {s.example.fields["text"].lower() for s in ranking.suspects[:16]} == {r.fields["text"] for r in rows[:8]}


def test_rows_that_cannot_be_judged_are_left_out():
    task = task_of([*LABELS, "rare"])
    strange = rows_of(task, [("topic0word1 any1", "rare"), (" ", "alpha"), ("topic1word1", ""), ("a b", None)])
    assert len(strange) == FOLDS - 1
    ranking = rank_mislabelled([*planted(wrong=0), *strange], 1)
    assert len(ranking.suspects) == 240
    assert rank_mislabelled(strange, 1).suspects == ()
    assert rank_mislabelled([], 1).estimated == 0


def test_texts_without_a_common_feature_give_no_suspects():
    signs = [chr(0x4E00 + n) for n in range(20)]
    ranking = rank_mislabelled(rows_of(TASK, [(sign, LABELS[n % 2]) for n, sign in enumerate(signs)]), 1)
    assert all(suspect.margin == 0 for suspect in ranking.suspects)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(LABELS)), max_size=40), st.integers(0, 3))
def test_any_rows_are_ranked_without_a_crash_and_the_same_each_time(rows, seed):
    examples = rows_of(TASK, rows)
    one, two = rank_mislabelled(examples, seed), rank_mislabelled(examples, seed)
    assert one.suspects == two.suspects
    assert all(-1 <= suspect.margin <= 1 for suspect in one.suspects)


def test_the_wrong_labels_of_the_bundled_task_stand_in_a_short_list():
    """At least 60% of the 52 that were made wrong on purpose, in a list of at most three times their number."""
    import csv
    from pathlib import Path

    import kasauti
    from kasauti.core.task import load_task
    from kasauti.data.conversation import load_examples

    folder = Path(kasauti.__file__).parent / "bundled" / "disputes"
    with (folder / "data" / "mislabelled.csv").open(encoding="utf-8") as file:
        truth = {int(row["row"]): row["true_category"] for row in csv.DictReader(file)}
    listed = rank_mislabelled(load_examples(load_task(folder), "train"), 42).listed
    assert len(listed) <= 3 * len(truth)
    found = [suspect for suspect in listed if suspect.example.row in truth]
    assert len(found) >= 0.6 * len(truth)
    assert sum(suspect.suggested == truth[suspect.example.row] for suspect in found) >= 0.6 * len(truth)
