"""The agenda: jobs that are due, claimed under a lease, run, and done exactly once.

An appointment is a row, so it survives everything; late after an outage, never dropped. A job does its slow work first
and then opens its one transaction with the appointment, which checks that it is still the current one.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from shared.clock import monotonic_s
from shared.db import Appointment, Database, StaleAppointment
from shared.db.database import translated
from shared.errors import DaymarkError
from shared.progress import Progress
from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)
D = TypeVar("D")
Job = Callable[[D, Appointment], Awaitable[None]]

_POLL_S = 0.5
_AT_ONCE = 8  #: jobs of one process at the same time
_AHEAD = 64  #: claimed in one go, at most, while jobs are so short that claiming each by itself would cost as much
_QUICK_S = 0.5  #: as many are claimed ahead as ended in this long: slow ones are left to whoever has room
_IDLE_S = 2.0  #: what was claimed ahead and is not begun by then goes back: jobs have become slow
LEASE_S = 15.0  #: a killed worker's appointments are taken over after this; a live one renews
_RENEW_S = 5.0
_SHUTDOWN_S, _CANCELLED_S = 4.0, 1.5  #: together less than a service waits for its tasks
_LONGEST_S = 600.0  #: all places taken, and no job ends for so long: something hangs

# Due by the process's clock, leased by the real one. `next_at <= daymark_now()` is an index condition (STABLE).
CLAIM = (
    "WITH due AS (SELECT job, subject FROM agenda WHERE next_at <= daymark_now()"
    " AND (lease_until IS NULL OR lease_until < daymark_tick()) AND job = ANY($3::text[])"
    " ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    " UPDATE agenda a SET token = gen_random_uuid(), lease_until = daymark_tick() + make_interval(secs => $2),"
    " attempts = attempts + 1 FROM due WHERE a.job = due.job AND a.subject = due.subject"
    " RETURNING a.job, a.subject, a.revision, a.due_at, a.payload, a.attempts, a.token, a.traceparent"
)
_HELD = "FROM unnest($1::text[], $2::text[], $3::uuid[]) AS h(job, subject, token)"
_MINE = "a.job = h.job AND a.subject = h.subject AND a.token = h.token"
_RENEW = f"UPDATE agenda a SET lease_until = daymark_tick() + make_interval(secs => $4) {_HELD} WHERE {_MINE}"
_RELEASE = f"UPDATE agenda a SET token = NULL, lease_until = NULL, attempts = a.attempts - 1 {_HELD} WHERE {_MINE}"
# Back-off with jitter: 0.5 s, 1 s, 2 s ... at most 5 minutes. `due_at` stays what was promised.
_RETRY = (
    "UPDATE agenda SET next_at = daymark_now() + make_interval(secs => least(300, 0.5 * 2 ^ least(attempts - 1, 12)) * $4),"
    " token = NULL, lease_until = NULL, last_error = $5 WHERE job = $1 AND subject = $2 AND token = $3"
)


class Worker:
    """One worker of one service. `deps` is handed to every job."""

    def __init__(self, db: Database, jobs: Mapping[str, Job[Any]], deps: Any, telemetry: Telemetry) -> None:
        self._db, self._jobs, self._deps, self._telemetry = db, dict(jobs), deps, telemetry
        self._wake = db.on_commit("appointments")
        self._ready: deque[Appointment] = deque()  #: claimed, and waiting for one of the places
        self._running: set[asyncio.Task[None]] = set()
        self._held: dict[uuid.UUID, Appointment] = {}  #: whose leases are ours to renew
        self._renewing: asyncio.Task[None] | None = None
        self._ended_s: deque[float] = deque(maxlen=_AHEAD)
        self._claimed_s = monotonic_s()
        self.progress = Progress(turn_s=_LONGEST_S)

    async def run(self) -> None:
        """For ever; ends only by cancellation, giving running jobs a few seconds (their leases run out otherwise)."""
        wake, failures = self._wake, 0
        try:
            while True:
                wake.clear()
                try:
                    is_more = await self._fill()
                    failures = 0
                except (DaymarkError, OSError) as error:
                    failures += 1
                    self.progress.failed(error)
                    _log.warning("agenda waits", error=str(error), failures=failures)
                    await asyncio.sleep(min(5.0, 0.2 * 2 ** min(failures, 5)))
                    continue
                while self._ready and len(self._running) < _AT_ONCE:
                    task = asyncio.create_task(self.do(self._ready.popleft()))
                    self._running.add(task)
                    task.add_done_callback(self._ended)
                if is_more and len(self._running) < _AT_ONCE:
                    continue
                if self._ready and monotonic_s() - self._claimed_s > _IDLE_S:
                    await self._give_back()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await wake.wait()
        finally:
            await self._leave()

    async def _fill(self) -> bool:
        """Claim when nothing is at hand and a place is free; whether as much was due as could be taken."""
        room = _AT_ONCE - len(self._running)
        if self._ready or not room:
            return False
        since = monotonic_s() - _QUICK_S
        wanted = max(room, sum(at >= since for at in self._ended_s))
        claimed = await self.claim(wanted)
        self._hold(claimed)
        self._ready.extend(claimed)
        self._claimed_s = monotonic_s()
        if claimed:
            self.progress.moved()
        else:
            self.progress.idle()
        return len(claimed) == wanted

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._ended_s.append(monotonic_s())
        self._wake.set()

    async def _give_back(self) -> None:
        """Others may do at once what was not begun here."""
        waiting = list(self._ready)
        self._ready.clear()
        with suppress(Exception):  # their leases run out otherwise
            await self._write(_RELEASE, waiting)
        await self._let_go(waiting)

    async def _leave(self) -> None:
        await self._give_back()
        if self._running:
            await asyncio.wait(self._running, timeout=_SHUTDOWN_S)
        for task in self._running:
            task.cancel()
        if self._running:  # a cancelled job still rolls back and gives its connection back
            await asyncio.wait(self._running, timeout=_CANCELLED_S)

    async def drain(self) -> int:
        """Run what is due, and what falls due by it, until nothing is; how many runs. For tests and tools."""
        runs = 0
        while claimed := await self.claim(_AT_ONCE):
            await asyncio.gather(*(self.do(appointment) for appointment in claimed))
            runs += len(claimed)
        return runs

    async def claim(self, limit: int) -> Sequence[Appointment]:
        """Take due appointments of jobs that this code knows (an older replica leaves newer jobs alone)."""
        try:
            async with self._db.connection() as (_, raw):
                rows = await raw.fetch(CLAIM, limit, LEASE_S, list(self._jobs))
        except Exception as error:
            raise translated(error) from error
        found = [
            Appointment(
                row["job"], row["subject"], row["revision"], row["due_at"], row["payload"],
                row["attempts"], row["token"], row["traceparent"],
            )
            for row in rows
        ]  # fmt: skip
        return sorted(found, key=lambda each: each.due_at)

    async def do(self, appointment: Appointment) -> None:
        """Run one claimed appointment. Never raises: what fails is tried again, with its error on the row."""
        self._hold([appointment])
        result, began_s = "done", monotonic_s()
        try:
            with self._telemetry.span(f"job {appointment.job}", kind="internal", parent=appointment.traceparent):
                await self._jobs[appointment.job](self._deps, appointment)
            if not appointment.is_ended and await self._is_held(appointment):
                raise RuntimeError(f"{appointment.job} ended without its transaction")
        except StaleAppointment:
            result = "stale"
        except Exception as error:
            result = "retried"
            _log.warning(
                "job will be tried again",
                job=appointment.job, subject=appointment.subject, attempts=appointment.attempts, error=str(error),
                exc_info=not isinstance(error, DaymarkError),
            )  # fmt: skip
            with suppress(Exception):  # the lease runs out by itself when even this cannot be written
                await self._retry(appointment, f"{type(error).__name__}: {error}")
        finally:
            await self._let_go([appointment])
        self._telemetry.count("daymark_jobs_total", 1, job=appointment.job, result=result)
        self._telemetry.observe("daymark_job_duration_seconds", monotonic_s() - began_s, job=appointment.job)

    async def _is_held(self, appointment: Appointment) -> bool:
        async with self._db.connection() as (_, raw):
            return bool(
                await raw.fetchval(
                    "SELECT 1 FROM agenda WHERE job = $1 AND subject = $2 AND token = $3",
                    appointment.job, appointment.subject, appointment.token,
                )
            )  # fmt: skip

    async def _retry(self, appointment: Appointment, error: str) -> None:
        jitter = random.uniform(0.7, 1.3)  # noqa: S311 (not a secret)
        async with self._db.connection() as (_, raw):
            await raw.execute(
                _RETRY, appointment.job, appointment.subject, appointment.token, jitter, error[:1000].replace("\0", "")
            )

    # -- leases ---------------------------------------------------------------------------------------------------

    def _hold(self, appointments: Sequence[Appointment]) -> None:
        """Renew their leases from now on: one statement for all of them."""
        self._held |= {each.token: each for each in appointments}
        if self._held and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())

    async def _let_go(self, appointments: Sequence[Appointment]) -> None:
        for each in appointments:
            self._held.pop(each.token, None)
        if not self._held and self._renewing is not None:
            renewing, self._renewing = self._renewing, None
            renewing.cancel()
            await asyncio.wait({renewing}, timeout=_CANCELLED_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with suppress(Exception):
                await self._write(_RENEW, list(self._held.values()), LEASE_S)

    async def _write(self, statement: str, appointments: Sequence[Appointment], *more: float) -> None:
        if appointments:
            jobs, subjects = [each.job for each in appointments], [each.subject for each in appointments]
            async with self._db.connection() as (_, raw):
                await raw.execute(statement, jobs, subjects, [each.token for each in appointments], *more)
