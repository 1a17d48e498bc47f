"""What viewers of a live stream see when its origin stops for 10 s: media-rtmp-drain after lb-health."""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, REFUSED, Hook
from .seen import Seen, add_up, results
from .worlds.basics import answers, listens, need, until
from .worlds.media import rtmp

pytestmark = pytest.mark.slow

STOP_S = 10


def origins(lab: Bench, home: Path) -> None:
    """Start two origins; machine 1 is everybody's first choice."""
    need("nginx", "ffmpeg", "curl")
    for machine in lab.machines[:2]:
        rtmp(machine, home / f"nginx{machine.number}", home / f"drain{machine.number}")
        until(lambda machine=machine: listens(lab, machine.address, 8080), "nginx listens")


def watched(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> Seen:
    """Given what to do before and after, stop machine 1 under an encoder and a viewer; return what the viewer saw."""
    hosts = [machine.address for machine in lab.machines[:2]]
    client = str(seen.CLIENTS / "rtmp_client.py")
    encoder = lab.client(seen.PYTHON, client, "publish", "s", *hosts)
    until(lambda: "<publishing/>" in answers(lab, "curl", "-fsS", f"http://{hosts[0]}:8080/stat"), "the encoder publishes")
    viewer = lab.client(seen.PYTHON, client, "view", "s", *hosts)
    time.sleep(5)
    before()
    lab.machines[0].stop_for(STOP_S)
    after()
    time.sleep(10)
    saw = add_up(results(viewer))
    results(encoder)
    return saw


def test_media_rtmp_drain_moves_encoder_and_viewer(lab: Bench, tmp_path: Path, tell: Callable[[str, object], None]) -> None:
    """The health page fails first (stage 20), then encoders and viewers move (stage 60); without a standby nothing is dropped."""
    origins(lab, tmp_path)
    bare = watched(lab, lambda: None, lambda: None)
    tell("rtmp viewer, no hook, 10 s", f"black {bare.longest_gap_s:.1f} s")
    here, there = lab.machines[0], lab.machines[1]
    page = Hook("lb-health", tmp_path / "page", {"DRAIN_FILE": str(tmp_path / "drain1"), "SETTLE_S": "1"}, inside=here.inside)
    media = Hook("media-rtmp-drain", tmp_path / "media", {"STANDBY": f"http://{there.address}:8080/stat"}, inside=here.inside)
    alone = Hook("media-rtmp-drain", tmp_path / "alone", {"STANDBY": f"http://{there.address}:9/stat"}, inside=here.inside)
    took: list[float] = []

    def before() -> None:
        assert alone.prepare().status == REFUSED
        assert page.prepare().status == DONE
        ran = media.prepare(seconds_left=20)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)

    def after() -> None:
        assert media.recover().status == DONE
        assert page.recover().status == DONE
    saw = watched(lab, before, after)
    tell("rtmp viewer, media-rtmp-drain, 10 s", f"black {saw.longest_gap_s:.1f} s; prepare {took[0]:.1f} s")
    assert saw.longest_gap_s < bare.longest_gap_s / 2
