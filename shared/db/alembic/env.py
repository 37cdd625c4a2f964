"""Alembic's environment, the same for every service: the caller gives connection, service and metadata."""

from typing import Any

from alembic import context

attributes = context.config.attributes
service = attributes["service"]


def ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    return name != "alembic_version"


context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    version_table_schema=service,
    include_schemas=True,
    include_name=lambda name, kind, parents: kind != "schema" or name == service,
    include_object=ours,
)
with context.begin_transaction():
    context.run_migrations()
