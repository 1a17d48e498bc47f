"""A webhook is news: it never holds an event, whatever the receiver does."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from .running import DONE, FAILED, Hook
from .worlds.authority import Authority
from .worlds.basics import fake_on_loopback

pytestmark = pytest.mark.slow


def serving(told: Path, *certificate: str) -> AbstractContextManager[str]:
    """Start the strict receiver on loopback, over TLS if it gets a certificate and its key; yield host and port."""
    return fake_on_loopback("receiver", str(told), *certificate, stderr=subprocess.DEVNULL)   # refused handshakes are told


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The strict receiver's URL without path, and the file with what it took."""
    told = tmp_path / "told"
    with serving(told) as place:
        yield f"http://{place}", told


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for the receiver: good, expired, and one for another host."""
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.signs("good", "IP:127.0.0.1")
    made.signs("expired", "IP:127.0.0.1", days=-1)
    made.signs("elsewhere", "DNS:elsewhere")
    return made


def test_it_tells_once_before_and_once_after(receiver: tuple[str, Path], tmp_path: Path) -> None:
    """Run again after a crash it does not tell the same news again; a harder kind is news."""
    url, told = receiver
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer secret\n")
    hook = Hook("webhook", tmp_path / "state", {"URL": f"{url}/ok", "HEADERS_FILE": str(headers)})
    for run in (hook, hook, replace(hook, kind="reboot")):
        assert run.prepare().status == DONE
    assert hook.recover().status == DONE
    news = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(n["phase"], n["kind"]) for n in news] == [("prepare", "freeze"), ("prepare", "reboot"), ("recover", "freeze")]
    assert news[2]["pause_s"] == "10.0"
    assert replace(hook, kind="unannounced").recover().status == DONE
    assert len(told.read_text().splitlines()) == 4


@pytest.mark.parametrize("path", ["/error", "/moved"])
def test_a_receiver_that_does_not_take_it_holds_nothing(receiver: tuple[str, Path], tmp_path: Path, path: str) -> None:
    """By default a failure is printed and no failure; with MUST_ARRIVE it is one. A redirect is not followed."""
    url, told = receiver
    hook = Hook("webhook", tmp_path / "state", {"URL": url + path})
    ran = hook.prepare()
    assert ran.status == DONE and "not sent" in ran.output
    assert replace(hook, settings={"URL": url + path, "MUST_ARRIVE": "yes"}, kind="reboot").prepare().status == FAILED
    assert not told.exists()


def test_an_answer_that_drips_ends_in_its_time(receiver: tuple[str, Path], tmp_path: Path) -> None:
    """Each byte is in time and the whole never is: the bound is on the whole."""
    url, _ = receiver
    ran = Hook("webhook", tmp_path / "state", {"URL": f"{url}/drip", "TIMEOUT_S": "0.5"}).prepare()
    assert ran.status == DONE and "not sent" in ran.output
    assert ran.took_s < 4


def test_a_receiver_behind_tls_gets_the_document(authority: Authority, tmp_path: Path) -> None:
    """With the owner's authority: before, and after."""
    told = tmp_path / "told"
    with serving(told, authority.file("good.crt"), authority.file("good.key")) as place:
        settings = {"URL": f"https://{place}/ok", "CA_FILE": authority.file("ours.crt"), "MUST_ARRIVE": "yes"}
        hook = Hook("webhook", tmp_path / "state", settings)
        for ran in (hook.prepare(), hook.recover()):
            assert ran.status == DONE, ran.output
    assert [json.loads(line)["phase"] for line in told.read_text().splitlines()] == ["prepare", "recover"]


@pytest.mark.parametrize(("certificate", "trusted", "why"), [
    ("good", "strange.crt", "unable to get local issuer"), ("good", "", "unable to get local issuer"),
    ("expired", "ours.crt", "expired"), ("elsewhere", "ours.crt", "mismatch")],
    ids=["of-a-strange-authority", "unknown-to-the-system", "expired", "of-another-host"])
def test_a_receiver_whose_certificate_is_not_valid_gets_nothing(authority: Authority, tmp_path: Path,
                                                          certificate: str, trusted: str, why: str) -> None:
    """The news may carry secrets in its headers: a host that is not proved to be the receiver gets none of it."""
    told = tmp_path / "told"
    with serving(told, authority.file(f"{certificate}.crt"), authority.file(f"{certificate}.key")) as place:
        settings = {"URL": f"https://{place}/ok", "CA_FILE": authority.file(trusted) if trusted else ""}
        hook = Hook("webhook", tmp_path / "state", settings)
        carried_on = hook.prepare()
        assert carried_on.status == DONE and "not sent" in carried_on.output and why in carried_on.output
        must = replace(hook, settings={**settings, "MUST_ARRIVE": "yes"}, kind="reboot").prepare()
        assert must.status == FAILED and "Traceback" not in must.output
    assert not told.exists()
