"""The tables. Snapshots and series are written once: no code here changes them, and a trigger refuses who would."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy import Sequence as DbSequence
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.tables import Moment, plumbing

metadata = MetaData(schema="snapshotter")
plumbing(metadata)

numbers = DbSequence("snapshot_numbers", metadata=metadata)

#: A subject is what facts are keyed by: a CR, or a product. Its version orders all that is said of it.
subjects = Table(
    "subjects",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("is_cr", Boolean, nullable=False),
    Column("release_id", Text),
    Column("revision", Integer, nullable=False),
    Column("authors", ARRAY(Text), nullable=False),
    Column("deployers", ARRAY(Text), nullable=False),
    Column("is_withdrawn", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
)
deployments = Table(
    "deployments",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("deployment", Integer, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("deployed_at", Moment),
    Column("deployer", Text),
    Column("policy_version", Text),
    Column("rollback_revision", Integer, nullable=False),
    Column("rolled_back_at", Moment),
    Index("deployments_when", "product_id", "deployed_at"),
)
observations = Table(
    "observations",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("deployment", Integer, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("armed_at", Moment, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("sentence", Text),
    Column("comparisons", JSONB),
    Column("judge_version", Text),
    Column("snapshot_id", Text),
    Column("benchmark_id", Text),
    Column("deviation_id", Text),
    Column("deviated_at", Moment),
    Column("delayed_because", Text),
    Column("delays", Integer, nullable=False),
    Column("overdue_at", Moment),
    Column("closed_at", Moment),
    Column("superseded_at", Moment),
    Column("superseded_because", Text),
    # The anchor by default, found without reading what was not verified.
    Index(
        "observations_verified",
        "product_id",
        "closed_at",
        postgresql_where=text("kind = 'after' AND outcome = 'steady'"),
    ),
)
snapshots = Table(
    "snapshots",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("cr_id", Text),
    Column("deployment", Integer),
    Column("revision", Integer),
    Column("window_start", Moment, nullable=False),
    Column("window_end", Moment, nullable=False),
    Column("step_s", Integer, nullable=False),
    Column("taken_at", Moment, nullable=False),
    Column("taken_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("slis", Integer, nullable=False),
    Column("missing", JSONB, nullable=False),
    Index("snapshots_of_cr", "cr_id", "number"),
    Index("snapshots_of_product", "product_id", "number"),
    # Exactly one result per (CR, deployment, revision, kind), whatever runs twice.
    Index(
        "snapshots_one_look",
        "cr_id",
        "deployment",
        "revision",
        "kind",
        unique=True,
        postgresql_where=text("kind <> 'benchmark'"),
    ),
)
series = Table(
    "series",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("sli", Text, primary_key=True),
    Column("place", SmallInteger, nullable=False),  # in the policy's order
    Column("title", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("missing", Text),
    Column("silent", Boolean, nullable=False),  # missing because a source that answered completely had nothing of it
    Column("warnings", JSONB, nullable=False),
    Column("hash", Text, nullable=False),
    Column("payload", Text),  # in which one its samples lie, and where; null when it is missing
    Column("first", Integer),
    Column("length", Integer),
    Column("rollup", LargeBinary),  # four numbers an hour: what pages show when the samples have expired
    Column("n", Integer, nullable=False),  # samples that are numbers
    Column("min", Float),
    Column("median", Float),
    Column("p95", Float),
    Column("max", Float),
)
#: Acts of operations: the last one before a deploy says which benchmark creep is measured from.
anchors = Table(
    "anchors",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("snapshot_id", Text, nullable=False),
    Column("chosen_at", Moment, nullable=False),
    Column("chosen_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("despite", JSONB, nullable=False),
)
#: Each kept day held against the one before: what a product's own limits are computed from.
day_pairs = Table(
    "day_pairs",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("day", Moment, primary_key=True),
    Column("ends_at", Moment, nullable=False),
    Column("score", Float),
    Column("alarms_anyway", Boolean, nullable=False),
    Column("earlier_days", Integer, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("judge_version", Text, nullable=False),
)
#: What went wrong in a product as somebody said it, not the judge: such days are no quiet ones.
incidents = Table(
    "incidents",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("closed_at", Moment),
    Index("incidents_of_product", "product_id", "opened_at"),
)
#: How drafts and benchmarks came to be. Written once, with the snapshot, and as immutable.
provenances = Table(
    "provenances",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("draft_id", Text, unique=True),  # a draft is published once
    Column("corrects", Text),
    Column("health", JSONB),
    Column("despite", JSONB, nullable=False),
)
pins = Table(
    "pins",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("product_id", Text, nullable=False),
    Column("snapshot_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("pinned_at", Moment, nullable=False),
    Column("pinned_by", Text, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("ended_by", Text),
    Column("ended_because", Text),
    Index("pins_of_product", "product_id", "number"),
)
pin_numbers = DbSequence("pin_numbers", metadata=metadata)
#: What was said against benchmarks since they were published: that the run they came from deviated, or that it did not.
doubts = Table(
    "doubts",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("snapshot_id", Text, nullable=False, index=True),
    Column("observed", Text, nullable=False),
    Column("deployment", Integer, nullable=False),
    Column("holds", Boolean, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
#: Packed samples, many series in one; in the row itself or in the object store. Kept until the latest of what was asked.
payloads = Table(
    "payloads",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("bytes", LargeBinary),  # STORAGE EXTERNAL: a part is read without the rest
    Column("key", Text),  # of the object, where it is one
    Column("kept_until", Moment),  # null: uploaded, and no transaction has claimed it (yet)
    Column("expired_at", Moment),
)
#: What the tries of a look that is still open have read so far, so that the next one reads only the rest.
partial_readings = Table(
    "partial_readings",
    metadata,
    Column("look", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("sli", Text, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
    Column("warnings", JSONB, nullable=False),
)
#: Early looks that were taken. What raised a deviation names its snapshot; of the others the hash is kept.
early_looks = Table(
    "early_looks",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("deployment", Integer, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("after_min", Float, primary_key=True),
    Column("ends_at", Moment, nullable=False),
    Column("looked_at", Moment, nullable=False),
    Column("found", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("content_hash", Text),
    Column("snapshot_id", Text),
)
#: Files of readings. Their bytes are kept until they were read, their hash for good.
uploads = Table(
    "uploads",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("product_id", Text, nullable=False),
    Column("cr_id", Text),
    Column("format", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("window_end", Moment, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("uploaded_at", Moment, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("problems", JSONB, nullable=False),
    Column("problems_total", Integer, nullable=False),
    Column("snapshot_id", Text),
    Column("read_at", Moment),
    Column("body", LargeBinary),
)
upload_numbers = DbSequence("upload_numbers", metadata=metadata)
agenda = metadata.tables["snapshotter.agenda"]
