"""The build takes nothing from outside that is not what was pinned, and not signed by whom it should be."""
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BUILD = Path(__file__).parents[2] / "packaging" / "windows" / "build"
COMPILER = "x86_64-w64-mingw32-gcc"
PARAMETERS = """
. {usual}
python_zip={zip}
python_zip_sha256={digest}
python_zip_folder=.
"""


@pytest.fixture
def refused(tmp_path):
    """Build with a zip of our own in Python's place; return the output."""
    missing = [tool for tool in (COMPILER, "osslsigncode", "unzip") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (tests/windows_install/packages.txt)")
    archive = tmp_path / "python.zip"

    def build(files, digest=None):
        with zipfile.ZipFile(archive, "w") as made:
            for name, content in files.items():
                made.writestr(name, content)
        pinned = digest or hashlib.sha256(archive.read_bytes()).hexdigest()
        (tmp_path / "parameters").write_text(PARAMETERS.format(usual=BUILD.with_name("parameters"), zip=archive, digest=pinned))
        done = subprocess.run([BUILD, tmp_path / "out"], capture_output=True, text=True, timeout=120, check=False,
                              env={**os.environ, "TIDEOVER_WINDOWS_PARAMETERS": str(tmp_path / "parameters")})
        assert done.returncode == 1 and not list((tmp_path / "out").iterdir())
        return done.stderr
    return build


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """An unsigned program for Windows."""
    place = tmp_path_factory.mktemp("program")
    (place / "nothing.c").write_text("int main(void) { return 0; }\n")
    subprocess.run([COMPILER, "-o", place / "nothing.exe", place / "nothing.c"], check=True, timeout=60)
    return (place / "nothing.exe").read_bytes()


def test_another_zip_than_the_pinned_one_is_refused(refused):
    assert "is not the pinned one" in refused({"python.exe": b""}, digest="0" * 64)


def test_another_version_of_python_than_the_wheels_is_refused(refused):
    assert "there is no python311.dll" in refused({"python313.dll": b""})


def test_an_unsigned_program_is_refused(refused, program):
    assert "the signature of python.exe does not hold" in refused({"python311.dll": program, "python.exe": program})


@pytest.mark.extra
def test_two_builds_of_one_commit_are_the_same_byte_for_byte(installer, tmp_path):
    done = subprocess.run([BUILD, tmp_path], capture_output=True, text=True, timeout=600, check=True)
    assert Path(done.stdout.strip()).read_bytes() == installer.read_bytes()
