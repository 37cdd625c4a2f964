"""JUnit XML, in the dialects of pytest, Maven's surefire, JUnit 5, go-junit-report, jest-junit and their like.

Read by expat with our own handlers: nothing is kept but the cases, so no report can make a tree of a million nodes, and
nothing is ever expanded, fetched or included. The dialects agree on `testsuite`, `testcase`, `failure`, `error`, `skipped`;
what goes beyond is known here by name, and anything else puts the report in doubt.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from xml.parsers import expat

from services.intake.reports import Case, CaseOutcome, Report, brief
from shared.errors import Invalid

MOST_DEPTH = 32
MOST_ELEMENTS = 100_000
MOST_ATTRIBUTES = 64
MOST_NAME = 1_000
MOST_MESSAGE = 2_000
MOST_MARK = 200
ENCODINGS = frozenset({"utf-8", "utf-16", "utf-16le", "utf-16be", "iso-8859-1", "us-ascii"})
MARK = "daymark.case"

_SUITES = frozenset({"testsuite", "testsuites"})
_OUTCOMES: dict[str, CaseOutcome] = {"failure": "failed", "error": "error", "skipped": "skipped"}
_RANK: tuple[CaseOutcome, ...] = ("passed", "skipped", "failed", "error")
#: surefire's record of a case that was run again; Maven calls a flaky case passed, we call the report in doubt.
_RERUN = frozenset({"rerunfailure", "rerunerror", "flakyfailure", "flakyerror"})
_HARMLESS = frozenset({"properties", "system-out", "system-err", "attachments", "description"})
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
_CONTENT_TYPES = frozenset({"application/xml", "text/xml", "application/junit+xml", "application/x-junit+xml"})
_UNSAID = frozenset({"", "application/octet-stream", "text/plain"})
_XML_STARTS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<")


def reads(content_type: str, raw: bytes) -> bool:
    """XML by its media type; or by its first bytes where the sender did not say."""
    return content_type in _CONTENT_TYPES or (content_type in _UNSAID and raw.lstrip().startswith(_XML_STARTS))


def read(raw: bytes) -> Report:
    """The report in JUnit XML bytes. Pure; about 0.1 s per MB.

    Raises Invalid for what is no JUnit XML, is damaged, or holds what a report has no use for: document types, entities,
    processing instructions, inclusions, other encodings than UTF-8, UTF-16 and Latin-1, or too much of anything.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.ordered_attributes = True  # a list: counted before anything is made of it
    parser.buffer_text = True
    parser.XmlDeclHandler = _declared
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.ExternalEntityRefHandler = _refuse_doctype
    parser.ProcessingInstructionHandler = _refuse_instruction
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        for at in range(0, len(raw), 65_536):
            parser.Parse(raw[at : at + 65_536], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        said = expat.ErrorString(error.code) or "unreadable"
        raise Invalid(f"The report is not well-formed XML: {said}, line {error.lineno}.") from None
    except (ValueError, LookupError) as error:  # Python's own decoder, for an encoding that expat leaves to it
        raise Invalid(f"The report's text cannot be decoded: {brief(str(error))}.") from None
    return Report.of(reader.cases, reader.problems)


def _declared(version: str, encoding: str | None, standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ENCODINGS:
        raise Invalid(f"The report's encoding {brief(encoding, 40)} is not read here; send UTF-8.")


def _refuse_doctype(*_: object) -> int:
    raise Invalid("The report declares a document type or entities, which no test report needs.")


def _refuse_instruction(target: str, data: str) -> None:
    raise Invalid(f"The report holds a processing instruction ({brief(target, 40)}), which no test report needs.")


@dataclass
class _Suite:
    name: str
    claims: dict[str, int]  #: what its attributes say of tests, failed and skipped
    direct: dict[str, int] = field(default_factory=lambda: {"tests": 0, "failed": 0, "skipped": 0})
    below: dict[str, int] = field(default_factory=lambda: {"tests": 0, "failed": 0, "skipped": 0})


@dataclass
class _OpenCase:
    suite: str
    classname: str
    name: str
    duration_s: float | None
    outcome: CaseOutcome = "passed"
    message: str = ""
    text: str = ""  #: of the element that decided, for when it has no message attribute
    marks: list[str] = field(default_factory=list)


class _Reader:
    """Collects cases while the parser walks; holds one open case and the open suites, never the document."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.problems: list[str] = []
        self._path: list[str] = []
        self._suites: list[_Suite] = []
        self._case: _OpenCase | None = None
        self._elements = 0
        self._mark: list[str] | None = None  #: text of an open <property name="daymark.case">

    def start(self, name: str, listed: list[str]) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise Invalid(f"The report has more than {MOST_ELEMENTS:,} elements. Send its suites one by one.")
        if len(self._path) >= MOST_DEPTH:
            raise Invalid(f"The report is nested deeper than {MOST_DEPTH} elements.")
        if len(listed) > 2 * MOST_ATTRIBUTES:
            raise Invalid(f"An element of the report has more than {MOST_ATTRIBUTES} attributes.")
        said = dict(zip(listed[::2], listed[1::2], strict=True))
        if any("XInclude" in value for key, value in said.items() if key.startswith("xmlns")):
            raise Invalid("The report includes other documents (XInclude), which no test report needs.")
        tag = name.rpartition(":")[2]
        if not self._path and tag not in _SUITES:
            raise Invalid(f"This is not a JUnit report: it begins with <{brief(name, 40)}>, not with <testsuites>.")
        if self._case is None:
            self._start_outside(tag, said)
        else:
            self._start_inside(self._case, tag, said)
        self._path.append(tag)

    def _start_outside(self, tag: str, said: dict[str, str]) -> None:
        if tag in _SUITES:
            if self._path and self._path[-1] not in _SUITES:
                raise Invalid(f"A <{tag}> lies within <{brief(self._path[-1], 40)}>, where no suite can be.")
            self._suites.append(_Suite(_kept(said.get("name", "")), self._claims(tag, said)))
            self._seconds(said, f"suite {brief(said.get('name', ''))}")
        elif tag == "testcase":
            if self._path[-1] not in _SUITES:
                raise Invalid(f"A <testcase> lies within <{brief(self._path[-1], 40)}>, where no case can be.")
            name = said.get("name", "")
            suite = next((s.name for s in reversed(self._suites) if s.name), "")
            seconds = self._seconds(said, brief(name))
            self._case = _OpenCase(suite, _kept(said.get("classname", "")), _kept(name), seconds)
            if not name.strip():
                self.problems.append("a case has no name")
            self._said_by_status(self._case, said)
        elif tag.lower() in _OUTCOMES and self._path[-1] in _SUITES:
            self.problems.append(f"the suite {brief(self._suites[-1].name)} holds a <{tag}> outside any case")

    def _said_by_status(self, case: _OpenCase, said: dict[str, str]) -> None:
        """googletest and others say by attribute what the rest says by element."""
        status = said.get("status", "").lower()
        if status in ("notrun", "disabled", "skipped", "ignored") or said.get("result", "").lower() == "suppressed":
            case.outcome = "skipped"
        elif status in ("failed", "failure", "error", "broken", "aborted"):
            self.problems.append(f"{brief(case.name)} has the status {status}")

    def _start_inside(self, case: _OpenCase, tag: str, said: dict[str, str]) -> None:
        if tag == "testcase" or tag in _SUITES:
            raise Invalid(f"A <{tag}> lies within a <testcase>, where only its result can be.")
        if tag == "property" and said.get("name") == MARK:
            if "value" in said:
                self._marked(case, said["value"])
            else:
                self._mark = []
        if self._path[-1] != "testcase":
            return  # deeper: stack traces, properties
        low = tag.lower()
        if low in _OUTCOMES:
            outcome = _OUTCOMES[low]
            if _RANK.index(outcome) >= _RANK.index(case.outcome):
                case.outcome, case.text = outcome, ""
                case.message = said.get("message", "")[:MOST_MESSAGE]
        elif low in _RERUN:
            self.problems.append(f"{brief(case.name)} was run again after a failure ({brief(tag, 40)})")
        elif low not in _HARMLESS:
            self.problems.append(f"{brief(case.name)} holds <{brief(tag, 40)}>, which is not known here")

    def text(self, data: str) -> None:
        if self._mark is not None and sum(map(len, self._mark)) <= MOST_MARK:
            self._mark.append(data)
        case = self._case
        if case is not None and self._path[-1].lower() in _OUTCOMES and len(case.text) < MOST_MESSAGE:
            case.text += data[: MOST_MESSAGE - len(case.text)]

    def end(self, name: str) -> None:
        tag = self._path.pop()
        if tag in _SUITES:
            self._end_suite(self._suites.pop())
        elif tag == "testcase" and self._case is not None:
            self._end_case(self._case)
            self._case = None
        elif tag == "property" and self._mark is not None and self._case is not None:
            self._marked(self._case, "".join(self._mark))
            self._mark = None

    def _end_case(self, case: _OpenCase) -> None:
        message = _cut((case.message or case.text).strip())
        made = Case(
            case.suite,
            case.classname,
            case.name,
            case.outcome,
            case.duration_s,
            message,
            tuple(dict.fromkeys(case.marks)),
        )
        self.cases.append(made)
        count = self._suites[-1].direct
        count["tests"] += 1
        count["failed"] += made.outcome in ("failed", "error")
        count["skipped"] += made.outcome == "skipped"

    def _end_suite(self, suite: _Suite) -> None:
        """Compare what a suite says of itself with what it holds. Dialects differ on whether suites within count."""
        for what, claimed in suite.claims.items():
            every = suite.direct[what] + suite.below[what]
            if claimed not in (every, suite.direct[what]) or (claimed == 0 and every):
                where = brief(suite.name) or "without a name"
                self.problems.append(f"the suite {where} says {claimed} {what} and holds {every}")
        if self._suites:
            for what, count in suite.direct.items():
                self._suites[-1].below[what] += count + suite.below[what]

    def _claims(self, tag: str, said: dict[str, str]) -> dict[str, int]:
        """tests, failed (failures + errors) and skipped (+ disabled), as far as the attributes say them."""
        claims: dict[str, int] = {}
        for what, keys in (("tests", ("tests",)), ("failed", ("failures", "errors")), ("skipped", ("skipped",))):
            counts = [self._count(tag, key, said[key]) for key in keys if said.get(key, "").strip()]
            if counts and None not in counts:
                claims[what] = sum(count for count in counts if count is not None)
        disabled = self._count(tag, "disabled", said.get("disabled") or "0")
        if disabled:  # googletest counts these apart; to us they are skipped
            claims["skipped"] = claims.get("skipped", 0) + disabled
        return claims

    def _count(self, tag: str, key: str, text: str) -> int | None:
        plain = text.strip().replace(",", "")
        if not (plain.isascii() and plain.isdigit() and len(plain) <= 12):
            self.problems.append(f"a <{tag}> says {key}={brief(text, 40)}, which is no count")
            return None
        return int(plain)

    def _seconds(self, said: dict[str, str], whose: str) -> float | None:
        text = said.get("time", "").strip()
        if not text:
            return None
        try:
            seconds = float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds >= 0):
            self.problems.append(f"{whose} says it took {brief(text, 40)} s")
            return None
        return seconds

    def _marked(self, case: _OpenCase, mark: str) -> None:
        mark = mark.strip()
        if not mark or len(mark) > MOST_MARK or not mark.isprintable():
            self.problems.append(f"{brief(case.name)} is marked with an impossible id: {brief(mark, 40)}")
        else:
            case.marks.append(mark)


def _kept(name: str) -> str:
    """A name as it is kept. Cut ones end in a digest of the whole, so that two cases never become one."""
    if len(name) <= MOST_NAME:
        return name
    return name[: MOST_NAME - 18] + "… " + hashlib.sha256(name.encode()).hexdigest()[:16]


def _cut(message: str) -> str:
    """At most 2 KB in UTF-8, never half a character."""
    return message.encode()[:MOST_MESSAGE].decode(errors="ignore")
