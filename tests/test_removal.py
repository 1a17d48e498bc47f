"""What a hook leaves in its state directory is removed, however deep and odd, and nothing else is."""
from __future__ import annotations

import os
import resource
import subprocess
import threading
import tracemalloc
from pathlib import Path

import pytest

from hooks_tried import Bench, await_that
from tideover.hooks.state_directory import GONE
from tideover.model import HookPhase
from tideover.system.removal import empty_directory

DEEP = 1500


def dig(directory: Path, depth: int, *, beside: bool = True) -> None:
    """Directories within each other, a file in each."""
    here = Path.cwd()
    os.chdir(directory)
    for _ in range(depth):
        if beside:
            Path("file").touch()
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)


@pytest.mark.parametrize("depth", [60, pytest.param(DEEP, marks=pytest.mark.slow)])
def test_any_depth_goes_in_bounded_memory_with_few_descriptors(tmp_path, depth):
    dig(tmp_path, depth)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(int(file.name) for file in Path("/proc/self/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 5, before[1]))
    tracemalloc.start()
    try:
        assert empty_directory(tmp_path) is None
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert list(tmp_path.iterdir()) == [] and most < 1 << 20


def test_links_are_removed_and_never_followed(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "kept").mkdir(parents=True)
    (outside / "file").write_text("kept")
    (inside / "a" / "b").mkdir(parents=True)
    for place in (inside, inside / "a", inside / "a" / "b"):
        (place / "to-directory").symlink_to(outside)
        (place / "to-file").symlink_to(outside / "file")
        (place / "to-nothing").symlink_to("nothing")
    os.mkfifo(inside / "a" / "pipe")
    (inside / "locked" / "within").mkdir(parents=True)
    (inside / "locked").chmod(0)
    assert empty_directory(inside) is None and list(inside.iterdir()) == []
    assert (outside / "file").read_text() == "kept" and (outside / "kept").is_dir()


def test_what_cannot_be_removed_is_returned_and_the_rest_goes(tmp_path):
    (tmp_path / "a" / "stuck").mkdir(parents=True)
    (tmp_path / "a" / "stuck" / "file").touch()
    (tmp_path / "b" / "c").mkdir(parents=True)
    if subprocess.run(["chattr", "+i", str(tmp_path / "a" / "stuck")], capture_output=True).returncode:
        pytest.skip("no immutable files here")
    try:
        trouble = empty_directory(tmp_path)
        assert isinstance(trouble, PermissionError) and not (tmp_path / "b").exists()
    finally:
        subprocess.run(["chattr", "-i", *(str(path) for path in tmp_path.rglob("stuck"))], check=False)


def test_a_directory_that_is_not_there_is_reported_as_missing():
    with pytest.raises(FileNotFoundError):
        empty_directory(Path("/nothing-of-the-kind"))


@pytest.mark.slow
def test_what_a_hook_left_deep_down_goes_after_it_was_recovered(monkeypatch):
    """Nothing of it reaches the agent: 1 500 directories are more than Python recurses, and than it may open."""
    faults: list[threading.ExceptHookArgs] = []
    bench = Bench()
    monkeypatch.setattr(threading, "excepthook", faults.append)
    bench.start(bench.order(bench.write("10-deep", "exit 0")))
    assert bench.answer().report.outcome.value == "done"
    dig(bench.state / "deep", DEEP)
    bench.runner.forget("deep")
    await_that(lambda: (bench.state / GONE).exists() and list((bench.state / GONE).iterdir()) == [])
    assert faults == [] and bench.lines == []
    bench.close()


def test_what_cannot_be_deleted_is_reported_once(monkeypatch):
    bench = Bench()
    monkeypatch.setattr("tideover.hooks.state_directory.empty_directory",
                        lambda directory: PermissionError(1, "Operation not permitted", "stuck"))
    for phase in (HookPhase.PREPARE, HookPhase.RECOVER):
        bench.start(bench.order(bench.write("10-web", "exit 0"), phase))
        assert bench.answer().report.outcome.value == "done"
    bench.runner.close()
    assert bench.lines == ["(files that it left cannot be deleted: operation not permitted: stuck)"]
    bench.close()
