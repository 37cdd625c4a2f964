"""Saying: operations' input, the PTASK engineer's answers and decision, the gate's answers, and what follows by itself.

What we say is kept in the same transaction, under the id under which it comes back by the bus: so whoever asks next sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.reviewer import store
from services.reviewer.commands import AcknowledgeReview, Answered, DecideGo, GiveReview
from services.reviewer.domain import gate, review
from services.reviewer.domain.dossier import Dossier
from services.reviewer.domain.gate import GateAnswer
from services.reviewer.domain.known import Facts
from services.reviewer.domain.review import Review
from services.reviewer.handlers.seen import Deps, how_fresh, keys_of, load, wait_for
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import (
    Event,
    Fact,
    GateAnswered,
    GoDecided,
    ItemAnswer,
    ReviewAcknowledged,
    ReviewGiven,
    ReviewRequested,
    ReviewVoided,
)
from shared.db import Appointment, Tx
from shared.errors import Conflict, Invalid
from shared.jsons import dumps


class _Desk:
    """The CR's row is locked: what we say now is in order, and nobody decides on the same dossier meanwhile."""

    def __init__(self, tx: Tx, dossier: Dossier, version: int) -> None:
        self.tx, self.dossier, self.version = tx, dossier, version

    async def say(self, fact: Fact) -> str:
        """Emit a fact and keep it here at once; its event id."""
        self.version += 1
        tx, policy_version = self.tx, self.dossier.before.policy_version
        event_id = tx.emit(fact, sequence=self.version, policy_version=policy_version)
        store.keep(
            tx,
            Event(
                id=event_id,
                source=f"daymark/{tx.service}",
                type=fact.type,
                time=tx.now,
                key=fact.key,
                sequence=self.version,
                actor=tx.actor,
                data=fact,
                policy_version=policy_version,
                cause=tx.cause,
            ),
        )
        await store.leave_desk(tx, self.dossier.cr_id, self.version)
        return event_id


async def _take(tx: Tx, cr_id: str, action: str | None) -> _Desk:
    """Judge the caller, lock the CR's desk, and read the dossier under that lock."""
    if action is not None:
        product_id = await store.product_of(tx, cr_id)
        tx.may(action, product_id, of=cr_id)
        await load(tx, cr_id)  # an unknown CR gets no desk
    version = await store.take_desk(tx, cr_id)
    return _Desk(tx, await load(tx, cr_id), version)


# -- operations -------------------------------------------------------------------------------------------------------


async def give_review(deps: Deps, call: Call, command: GiveReview) -> Answer:
    """Operations' input on the dossier as it is now. Raises Stale, Conflict, Forbidden, NotFound, Invalid."""
    async with deps.db.tx(call) as tx:
        desk = await _take(tx, command.cr_id, "give_review")
        dossier = desk.dossier
        before = dossier.before
        review.check_reviewer(person(tx.actor), Facts(dossier.facts))
        _check_open(dossier)
        review.check_digest(command.digest, before.digest, before.parts, _digests_heard(dossier))
        items = review.items_of(command.verdict, [(item.id, item.text) for item in command.items], command.comment)
        review_id = await store.next_review_id(tx)
        await desk.say(
            ReviewGiven(
                cr_id=dossier.cr_id,
                product_id=dossier.product_id,
                digest=before.digest,
                parts=before.parts,
                at=tx.now,
                review_id=review_id,
                verdict=command.verdict,
                comment=command.comment,
                items=items,
                by=person(tx.actor),
            )
        )
        tx.audit(
            dossier.cr_id,
            revision=desk.version,
            evidence=[before.digest],
            policy_version=before.policy_version,
            review_id=review_id,
            verdict=command.verdict,
        )
        said = {
            "review_id": review_id,
            "cr_id": dossier.cr_id,
            "verdict": command.verdict,
            "digest": before.digest,
            "items": items,
            "by": tx.actor,
            "at": tx.now,
        }
        return tx.answer(201, said, location=f"/reviewer/v1/change-requests/{dossier.cr_id}/dossier")


# -- the PTASK engineer -----------------------------------------------------------------------------------------------


async def acknowledge_review(deps: Deps, call: Call, cr_id: str, command: AcknowledgeReview) -> Answer:
    """The PTASK engineer has read an input and answers its items."""
    async with deps.db.tx(call) as tx:
        desk = await _take(tx, cr_id, "acknowledge_review")
        dossier = desk.dossier
        review.check_ptask(person(tx.actor), dossier.cr.ptask if dossier.cr else None)
        _check_open(dossier)
        answers = _answers(command.answers, dossier.before.reviews, command.review_id)
        wanted = {answer.review_id for answer in answers} | ({command.review_id} if command.review_id else set())
        if not wanted:
            raise Invalid("Say which input you acknowledge: `review_id`, or answers to its items.")
        if missing := wanted - {each.review_id for each in dossier.before.reviews}:
            raise Invalid(f"There is no such input on {cr_id}: {', '.join(sorted(missing))}.")
        await _acknowledge(desk, wanted, answers)
        tx.audit(
            cr_id,
            revision=desk.version,
            evidence=[dossier.before.digest],
            policy_version=dossier.before.policy_version,
            reviews=sorted(wanted),
            answers=len(answers),
        )
        said = {"cr_id": cr_id, "reviews": sorted(wanted), "answers": answers, "by": tx.actor, "at": tx.now}
        return tx.answer(200, said)


async def decide_go(deps: Deps, call: Call, cr_id: str, command: DecideGo) -> Answer:
    """Go or no-go by the PTASK engineer that the CR names; a go waits until every item is answered."""
    async with deps.db.tx(call) as tx:
        desk = await _take(tx, cr_id, "decide_go")
        dossier = desk.dossier
        before = dossier.before
        review.check_ptask(person(tx.actor), dossier.cr.ptask if dossier.cr else None)
        _check_open(dossier)
        review.check_digest(command.digest, before.digest, before.parts, _digests_heard(dossier))
        if command.decision == "no_go" and not command.reason:
            raise Invalid("A no-go needs its reason.", fields=[{"path": "body.reason", "message": "is empty"}])
        answers = _answers(command.answers, before.reviews, None)
        review.check_answered(before.reviews, answers)
        await _acknowledge(desk, {answer.review_id for answer in answers}, answers)
        await desk.say(
            GoDecided(
                cr_id=cr_id,
                product_id=dossier.product_id,
                digest=before.digest,
                parts=before.parts,
                at=tx.now,
                decision=command.decision,
                reason=command.reason,
                by=person(tx.actor),
            )
        )
        tx.audit(
            cr_id,
            revision=desk.version,
            evidence=[before.digest],
            policy_version=before.policy_version,
            decision=command.decision,
            answers=len(answers),
        )
        said = {
            "cr_id": cr_id,
            "decision": command.decision,
            "reason": command.reason,
            "digest": before.digest,
            "by": tx.actor,
            "at": tx.now,
        }
        return tx.answer(200, said)


async def _acknowledge(desk: _Desk, reviews: Iterable[str], answers: Sequence[ItemAnswer]) -> None:
    """One fact for each input that is acknowledged."""
    before = desk.dossier.before
    for review_id in sorted(reviews):
        await desk.say(
            ReviewAcknowledged(
                cr_id=desk.dossier.cr_id,
                product_id=desk.dossier.product_id,
                digest=before.digest,
                parts=before.parts,
                at=desk.tx.now,
                review_id=review_id,
                by=person(desk.tx.actor),
                answers=tuple(answer for answer in answers if answer.review_id == review_id),
            )
        )


def _answers(given: Sequence[Answered], reviews: Sequence[Review], default: str | None) -> list[ItemAnswer]:
    """Answers, each to its input; where only one has that item unanswered (or at all), it need not be named."""
    found = []
    for answer in given:
        review_id = answer.review_id or default
        if review_id is None:
            having = [each for each in reviews if any(item.id == answer.item_id for item in each.items)]
            waiting = [each for each in having if any(item.id == answer.item_id for item in each.open_items)]
            among = waiting or having
            if len(among) != 1:
                raise Invalid(
                    f"Say which input's item {answer.item_id} is meant: {len(among)} have one.",
                    fields=[{"path": "body.answers.review_id", "message": "is needed here"}],
                )
            review_id = among[0].review_id
        found.append(ItemAnswer(review_id=review_id, item_id=answer.item_id, answer=answer.answer))
    review.check_answers(found, reviews)
    return found


def _check_open(dossier: Dossier) -> None:
    deployed = dossier.deployed
    review.check_open(
        dossier.cr_id, dossier.withdrawn is not None, deployed.deploy.deployed_at if deployed is not None else None
    )
    if dossier.cr is None:
        raise Conflict(
            f"The registration of {dossier.cr_id} has not been heard yet; try again shortly.", retry_after_s=2
        )


def _digests_heard(dossier: Dossier) -> dict[str, dict[str, str]]:
    """Parts of every digest that was ever said of this CR: so a stale caller can be told what changed."""
    found: dict[str, dict[str, str]] = {}
    for fact in dossier.facts:
        digest, parts = getattr(fact.data, "digest", None), getattr(fact.data, "parts", None)
        if digest and parts:
            found[digest] = parts
    return found


# -- the gate ---------------------------------------------------------------------------------------------------------


async def ask_gate(deps: Deps, call: Call, cr_id: str, heard: str | None) -> Answer:
    """May this CR go? Every new answer is stored and is a fact.

    Who asks again within the policy's freshness limit and would hear the same gets the same stored answer.
    """
    not_heard = None if heard is None or await wait_for(deps, call, heard) else heard
    async with deps.db.read(call) as tx:
        tx.may("ask_gate", await store.product_of(tx, cr_id), of=cr_id)
        dossier = await load(tx, cr_id)
        found = gate.answer(dossier, await how_fresh(tx, keys_of(dossier), not_heard=not_heard), tx.now)
        last = _same_as_last(dossier, found, tx.actor)
        if last is not None:
            return Answer(200, dumps(_said_by_gate(found, last)))
    async with deps.db.tx(replace(call, once=None)) as tx:
        # How far we have heard is asked before the facts are read: what arrives in between is in the answer, not claimed.
        fresh = await how_fresh(tx, keys_of(dossier), not_heard=not_heard)
        desk = await _take(tx, cr_id, "ask_gate")
        dossier = desk.dossier
        found = gate.answer(dossier, fresh, tx.now)
        answer_id = await store.next_answer_id(tx)
        await desk.say(
            GateAnswered(
                cr_id=cr_id,
                product_id=dossier.product_id,
                digest=found.digest,
                parts=found.parts,
                at=tx.now,
                answer_id=answer_id,
                go=found.go,
                is_ready=found.is_ready,
                enforcement=found.enforcement,
                reasons=found.reasons,
                as_of=found.as_of,
                asked_by=tx.actor,
            )
        )
        tx.audit(
            cr_id,
            revision=desk.version,
            evidence=[found.digest],
            policy_version=found.policy_version,
            answer_id=answer_id,
            go=found.go,
            reasons=[reason.code for reason in found.reasons],  # an answer under no policy version says so here as well
        )
        return tx.answer(200, _said_by_gate(found, answer_id))


def _same_as_last(dossier: Dossier, found: GateAnswer, asked_by: str) -> str | None:
    """The id of the last answer when it was this one's twin: same asker, same words, not older than the facts may be."""
    last = dossier.answers[-1] if dossier.answers else None
    policy = dossier.before.policy
    if last is None or policy is None or (found.at - last.at).total_seconds() > policy.freshness_s:
        return None
    then = (last.asked_by, last.go, last.is_ready, last.enforcement, [code for code, _ in last.reasons])
    now = (asked_by, found.go, found.is_ready, found.enforcement, [reason.code for reason in found.reasons])
    return last.answer_id if then == now and last.digest == found.digest else None


def _said_by_gate(found: GateAnswer, answer_id: str) -> dict[str, object]:
    return {
        "answer_id": answer_id,
        "cr_id": found.cr_id,
        "go": found.go,
        "is_ready": found.is_ready,
        "enforcement": found.enforcement,
        "reasons": found.reasons,
        "digest": found.digest,
        "policy_version": found.policy_version,
        "as_of": found.as_of,
        "at": found.at,
    }


# -- what follows by itself -------------------------------------------------------------------------------------------


async def refresh_dossier(deps: Deps, appointment: Appointment) -> None:
    """Say once per digest that an input is asked for, and once per input that it no longer holds."""
    async with deps.db.tx(appointment) as tx:
        cr_id = appointment.subject
        if await store.product_of(tx, cr_id) is None:
            return
        desk = await _take(tx, cr_id, None)
        dossier = desk.dossier
        before = dossier.before
        if dossier.cr is None or dossier.withdrawn is not None or dossier.deployed is not None:
            return
        common = {"cr_id": cr_id, "product_id": dossier.product_id, "at": tx.now}
        deployed = {each.stood.digest for each in dossier.deployments}
        said = {fact.data.review_id for fact in dossier.facts if isinstance(fact.data, ReviewVoided)}
        for each in before.reviews:
            is_void = each.changed and each.is_last_of_person and each.digest not in deployed
            if is_void and each.review_id not in said:
                await desk.say(
                    ReviewVoided(
                        **common,
                        digest=each.digest,
                        review_id=each.review_id,
                        digest_now=before.digest,
                        changed=each.changed,
                    )
                )
        asked = {fact.data.digest for fact in dossier.facts if isinstance(fact.data, ReviewRequested)}
        is_wanted = not dossier.deployments or dossier.has_reopened
        if is_wanted and before.has_evidence and before.digest not in asked:
            await desk.say(ReviewRequested(**common, digest=before.digest, parts=before.parts))


async def refresh_touched(deps: Deps, appointment: Appointment) -> None:
    """Make an appointment for each CR that facts have touched. Short: hearers wait for this one row."""
    async with deps.db.tx(appointment) as tx:
        found = await store.take_touched(tx, _AT_ONCE)
        for cr_id in found:
            tx.schedule(refresh_dossier, cr_id)
        if len(found) == _AT_ONCE:
            tx.schedule(refresh_touched, appointment.subject)


async def refresh_product(deps: Deps, appointment: Appointment) -> None:
    """Something changed that concerns every change of a product: look again at each that may still be reviewed."""
    async with deps.db.tx(appointment) as tx:
        for cr_id in await store.open_crs(tx, appointment.subject):
            tx.schedule(refresh_dossier, cr_id)


_AT_ONCE = 500

JOBS = {
    "refresh_dossier": refresh_dossier,
    "refresh_product": refresh_product,
    "refresh_touched": refresh_touched,
}
