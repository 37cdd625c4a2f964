"""Every setting, read once from the environment (`DAYMARK_...`), in `app.py` alone. Each one has a test that shows its effect."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVICES = ("intake", "snapshotter", "incidents", "reviewer")


class Settings(BaseSettings):
    """What a service needs to know from where it is deployed."""

    model_config = SettingsConfigDict(env_prefix="DAYMARK_", extra="ignore", frozen=True)

    #: The admin's URL: for `daymark db upgrade`, and for the one-process mode, where each service takes its role.
    database_url: SecretStr | None = None
    #: A service's own URL, with its own role: production.
    intake_database_url: SecretStr | None = None
    snapshotter_database_url: SecretStr | None = None
    incidents_database_url: SecretStr | None = None
    reviewer_database_url: SecretStr | None = None
    #: `kafka://host:port[,host:port]`; none = PostgresBus in the same database.
    bus_url: str | None = None
    #: How often a service says how far it has spoken, in seconds.
    heartbeat_s: float = Field(default=5.0, gt=0.05, le=60)
    #: Connections of one service's pool.
    pool_size: int = Field(default=8, ge=2, le=100)
    #: Where traces and metrics go, for example `http://127.0.0.1:4318`; none = nowhere.
    otlp_endpoint: str | None = None
    #: name -> {"kind": "prometheus", "url": ..., "headers": {...}}: the sources that policies name (snapshotter).
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    #: Where large samples lie: `s3://bucket/prefix`, `gs://...`, `az://...` or `file:///folder`; none = in the database. Its
    #: credentials are those of the process: environment or instance role (snapshotter).
    samples_url: SecretStr | None = None
    #: Whether browsers reach us by https only: marks the session cookie Secure.
    secure_cookies: bool = False

    def database_for(self, service: str) -> tuple[str, str | None]:
        """(URL, role to take after connecting). Raises ValueError when nothing is configured."""
        own: SecretStr | None = getattr(self, f"{service}_database_url")
        if own is not None:
            return own.get_secret_value(), None
        if self.database_url is not None:
            return self.database_url.get_secret_value(), service
        raise ValueError(f"set DAYMARK_{service.upper()}_DATABASE_URL, or DAYMARK_DATABASE_URL for one machine")
