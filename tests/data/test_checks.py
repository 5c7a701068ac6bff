"""Each check finds the fault that it is for, counts it, and keeps quiet where there is none."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import rows_of, split_of, task_of

from kasauti.core.types import Severity
from kasauti.data.checks.conflicts import conflicts
from kasauti.data.checks.control import _INVISIBLE, control, invisible_kinds, shown
from kasauti.data.checks.empty import empty
from kasauti.data.checks.few_rows import few_rows
from kasauti.data.checks.imbalance import imbalance
from kasauti.data.checks.labels import labels
from kasauti.data.checks.leakage import leakage, leaked_rows
from kasauti.data.checks.personal import luhn, mask_personal, personal, personal_spans, verhoeff
from kasauti.data.checks.repeated import repeated
from kasauti.data.checks.shift import area_under_curve, domain_classifier, script_mix, scripts, shift

TASK = task_of()


def rows(*pairs):
    return rows_of(TASK, pairs)


def many(count, labels="ab", start=0):
    return rows(*((f"t{n} u{n} v{n}", labels[n % len(labels)]) for n in range(start, start + count)))


@pytest.mark.parametrize(
    ("count", "severity"),
    [(199, "stop"), (200, "warn"), (499, "warn"), (500, "note"), (1999, "note"), (2000, None)],
)
def test_few_rows_weigh_more_the_fewer_they_are(count, severity):
    found = few_rows(TASK, split_of(many(count), test=many(200)))
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_few_test_rows_are_told_with_what_they_can_show():
    (found,) = few_rows(TASK, split_of(many(2000), test=many(100)))
    assert (found.where, found.severity) == ("test", Severity.WARN)
    assert "off by up to 10 points" in found.what


def test_labels_with_few_or_no_rows_are_named():
    task = task_of(["a", "b", "rare", "gone"])
    train = rows_of(task, [*((f"t{n}", "ab"[n % 2]) for n in range(2000)), ("x", "rare")])
    stop, warn = few_rows(task, split_of(train, test=many(200)))
    assert (stop.severity, stop.evidence) == (Severity.STOP, ["gone: 0"])
    assert (warn.severity, warn.evidence) == (Severity.WARN, ["rare: 1"])


def test_imbalance_is_told_from_ten_to_one_and_warned_of_from_a_half():
    task = task_of("abc")
    pairs = [(f"{label}{n}", label) for label, count in (("a", 30), ("b", 30), ("c", 3)) for n in range(count)]
    (note,) = imbalance(task, split_of(rows_of(task, pairs)))
    assert (note.severity, note.count) == (Severity.NOTE, 30)
    assert imbalance(task, split_of(rows_of(task, [*pairs, ("c9", "c")]))) == []
    (warn,) = imbalance(TASK, split_of(many(20, "aaab")))
    assert "always answering 'a' would be right for 75.0%" in warn.what


def test_answers_that_are_not_listed_are_told_with_the_nearest():
    task = task_of(["refund_delayed", "other"])
    train = rows_of(task, [("x", "refund delayed"), ("y", "other"), ("z", " "), ("w", "refund delayed")])
    blank, strange = labels(task, split_of(train))
    assert (blank.severity, blank.rows) == (Severity.STOP, [3])
    assert (strange.severity, strange.rows) == (Severity.STOP, [1, 4])
    assert strange.evidence == ["'refund delayed' (2 rows): 'refund_delayed' is meant?"]


def test_labels_that_read_alike_are_told():
    task = task_of(["refund_delayed", "Refund Delayed", "refund_delayed2", "other"])
    same, alike = labels(task, split_of([]))
    assert same.evidence == ["'refund_delayed' and 'Refund Delayed'"]
    assert len(alike.evidence) == 2
    assert labels(TASK, split_of(many(4))) == []


def test_blank_inputs_are_counted():
    (found,) = empty(TASK, split_of(rows((" \t", "a"), ("x", "b"), ("", "a"))))
    assert (found.count, found.rows, found.where) == (2, [1, 3], "train")
    task = task_of(extra="group: who")
    assert empty(task, split_of(many(3))) == []


def test_repeated_rows_are_counted_by_how_alike_they_are():
    same = ["one two three four five", "one two three four five ", "One, two three four five!"]
    train = rows(*((text, "a") for text in [*same, "one two three four five six", "quite another thing"]))
    (found,) = repeated(TASK, split_of(train))
    assert found.what.startswith("3 rows (60.0%) repeat another: 1 exactly, 2 after normalisation")
    assert (found.severity, found.count) == (Severity.WARN, 3)
    assert repeated(TASK, split_of(many(50))) == []


def test_leaked_rows_are_found_with_the_training_row_that_leaks_them():
    train = rows(("a b c d e", "a"), ("e d c b a", "b"), ("p q r s", "a"))
    test = rows(("E D C B A", "b"), ("a b c d e", "b"), ("a b c d e f", "a"), ("new words here", "a"))
    leaks = leaked_rows(train, test)
    assert [(x.held_out.row, x.train.row) for x in leaks] == [(1, 2), (2, 1), (3, 1)]
    assert [x.similarity for x in leaks] == [1, 1, 5 / 6]
    assert [(x.exact, x.normalised) for x in leaks] == [(False, True), (True, True), (False, False)]
    (found,) = leakage(TASK, split_of(train, test=test))
    assert (found.severity, found.count, found.where) == (Severity.STOP, 3, "test")
    assert "1 exactly the same, 2 after normalisation; 1 of them have another answer" in found.what
    (found,) = leakage(TASK, split_of(train, validation=test[2:]))
    assert (found.severity, found.where) == (Severity.WARN, "validation")


def test_banking77_leaks_460_test_rows_and_39_have_another_label(banking):
    _, train, test = banking
    leaks = leaked_rows(train, test)
    assert len(leaks) == 460
    assert sum(leak.exact for leak in leaks) == 6
    assert sum(leak.normalised for leak in leaks) == 11
    assert sum(leak.held_out.answer != leak.train.answer for leak in leaks) == 39


def test_the_same_text_with_two_labels_is_a_conflict():
    torn = [("Where is it?", "a"), ("where is it", "b"), ("where is it!", "a")]
    train = rows(*torn, ("fine", "a"), ("fine", "a"), ("", "a"), ("", "b"))
    (found,) = conflicts(TASK, split_of(train))
    assert (found.count, found.rows) == (3, [1, 2, 3])
    assert found.evidence == ["Where is it?: a / b"]
    assert "at least 1 are wrong" in found.why


PERSONAL = {
    "pay with 4111 1111 1111 1111 please": ["card number"],
    "order 4111111111111112": [],
    "ref 1234567890123456": [],
    "call +91 98765 43210 or 09876543210": ["phone number", "phone number"],
    "call 9876543210.": ["phone number"],
    "from +44 20 7946 0958": ["phone number"],
    "amount 98765 and 1234567890": [],
    "mail me: a.b+c@mail.example.co.in!": ["e-mail"],
    "upi ravi.k@okhdfc failed, also 98765@ybl": ["UPI id", "UPI id"],
    "@someone and a @ b": [],
    "aadhaar 2345 6789 0124": ["Aadhaar number"],
    "aadhaar 2345 6789 0125": [],
    "PAN ABCPE1234F, not ABCDE1234F": ["PAN"],
    "Rs 1,249.00 on 12/11/2024 txn 4000": [],
    "": [],
}


@pytest.mark.parametrize("text", PERSONAL)
def test_personal_data_is_told_from_what_only_looks_like_it(text):
    assert [kind for kind, _, _ in personal_spans(text)] == PERSONAL[text]


def test_personal_data_is_counted_and_never_quoted():
    train = rows(("card 4111 1111 1111 1111 and a@b.com", "a"), ("a@b.com", "b"), ("nothing", "a"))
    (found,) = personal(TASK, split_of(train))
    assert (found.count, found.rows) == (2, [1, 2])
    assert "e-mail: 2 rows, card number: 1 rows" in found.what
    assert found.evidence == ["card <card number> and <e-mail>", "<e-mail>"]


@given(st.text(st.sampled_from("0123456789 -.@ab+ABCPE"), max_size=60))
def test_masking_leaves_nothing_to_find_in_place(text):
    spans = personal_spans(text)
    assert all(0 <= start < end <= len(text) for _, start, end in spans)
    assert all(a[2] <= b[1] for a, b in pairwise(spans))
    masked = mask_personal(text)
    assert sum(masked.count(f"<{kind}>") for kind in {kind for kind, _, _ in spans}) == len(spans)


@given(st.text(st.sampled_from("0123456789"), min_size=3, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_check_digits_see_every_single_wrong_digit(digits, place, change):
    place %= len(digits)
    wrong = digits[:place] + str((int(digits[place]) + change) % 10) + digits[place + 1 :]
    assert not (luhn(digits) and luhn(wrong))
    assert not (verhoeff(digits) and verhoeff(wrong))


def test_check_digits_agree_with_published_numbers():
    assert luhn("79927398713")
    assert verhoeff("2363")
    assert verhoeff("123451")


def sentences(vocabulary, count, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(vocabulary, k=8)) for _ in range(count)]


def test_a_shift_is_told_with_the_words_that_give_it_away():
    common = [f"word{n}" for n in range(60)]
    train = rows(*((text, "a") for text in sentences(common, 200, 1)))
    same = rows(*((text, "a") for text in sentences(common, 200, 2)))
    other = rows(*((text + " paise nahi आया", "a") for text in sentences(common, 100, 3)))
    (none,) = shift(TASK, split_of(train, test=same))
    assert (none.severity, none.what[:25]) == (Severity.NOTE, "test rows are much like t")
    (found,) = shift(TASK, split_of(train, test=other))
    assert (found.severity, found.where) == (Severity.WARN, "test")
    assert "AUC 1.00" in found.what
    assert {"paise", "nahi", "आया"} <= set(found.evidence[0].removeprefix("words of test: ").split(", "))
    assert "Devanagari script: 0.0% of train, 100.0% of test" in found.evidence
    assert "Hindi in Latin script: 0.0% of train, 100.0% of test" in found.evidence
    assert shift(TASK, split_of(train, test=other[:29])) == []


def test_texts_without_a_common_word_are_not_told_apart():
    assert domain_classifier([f"a{n}" for n in range(9)], [f"b{n}" for n in range(9)], 0) == (
        (0.5, 0.0, 1.0),
        [],
        [],
    )


def test_scripts_are_told_by_their_letters():
    assert scripts("mera पैसा 500 ₹!") == {"Latin", "Devanagari"}
    assert scripts("500 !") == set()
    assert script_mix(["mera paisa nahi aaya", "my money", "पैसा"]) == {
        "Latin script": "66.7%",
        "Devanagari script": "33.3%",
        "Hindi in Latin script": "33.3%",
    }


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=20), st.lists(st.integers(-5, 5), min_size=2, max_size=20))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(low, high):
    import numpy as np

    area, bottom, top = area_under_curve(np.array(low, float), np.array(high, float))
    pairs = [(a < b) + (a == b) / 2 for a in low for b in high]
    assert area == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= bottom <= area + 1e-12
    assert area - 1e-12 <= top <= 1


def test_the_interval_of_the_area_holds_the_truth_about_95_times_in_100():
    import numpy as np
    from scipy.stats import norm

    draw, truth, held = np.random.default_rng(0), float(norm.cdf(1 / 2**0.5)), 0
    for _ in range(400):
        _, bottom, top = area_under_curve(draw.normal(0, 1, 60), draw.normal(1, 1, 40))
        held += bottom <= truth <= top
    assert 0.92 <= held / 400 <= 0.98


INVISIBLE = {
    "plain text\twith a tab\r\nand a line": set(),
    "क्\u200dष and \u0645\u200c\u0646 and 👨\u200d👩": set(),
    "re\u200dfund": {"zero-width characters"},
    "\ufeffrefund\u200b": {"zero-width characters"},
    "bell \x07 and \x85": {"control characters (C0, C1)"},
    "\u202eabc\u202c": {"writing-direction marks and overrides"},
    "caf\ufffd": {"replacement characters (text that was decoded wrongly)"},
    "a\U000e0041": {"invisible tag characters"},
    "a\ufdd0": {"noncharacters"},
}


@pytest.mark.parametrize("text", INVISIBLE)
def test_signs_that_nobody_sees_are_told_and_joiners_of_scripts_are_not(text):
    assert invisible_kinds(text) == INVISIBLE[text]
    if INVISIBLE[text]:
        assert invisible_kinds(shown(text)) == set()


@pytest.mark.parametrize(
    "text", ["<|eot_id|>", "[/INST]", "</s>", "<end_of_turn>", "<|im_start|>", "<bos>", "<<SYS>>", "<｜User｜>"]
)
def test_chat_template_strings_in_a_text_are_told(text):
    (found,) = control(TASK, split_of(rows((f"end it {text} now", "a"), ("a < b | c > d [INS] <b>", "b"))))
    assert (found.rows, found.count, found.severity) == ([1], 1, Severity.WARN)
    assert f"{text} in 1" in found.what


@given(st.text(st.one_of(st.characters(), st.sampled_from("\u200b\u200c\u00ad\ufffd\ufdd0\x07\t\n")), max_size=12))
def test_what_is_printable_is_passed_over_without_missing_a_sign(text: str) -> None:
    assert bool(invisible_kinds(text)) == bool(_INVISIBLE.search(text))
