"""Operations' input, the PTASK engineer's answers and decision: what stands, what counts, who may not speak.

Whether an input counts is computed, never stored: the digest that was seen is the digest now, and whoever gave it had no
hand in the change, even when that is heard later. Only the open questions survive a change: an item that operations
raised stays open until it is answered, or until the same person gives another input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reviewer.domain.digest import changed, in_words
from services.reviewer.domain.known import Facts
from shared.access import person, subject
from shared.contracts import (
    CRChanged,
    CRDeployed,
    CRRegistered,
    GoDecided,
    ItemAnswer,
    ReviewAcknowledged,
    ReviewGiven,
    ReviewItem,
)
from shared.contracts.reviews import Verdict
from shared.errors import Conflict, Forbidden, Invalid, Stale


@dataclass(frozen=True)
class Item:
    """One thing that operations wants answered, and the answer."""

    id: str
    text: str
    answer: str | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True)
class Review:
    """One input. `counts` when it is bound to the dossier as it is, by somebody who had no hand in the change."""

    review_id: str
    verdict: Verdict
    comment: str
    items: tuple[Item, ...]
    by: str
    at: datetime
    digest: str
    counts: bool
    is_last_of_person: bool
    changed: tuple[str, ...] = ()
    why_not: str = ""  #: one sentence, when it does not count

    @property
    def open_items(self) -> tuple[Item, ...]:
        """Unanswered items that stand in the way, whether or not the input still counts."""
        if self.verdict == "ready" or not self.is_last_of_person:
            return ()
        return tuple(item for item in self.items if item.answer is None)


@dataclass(frozen=True)
class Go:
    """The PTASK engineer's decision. `counts` when it is bound to the dossier as it is."""

    decision: str
    reason: str
    by: str
    at: datetime
    digest: str
    counts: bool
    changed: tuple[str, ...] = ()


def hands_in(facts: Facts) -> dict[str, tuple[str, str]]:
    """Subject -> (as whom they were named, in which way they had a hand in the change): they give no input on it.

    The whole set, however late it is heard, and whoever vouches for the name.
    """
    found: dict[str, tuple[str, str]] = {}

    def had(who: str, hand: str) -> None:
        found.setdefault(subject(who), (person(who), hand))

    for kind in (CRRegistered, CRChanged):
        for fact in facts.of(kind):
            had(fact.data.author, "wrote this change")
            had(fact.data.ptask, "is the PTASK engineer of this change")
            had(fact.actor, "registered or changed this change")
    for deployed in facts.of(CRDeployed):
        had(deployed.data.deployer, "deployed this change")
        had(deployed.actor, "reported the deployment of this change")
    return found


def _hand(hands: Mapping[str, tuple[str, str]], who: str) -> str:
    """In which way `who` had a hand in the change; empty when they had none."""
    named, hand = hands.get(subject(who), (who, ""))
    return hand if named == who else f"{hand}, named as {named}"


def reviews(facts: Facts, everything: Facts, digest: str, parts: Mapping[str, str]) -> tuple[Review, ...]:
    """Every input known in `facts`, oldest first, judged against the dossier's digest."""
    given = facts.of(ReviewGiven)
    hands = hands_in(everything)
    answers: dict[tuple[str, str], tuple[ItemAnswer, str, datetime]] = {}
    for acknowledged in facts.of(ReviewAcknowledged):
        for answer in acknowledged.data.answers:
            answers[answer.review_id, answer.item_id] = (answer, acknowledged.data.by, acknowledged.data.at)
    last = {subject(fact.data.by): fact.data.review_id for fact in given if subject(fact.data.by) not in hands}
    found = []
    for fact in given:
        data = fact.data
        differs = changed(data.parts, parts) if data.digest != digest else ()
        is_last = last.get(subject(data.by)) == data.review_id
        why_not = ""
        if hand := _hand(hands, data.by):
            why_not = f"{data.by} {hand}, so this input does not count."
        elif data.digest != digest:
            why_not = f"Void: {in_words(differs)} after it was given."
        elif not is_last:
            why_not = f"{data.by} gave another input later."
        found.append(
            Review(
                data.review_id,
                data.verdict,
                data.comment,
                tuple(_item(item, answers.get((data.review_id, item.id))) for item in data.items),
                data.by,
                data.at,
                data.digest,
                not why_not,
                is_last,
                differs,
                why_not,
            )
        )
    return tuple(found)


def _item(item: ReviewItem, answered: tuple[ItemAnswer, str, datetime] | None) -> Item:
    if answered is None:
        return Item(item.id, item.text)
    return Item(item.id, item.text, answered[0].answer, answered[1], answered[2])


def go(facts: Facts, digest: str, parts: Mapping[str, str]) -> Go | None:
    """The last decision, and whether it still holds."""
    decided = facts.of(GoDecided)
    if not decided:
        return None
    last = decided[-1].data
    differs = changed(last.parts, parts) if last.digest != digest else ()
    return Go(last.decision, last.reason, last.by, last.at, last.digest, last.digest == digest, differs)


# -- what people may say ----------------------------------------------------------------------------------------------


def check_digest(seen: str, digest: str, parts: Mapping[str, str], known: Mapping[str, Mapping[str, str]]) -> None:
    """Raise Stale when the caller looked at another dossier than the present one; `known`: parts by digest heard of."""
    if seen == digest:
        return
    before = known.get(seen)
    if before is None:
        raise Stale("The digest is not that of the present dossier. Read the dossier again, then decide.")
    raise Stale(f"Since that digest {in_words(changed(before, parts))}. Read the dossier again, then decide.")


def check_open(cr_id: str, is_withdrawn: bool, deployed_at: datetime | None) -> None:
    """Raise Conflict when there is nothing left to decide before a deploy."""
    if deployed_at is not None:
        raise Conflict(f"{cr_id} was deployed at {deployed_at:%Y-%m-%d %H:%M} UTC; what was said before it stands.")
    if is_withdrawn:
        raise Conflict(f"{cr_id} is withdrawn.")


def check_reviewer(who: str, facts: Facts) -> None:
    """Raise Forbidden for anybody who had a hand in the change."""
    if hand := _hand(hands_in(facts), who):
        raise Forbidden(f"{who} {hand}, and gives no input on it.")


def check_ptask(who: str, ptask: str | None) -> None:
    """Raise Forbidden unless `who` is the PTASK engineer that the CR names."""
    if ptask is None:
        raise Conflict("The change request has not been heard yet, so nobody knows its PTASK engineer.")
    if who != person(ptask):
        raise Forbidden(f"This is for the PTASK engineer of the change, {ptask}, alone.")


def items_of(verdict: Verdict, items: Sequence[tuple[str | None, str]], comment: str) -> tuple[ReviewItem, ...]:
    """The items of an input, numbered where they have no id. Raises Invalid when a no says nothing to answer."""
    found = [ReviewItem(id=name or str(number), text=text) for number, (name, text) in enumerate(items, 1)]
    if len({item.id for item in found}) != len(found):
        raise Invalid("Two items have the same id.", fields=[{"path": "body.items", "message": "ids must differ"}])
    if verdict != "ready" and not found:
        if not comment.strip():
            raise Invalid(
                f"{verdict} needs at least one item, or a comment: the PTASK engineer must know what to answer.",
                fields=[{"path": "body.items", "message": "is empty"}],
            )
        found = [ReviewItem(id="comment", text=comment)]
    return tuple(found)


def check_answers(answers: Sequence[ItemAnswer], given: Sequence[Review]) -> None:
    """Raise Invalid when an answer is to no item of any input, or two are to the same."""
    items = {(review.review_id, item.id) for review in given for item in review.items}
    wanted = [(answer.review_id, answer.item_id) for answer in answers]
    wrong = [f"{review_id}/{item_id}" for review_id, item_id in wanted if (review_id, item_id) not in items]
    if wrong:
        fields = [{"path": "body.answers", "message": "no such item"}]
        raise Invalid(f"There is no such item: {', '.join(wrong[:5])}.", fields=fields)
    if len(set(wanted)) != len(wanted):
        fields = [{"path": "body.answers", "message": "two are to the same item"}]
        raise Invalid("Two answers are to the same item.", fields=fields)


def check_answered(given: Sequence[Review], answers: Sequence[ItemAnswer]) -> None:
    """Raise Conflict while an item of operations is unanswered, counting `answers` as given."""
    fresh = {(answer.review_id, answer.item_id) for answer in answers}
    open_items = [
        f"{review.review_id}/{item.id}"
        for review in given
        for item in review.open_items
        if (review.review_id, item.id) not in fresh
    ]
    if open_items:
        raise Conflict(f"Operations waits for an answer to {', '.join(open_items[:5])}; answer, then decide.")
