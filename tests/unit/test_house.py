"""The house rules, held by reading every file's imports. Each failure says which wall was broken and why it stands."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("intake", "snapshotter", "incidents", "reviewer")
ROOMS = ("domain", "store", "handlers", "api", "app", "commands")
#: What one file of a kind multiplies in: found by lying there.
GROWTH = {
    "reports",
    "webhooks",
    "sources",
    "judge",
    "console",
    "samples",
    "uploads",
}

#: room -> (packages it never imports, why)
NEVER = {
    "domain": (
        {
            "fastapi",
            "starlette",
            "sqlalchemy",
            "asyncpg",
            "aiokafka",
            "httpx2",
            "time",
            "random",
            "os",
            "shared.db",
            "shared.clock",
        },
        "what may happen is decided without I/O, chance or clock, so that it can be read, tested and replayed",
    ),
    "store": (
        {"fastapi", "starlette", "aiokafka", "httpx2"},
        "where things are kept knows nothing of doors and buses",
    ),
    "handlers": (
        {"fastapi", "starlette", "sqlalchemy", "aiokafka"},
        "a handler says what is done, in words of the domain; how it is kept or asked for is the store's and the door's",
    ),
    "api": (
        {"sqlalchemy", "asyncpg", "aiokafka"},
        "a door parses, calls one handler and answers",
    ),
}
#: room -> rooms of its own service that it never imports
OWN_NEVER = {
    "domain": {"store", "handlers", "api", "app", "commands"},
    "store": {"handlers", "api", "app"},
    "handlers": {"api", "app"},
    "api": {"store", "app"},
}


def files() -> Iterator[Path]:
    for top in ("services", "shared", "cli", "deploy"):
        yield from (file for file in (ROOT / top).rglob("*.py") if "migrations" not in file.parts)


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def room_of(file: Path) -> tuple[str, str] | None:
    parts = file.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "services" or len(parts) < 3:
        return None
    return parts[1], parts[2]


def touches(imported: set[str], package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in imported)


def test_services_never_import_each_other_and_shared_imports_none() -> None:
    broken = []
    for file in files():
        place = file.relative_to(ROOT).parts
        for other in SERVICES:
            is_own = place[0] == "services" and len(place) > 2 and place[1] == other
            if place[0] in ("services", "shared") and not is_own and touches(imports(file), f"services.{other}"):
                broken.append(
                    f"{file.relative_to(ROOT)} imports services.{other}: nobody calls another service to decide"
                )
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("room", NEVER)
def test_each_room_keeps_to_its_walls(room: str) -> None:
    never, why = NEVER[room]
    broken = []
    for file in files():
        place = room_of(file)
        if place is None or place[1] != room:
            continue
        imported = imports(file)
        broken += [f"{file.relative_to(ROOT)} imports {name}: {why}" for name in never if touches(imported, name)]
        for other in OWN_NEVER[room]:
            if touches(imported, f"services.{place[0]}.{other}"):
                broken.append(f"{file.relative_to(ROOT)} imports its own {other}: {why}")
    assert not broken, "\n".join(broken)


def test_growth_folders_know_no_room_but_the_domain() -> None:
    broken = []
    for file in files():
        place = room_of(file)
        if place is None or place[1] not in GROWTH - {"console"}:
            continue
        for room in ("store", "handlers", "api", "app"):
            if touches(imports(file), f"services.{place[0]}.{room}"):
                broken.append(f"{file.relative_to(ROOT)} imports {room}: what multiplies must stay one file to write")
    assert not broken, "\n".join(broken)


def test_a_service_has_no_rooms_but_these() -> None:
    for service in SERVICES:
        found = {
            p.stem for p in (ROOT / "services" / service).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
        }
        assert found <= {*ROOMS, *GROWTH, "__init__", "migrations"}, f"{service}: {found}"
        assert {"domain", "store", "handlers", "api", "app", "__init__"} <= found, f"{service} lacks a room: {found}"


def test_the_judge_imports_numpy_scipy_and_the_standard_library_alone() -> None:
    import sys

    for file in (ROOT / "services/snapshotter/judge").rglob("*.py"):
        for name in imports(file):
            top = name.partition(".")[0]
            own = name.startswith("services.snapshotter.judge")
            assert own or top in {"numpy", "scipy"} or top in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_only_the_clock_asks_the_time() -> None:
    asking = re.compile(r"\b(time\.time\(|datetime\.(now|utcnow|today)\(|date\.today\()")
    allowed = {"shared/clock.py", "shared/telemetry/logs.py", "deploy/local/telemetry.py"}
    broken = [
        str(file.relative_to(ROOT))
        for file in files()
        if asking.search(file.read_text()) and str(file.relative_to(ROOT)) not in allowed
    ]
    assert not broken, f"{broken}: daymark_now() decides; shared/clock.py is for token expiry and measuring"


def test_sql_asks_one_clock() -> None:
    asking = re.compile(r"\b(now\(\)|current_timestamp|clock_timestamp\(\)|localtimestamp)", re.IGNORECASE)
    broken = []
    for file in files():
        text = re.sub(r"daymark_now\(\)", "", file.read_text())
        if "bootstrap" in file.name:
            continue
        for line in text.splitlines():
            found = asking.search(line)
            quoted = found and ('"' in line or "'" in line) and not line.strip().startswith("#")
            if (
                quoted
                and "def now()" not in line
                and "{now()}" not in line
                and "db.now()" not in line
                and "`" not in line
            ):
                broken.append(f"{file.relative_to(ROOT)}: {line.strip()}")
    assert not broken, "\n".join(broken) + "\nall time in SQL is daymark_now(); leases alone use daymark_tick()"


def test_no_file_is_a_hall_and_none_has_a_vague_name() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    halls = []
    for file in files():
        assert file.stem not in vague and not file.stem.startswith("base_"), f"{file}: say what it is"
        lines = len(file.read_text().splitlines())
        if lines > 440:
            halls.append(f"{file.relative_to(ROOT)} has {lines} lines: make it a folder with named rooms")
    assert not halls, "\n".join(halls)


@pytest.mark.parametrize("service", SERVICES)
def test_each_migration_follows_one_other(service: str) -> None:
    found: dict[str, str] = {}
    for file in (ROOT / "services" / service / "migrations" / "versions").glob("*.py"):
        revision, before = (
            re.search(rf"^{name} = (.+)$", file.read_text(), re.M) for name in ("revision", "down_revision")
        )
        assert revision and before, f"{file.name} does not say what it is or what it follows"
        assert before[1] not in found, f"{file.name} and {found[before[1]]} both follow {before[1]}: number yours anew"
        found[before[1]] = file.name
    assert "None" in found, f"{service} has no first migration"


@pytest.mark.parametrize("service", SERVICES)
def test_the_card_says_what_the_code_does(service: str) -> None:
    card = importlib.import_module(f"services.{service}").__doc__ or ""
    for line in ("Owns:", "Says:", "Hears:", "Grows at:"):
        assert line in card, f"the card of {service} has no line {line}"
    from shared.contracts import FACTS

    said = set(re.findall(r"[a-z_]+\.[a-z_]+", card[card.index("Says:") : card.index("Hears:")]))
    heard = set(re.findall(r"[a-z_]+\.[a-z_]+", card[card.index("Hears:") : card.index("Grows at:")]))
    owned = {fact.type.removesuffix(".v1") for fact in FACTS.values() if fact.owner == service}
    assert said == owned, f"the card of {service} and its contracts differ: {said ^ owned}"
    on = importlib.import_module(f"services.{service}.handlers").ON
    hears = {fact.type.removesuffix(".v1") for fact in on}
    if "everything" not in card[card.index("Hears:") : card.index("Grows at:")]:
        assert heard - {"daymark.inbound"} == hears, f"the card of {service} and its ON differ: {heard ^ hears}"
    else:
        assert hears == {fact.type.removesuffix(".v1") for fact in FACTS.values()}, "it says everything, and hears less"


@pytest.mark.parametrize("service", SERVICES)
def test_the_card_promises_no_folder_that_is_not_there(service: str) -> None:
    card = importlib.import_module(f"services.{service}").__doc__ or ""
    promised = set(re.findall(r"([a-z]+)/ ", card[card.index("Grows at:") :].partition("\n\n")[0]))
    for folder in promised:
        lying = [file for file in (ROOT / "services" / service / folder).rglob("*") if file.name != "__init__.py"]
        assert any(file.is_file() for file in lying), f"{service}/{folder} holds no first file to copy"
    found = {path.name for path in (ROOT / "services" / service).iterdir() if path.is_dir()}
    assert promised == found & (GROWTH - {"samples"}), f"the card of {service} and its folders differ"


def test_only_the_owner_says_a_fact() -> None:
    from shared.contracts import FACTS

    broken = []
    for file in files():
        place = room_of(file)
        if place is None:
            continue
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for fact in FACTS.values():
                    if fact.__name__ == node.func.id and fact.owner != place[0]:
                        broken.append(f"{file.relative_to(ROOT)} makes {fact.type}, which is {fact.owner}'s to say")
    assert not broken, "\n".join(broken)


def test_no_path_of_a_machine_and_no_registry_host_is_committed() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    machine = r"(?<![\w.])/(wor" + "k|roo" + r"t|hom" + r"e/[a-z]+)/"
    hosts = ["pypi" + ".org", "python" + "hosted", "npm" + "js", "mvn" + "repository", "deb." + "debian"]
    telling = re.compile("|".join([machine, *map(re.escape, hosts)]))
    broken = []
    for name in listed:
        file = ROOT / name
        if not name or not file.is_file() or file.stat().st_size > 1_000_000 or name.endswith((".png", ".npz")):
            continue
        for line in file.read_text(errors="replace").splitlines():
            if telling.search(line):
                broken.append(f"{name}: {line.strip()[:120]}")
    assert not broken, "\n".join(broken)


@pytest.mark.xdist_group("groups")
def test_a_group_of_tests_stays_in_one_worker(request: pytest.FixtureRequest) -> None:
    """What shares a world or a broker counts on it. An xdist that no longer groups says nothing of it."""
    is_grouping = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@groups") == is_grouping
