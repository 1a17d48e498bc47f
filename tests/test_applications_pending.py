"""The recovery of an application that is pending: given up, asked for without an agent, after a lost journal, without its
table, and at a stop of the service."""
from __future__ import annotations

import os
import subprocess
import time

import pytest

from client_programs import BLOCKING, ClientPrograms
from running_agent import World, world

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

TABLES = "[application.first]\norder = 5\n"


@pytest.fixture
def here(tmp_path):
    with world(tmp_path, start_after_s=60.0) as made:
        made.hook("10-web")
        made.configure(TABLES)
        made.applications = ClientPrograms(tmp_path, str(tmp_path / "run/applications/socket"))
        yield made
        made.applications.close()


def prepare(here: World) -> tuple[str, subprocess.Popen[bytes]]:
    """Return the event, which is acknowledged, and the application, which is prepared."""
    here.start()
    first = here.applications.start("first", BLOCKING)
    here.until(lambda: here.ask("status").get("applications") == ["first"])
    event = here.metadata.add_event("Freeze", not_before_in_s=900.0)
    here.until(lambda: here.metadata.acknowledgements)
    return event, first


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def phases(here: World) -> list[str]:
    return [line.split()[1] for line in here.applications.lines()]


def witness(here: World) -> bool:
    return (here.home / "state/hooks/first").exists()


def test_the_pending_recovery_of_an_application_is_given_up_by_name(here):
    event, first = prepare(here)
    end(first)
    here.metadata.remove_event(event)
    here.until(lambda: "web recover" in here.begun())
    assert here.ask("status")["recover_pending"] == ["first"] and witness(here)
    assert here.command("recover", "--forget", "first", "--yes").returncode == 0
    here.until(lambda: here.record()["status"] == "closed")
    last = here.record()["hooks"][-1]
    assert (last["name"], last["kind"], last["outcome"]) == ("first", "application", "forgotten") and not witness(here)


def test_recover_without_an_agent_ends_and_says_that_the_application_is_pending(here):
    event, _ = prepare(here)
    here.kill()
    here.metadata.remove_event(event)
    answer = here.command("recover", "--yes")
    assert answer.returncode == 1 and "first" in answer.stdout + answer.stderr, answer
    assert here.begun() == ["web prepare", "web recover"] and phases(here) == ["prepare"] and witness(here)
    here.start()
    here.until(lambda: phases(here) == ["prepare", "recover"] and here.record()["status"] == "closed" and not witness(here))
    assert here.begun() == ["web prepare", "web recover"]


def test_an_application_is_recovered_after_the_journal_is_lost(here):
    event, _ = prepare(here)
    here.kill()
    for file in (here.home / "state").glob("journal.db*"):
        file.unlink()
    here.metadata.remove_event(event)
    here.start()
    here.until(lambda: phases(here) == ["prepare", "recover"] and not witness(here))
    here.until(lambda: here.ask("status")["recover_pending"] == [])


def test_a_new_journal_gives_no_number_again_that_an_application_would_answer_without_working(here):
    """It repeats its answer to a number that it has answered: of its prepare, to the recover of the same number."""
    here.hook("10-web", "exit 3")
    event, _ = prepare(here)
    here.kill()
    for file in (here.home / "state").glob("journal.db*"):
        file.unlink()
    here.metadata.remove_event(event)
    here.start()
    here.until(lambda: here.ask("status")["recover_pending"] == [] and not witness(here))
    assert phases(here) == ["prepare", "recover"]


def test_an_application_whose_table_is_gone_may_connect_for_its_recovery(here):
    event, first = prepare(here)
    end(first)
    here.kill()
    here.configure("")
    here.metadata.remove_event(event)
    here.start()
    here.until(lambda: "web recover" in here.begun())
    assert here.ask("status")["recover_pending"] == ["first"]
    here.applications.start("first", BLOCKING)
    here.until(lambda: phases(here) == ["prepare", "recover"] and here.record()["status"] == "closed")


@pytest.mark.parametrize("is_there", [True, False], ids=["connected", "away"])
def test_a_stop_that_recovers_asks_the_application_and_ends_without_it(here, is_there):
    here.configure(TABLES + '[policy]\non_stop = "recover"\n')
    _, first = prepare(here)
    if not is_there:
        end(first)
    began = time.monotonic()
    here.agents[-1].terminate()
    assert here.agents[-1].wait(30) == 0
    assert time.monotonic() - began < 20
    assert "web recover" in here.begun() and phases(here) == (["prepare", "recover"] if is_there else ["prepare"])
    assert witness(here) is not is_there
