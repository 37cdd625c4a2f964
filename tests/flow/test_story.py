"""The demo's story once, told to a world of its own: what a stranger who types `make demo` will find is what is true."""

from __future__ import annotations

from datetime import timedelta

import pytest

from deploy.local import story
from deploy.local.plant import EFFECTS
from tests.flow.normal import normal
from tests.flow.world import begun
from tests.servers.postgres import Databases


@pytest.mark.slow
async def test_the_demo_tells_what_it_promises(postgres: Databases) -> None:
    async with begun(postgres, EFFECTS) as world:
        world.t.present = story.present()
        world.t.at = world.t.present - timedelta(days=story.DAYS) + timedelta(minutes=2)
        crs = await story.tell(world.t)
        await world.quiet()
        found = await normal(world.t, crs)
        assert [found[role]["cr"] for role in ("steady", "moving", "watched")] == ["CR-1", "CR-2", "CR-3"]
        steady, moving, watched = (found[role] for role in ("steady", "moving", "watched"))
        assert steady["stage"] == "verified" and steady["deployments"][0]["gate"][:2] == (True, True)
        assert steady["deployments"][0]["flags"] == 0 and steady["incidents"] == []
        assert moving["stage"] == "recovered"
        assert [look["look"][3] for look in moving["deployments"][0]["looks"]] == ["moved", "steady"]
        assert moving["deployments"][0]["deviations"][0][0] == "DEV-CR-2-1-1"
        assert moving["deployments"][0]["investigations"][0][3] == "rollback"
        assert len(moving["incidents"]) == 1
        assert not watched["deployments"][0]["gate"][1] and watched["deployments"][0]["flags"]
        assert watched["stage"] not in ("registered", "deployed", "observing")
        following = found["next_epl_x"]
        assert following["stage"] == "not_ready"  # a required test fails
        assert [(case, counts) for case, _, counts, _ in following["debt"]] == [(moving["incidents"][0][3][0], True)]
        assert {"debt_open", "tests_failed"} <= set(following["missing"])
        assert found["next_epl"]["reviews"][0][1] == "need_more"
        ahead_s = await world.admin.fetchval("SELECT extract(epoch FROM ahead)::float8 FROM daymark.clock")
        assert abs(ahead_s) < 120  # the clock is the present
