"""JUnit XML as real tools write it, and as nobody should."""

import gzip
import io
import zipfile
from typing import Any

import pytest

from services.intake import reports
from services.intake.reports import MOST_BYTES, Case, Report, from_json, read_in_worker, read_report, to_json
from services.intake.reports.junit import MOST_ELEMENTS
from shared.errors import Invalid, Unavailable

PYTEST = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="5" time="0.087"
 timestamp="2026-11-20T09:12:44.101532+00:00" hostname="ci-7">
<testcase classname="tests.test_orders" name="test_total[EUR-2]" time="0.001"><properties>
<property name="daymark.case" value="RC-17"/><property name="cr" value="CR-1"/></properties>
<system-out>hello &lt;failure/&gt;</system-out></testcase>
<testcase classname="tests.test_orders" name="test_refund" time="0.002"><failure message="AssertionError: assert 3 == 4">def
test_refund():
&gt;       assert 3 == 4</failure></testcase>
<testcase classname="tests.test_orders" name="test_later" time="0.000"><skipped type="pytest.skip"
 message="not yet">tests/test_orders.py:14: not yet</skipped></testcase>
<testcase classname="tests.test_orders" name="test_known" time="0.001"><skipped type="pytest.xfail" message="bug"/></testcase>
<testcase classname="" name="tests.test_broken" time="0.000"><error message="collection failure">ImportError</error></testcase>
</testsuite></testsuites>"""

SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd"
 version="3.0.2" name="com.acme.OrderTest" time="1,234.5" tests="3" errors="0" skipped="1" failures="0">
  <properties><property name="java.version" value="21.0.2"/></properties>
  <testcase name="total" classname="com.acme.OrderTest" time="0.031"><properties>
    <property name="daymark.case" value="RC-1"/><property name="daymark.case">RC-2</property></properties></testcase>
  <testcase name="[1] EUR" classname="com.acme.OrderTest" time="1,234.4"/>
  <testcase name="off" classname="com.acme.OrderTest" time="0"><skipped message="disabled"/><system-out><![CDATA[x]]></system-out>
  </testcase>
</testsuite>"""

GO = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1">
	<testsuite name="example.com/orders" tests="3" failures="1" errors="0" id="0" hostname="ci" time="0.160"
	timestamp="2026-11-20T09:12:44Z"><properties><property name="go.version" value="go1.26"/></properties>
		<testcase name="TestTotal" classname="example.com/orders" time="0.060"></testcase>
		<testcase name="TestTotal/EUR" classname="example.com/orders" time="0.000"></testcase>
		<testcase name="TestRefund" classname="example.com/orders" time="0.100">
			<failure message="Failed"><![CDATA[    orders_test.go:11: 3 != 4]]></failure>
		</testcase>
	</testsuite>
</testsuites>"""

JEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="3" failures="0" errors="0" time="1.304">
  <testsuite name="orders" errors="0" failures="0" skipped="1" timestamp="2026-11-20T09:12:44" time="0.5" tests="2">
    <testcase classname="orders adds up" name="orders adds up" time="0.003"></testcase>
    <testcase classname="orders rounds" name="orders rounds" time="0"><skipped/></testcase>
  </testsuite>
  <testsuite name="" errors="0" failures="0" skipped="0" time="0.1" tests="1">
    <testcase classname="refunds" name="refunds work" time="0.002"></testcase></testsuite>
</testsuites>"""

GOOGLETEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="0" disabled="1" errors="0" time="0.01" name="AllTests">
  <testsuite name="Orders" tests="2" failures="0" disabled="1" skipped="0" errors="0" time="0.01">
    <testcase name="Total" status="run" result="completed" time="0.01" classname="Orders" />
    <testcase name="DISABLED_Refund" status="notrun" result="suppressed" time="0." classname="Orders" />
  </testsuite></testsuites>"""

PHPUNIT = """<testsuites><testsuite name="all" tests="3" failures="0" errors="0">
  <testsuite name="A" tests="2" failures="0"><testcase name="a"/><testcase name="b"/></testsuite>
  <testsuite name="B" tests="1"><testcase name="a"/></testsuite></testsuite></testsuites>"""


def read(xml: str | bytes, content_type: str = "application/xml") -> Report:
    return read_report(xml.encode() if isinstance(xml, str) else xml, content_type)


def suite(inside: str, attributes: str = "") -> str:
    return f'<testsuite name="s" {attributes}>{inside}</testsuite>'


GOOD = suite('<testcase classname="c" name="n" time="0.5"/>')


@pytest.mark.parametrize(
    ("xml", "outcome", "counts"),
    [
        (PYTEST, "failed", (5, 1, 2, 1, 2)),
        (SUREFIRE, "passed", (3, 2, 0, 0, 1)),
        (GO, "failed", (3, 2, 1, 0, 0)),
        (JEST, "passed", (3, 2, 0, 0, 1)),
        (GOOGLETEST, "passed", (2, 1, 0, 0, 1)),
        (PHPUNIT, "passed", (3, 3, 0, 0, 0)),
        (GOOD, "passed", (1, 1, 0, 0, 0)),
    ],
    ids=["pytest", "surefire", "go-junit-report", "jest-junit", "googletest", "phpunit", "smallest"],
)
def test_what_a_tool_writes_is_read_as_the_tool_means_it(xml: str, outcome: str, counts: tuple[int, ...]) -> None:
    report = read(xml)
    assert (report.outcome, report.problems) == (outcome, ())
    assert (report.total, report.passed, report.failed, report.errors, report.skipped) == counts
    assert from_json(to_json(report)) == report


def test_a_case_carries_its_names_time_message_and_marks() -> None:
    cases = read(PYTEST).cases
    assert cases[0] == Case("pytest", "tests.test_orders", "test_total[EUR-2]", "passed", 0.001, "", ("RC-17",))
    assert cases[1].message == "AssertionError: assert 3 == 4"
    assert (cases[4].outcome, cases[4].message) == ("error", "collection failure")
    assert read(SUREFIRE).cases[0].marks == ("RC-1", "RC-2")
    assert read(SUREFIRE).cases[1].duration_s == 1234.4
    assert read(suite('<testcase name="a"><failure> 3 != 4 </failure></testcase>')).cases[0].message == "3 != 4"


def test_a_message_is_at_most_2_kb_and_a_long_name_stays_itself() -> None:
    long = "x" * 5000
    case_a, case_b = read(
        suite(f'<testcase name="{long}a"><failure message="{"ü" * 5000}"/></testcase><testcase name="{long}b"/>')
    ).cases
    assert len(case_a.message.encode()) <= 2000
    assert len(case_a.name) <= 1000 and case_a.name != case_b.name


LAUGHS = "<!DOCTYPE x [" + '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "empty"),
    "blanks": (" \n\t ", "empty"),
    "billion laughs": (LAUGHS + "]><testsuite>&a9;</testsuite>", "document type"),
    "quadratic": (f'<!DOCTYPE x [<!ENTITY a "{"a" * 9999}">]><testsuite>{"&a;" * 9999}</testsuite>', "document type"),
    "expansion under expat's threshold": ('<!DOCTYPE x [<!ENTITY a "b">]>' + GOOD, "document type"),
    "bare doctype": ("<!DOCTYPE testsuite>" + GOOD, "document type"),
    "external entity": (
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>',
        "document type",
    ),
    "external DTD": ('<!DOCTYPE x SYSTEM "http://evil.test/x.dtd">' + GOOD, "document type"),
    "parameter entity": ('<!DOCTYPE x [<!ENTITY % a SYSTEM "http://evil.test/">%a;]>' + GOOD, "document type"),
    "undefined entity": ("<testsuite>&boom;</testsuite>", "undefined entity"),
    "stylesheet": ('<?xml-stylesheet href="http://evil.test/x.xsl"?>' + GOOD, "processing instruction"),
    "instruction within": (suite("<?php evil() ?>"), "processing instruction"),
    "XInclude": (
        '<testsuite xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="file:///etc/passwd"/></testsuite>',
        "XInclude",
    ),
    "deep": ("<testsuite>" * 1_000 + "</testsuite>" * 1_000, "deeper than 32"),
    "a million deep": ("<testsuite>" + "<a>" * 1_000_000, "deeper than 32"),
    "many elements": (suite("<a/>" * (MOST_ELEMENTS + 1)), "more than 100,000 elements"),
    "many attributes": ("<testsuite " + " ".join(f'a{i}="1"' for i in range(65)) + "/>", "more than 64 attributes"),
    "half a million attributes": (
        "<testsuite " + " ".join(f'a{i}=""' for i in range(400_000)) + "/>",
        "more than 64 attributes",
    ),
    "too large": (GOOD + " " * MOST_BYTES, "at most 5,000,000"),
    "gzip": (gzip.compress(GOOD.encode()), "compressed"),
    "zip": (b"PK\x03\x04....", "compressed"),
    "UTF-7": ('<?xml version="1.0" encoding="UTF-7"?>' + GOOD, "encoding UTF-7"),
    "EBCDIC": (('<?xml version="1.0" encoding="cp500"?>' + GOOD), "encoding cp500"),
    "unknown encoding": ('<?xml version="1.0" encoding="x-evil"?>' + GOOD, "encoding x-evil"),
    "codec that is no text": ('<?xml version="1.0" encoding="hex"?>' + GOOD, "encoding hex"),
    "UTF-32": (("\ufeff" + GOOD).encode("utf-32"), "not well-formed"),
    "encoding that lies": (b'<?xml version="1.0" encoding="utf-8"?><testsuite name="\xfc"/>', "not well-formed"),
    "overlong UTF-8": (b'<testsuite name="\xc0\xbc"/>', "not well-formed"),
    "lone surrogate": ('<testsuite name="'.encode("utf-16") + b"\x00\xd8" + '"/>'.encode("utf-16-le"), ""),
    "surrogate by number": ('<testsuite name="&#xD800;"/>', "not well-formed"),
    "NUL": ("<testsuite name='a\x00b'/>", "not well-formed"),
    "NUL by number": ("<testsuite name='&#0;'/>", "not well-formed"),
    "control characters in CDATA": (suite("<system-out><![CDATA[\x07\x1b]]></system-out>"), "not well-formed"),
    "cut": (GOOD[:-5], "not well-formed"),
    "only the declaration": ('<?xml version="1.0"?>', "not well-formed"),
    "two roots": (GOOD + GOOD, "not well-formed"),
    "attribute twice": ('<testsuite name="a" name="b"/>', "not well-formed"),
    "trailing garbage": (GOOD + "x", "not well-formed"),
    "a web page": ("<html><body>404</body></html>", "begins with <html>"),
    "a bare case": ('<testcase name="a"/>', "begins with <testcase>"),
    "case within case": (suite('<testcase name="a"><testcase name="b"/></testcase>'), "within a <testcase>"),
    "suite within case": (suite('<testcase name="a"><testsuite/></testcase>'), "within a <testcase>"),
    "case within something": (suite('<foo><testcase name="a"/></foo>'), "within <foo>"),
    "suite within something": ("<testsuites><foo><testsuite/></foo></testsuites>", "within <foo>"),
    "text": ("all tests passed", "not well-formed"),
    "JSON": ('{"results": {"tests": []}}', "not well-formed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_report_needs_is_refused_in_a_sentence(name: str) -> None:
    xml, why = REFUSED[name]
    with pytest.raises(Invalid) as refusal:
        read(xml)
    assert why in str(refusal.value)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 300


DOUBTFUL: dict[str, tuple[str, str, str]] = {
    "more claimed than held": (suite('<testcase name="a"/>', 'tests="5"'), "inconsistent", "says 5 tests and holds 1"),
    "fewer claimed than held": (
        suite('<testcase name="a"/><testcase name="b"/>', 'tests="1"'),
        "inconsistent",
        "says 1",
    ),
    "none claimed": (suite('<testcase name="a"/>', 'tests="0"'), "inconsistent", "says 0 tests"),
    "failures claimed, none held": (suite('<testcase name="a"/>', 'failures="1"'), "inconsistent", "says 1 failed"),
    "errors claimed, none held": (suite('<testcase name="a"/>', 'errors="2"'), "inconsistent", "says 2 failed"),
    "skips hidden": (
        suite('<testcase name="a"/><testcase name="b"><skipped/></testcase>', 'skipped="0"'),
        "inconsistent",
        "says 0 skipped",
    ),
    "total that lies": (
        '<testsuites tests="7">' + GOOD + "</testsuites>",
        "inconsistent",
        "says 7",
    ),
    "all claimed, none held": (suite("", 'tests="3"'), "inconsistent", "holds 0"),
    "count that is none": (suite('<testcase name="a"/>', 'tests="-1"'), "inconsistent", "no count"),
    "huge count": (suite('<testcase name="a"/>', f'tests="{"9" * 5000}"'), "inconsistent", "no count"),
    "pass and fail": (
        suite('<testcase name="a"/><testcase name="a"><failure/></testcase>'),
        "failed",
        "there twice: passed and failed",
    ),
    "pass and skip": (suite('<testcase name="a"/><testcase name="a"><skipped/></testcase>'), "inconsistent", "twice"),
    "NaN time": (suite('<testcase name="a" time="NaN"/>'), "inconsistent", "took NaN s"),
    "negative time": (suite('<testcase name="a" time="-0.5"/>'), "inconsistent", "took -0.5 s"),
    "infinite time": (suite('<testcase name="a" time="1e999"/>'), "inconsistent", "took 1e999 s"),
    "time in words": (suite('<testcase name="a" time="fast"/>'), "inconsistent", "took fast s"),
    "negative time of a suite": (suite('<testcase name="a"/>', 'time="-1"'), "inconsistent", "suite s says it took -1"),
    "flaky": (
        suite('<testcase name="a"><flakyFailure message="x"><stackTrace>t</stackTrace></flakyFailure></testcase>'),
        "inconsistent",
        "was run again",
    ),
    "rerun and failed": (
        suite('<testcase name="a"><failure/><rerunFailure message="x"/></testcase>'),
        "failed",
        "was run again",
    ),
    "unknown result": (suite('<testcase name="a"><broken/></testcase>'), "inconsistent", "<broken>"),
    "status against elements": (suite('<testcase name="a" status="failed"/>'), "inconsistent", "status failed"),
    "failure of a suite": (suite('<testcase name="a"/><error message="boom"/>'), "inconsistent", "outside any case"),
    "case without a name": (suite("<testcase/>"), "inconsistent", "no name"),
    "impossible mark": (
        suite('<testcase name="a"><properties><property name="daymark.case" value=" "/></properties></testcase>'),
        "inconsistent",
        "impossible id",
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_report_that_contradicts_itself_never_passes(name: str) -> None:
    xml, outcome, problem = DOUBTFUL[name]
    report = read(xml)
    assert report.outcome == outcome
    assert any(problem in said for said in report.problems), report.problems


@pytest.mark.parametrize(
    "xml", ["<testsuites/>", "<testsuite/>", suite("", 'tests="0"'), suite('<testcase name="a"><skipped/></testcase>')]
)
def test_a_report_in_which_nothing_ran_is_empty_not_passed(xml: str) -> None:
    assert read(xml).outcome == "empty"


@pytest.mark.parametrize("tag", ["Failure", "FAILURE", "failure", "error", "ju:failure"])
def test_a_failure_is_one_however_it_is_written(tag: str) -> None:
    assert read(suite(f'<testcase name="a"><skipped/><{tag} message="m"/><skipped/></testcase>')).outcome == "failed"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_the_encodings_that_tools_write_are_read(encoding: str) -> None:
    said = encoding.removesuffix("-sig")
    xml = f'<?xml version="1.0" encoding="{said}"?>' + suite('<testcase name="Prüfung"/>')
    report = read(xml.encode(encoding))
    assert report.cases[0].name == "Prüfung"


def test_many_problems_are_counted_not_listed() -> None:
    report = read(suite("".join(f'<testcase name="{i}" time="-1"/>' for i in range(1000))))
    assert len(report.problems) == 51 and report.problems[-1] == "and 950 more"
    assert all(len(problem) < 300 and problem.isprintable() for problem in report.problems)


@pytest.mark.parametrize(
    "content_type",
    ["application/xml; charset=utf-8", "TEXT/XML", "application/junit+xml", "", "application/octet-stream"],
)
def test_xml_is_known_by_its_type_or_where_none_is_said_by_its_start(content_type: str) -> None:
    assert read(GOOD, content_type).outcome == "passed"


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "image/png\r\nX: y", "a" * 5000])
def test_another_type_is_refused_with_the_formats_that_are_known(content_type: str) -> None:
    with pytest.raises(Invalid, match=r"known: .*junit"):
        read(GOOD, content_type)


BIG = suite("".join(f'<testcase classname="c" name="test_{i}" time="0.01"/>' for i in range(8000)))


async def test_a_large_report_is_read_by_a_process_of_its_own_with_the_same_answer() -> None:
    assert len(BIG) > reports.SMALL_BYTES
    assert await read_in_worker(BIG.encode(), "application/xml", timeout_s=60) == read(BIG)
    assert await read_in_worker(GOOD.encode(), "application/xml") == read(GOOD)
    with pytest.raises(Invalid, match="not well-formed"):
        await read_in_worker(BIG[:-3].encode(), "application/xml", timeout_s=60)


@pytest.mark.parametrize(
    ("program", "refusal"),
    [
        ("import os; os.kill(os.getpid(), 9)", Unavailable),
        ("import time; time.sleep(60)", Unavailable),
        ("import os; os.kill(os.getpid(), 11)", Invalid),
        ("import resource as r; r.setrlimit(r.RLIMIT_AS, (2**29, 2**29)); bytearray(2**30)", Invalid),
        ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (1, 2))\nwhile True: pass", Invalid),
        ("print('nonsense')", Invalid),
    ],
    ids=["killed", "stuck", "crashed", "out of memory", "out of time", "babbling"],
)
async def test_a_reader_that_dies_is_a_refusal_and_the_next_report_is_read(
    monkeypatch: pytest.MonkeyPatch, program: str, refusal: type[Exception]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reports, "_START", program)
        with pytest.raises(refusal):
            await read_in_worker(BIG.encode(), "application/xml", timeout_s=1 if "sleep" in program else 60)
    assert (await read_in_worker(BIG.encode(), "application/xml", timeout_s=60)).outcome == "passed"


def test_a_zip_of_reports_is_not_a_report() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("../../etc/passwd", GOOD)
    with pytest.raises(Invalid, match="compressed"):
        read(made.getvalue(), "application/octet-stream")


def test_a_report_survives_its_way_through_json() -> None:
    for xml in (PYTEST, SUREFIRE, *(xml for xml, *_ in DOUBTFUL.values())):
        said: dict[str, Any] = to_json(read(xml))
        assert from_json(said) == read(xml)
