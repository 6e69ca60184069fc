"""The cascade, walked through every combination of facts with every possible answer to every question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.cascade import Ask, Facts, Guests, Resolution, first_step_of_trust, next_step
from flask_api_layer.sansio.identity import (
    ANONYMOUS,
    ANONYMOUS_DEGRADED,
    Answer,
    Forbidden,
    Identity,
    Reason,
    Rejected,
    Trusted,
    Unreachable,
)
from flask_api_layer.sansio.session import Freshness

ABSENT, LIVE, DUE, EXPIRED = Freshness.ABSENT, Freshness.LIVE, Freshness.DUE, Freshness.EXPIRED
CHECK_USER, REFRESH_USER = Ask.CHECK_USER, Ask.REFRESH_USER
CHECK_GUEST, REFRESH_GUEST, MINT_GUEST = Ask.CHECK_GUEST, Ask.REFRESH_GUEST, Ask.MINT_GUEST
ABOUT_USER = (CHECK_USER, REFRESH_USER)
ABOUT_GUEST = (CHECK_GUEST, REFRESH_GUEST)

USER = Identity("user", 1)
GUEST = Identity("guest", 2)
FRESH_GUEST = Identity("guest", 3)
STALE_USER = replace(USER, degraded=True)
STALE_GUEST = replace(GUEST, degraded=True)
ANSWERS: tuple[Answer, ...] = (
    USER,
    GUEST,
    STALE_USER,
    STALE_GUEST,
    Rejected("expired"),
    Rejected("revoked"),
    Rejected("reuse"),
    Forbidden(),
    Forbidden("token_type_refused"),
    Unreachable(),
    Unreachable(limited=True),
    Trusted(),
)
ALL_FACTS = [
    Facts(user=user, guest=guest, guests=guests, refreshable=refreshable, fallback=fallback)
    for user, guest, guests, refreshable, fallback in product(
        Freshness, Freshness, Guests, (True, False), (True, False)
    )
]


@dataclass(frozen=True, slots=True)
class Walk:
    """One way through the cascade: from where, what was asked and answered, and where it ended."""

    start: Facts
    answers: tuple[tuple[Ask, Answer], ...]
    end: Resolution

    @property
    def asked(self) -> tuple[Ask, ...]:
        return tuple(ask for ask, _ in self.answers)

    def answers_to(self, *asks: Ask) -> list[Answer]:
        return [answer for ask, answer in self.answers if ask in asks]


def walks_from(start: Facts) -> Iterator[Walk]:
    yield from _walk(start, start, ())


def _walk(start: Facts, facts: Facts, answers: tuple[tuple[Ask, Answer], ...]) -> Iterator[Walk]:
    step = next_step(facts)
    if isinstance(step, Resolution):
        yield Walk(start, answers, step)
        return
    assert len(answers) < 4, f"a fifth question after {answers}"
    for answer in ANSWERS:
        yield from _walk(start, facts.learn(step, answer), (*answers, (step, answer)))


@pytest.fixture(scope="module")
def walks() -> list[Walk]:
    return [walk for facts in ALL_FACTS for walk in walks_from(facts)]


def resolve(facts: Facts, answers: Mapping[Ask, Answer]) -> tuple[Resolution, list[Ask]]:
    """The resolution, and what was asked; every question must have an answer here."""
    asked: list[Ask] = []
    while isinstance(step := next_step(facts), Ask):
        asked.append(step)
        facts = facts.learn(step, answers[step])
    return step, asked


def offender(walks: list[Walk], is_wrong: Callable[[Walk], object]) -> Walk | None:
    """The first walk that breaks a law."""
    return next((walk for walk in walks if is_wrong(walk)), None)


# Laws


def test_ends_after_at_most_four_questions(walks: list[Walk]) -> None:
    assert offender(walks, lambda walk: len(walk.answers) > 4) is None
    assert any(len(walk.answers) == 4 for walk in walks)


def test_never_asks_twice(walks: list[Walk]) -> None:
    assert offender(walks, lambda walk: len(set(walk.asked)) < len(walk.asked)) is None


@given(facts=st.sampled_from(ALL_FACTS), answers=st.lists(st.sampled_from(ANSWERS), min_size=5, max_size=5))
def test_same_facts_give_the_same_end_in_any_order_of_learning(facts: Facts, answers: list[Answer]) -> None:
    known, given_answers = facts, iter(answers)
    while isinstance(step := next_step(known), Ask):
        known = known.learn(step, next(given_answers))
    shuffled = facts._replace(answers=tuple(reversed(known.answers)))
    assert next_step(shuffled) == step


def _lost_its_user_token(walk: Walk) -> bool:
    """The backend rejected it, or it expired and nothing can refresh it."""
    rejected = any(isinstance(answer, Rejected) for answer in walk.answers_to(*ABOUT_USER))
    return rejected or (walk.start.user is EXPIRED and not walk.start.refreshable)


def _lost_its_guest_token(walk: Walk) -> bool:
    rejected = any(isinstance(answer, Rejected) for answer in walk.answers_to(*ABOUT_GUEST))
    return rejected or (walk.start.guest is EXPIRED and not walk.start.refreshable)


def _is_reuse(walk: Walk) -> bool:
    return Rejected("reuse") in walk.answers_to(*ABOUT_USER)


def test_user_cookie_is_cleared_only_when_its_token_was_rejected(walks: list[Walk]) -> None:
    assert offender(walks, lambda walk: walk.end.clear_user and not _lost_its_user_token(walk)) is None


def test_guest_cookie_is_cleared_only_when_rejected_or_replaced_by_somebody_better(walks: list[Walk]) -> None:
    def is_wrong(walk: Walk) -> bool:
        replaced = walk.end.identity.is_authenticated and not walk.end.identity.degraded
        return walk.end.clear_guest and not (_lost_its_guest_token(walk) or replaced or _is_reuse(walk))

    assert offender(walks, is_wrong) is None


def test_only_cookies_that_are_there_are_cleared(walks: list[Walk]) -> None:
    # B3.2
    assert offender(walks, lambda walk: walk.end.clear_user and walk.start.user is ABSENT) is None
    assert (
        offender(
            walks,
            lambda walk: walk.end.clear_guest and walk.start.guest is ABSENT and not _is_reuse(walk),
        )
        is None
    )


def test_outage_about_the_user_clears_nothing_and_mints_nothing(walks: list[Walk]) -> None:
    # B4.7
    def is_wrong(walk: Walk) -> bool:
        if not any(isinstance(answer, Unreachable) for answer in walk.answers_to(*ABOUT_USER)):
            return False
        replaced = walk.end.identity.is_authenticated and not walk.end.identity.degraded
        cleared = walk.end.clear_user or (walk.end.clear_guest and not replaced)
        return cleared or MINT_GUEST in walk.asked or walk.end.ended is not None

    assert offender(walks, is_wrong) is None


def test_outage_about_the_user_never_makes_a_guest(walks: list[Walk]) -> None:
    def is_wrong(walk: Walk) -> bool:
        last = walk.answers_to(*ABOUT_USER)[-1:]
        return bool(last) and isinstance(last[0], Unreachable) and walk.end.identity != ANONYMOUS_DEGRADED

    assert offender(walks, is_wrong) is None


def test_outage_about_the_guest_clears_nothing_and_mints_nothing(walks: list[Walk]) -> None:
    # B5.2
    def is_wrong(walk: Walk) -> bool:
        if not any(isinstance(answer, Unreachable) for answer in walk.answers_to(*ABOUT_GUEST)):
            return False
        return walk.end.clear_guest or MINT_GUEST in walk.asked

    assert offender(walks, is_wrong) is None


def test_a_degraded_identity_changes_no_cookie(walks: list[Walk]) -> None:
    # B4
    def is_wrong(walk: Walk) -> bool:
        return walk.end.identity.degraded and walk.end.bearer == "user" and walk.end.clear_guest

    assert offender(walks, is_wrong) is None


def test_guest_type_in_the_user_cookie_is_never_authenticated(walks: list[Walk]) -> None:
    # B4.1
    def is_wrong(walk: Walk) -> bool:
        said = walk.answers_to(*ABOUT_USER)
        return walk.end.identity.is_authenticated and said[-1] not in (USER, STALE_USER)

    assert offender(walks, is_wrong) is None


def test_guest_cookie_never_makes_a_user(walks: list[Walk]) -> None:
    # A10
    def is_wrong(walk: Walk) -> bool:
        return walk.end.bearer == "guest" and walk.end.identity.kind == "user"

    assert offender(walks, is_wrong) is None
    no_user = [walk for walk in walks if walk.start.user is ABSENT]
    assert (
        offender(no_user, lambda walk: walk.end.identity.is_authenticated or walk.end.bearer == "user")
        is None
    )


def test_after_a_reuse_nobody_is_a_guest_and_all_is_cleared(walks: list[Walk]) -> None:
    # B4
    reused = [walk for walk in walks if walk.end.ended == "reuse"]
    assert reused
    assert (
        offender(reused, lambda walk: walk.end.identity != ANONYMOUS or walk.end.bearer is not None) is None
    )
    assert offender(reused, lambda walk: MINT_GUEST in walk.asked) is None
    assert offender(reused, lambda walk: not walk.end.clear_user) is None
    assert offender(reused, lambda walk: walk.start.guest is not ABSENT and not walk.end.clear_guest) is None


def test_without_fallback_no_ended_user_goes_on_as_a_guest(walks: list[Walk]) -> None:
    ended = [walk for walk in walks if walk.end.ended is not None and not walk.start.fallback]
    assert ended
    assert offender(ended, lambda walk: walk.end.identity != ANONYMOUS or MINT_GUEST in walk.asked) is None


def test_reuse_said_by_the_refresh_always_ends_the_session(walks: list[Walk]) -> None:
    said = [walk for walk in walks if Rejected("reuse") in walk.answers_to(REFRESH_USER)]
    assert said
    assert offender(said, lambda walk: walk.end.ended != "reuse") is None


def test_an_ended_session_clears_its_cookie_and_says_why(walks: list[Walk]) -> None:
    assert offender(walks, lambda walk: walk.end.clear_user != (walk.end.ended is not None)) is None


def test_forbidden_keeps_every_cookie_of_the_user(walks: list[Walk]) -> None:
    # B6.6
    def is_wrong(walk: Walk) -> bool:
        last = walk.answers_to(*ABOUT_USER)[-1:]
        if not last or not isinstance(last[0], Forbidden):
            return False
        kept = not (walk.end.clear_user or walk.end.clear_guest)
        told = walk.end.forbidden == last[0].code
        return not (kept and told and walk.end.identity == ANONYMOUS)

    assert offender(walks, is_wrong) is None


def test_nobody_mints_unless_asked_to(walks: list[Walk]) -> None:
    # B5.1
    assert (
        offender(walks, lambda walk: MINT_GUEST in walk.asked and walk.start.guests is not Guests.MINT)
        is None
    )


def test_ignored_guests_are_not_asked_about(walks: list[Walk]) -> None:
    about = {*ABOUT_GUEST, MINT_GUEST}
    assert (
        offender(walks, lambda walk: walk.start.guests is Guests.IGNORE and about & set(walk.asked)) is None
    )


def test_nobody_refreshes_at_a_backend_that_cannot(walks: list[Walk]) -> None:
    # B6.6
    refreshes = {REFRESH_USER, REFRESH_GUEST}
    assert offender(walks, lambda walk: not walk.start.refreshable and refreshes & set(walk.asked)) is None


def test_absent_cookies_are_not_asked_about(walks: list[Walk]) -> None:
    assert (
        offender(walks, lambda walk: walk.start.user is ABSENT and set(ABOUT_USER) & set(walk.asked)) is None
    )
    assert (
        offender(walks, lambda walk: walk.start.guest is ABSENT and set(ABOUT_GUEST) & set(walk.asked))
        is None
    )


def test_expired_tokens_are_refreshed_before_they_are_shown_to_anybody(walks: list[Walk]) -> None:
    assert (
        offender(walks, lambda walk: walk.start.user is EXPIRED and walk.asked[:1] == (CHECK_USER,)) is None
    )


def test_the_bearer_belongs_to_the_identity(walks: list[Walk]) -> None:
    # B4.1
    assert (
        offender(walks, lambda walk: walk.end.identity.is_authenticated and walk.end.bearer != "user") is None
    )
    assert offender(walks, lambda walk: walk.end.identity.is_guest and walk.end.bearer is None) is None
    assert offender(walks, lambda walk: walk.end.bearer == "user" and walk.end.clear_user) is None


def test_the_bearer_is_never_a_token_that_was_rejected(walks: list[Walk]) -> None:
    def is_wrong(walk: Walk) -> bool:
        last = walk.answers_to(*ABOUT_USER)[-1:]
        return walk.end.bearer == "user" and bool(last) and not isinstance(last[0], Identity | Trusted)

    assert offender(walks, is_wrong) is None


def test_a_user_token_in_hand_beats_the_guest(walks: list[Walk]) -> None:
    # B4.1
    assert (
        offender(walks, lambda walk: walk.end.bearer == "user" and set(ABOUT_GUEST) & set(walk.asked)) is None
    )


# The table of BEHAVIOUR 4, row by row


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize("guests", Guests)
def test_valid_user_is_the_user_and_the_guest_is_cleared(guest: Freshness, guests: Guests) -> None:
    # B4 row 1
    found, asked = resolve(Facts(user=LIVE, guest=guest, guests=guests), {CHECK_USER: USER})
    assert found == Resolution(USER, bearer="user", clear_guest=guest is not ABSENT)
    assert asked == [CHECK_USER]


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize(("user", "asked"), [(EXPIRED, [REFRESH_USER]), (LIVE, [CHECK_USER, REFRESH_USER])])
def test_refreshed_user_is_the_user(guest: Freshness, user: Freshness, asked: list[Ask]) -> None:
    # B4 row 2
    facts = Facts(user=user, guest=guest, guests=Guests.MINT)
    found = resolve(facts, {CHECK_USER: Rejected(), REFRESH_USER: USER})
    assert found == (Resolution(USER, bearer="user", clear_guest=guest is not ABSENT), asked)


@pytest.mark.parametrize("reason", ["expired", "revoked"])
@pytest.mark.parametrize("user", [EXPIRED, LIVE, DUE])
def test_refused_refresh_goes_on_as_a_new_guest(user: Freshness, reason: Reason) -> None:
    # B4 row 3
    answers: dict[Ask, Answer] = {
        CHECK_USER: Rejected(),
        REFRESH_USER: Rejected(reason),
        MINT_GUEST: FRESH_GUEST,
    }
    found, _ = resolve(Facts(user=user, guests=Guests.MINT), answers)
    assert found == Resolution(FRESH_GUEST, bearer="guest", clear_user=True, ended=reason)


def test_refused_refresh_goes_on_as_the_guest_that_is_there() -> None:
    # B4 row 3
    answers: dict[Ask, Answer] = {REFRESH_USER: Rejected("revoked"), CHECK_GUEST: GUEST}
    found, _ = resolve(Facts(user=EXPIRED, guest=LIVE, guests=Guests.MINT), answers)
    assert found == Resolution(GUEST, bearer="guest", clear_user=True, ended="revoked")


@pytest.mark.parametrize(
    ("guests", "fallback"), [(Guests.MINT, False), (Guests.IGNORE, True), (Guests.KNOWN, True)]
)
def test_refused_refresh_is_anonymous_where_no_guest_is_wanted(guests: Guests, fallback: bool) -> None:
    # B4 row 3
    found, asked = resolve(
        Facts(user=EXPIRED, guests=guests, fallback=fallback), {REFRESH_USER: Rejected("expired")}
    )
    assert found == Resolution(ANONYMOUS, clear_user=True, ended="expired")
    assert asked == [REFRESH_USER]


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize("user", [EXPIRED, LIVE, DUE])
def test_reuse_is_anonymous_and_clears_all(user: Freshness, guest: Freshness) -> None:
    # B4 row 4
    answers: dict[Ask, Answer] = {CHECK_USER: Rejected(), REFRESH_USER: Rejected("reuse")}
    found, _ = resolve(Facts(user=user, guest=guest, guests=Guests.MINT), answers)
    assert found.identity == ANONYMOUS
    assert found.ended == "reuse"
    assert found.clear_user
    assert found.clear_guest or guest is ABSENT


@pytest.mark.parametrize("guest", Freshness)
def test_outage_with_a_recent_validation_keeps_the_user_degraded(guest: Freshness) -> None:
    # B4 row 5
    found, _ = resolve(Facts(user=LIVE, guest=guest, guests=Guests.MINT), {CHECK_USER: STALE_USER})
    assert found == Resolution(STALE_USER, bearer="user")


def test_outage_while_due_uses_the_token_as_long_as_it_is_good() -> None:
    # DESIGN: timeout, 5xx -> token still valid: use it
    answers: dict[Ask, Answer] = {REFRESH_USER: Unreachable(), CHECK_USER: USER}
    found, _ = resolve(Facts(user=DUE, guests=Guests.MINT), answers)
    assert found == Resolution(USER, bearer="user")


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize("user", [LIVE, DUE, EXPIRED])
@pytest.mark.parametrize("limited", [False, True])
def test_outage_without_knowledge_is_anonymous_degraded(
    user: Freshness, guest: Freshness, limited: bool
) -> None:
    # B4 row 6
    silence = Unreachable(limited=limited)
    facts = Facts(user=user, guest=guest, guests=Guests.MINT)
    found, asked = resolve(facts, {CHECK_USER: silence, REFRESH_USER: silence})
    assert found == Resolution(ANONYMOUS_DEGRADED)
    assert MINT_GUEST not in asked


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize("refusal", [Forbidden(), Forbidden("token_type_refused")])
def test_forbidden_user_is_anonymous_and_keeps_the_cookies(guest: Freshness, refusal: Forbidden) -> None:
    # B4 row 7
    facts = Facts(user=LIVE, guest=guest, guests=Guests.MINT)
    assert resolve(facts, {CHECK_USER: refusal}) == (
        Resolution(ANONYMOUS, forbidden=refusal.code),
        [CHECK_USER],
    )


@pytest.mark.parametrize("guests", [Guests.KNOWN, Guests.MINT])
def test_valid_guest_is_a_guest(guests: Guests) -> None:
    # B4 row 8
    assert resolve(Facts(guest=LIVE, guests=guests), {CHECK_GUEST: GUEST}) == (
        Resolution(GUEST, bearer="guest"),
        [CHECK_GUEST],
    )


@pytest.mark.parametrize(
    ("guest", "asked"), [(EXPIRED, [REFRESH_GUEST]), (LIVE, [CHECK_GUEST, REFRESH_GUEST])]
)
@pytest.mark.parametrize("guests", [Guests.KNOWN, Guests.MINT])
def test_old_guest_is_refreshed_first(guest: Freshness, asked: list[Ask], guests: Guests) -> None:
    # B4 row 9
    answers: dict[Ask, Answer] = {CHECK_GUEST: Rejected(), REFRESH_GUEST: GUEST}
    found = resolve(Facts(guest=guest, guests=guests), answers)
    assert found == (Resolution(GUEST, bearer="guest"), asked)


@pytest.mark.parametrize("reason", ["expired", "revoked", "reuse"])
def test_refused_guest_is_replaced_by_a_new_one(reason: Reason) -> None:
    # B4 row 9
    answers: dict[Ask, Answer] = {REFRESH_GUEST: Rejected(reason), MINT_GUEST: FRESH_GUEST}
    found, asked = resolve(Facts(guest=EXPIRED, guests=Guests.MINT), answers)
    assert (found.identity, found.bearer, found.ended) == (FRESH_GUEST, "guest", None)
    assert asked == [REFRESH_GUEST, MINT_GUEST]


def test_refused_guest_is_nobody_where_none_is_minted() -> None:
    found, _ = resolve(Facts(guest=EXPIRED, guests=Guests.KNOWN), {REFRESH_GUEST: Rejected()})
    assert found == Resolution(ANONYMOUS, clear_guest=True)


@pytest.mark.parametrize("guests", [Guests.KNOWN, Guests.MINT])
def test_outage_about_a_guest_is_anonymous_degraded(guests: Guests) -> None:
    # B5.2
    found, asked = resolve(Facts(guest=LIVE, guests=guests), {CHECK_GUEST: Unreachable()})
    assert found == Resolution(ANONYMOUS_DEGRADED)
    assert asked == [CHECK_GUEST]


def test_forbidden_guest_is_anonymous_and_keeps_the_cookie() -> None:
    found, _ = resolve(Facts(guest=LIVE, guests=Guests.MINT), {CHECK_GUEST: Forbidden()})
    assert found == Resolution(ANONYMOUS, forbidden="access_denied")


def test_visitor_becomes_a_guest_where_one_is_wanted() -> None:
    # B4 row 10
    found = resolve(Facts(guests=Guests.MINT), {MINT_GUEST: FRESH_GUEST})
    assert found == (Resolution(FRESH_GUEST, bearer="guest"), [MINT_GUEST])


def test_minted_guest_is_a_guest_whatever_its_record_says() -> None:
    found, _ = resolve(Facts(guests=Guests.MINT), {MINT_GUEST: replace(USER, roles=("admin",))})
    assert (found.identity.kind, found.bearer) == ("guest", "guest")


@pytest.mark.parametrize("guests", [Guests.KNOWN, Guests.IGNORE])
def test_visitor_stays_anonymous_elsewhere(guests: Guests) -> None:
    # B4 row 10
    assert resolve(Facts(guests=guests), {}) == (Resolution(ANONYMOUS), [])


@pytest.mark.parametrize(("limited", "mint"), [(False, "failed"), (True, "limited")])
def test_visitor_without_a_guest_is_anonymous_and_not_degraded(limited: bool, mint: str) -> None:
    # B5.2
    found, _ = resolve(Facts(guests=Guests.MINT), {MINT_GUEST: Unreachable(limited=limited)})
    assert (found.identity, found.bearer, found.mint) == (ANONYMOUS, None, mint)
    assert (found.clear_user, found.clear_guest) == (False, False)


def test_guest_type_in_the_user_cookie_is_a_guest() -> None:
    # B4.1
    found, asked = resolve(Facts(user=LIVE, guest=LIVE, guests=Guests.MINT), {CHECK_USER: GUEST})
    assert (found.identity.kind, found.bearer, asked) == ("guest", "user", [CHECK_USER])
    assert (found.clear_user, found.clear_guest) == (False, False)


def test_user_in_the_guest_cookie_is_a_guest() -> None:
    # B4.1
    found, _ = resolve(Facts(guest=LIVE, guests=Guests.MINT), {CHECK_GUEST: USER})
    assert not found.identity.is_authenticated


def test_backend_that_cannot_refresh_ends_an_expired_session() -> None:
    # B6.6
    found, asked = resolve(Facts(user=EXPIRED, refreshable=False), {})
    assert found == Resolution(ANONYMOUS, clear_user=True, ended="expired")
    assert asked == []


@pytest.mark.parametrize("user", [LIVE, DUE])
def test_backend_that_cannot_refresh_still_judges_a_token_that_is_good(user: Freshness) -> None:
    found, _ = resolve(Facts(user=user, refreshable=False), {CHECK_USER: USER})
    assert found == Resolution(USER, bearer="user")
    found, _ = resolve(Facts(user=user, refreshable=False), {CHECK_USER: Rejected("revoked")})
    assert found == Resolution(ANONYMOUS, clear_user=True, ended="revoked")


def test_trusted_user_token_is_used_and_nothing_is_cleared() -> None:
    found, _ = resolve(Facts(user=LIVE, guest=LIVE, guests=Guests.MINT), {CHECK_USER: Trusted()})
    assert found.bearer == "user"
    assert (found.clear_user, found.clear_guest) == (False, False)
    assert not found.identity.degraded


def test_trusted_guest_token_is_used() -> None:
    found, _ = resolve(Facts(guest=LIVE, guests=Guests.MINT), {CHECK_GUEST: Trusted()})
    assert found.bearer == "guest"
    assert not found.clear_guest


@pytest.mark.parametrize("reason", ["expired", "revoked", "reuse"])
@pytest.mark.parametrize("known", [USER, GUEST, STALE_USER, Trusted(), Unreachable(), Forbidden()])
def test_refused_refresh_after_a_401_elsewhere_overrules_an_earlier_check(
    known: Answer, reason: Reason
) -> None:
    # B6.6, B7.7
    facts = Facts(user=LIVE).learn(CHECK_USER, known).learn(REFRESH_USER, Rejected(reason))
    found, asked = resolve(facts, {})
    assert (found.identity, found.bearer, found.ended) == (ANONYMOUS, None, reason)
    assert found.clear_user
    assert asked == []


def test_refused_guest_refresh_overrules_an_earlier_check() -> None:
    facts = Facts(guest=LIVE, guests=Guests.KNOWN).learn(CHECK_GUEST, GUEST)
    found, _ = resolve(facts.learn(REFRESH_GUEST, Rejected()), {})
    assert found == Resolution(ANONYMOUS, clear_guest=True)


# What is known


def test_facts_remember_what_was_answered() -> None:
    facts = Facts(user=LIVE).learn(CHECK_USER, USER)
    assert facts.answer(CHECK_USER) == USER
    assert facts.answer(REFRESH_USER) is None
    assert facts.user is LIVE


@pytest.mark.parametrize("answer", [USER, STALE_USER, Forbidden(), Unreachable()])
def test_an_unclear_check_is_forgotten_by_who_only_needs_a_bearer(answer: Answer) -> None:
    facts = Facts(user=LIVE, guest=LIVE).learn(CHECK_USER, answer).learn(CHECK_GUEST, answer)
    assert facts.forget_checks().answers == ()


def test_a_clear_no_is_never_forgotten() -> None:
    facts = Facts(user=LIVE).learn(CHECK_USER, Rejected()).learn(REFRESH_USER, Rejected("revoked"))
    assert facts.forget_checks() == facts


def test_only_checks_are_forgotten() -> None:
    facts = Facts(user=DUE, guests=Guests.MINT).learn(REFRESH_USER, Unreachable())
    facts = facts.learn(MINT_GUEST, Unreachable(limited=True))
    assert facts.forget_checks() == facts


@pytest.mark.parametrize("guest", Freshness)
@pytest.mark.parametrize("guests", Guests)
def test_whoever_logged_out_meanwhile_is_no_guest(guest: Freshness, guests: Guests) -> None:
    # B6.4: the request was on its way when they left
    facts = Facts(user=EXPIRED, guest=guest, guests=guests).learn(REFRESH_USER, Rejected("logged_out"))
    assert next_step(facts) == Resolution(clear_user=True, ended="logged_out")


@pytest.mark.parametrize("facts", ALL_FACTS)
def test_trust_settles_what_checks_would_and_asks_no_check(facts: Facts) -> None:
    step = first_step_of_trust(facts)
    if isinstance(step, Ask):
        assert step not in (CHECK_USER, CHECK_GUEST)
    else:
        end, asked = resolve(facts, {CHECK_USER: Trusted(), CHECK_GUEST: Trusted()})
        assert (step, set(asked) <= {CHECK_USER, CHECK_GUEST}) == (end, True)
