"""One transaction: effect rows, letters, inbox row, appointments and audit row together, or none of them.

The connection is in the driver's autocommit mode and `BEGIN`/`COMMIT` are sent here, because the plumbing's own
statements go straight to asyncpg (SQLAlchemy costs 0.2 ms a statement), while rooms speak SQLAlchemy Core on it.
On `Tx.raw`, json values are read as Python values and written as text (SQLAlchemy set the connection up so).
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import orjson
from sqlalchemy import Executable, Row, Table

from shared import access
from shared.access import Principal, Rights
from shared.answers import Answer
from shared.bus import MAX_LETTER_BYTES
from shared.bus.kept import kept
from shared.contracts import Event, Fact, to_wire
from shared.db.core import Core, put
from shared.db.tables import LANES
from shared.errors import Invalid
from shared.jsons import dumps
from shared.telemetry import current_traceparent

if TYPE_CHECKING:
    import asyncpg

_Entry = tuple[int, datetime, Mapping[str, Any] | None, str | None]  #: of the agenda: revision, due at, payload, trace
Work = Literal["letters", "appointments"]  #: that a commit leaves to others: to be sent, to be done at once
_EVENTS = uuid.UUID("6f1d1d0c-6b77-5c0e-9a5e-3c4f7a2b9d10")


@dataclass(slots=True)
class Appointment:
    """A job's row, claimed: do it now. `due_at` is what was promised, however late it is.

    `is_ended`: its transaction has committed. Only that writes here.
    """

    job: str
    subject: str
    revision: int
    due_at: datetime
    payload: Mapping[str, Any]
    attempts: int  #: 1 on the first try
    token: uuid.UUID
    traceparent: str | None = None  #: of whoever scheduled it
    is_ended: bool = field(default=False, compare=False)


class StaleAppointment(Exception):
    """The appointment was moved, cancelled or claimed by another since: this run has no effect."""


@dataclass(slots=True)
class Tx:
    """What a handler, step or job holds while its one transaction is open."""

    core: Core
    raw: asyncpg.Connection
    service: str
    schema: str
    rights: Rights
    now: datetime  #: `daymark_now()` at the start: the only time that decides
    actor: str
    caller: Principal | None = None
    cause: str | None = None  #: what led to this: a request, an event heard, an appointment, or the first start
    once: tuple[str, str] | None = None  #: (scope, id) of the inbox row of a command
    id_seed: str | None = None  #: letters' ids are UUIDv5 of this and an ordinal; random without
    appointment: Appointment | None = None
    traceparent: str | None = None  #: of what is heard or kept, where no span of our own is open
    keep_appointment: bool = False  #: the job goes on in another transaction under the same appointment
    event_ids: list[str] = field(default_factory=list)
    action: str | None = None
    refused_object: str = ""
    left: set[Work] = field(default_factory=set)  #: what there is to do once this has committed
    _ordinal: int = 0
    _letters: list[tuple[Any, ...]] = field(default_factory=list)
    _audits: list[dict[str, Any]] = field(default_factory=list)
    _agenda: dict[tuple[str, str], _Entry | None] = field(default_factory=dict)
    _adds: dict[Table, list[dict[str, Any]]] = field(default_factory=dict)
    _puts: dict[Table, list[dict[str, Any]]] = field(default_factory=dict)
    _newer: dict[Table, str | None] = field(default_factory=dict)
    _answer: Answer | None = None
    _product: str | None = None

    # -- the choke point ------------------------------------------------------------------------------------------

    def may(self, action: str, product: str | None = None, *, of: str = "") -> None:
        """Return when the caller may do `action` on `product` (any product when None); else raise Forbidden.

        `of` names the object for the audit record. A step or job acts for the house and is never judged again.
        """
        self.action, self._product, self.refused_object = action, product, of
        if self.caller is not None:
            access.judge(self.caller, self.rights, action, product)

    def act_as(self, who: Principal) -> None:
        """From here on the transaction is `who`'s: for signed commands that came by the bus."""
        self.caller, self.actor = who, who.id

    # -- rows -----------------------------------------------------------------------------------------------------

    async def execute(self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Run a Core statement; the number of rows it touched."""
        result = await self.core.execute(statement, rows)
        return int(result.rowcount)

    async def all(self, statement: Executable) -> Sequence[Row[Any]]:
        return (await self.core.execute(statement)).all()

    async def one(self, statement: Executable) -> Row[Any] | None:
        """The first row, or None."""
        return (await self.core.execute(statement)).first()

    async def scalar(self, statement: Executable) -> Any:
        return (await self.core.execute(statement)).scalar()

    def add(self, table: Table, row: dict[str, Any]) -> None:
        """Write `row`, whose primary key cannot be there yet, when the transaction ends: half the cost of `put`.

        For what the inbox lets pass once. Within one transaction a table is always added to with the same columns;
        json values are given as their text.
        """
        self._adds.setdefault(table, []).append(row)

    def put(self, table: Table, row: dict[str, Any], *, newer: str | None = None) -> None:
        """Write `row` when the transaction ends, with all others of its table in one statement.

        A row whose primary key is there already stays as it is; with `newer`, it is replaced when that column grew.
        Within one transaction a table is always put to with the same columns and the same `newer`.
        """
        self._puts.setdefault(table, []).append(row)
        self._newer[table] = newer

    # -- facts ----------------------------------------------------------------------------------------------------

    def emit(self, fact: Fact, *, sequence: int, policy_version: str | None = None) -> str:
        """Put a letter in the outbox; its event id. Call it after the aggregate's row was locked or inserted.

        `sequence` is the aggregate's version after this change. Raises Invalid when the letter is too large to travel.
        """
        if fact.owner != self.service:
            raise RuntimeError(f"{fact.type} is {fact.owner}'s to say, not {self.service}'s")
        event_id = self._event_id()
        event = Event(
            id=event_id,
            source=f"daymark/{self.service}",
            type=fact.type,
            time=self.now,
            key=fact.key,
            sequence=sequence,
            actor=self.actor,
            data=fact,
            policy_version=policy_version,
            cause=self.cause,
            traceparent=current_traceparent() or self.traceparent,
        )
        value, headers = to_wire(event)
        if len(value) > MAX_LETTER_BYTES:
            raise Invalid(f"{fact.type} would be {len(value)} bytes; a fact holds at most {MAX_LETTER_BYTES}.")
        self.post(fact.topic, fact.key, value, headers, event_id)
        self.event_ids.append(event_id)
        return event_id

    def post(self, topic: str, key: str, value: bytes, headers: Iterable[tuple[str, bytes]], event_id: str) -> None:
        """A letter as bytes, for what is not a fact of ours (dead letters)."""
        lane = zlib.crc32(f"{topic}|{key}".encode()) % LANES
        self._letters.append((event_id, lane, topic, key, value, kept(headers)))

    def _event_id(self) -> str:
        if self.id_seed is None:
            return str(uuid.uuid4())
        self._ordinal += 1
        return str(uuid.uuid5(_EVENTS, f"{self.id_seed}|{self._ordinal}"))

    # -- time -----------------------------------------------------------------------------------------------------

    def schedule(
        self,
        job: Callable[..., Any] | str,
        subject: str,
        due_at: datetime | None = None,
        *,
        revision: int = 0,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        """Make, or move, the one appointment of (job, subject); due now when no time is given."""
        name = job if isinstance(job, str) else job.__name__
        self._agenda[name, subject] = (revision, due_at or self.now, payload, current_traceparent() or self.traceparent)

    def cancel(self, job: Callable[..., Any] | str, subject: str) -> None:
        self._agenda[job if isinstance(job, str) else job.__name__, subject] = None

    # -- the record -----------------------------------------------------------------------------------------------

    def audit(
        self,
        object: str,
        *,
        action: str | None = None,
        revision: int | None = None,
        evidence: Sequence[str] = (),
        policy_version: str | None = None,
        product: str | None = None,
        **detail: Any,
    ) -> None:
        """Who did what on which evidence (digests). Every command writes one; `action` defaults to what `may` judged."""
        self._audits.append(
            {
                "actor": self.actor,  # now, not when it is written: a batch of letters has many actors and causes
                "cause": self.cause,
                "action": action or self.action or "unnamed",
                "object": object,
                "revision": revision,
                "product_id": product or self._product,
                "evidence": list(evidence),
                "policy_version": policy_version,
                "refused": False,
                "detail": dumps(detail).decode(),
            }
        )

    def answer(self, status: int, body: Any, **headers: str) -> Answer:
        """The answer to give once this has committed; kept with the inbox row, so that a repeat gets it again."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if self.event_ids:
            named.append(("daymark-events", ",".join(self.event_ids)))
        self._answer = Answer(status, body if isinstance(body, bytes) else dumps(body), tuple(named))
        return self._answer

    # -- leaving --------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write what was buffered: one statement a table of `add` and of `put`, one for all the plumbing."""
        for table, rows in self._adds.items():
            await self.raw.copy_records_to_table(
                table.name,
                schema_name=self.schema,
                columns=list(rows[0]),
                records=[tuple(row.values()) for row in rows],
            )
        self._adds.clear()
        for table, rows in self._puts.items():
            await put(self.raw, self.schema, table, rows, self._newer[table])
        self._puts.clear()
        held = self.appointment
        ends_it = held is not None and not self.keep_appointment and not self._agenda
        if held is not None and not ends_it:
            await self._hold(held)
        await self._flush_plumbing(held if ends_it else None)

    async def _hold(self, held: Appointment) -> None:
        """Lock our appointment if it is still ours. Raises StaleAppointment.

        Where it only ends, deleting it does the same. Last of all, since a command locks its thing first and moves the
        appointment after it. Locked first, the two would wait for each other. Whoever moves it later waits for us, or we
        find it moved.
        """
        found = await self.raw.fetchval(
            "SELECT 1 FROM agenda WHERE job = $1 AND subject = $2 AND token = $3 AND revision = $4 FOR UPDATE",
            held.job,
            held.subject,
            held.token,
            held.revision,
        )
        if found is None:
            raise StaleAppointment(f"{held.job} {held.subject}")

    async def _flush_plumbing(self, ended: Appointment | None) -> None:
        """Write letters, audit, agenda and answer in one statement. `ended`: forgotten, if still ours, or StaleAppointment."""
        if self._letters:
            self.left.add("letters")
        if any(entry is not None and entry[1] <= self.now for entry in self._agenda.values()):
            self.left.add("appointments")
        parts: list[str] = []
        values: list[Any] = []

        def parameter(value: Any, kind: str) -> str:
            values.append(value)
            return f"${len(values)}::{kind}"

        # A parameter that no part names would have no type: so the time joins in only where it is needed.
        def now() -> str:
            return parameter(self.now, "timestamptz")

        if self._letters:
            event_ids, lanes, topics, keys, bodies, headers = (
                list(column) for column in zip(*self._letters, strict=True)
            )
            unnested = ", ".join(
                (
                    parameter(event_ids, "text[]"),
                    parameter(lanes, "int2[]"),
                    parameter(topics, "text[]"),
                    parameter(keys, "text[]"),
                    parameter(bodies, "bytea[]"),
                    parameter(headers, "json[]"),
                )
            )
            parts.append(
                "INSERT INTO outbox (event_id, lane, topic, key, value, headers, created_at)"
                f" SELECT e, l, t, k, v, h, {now()} FROM unnest({unnested}) WITH ORDINALITY AS u(e, l, t, k, v, h, n)"
                " ORDER BY n RETURNING id, lane, created_at"
            )
            parts.append(
                f"INSERT INTO unsent (id, lane, created_at) SELECT id, lane, created_at FROM p{len(parts) - 1}"
            )
        if self._audits:
            rows = parameter(orjson.dumps(self._audits).decode(), "json")
            parts.append(
                "INSERT INTO audit (at, actor, action, object, revision, product_id, evidence, policy_version, cause, refused,"
                f" reason, detail) SELECT {now()}, actor, action, object, revision, product_id, evidence, policy_version,"
                f" cause, refused, reason, (detail #>> '{{}}')::jsonb FROM json_populate_recordset(NULL::audit, {rows})"
            )
        agenda = sorted(self._agenda.items(), key=itemgetter(0))  # in one order, or two such would wait for each other
        made = {at: entry for at, entry in agenda if entry is not None}
        if made:
            unnested = ", ".join(
                (
                    parameter([job for job, _ in made], "text[]"),
                    parameter([subject for _, subject in made], "text[]"),
                    parameter([revision for revision, _, _, _ in made.values()], "int4[]"),
                    parameter([due_at for _, due_at, _, _ in made.values()], "timestamptz[]"),
                    parameter([dumps(payload or {}).decode() for _, _, payload, _ in made.values()], "jsonb[]"),
                    parameter([traceparent for _, _, _, traceparent in made.values()], "text[]"),
                )
            )
            parts.append(
                "INSERT INTO agenda (job, subject, revision, due_at, next_at, payload, traceparent)"
                f" SELECT j, s, r, d, d, p, t FROM unnest({unnested}) AS u(j, s, r, d, p, t)"
                " ON CONFLICT (job, subject) DO UPDATE SET revision = excluded.revision, due_at = excluded.due_at,"
                " next_at = excluded.next_at, payload = excluded.payload, traceparent = excluded.traceparent,"
                " attempts = 0, token = NULL,"
                " lease_until = NULL, last_error = NULL"
            )
        gone = [at for at, entry in agenda if entry is None]
        if self.appointment is not None and not self.keep_appointment and ended is None:
            held = (self.appointment.job, self.appointment.subject)
            if held not in self._agenda:
                gone.append(held)  # kept: the job was done
        if gone:
            pairs = f"{parameter([job for job, _ in gone], 'text[]')}, {parameter([s for _, s in gone], 'text[]')}"
            parts.append(f"DELETE FROM agenda USING unnest({pairs}) AS u(j, s) WHERE job = j AND subject = s")
        if self.once is not None and self._answer is not None:
            scope, key = parameter(self.once[0], "text"), parameter(self.once[1], "text")
            headers_json = parameter(orjson.dumps(self._answer.headers).decode(), "jsonb")
            parts.append(
                f"UPDATE inbox SET status = {parameter(self._answer.status, 'int2')}, headers = {headers_json},"
                f" body = {parameter(self._answer.body, 'bytea')} WHERE scope = {scope} AND id = {key}"
            )
        if ended is not None:  # the last part: its count is what the statement answers
            mine = ((ended.job, "text"), (ended.subject, "text"), (ended.token, "uuid"), (ended.revision, "int4"))
            job, subject, token, revision = (parameter(value, kind) for value, kind in mine)
            parts.append(
                f"DELETE FROM agenda WHERE job = {job} AND subject = {subject} AND token = {token}"
                f" AND revision = {revision}"
            )
        wrote = bool(parts)
        for buffer in (self._letters, self._audits, self._agenda):
            buffer.clear()
        if not wrote:
            return
        *before, last = parts
        clause = ", ".join(f"p{number} AS ({part})" for number, part in enumerate(before))
        done = await self.raw.execute(f"WITH {clause} {last}" if before else last, *values)
        if ended is not None and done != "DELETE 1":
            raise StaleAppointment(f"{ended.job} {ended.subject}")
