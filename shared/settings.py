"""Every setting, read once from the environment (`DAYMARK_...`), in `app.py` alone. Each one has a test that shows its effect."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FilePath, Secret, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.bus import KafkaAccess

SERVICES = ("intake", "snapshotter", "incidents", "reviewer")


def _document(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value or "{}")
        except ValueError:
            raise ValueError("is not JSON") from None
    return value


#: JSON with credentials in it: name -> settings. As a whole it is a secret, whatever prints it.
Credentials = Annotated[Secret[dict[str, dict[str, Any]]], BeforeValidator(_document)]


class Settings(BaseSettings):
    """What a service needs to know from where it is deployed."""

    # A wrong value is named, never shown: it may be a password in the wrong place.
    model_config = SettingsConfigDict(env_prefix="DAYMARK_", extra="ignore", frozen=True, hide_input_in_errors=True)

    #: The admin's URL: for `daymark db upgrade`, and for the one-process mode, where each service takes its role.
    database_url: SecretStr | None = None
    #: A service's own URL, with its own role: production.
    intake_database_url: SecretStr | None = None
    snapshotter_database_url: SecretStr | None = None
    incidents_database_url: SecretStr | None = None
    reviewer_database_url: SecretStr | None = None
    #: `kafka://host:port[,host:port]`; none = PostgresBus in the same database.
    bus_url: SecretStr | None = None
    #: Whether Kafka is spoken to over TLS, and who vouches for its brokers (PEM; none = whom the machine trusts).
    kafka_tls: bool = False
    kafka_ca_file: FilePath | None = None
    #: Our own certificate and its key (PEM), for brokers that ask for one.
    kafka_certificate_file: FilePath | None = None
    kafka_key_file: FilePath | None = None
    #: How we say who we are, with which name and password. PLAIN only over TLS.
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_user: str | None = None
    kafka_password: SecretStr | None = None
    #: How often a service says how far it has spoken, in seconds.
    heartbeat_s: float = Field(default=5.0, gt=0.05, le=60)
    #: Connections of one service's pool.
    pool_size: int = Field(default=8, ge=2, le=100)
    #: Where traces and metrics go, for example `http://127.0.0.1:4318`; none = nowhere.
    otlp_endpoint: str | None = None
    #: name -> {"kind": "prometheus", "url": ..., "headers": {...}}: the sources that policies name (snapshotter).
    sources: Credentials = Secret({})
    #: name -> {"kind": "github", "secrets": [...], "integration": "local|github"}: who may post to `/intake/v1/webhooks/<name>`.
    webhooks: Credentials = Secret({})
    #: Where large samples lie: `s3://bucket/prefix`, `gs://...`, `az://...` or `file:///folder`; none = in the database. Its
    #: credentials are those of the process: environment or instance role (snapshotter).
    samples_url: SecretStr | None = None
    #: Whether browsers reach us by https only: marks the session cookie Secure.
    secure_cookies: bool = False

    @model_validator(mode="after")
    def _kafka_is_whole(self) -> Settings:
        """What would be ignored silently is refused."""
        is_named, has_password = self.kafka_user is not None, self.kafka_password is not None
        if not (self.kafka_sasl is not None) == is_named == has_password:
            raise ValueError("DAYMARK_KAFKA_SASL, DAYMARK_KAFKA_USER and DAYMARK_KAFKA_PASSWORD go together")
        if self.kafka_sasl == "PLAIN" and not self.kafka_tls:
            raise ValueError("DAYMARK_KAFKA_SASL=PLAIN sends the password as it is: set DAYMARK_KAFKA_TLS=true")
        if not self.kafka_tls and (self.kafka_ca_file or self.kafka_certificate_file or self.kafka_key_file):
            raise ValueError("certificates for Kafka are for TLS: set DAYMARK_KAFKA_TLS=true")
        if self.kafka_key_file and not self.kafka_certificate_file:
            raise ValueError("DAYMARK_KAFKA_KEY_FILE is the key of DAYMARK_KAFKA_CERTIFICATE_FILE, which is not set")
        return self

    def bus_at(self, database_url: str) -> str:
        """The bus's URL; without one, the bus lies in that database."""
        return self.bus_url.get_secret_value() if self.bus_url is not None else database_url

    def kafka_access(self) -> KafkaAccess:
        """How Kafka lets us in."""
        return KafkaAccess(
            tls=self.kafka_tls,
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
            sasl=self.kafka_sasl,
            user=self.kafka_user,
            password=self.kafka_password.get_secret_value() if self.kafka_password is not None else None,
        )

    def database_for(self, service: str) -> tuple[str, str | None]:
        """(URL, role to take after connecting). Raises ValueError when nothing is configured."""
        own: SecretStr | None = getattr(self, f"{service}_database_url")
        if own is not None:
            return own.get_secret_value(), None
        if self.database_url is not None:
            return self.database_url.get_secret_value(), service
        raise ValueError(f"set DAYMARK_{service.upper()}_DATABASE_URL, or DAYMARK_DATABASE_URL for one machine")
