"""The package, built once for all proofs; and machines to install it on."""
import os
import shutil

import nspawn_machine
import pytest
from deb_build import build

BUILDERS = ("dpkg-buildpackage", "dh", "pybuild")


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The .deb, by the one command."""
    missing = [tool for tool in BUILDERS if shutil.which(tool, path="/usr/bin") is None]
    if missing or not os.access("/usr/share/dh-python/dhpython/build/plugin_pyproject.py", os.R_OK):
        pytest.skip(f"cannot build Debian packages here: {missing or 'pybuild-plugin-pyproject'} (tests/packaging/packages.txt)")
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture
def machine(package):
    """A fresh machine and its platform; the package is not on it yet."""
    why_not = nspawn_machine.why_not()
    if why_not:
        pytest.skip(why_not)
    with nspawn_machine.machine() as made:
        yield made
