"""Who is asking: facts in, the next question or the resolution out.

The driver loops: ``while isinstance(step := next_step(facts), Ask): facts = facts.learn(step, answer(step))``. It ends after at
most four questions and never asks one twice. A cookie is cleared only when the backend rejected its token or a better identity
replaced it: an outage never logs anyone out.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import Literal, NamedTuple, assert_never

from .identity import (
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
from .session import Freshness


class Ask(Enum):
    """A question that only the backend can answer."""

    CHECK_USER = "check user"
    REFRESH_USER = "refresh user"
    CHECK_GUEST = "check guest"
    REFRESH_GUEST = "refresh guest"
    MINT_GUEST = "mint guest"


class Guests(Enum):
    """What this request may do about guests: ignore them, read the guest they are, or also mint one."""

    IGNORE = "ignore"
    KNOWN = "known"
    MINT = "mint"


# Every gated request makes three of these two, and a frozen dataclass takes thrice as long as a tuple.
class Facts(NamedTuple):
    """What is known so far.

    :param refreshable: the backend has a refresh endpoint.
    :param fallback: a user whose session ended may go on as a guest.
    """

    user: Freshness = Freshness.ABSENT
    guest: Freshness = Freshness.ABSENT
    guests: Guests = Guests.IGNORE
    refreshable: bool = True
    fallback: bool = True
    answers: tuple[tuple[Ask, Answer], ...] = ()

    def learn(self, ask: Ask, answer: Answer) -> Facts:
        answers = (*self.answers, (ask, answer))
        # Spelled out: every gated request comes by here.
        return Facts(self.user, self.guest, self.guests, self.refreshable, self.fallback, answers)

    def answer(self, ask: Ask) -> Answer | None:
        for asked, answer in self.answers:
            if asked is ask:
                return answer
        return None

    def forget_checks(self) -> Facts:
        """The same facts for somebody who only needs a bearer: a check that was not a clear no is left to the backend."""
        if not self.answers:
            return self
        kept = (
            (ask, answer)
            for ask, answer in self.answers
            if isinstance(answer, Rejected) or ask not in (Ask.CHECK_USER, Ask.CHECK_GUEST)
        )
        return self._replace(answers=tuple(kept))


class Resolution(NamedTuple):
    """Who is asking, whose token goes to the backend, and which cookies have lost their meaning.

    :param bearer: the cookie whose access token may be used upstream.
    :param ended: why the user's session ended in this request.
    :param forbidden: the problem code with which the backend's 403 is passed on.
    :param mint: why a guest that was wanted could not be minted.
    """

    identity: Identity = ANONYMOUS
    bearer: Literal["user", "guest"] | None = None
    clear_user: bool = False
    clear_guest: bool = False
    ended: Reason | None = None
    forbidden: Literal["access_denied", "token_type_refused"] | None = None
    mint: Literal["failed", "limited"] | None = None


def next_step(facts: Facts) -> Ask | Resolution:
    """The next question, or the resolution when there is nothing left to ask."""
    if facts.user is Freshness.LIVE and not facts.answers:
        # As below, only sooner: this is how nearly every request of a user begins.
        return Ask.CHECK_USER
    if facts.user is Freshness.ABSENT:
        return _as_guest(facts)
    verdict = _judge(facts, facts.user, check=Ask.CHECK_USER, refresh=Ask.REFRESH_USER)
    match verdict:
        case Identity():
            replaced = verdict.is_authenticated and not verdict.degraded
            return Resolution(verdict, "user", clear_guest=replaced and facts.guest is not Freshness.ABSENT)
        case Ask():
            return verdict
        case Trusted():
            return Resolution(bearer="user")
        case Forbidden():
            return Resolution(forbidden=verdict.code)
        case Unreachable():
            # An outage must not log anyone out: leave both cookies alone.
            return Resolution(ANONYMOUS_DEGRADED)
        case Rejected():
            return _after_the_end(facts, verdict.reason)
    assert_never(verdict)


@lru_cache(maxsize=64)
def first_step_of_trust(facts: Facts) -> Ask | Resolution:
    """The first step for somebody who only needs a bearer: a token that nobody has refused is taken without a question.

    :param facts: without any answers.
    """
    step = next_step(facts)
    while step in (Ask.CHECK_USER, Ask.CHECK_GUEST):
        facts = facts.learn(step, Trusted())
        step = next_step(facts)
    return step


def _after_the_end(facts: Facts, reason: Reason) -> Ask | Resolution:
    """The user's session is over: on as a guest where that is allowed.

    Never after a reuse, which may be theft, and not when somebody logged out while this request was on its way.
    """
    if reason == "logged_out":
        return Resolution(clear_user=True, ended=reason)
    if reason == "reuse":
        clear_guest = facts.guest is not Freshness.ABSENT
        return Resolution(clear_user=True, clear_guest=clear_guest, ended=reason)
    step = _as_guest(facts) if facts.fallback else Resolution()
    return step if isinstance(step, Ask) else step._replace(clear_user=True, ended=reason)


def _as_guest(facts: Facts) -> Ask | Resolution:
    if facts.guests is Guests.IGNORE:
        return Resolution()
    if facts.guest is Freshness.ABSENT:
        return _mint(facts)
    verdict = _judge(facts, facts.guest, check=Ask.CHECK_GUEST, refresh=Ask.REFRESH_GUEST)
    match verdict:
        case Identity():
            # Whatever the record says, the guest cookie never makes a user.
            return Resolution(replace(verdict, kind="guest"), "guest")
        case Ask():
            return verdict
        case Trusted():
            return Resolution(bearer="guest")
        case Forbidden():
            return Resolution(forbidden=verdict.code)
        case Unreachable():
            return Resolution(ANONYMOUS_DEGRADED)
        case Rejected():
            step = _mint(facts)
            return step if isinstance(step, Ask) else step._replace(clear_guest=True)
    assert_never(verdict)


def _mint(facts: Facts) -> Ask | Resolution:
    if facts.guests is not Guests.MINT:
        return Resolution()
    match facts.answer(Ask.MINT_GUEST):
        case None:
            return Ask.MINT_GUEST
        case Identity() as guest:
            return Resolution(replace(guest, kind="guest"), "guest")
        case Trusted():
            return Resolution(bearer="guest")
        case Unreachable(limited=True):
            return Resolution(mint="limited")
        case _:
            return Resolution(mint="failed")


def _judge(facts: Facts, token: Freshness, *, check: Ask, refresh: Ask) -> Ask | Answer:
    """What the backend says of one cookie's token, or the question to put to it."""
    checked, refreshed = facts.answer(check), facts.answer(refresh)
    if refreshed is not None:
        return _after_refresh(token, checked, refreshed, check)
    if token is Freshness.EXPIRED or (token is Freshness.DUE and checked is None):
        return refresh if _may_refresh(facts) else _without_refresh(token, checked, check)
    if isinstance(checked, Rejected) and _may_refresh(facts):
        return refresh
    return checked or check


def _may_refresh(facts: Facts) -> bool:
    # Four questions are the most: with three asked and a new guest allowed, that is what a rejected guest gets.
    return facts.refreshable and len(facts.answers) < (3 if facts.guests is Guests.MINT else 4)


def _without_refresh(token: Freshness, checked: Answer | None, check: Ask) -> Ask | Answer:
    return Rejected("expired") if token is Freshness.EXPIRED else checked or check


def _after_refresh(token: Freshness, checked: Answer | None, refreshed: Answer, check: Ask) -> Ask | Answer:
    if not isinstance(refreshed, Unreachable) or token is not Freshness.DUE:
        return refreshed
    # The refresh met an outage, but the old token still has seconds to live: use it.
    if checked is None:
        return check
    return refreshed if isinstance(checked, Rejected) else checked
