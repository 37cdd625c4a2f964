"""Each image holds one extra of pyproject.toml: what is imported where it starts must be in that extra, and nothing idle."""

from __future__ import annotations

import ast
import importlib.metadata as installed
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"services", "shared", "cli", "deploy"}
_BUSES = ("shared.bus.kafka", "shared.bus.postgres")
#: Extra -> the modules that its image starts or, for the commands, that these import when they are called.
ENTRIES = {
    **{
        name: (f"services.{name}.app", "deploy.serve", *_BUSES)
        for name in ("intake", "snapshotter", "incidents", "reviewer")
    },
    "cli": ("cli.main", "cli.dead", "cli.sli", "shared.db.migrations", "shared.keys", "shared.topics", *_BUSES),
}
#: Used by who runs us, or by another package, without an import of ours.
NOT_IMPORTED = {
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-sqlalchemy",
    "python-multipart",
    "uvicorn",
}


@cache
def distributions() -> dict[str, set[str]]:
    """Top-level module -> the distributions that hold it."""
    return {name: {canonicalize_name(one) for one in held} for name, held in installed.packages_distributions().items()}


def closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that installing these brings."""
    seen: set[tuple[str, frozenset[str]]] = set()

    def walk(text: str) -> None:
        wanted = Requirement(text)
        at = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if at in seen:
            return
        seen.add(at)
        try:
            needs = installed.distribution(wanted.name).requires or []
        except installed.PackageNotFoundError:  # of another platform
            return
        for need in needs:
            marker = Requirement(need).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                walk(need)

    for text in requirements:
        walk(text)
    return {name for name, _ in seen}


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


@cache
def at_the_top(file: Path) -> tuple[str, ...]:
    """What a file imports when it is imported: not in functions, not for the type checker alone."""

    def of(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Try | ast.With):
                yield from of(node.body)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from of(node.body + node.orelse)

    return tuple(of(ast.parse(file.read_text()).body))


def anywhere(file: Path) -> set[str]:
    """Top-level modules that a file imports, now or later."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    given = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}
    return {name.partition(".")[0] for name in plain | given}


def foreign(entries: tuple[str, ...]) -> dict[str, str]:
    """Top-level modules of others that importing `entries` imports -> a file of ours that does."""
    found: dict[str, str] = {}
    waiting, seen = [*entries], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        top = module.partition(".")[0]
        if top not in OWN:
            continue
        parent = module.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        if (file := file_of(module)) is None:  # a name in a module
            continue
        for name in at_the_top(file):
            first = name.partition(".")[0]
            if first in OWN:
                waiting.append(name)
            elif first not in sys.stdlib_module_names:
                found.setdefault(first, str(file.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("extra", ENTRIES)
def test_what_an_image_imports_is_in_its_extra(extra: str) -> None:
    held = closure([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]])
    missing = {name: at for name, at in foreign(ENTRIES[extra]).items() if not distributions().get(name, {name}) & held}
    assert not missing, f"the image of {extra} would not start: {missing}"


@pytest.mark.parametrize("extra", [extra for extra in ENTRIES if extra != "cli"])
def test_an_extra_names_nothing_that_its_image_does_not_import(extra: str) -> None:
    named = {
        canonicalize_name(Requirement(one).name)
        for one in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra])
    }
    files = [file for folder in (f"services/{extra}", "shared") for file in (ROOT / folder).rglob("*.py")]
    used = {one for file in files for name in anywhere(file) for one in distributions().get(name, set())}
    assert named - used <= NOT_IMPORTED, f"idle in the image of {extra}"


def test_the_commands_run_where_only_their_extra_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a database named, and with nothing of the embedded one installed, they say what to set."""
    import typer

    from cli.main import admin_url

    monkeypatch.delenv("DAYMARK_DATABASE_URL", raising=False)
    monkeypatch.setitem(sys.modules, "deploy.local.postgres", None)
    with pytest.raises(typer.Exit) as ended:
        admin_url()
    assert ended.value.exit_code == 2
    monkeypatch.setenv("DAYMARK_DATABASE_URL", "postgresql://x")
    assert admin_url() == "postgresql://x"


def test_a_start_imports_nothing_that_it_has_no_use_for() -> None:
    """A service's start is nearly all imports; each of these would be a tenth of it, or more."""
    idle = (
        "aiokafka",
        "alembic",
        "google.protobuf",
        "httpx2",
        "numpy",
        "obstore",
        "opentelemetry.exporter.otlp",
        "requests",
        "scipy",
    )
    asked = f"import sys, services.reviewer.app; print(*sorted(set(sys.modules) & set({idle})))"
    told = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
