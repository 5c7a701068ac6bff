"""What events come to: a champion that is always there, and nothing in service ever removed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import UsageError
from kasauti.registry.standing import KEEP, Event, Standing, after, fold, rollback_target


def event(did, version=0, **more):
    return Event(did=did, version=version, who="me", why="so", more=more)


def registered(number):
    return event("register", number, sha256=f"{number:064}", folder=f"{number}-x", content=str(number))


three = [registered(number) for number in (1, 2, 3)]
steps = st.lists(
    st.tuples(st.sampled_from(["register", "promote", "candidate", "rollback", "prune", "remove"]), st.integers(1, 9)),
    max_size=40,
)


def walk(taken):
    """Every standing that these steps pass; what is refused changes nothing."""
    standing = Standing()
    for did, number in taken:
        with contextlib.suppress(UsageError):
            if did == "register":
                standing = after(standing, registered(standing.next_number))
            elif did == "rollback":
                standing = after(standing, event("rollback", rollback_target(standing)))
            elif did == "prune":
                for old in standing.surplus():
                    standing = after(standing, event("remove", old))
            else:
                standing = after(standing, event(did, number, share=5))
        yield standing


@given(steps)
def test_whatever_happens_what_is_in_service_is_there(taken):
    for standing in walk(taken):
        assert standing.held <= set(standing.versions)
        assert set(standing.previous) <= set(standing.versions)
        assert (standing.champion is None) == (not standing.versions)
        assert standing.candidate is None or standing.candidate != standing.champion
        assert not set(standing.versions) & set(standing.removed)


@given(steps)
def test_pruning_keeps_the_newest_and_no_more_than_is_needed(taken):
    *_, standing = walk([*taken, ("prune", 1)])
    assert set(sorted(standing.versions)[-KEEP:]) | standing.held == set(standing.versions)


@given(steps)
def test_a_rollback_is_the_inverse_of_a_promotion(taken):
    *_, standing = [Standing(), *walk(taken)]
    for number in set(standing.versions) - {standing.champion}:
        promoted = after(standing, event("promote", number))
        back = after(promoted, event("rollback", rollback_target(promoted)))
        assert (back.champion, back.previous) == (standing.champion, standing.previous)


def test_rollback_withdraws_a_candidate_first():
    standing = fold([*three, event("promote", 2), event("candidate", 3, share=5.0)])
    assert (standing.champion, standing.candidate, standing.share) == (2, 3, 5.0)
    standing = after(standing, event("rollback", 2))
    assert (standing.champion, standing.candidate) == (2, None)
    assert after(standing, event("rollback", 1)).champion == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (registered(5), "was registered by another command meanwhile"),
        (event("promote", 9), "there is no version 9. Versions: 1, 2, 3"),
        (event("candidate", 1, share=5), "version 1 is the champion already"),
        (event("candidate", 2, share=100), "a canary of 100%"),
        (event("candidate", 2, share=0), "a canary of 0%"),
        (event("rollback", 1), "there is no earlier champion to go back to"),
        (event("remove", 1), "version 1 is in service"),
    ],
)
def test_what_cannot_happen_is_refused_in_one_line(wrong, said):
    with pytest.raises(UsageError) as refused:
        fold([*three, wrong])
    assert said in refused.value.line()
