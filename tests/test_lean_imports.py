"""What an agent loads of `requests` is what plain HTTP needs; all the rest can be had as ever, when it is wanted."""
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from real_etcd import free_port
from running_agent import AGENT, World, environment, world

SHOWN = """
import json, sys
before = set(sys.modules)
from tideover.lean_imports import load_requests
load_requests()
import tideover.http_client
loaded = sorted(set(sys.modules) - before)
import http.client, urllib.request, ssl, hashlib, idna, zipfile, importlib.metadata, prometheus_client
http.client.HTTPSConnection("localhost"), urllib.request.HTTPSHandler()
print(json.dumps([loaded, ssl.OPENSSL_VERSION, hashlib.md5(b"").hexdigest(), idna.encode("m\\u00fcnchen").decode(),
                  zipfile.ZipFile.__name__, importlib.metadata.version("requests"), __import__("urllib3").http2.version("requests")
                  if hasattr(__import__("urllib3"), "http2") else importlib.metadata.version("requests")]))
"""


def python(text: str, *paths: Path, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, paths), environment()["PYTHONPATH"]])
    return subprocess.run([sys.executable, *flags, "-c", text], env=environment() | {"PYTHONPATH": path}, capture_output=True,
                          text=True, timeout=60)


@pytest.mark.slow
def test_what_is_kept_out_is_not_loaded_and_can_be_imported_afterwards_as_ever():
    pytest.importorskip("prometheus_client")        # it is written against all of the standard library
    ran = python(SHOWN)
    loaded, tls, digest, name, unpacker, version, the_same = json.loads(ran.stdout or ran.stderr)
    assert "requests.adapters" in loaded and "urllib3.connectionpool" in loaded and ran.stderr == ""
    assert not {"ssl", "_ssl", "_hashlib", "chardet", "charset_normalizer", "idna", "zipfile",
                "importlib.metadata"} & set(loaded)
    assert tls.startswith("OpenSSL") and digest == "d41d8cd98f00b204e9800998ecf8427e" and name == "xn--mnchen-3ya"
    assert unpacker == "ZipFile" and version == the_same


@pytest.mark.slow
@pytest.mark.parametrize("needs", ["import ssl", "import chardet; chardet.missing", "raise RuntimeError"])
def test_a_library_that_does_not_load_so_is_loaded_as_by_any_program(tmp_path, needs):
    """A later release of requests may need what this one can do without."""
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests/__init__.py").write_text(
        f"import sys\nif 'tried' not in sys.__dict__:\n    sys.tried = True\n    {needs}\nimport ssl\n")
    (tmp_path / "requests/adapters.py").write_text("HAS_TLS = 'ssl' in __import__('sys').modules\n")
    ran = python("from tideover.lean_imports import load_requests; load_requests(); import requests.adapters, zipfile\n"
                 "print(requests.adapters.HAS_TLS, zipfile.ZipFile.__name__)", tmp_path)
    assert ran.stdout == "True ZipFile\n", ran.stderr


@pytest.mark.slow
def test_the_client_keeps_all_its_bounds_and_words_in_the_process_of_an_agent():
    """The faults of servers, with TLS and without, once more, where requests was loaded without TLS."""
    files = [str(Path(__file__).parent / name) for name in ("test_http_client_tls.py", "test_source_faults.py")]
    ran = python("import sys; from tideover.lean_imports import load_requests; load_requests(); assert 'ssl' not in sys.modules\n"
                 f"import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-m', 'slow or not slow', *{files}]))")
    assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.slow
def test_a_reload_that_names_a_store_over_tls_loads_tls_then(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")      # the interpreter writes a line for each import
    with world(tmp_path) as here:
        here.configure()
        agent = here.start()
        assert not is_loaded("_ssl", here)
        here.configure(f'[fleet]\nstore = "etcds://127.0.0.1:{free_port()}"\n')
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "connection refused" in here.said())
        assert is_loaded("_ssl", here) and "configuration.read" in here.said()


@pytest.mark.slow
def test_a_reload_whose_modules_are_gone_is_refused_and_the_agent_goes_on(tmp_path):
    """The package was removed or replaced under it: the agent does not end over it."""
    shutil.copytree(AGENT, tmp_path / "agent")
    with world(tmp_path / "here") as here:
        here.hook("10-works")
        here.configure()
        agent = here.start(package=tmp_path / "agent")
        shutil.rmtree(tmp_path / "agent/tideover/fleet")
        before = (here.home / "tideover.toml").read_text()
        here.configure('[fleet]\nstore = "etcds://127.0.0.1:1"\n')
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "configuration.refused" in here.said())
        here.until(lambda: "configuration.read" in here.said())
        (here.home / "tideover.toml").write_text(before)
        here.live_through_freeze()


def is_loaded(module: str, here: World) -> bool:
    return any(line.endswith(f" {module}") for line in here.said().splitlines())
