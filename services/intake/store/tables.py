"""Intake's tables. `n` is the number inside an id (`CR-7`): it orders lists, newest first, and is what cursors hold."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db import plumbing
from shared.db.tables import Moment

metadata = MetaData(schema="intake")
plumbing(metadata)

cr_numbers = Sequence("cr_numbers", metadata=metadata, schema="intake")
release_numbers = Sequence("release_numbers", metadata=metadata, schema="intake")
result_numbers = Sequence("result_numbers", metadata=metadata, schema="intake")
review_numbers = Sequence("review_numbers", metadata=metadata, schema="intake")

#: The policy in force of each product; every version of it is in `policies`.
products = Table(
    "products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("policy", JSONB, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("proposal", JSONB(none_as_null=True)),  # a looser policy that waits for a second person
)

releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("n", BigInteger, release_numbers, server_default=release_numbers.next_value(), nullable=False, unique=True),
    Column("product_id", Text, ForeignKey(products.c.id), nullable=False),
    Column("name", Text, nullable=False),
    Column("planned_at", Moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("frozen_at", Moment),
    Column("closed_at", Moment),
    Index("releases_product", "product_id", "n"),
)

change_requests = Table(
    "change_requests",
    metadata,
    Column("n", BigInteger, cr_numbers, server_default=cr_numbers.next_value(), primary_key=True),
    Column("product_id", Text, ForeignKey(products.c.id), nullable=False),
    Column("release_id", Text, ForeignKey(releases.c.id)),
    Column("source", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("ptask", Text, nullable=False),
    Column("planned_start", Moment),
    Column("planned_end", Moment),
    Column("backout_plan", Text, nullable=False),
    Column("commit", Text),
    Column("artifact", Text),
    Column("link", Text),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("registration", Text, nullable=False),
    Column("authors", ARRAY(Text), nullable=False),
    Column("withdrawn_at", Moment),
    Column("withdrawn_because", Text),
    UniqueConstraint("source", "external_id", name="one_cr_for_each_source_and_external_id"),
    Index("change_requests_product", "product_id", "n"),
    Index("change_requests_release", "release_id", "n"),
    Index("change_requests_author", "author", "n"),
    Index("change_requests_ptask", "ptask", "n"),
)

#: Every report of a deployment; the highest revision holds, the others stay readable.
deployments = Table(
    "deployments",
    metadata,
    Column("cr", BigInteger, ForeignKey(change_requests.c.n), primary_key=True, autoincrement=False),
    Column("deployment", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("deployed_at", Moment, nullable=False),
    Column("reported_at", Moment, nullable=False),
    Column("deployer", Text, nullable=False),
    Column("commit", Text),
    Column("artifact", Text),
    Column("against_process", ARRAY(Text), nullable=False),
)

#: Every report of a rollback, likewise.
rollbacks = Table(
    "rollbacks",
    metadata,
    Column("cr", BigInteger, ForeignKey(change_requests.c.n), primary_key=True, autoincrement=False),
    Column("deployment", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("rolled_back_at", Moment, nullable=False),
    Column("reported_at", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("against_process", ARRAY(Text), nullable=False),
)

code_reviews = Table(
    "code_reviews",
    metadata,
    Column("n", BigInteger, review_numbers, server_default=review_numbers.next_value(), primary_key=True),
    Column("cr", BigInteger, ForeignKey(change_requests.c.n), nullable=False),
    Column("how", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("reviewed_at", Moment, nullable=False),
    Column("place", Text, nullable=False),
    Column("cr_revision", Integer, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("recorded_by", Text, nullable=False),
    UniqueConstraint("cr", "how", "reviewer", "reviewed_at", "cr_revision", name="one_row_for_each_code_review"),
)

test_results = Table(
    "test_results",
    metadata,
    Column("n", BigInteger, result_numbers, server_default=result_numbers.next_value(), primary_key=True),
    Column("cr", BigInteger, ForeignKey(change_requests.c.n), nullable=False),
    Column("product_id", Text, nullable=False),
    Column("suite_kind", Text, nullable=False),
    Column("commit", Text),
    Column("artifact", Text),
    Column("run_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("problems", ARRAY(Text), nullable=False),
    Column("marked", JSONB, nullable=False),
    UniqueConstraint(
        "cr", "suite_kind", "digest", "run_at", "commit", "artifact",
        name="one_row_for_each_report", postgresql_nulls_not_distinct=True,
    ),
    Index("test_results_latest", "product_id", "suite_kind", "n"),
)  # fmt: skip

#: A report's cases, written by one statement with their report; no foreign key: 100,000 look-ups for what cannot differ.
test_cases = Table(
    "test_cases",
    metadata,
    Column("result", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("suite", Text, nullable=False),
    Column("classname", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("duration_s", Double),
    Column("message", Text, nullable=False),
)
