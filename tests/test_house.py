"""The package has floors, and imports go down only; below the effects nothing can touch the world."""
import ast
import tomllib
from graphlib import TopologicalSorter

from source_trees import PACKAGE as HOUSE, nodes

FLOORS = [      # lowest first; a name is a file or a folder of the package
    {"__init__", "model", "errors", "platforms", "stores", "text_safety"},
    {"observations", "effects", "policy", "settings", "timekeeping", "service_manager",
     "humanize", "fleet_documents"},
    {"lifecycle"},
    {"documents"},
    {"record"},
    {"status", "html", "findings", "fleet_status"},
    {"client_windows"},     # what the client library needs of Windows; the library needs nothing else
    {"threads", "client", "lean_imports"},    # an unforeseen exception ends no process
    {"winapi"},     # the calls of Windows, and nothing more
    {"system"},     # the choice between the systems, for what several packages need
    {"http_client", "http_server"},
    {"http_tls"},
    {"journal", "sources", "hooks", "pause", "clock", "api", "simulator", "config_file", "logs", "sd_notify",
     "metrics", "fleet"},
    {"engine", "applications"},
    {"daemon", "doctor", "drill", "service"},
    {"cli"},
    {"__main__"},
]
PURE = set().union(*FLOORS[:6])
PURE_FILES = {  # files that touch nothing although their package does
    "cli/render", "cli/event_lines", "cli/fleet_lines", "cli/status_lines", "hooks/windows_acl", "metrics/updates",
    "sources/scheduled_events", "sources/compute_metadata", "sources/ec2_metadata", "sources/vm_operation",
    "applications/protocol",
}
MAY_BE_PURE = {"__future__", "base64", "bisect", "collections", "collections.abc", "contextlib", "dataclasses", "datetime",
               "difflib", "email.utils", "enum", "functools", "hashlib", "html",
               "importlib.resources",       # the package's own files, which are as fixed as its code
               "ipaddress", "itertools", "json", "math", "re",
               "statistics", "struct", "tomllib", "types", "typing"}


LIBRARIES_BELOW = {     # pure parts of libraries that are not: the names that may be taken of them
    "timekeeping/ntp_packet": {"ntplib": {"NTP", "NTPException", "NTPPacket", "leap_to_text", "mode_to_text",
                                          "ref_id_to_text", "stratum_to_text"}},
}


def modules():
    for path in sorted(HOUSE.rglob("*.py")):
        if "sample" in path.parts:      # the drill's sample application and its hooks are programs, no modules
            continue
        yield path.relative_to(HOUSE).with_suffix("").parts[0], path


def imports(path):
    package = ("tideover", *path.relative_to(HOUSE).with_suffix("").parts)
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{'.'.join(package)}: imports name their module in full"
            names = [f"tideover.{alias.name}" for alias in node.names] if node.module == "tideover" else [node.module]
            yield from names


def name_of(path):
    return ".".join(("tideover", *path.relative_to(HOUSE).with_suffix("").parts)).removesuffix(".__init__")


def lenders(path, house):
    """The files of the house that this one imports, wherever in it; a name that is no file is its folder's."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in house)
        elif isinstance(node, ast.ImportFrom) and node.module in house:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in house else node.module for name in full)


def test_every_room_has_a_floor():
    """A new file or folder must say where it lives."""
    assert {room for room, _ in modules()} <= set().union(*FLOORS)


def test_imports_only_go_down():
    """Same floor counts as up: neighbours do not know each other."""
    height = {room: level for level, floor in enumerate(FLOORS) for room in floor}
    for room, path in modules():
        for full in imports(path):
            if full.startswith("tideover."):
                other = full.split(".")[1]
                ours = other == room or other not in height      # `from tideover import __version__`
                assert ours or height[other] < height[room], (str(path.relative_to(HOUSE)), full)


def test_no_files_import_each_other_in_a_circle():
    """What two files need of each other belongs into a third. Raise CycleError with the circle."""
    house = {name_of(path): path for _, path in modules()}
    borrows = {name: set(lenders(path, house)) for name, path in house.items()}
    assert borrows["tideover.journal.store"] >= {"tideover.journal.codec", "tideover.lifecycle"}
    assert "tideover.lifecycle.hook_stages" in borrows["tideover.lifecycle.step"]
    TopologicalSorter(borrows).prepare()


def test_the_pure_floors_touch_nothing():
    """No clock, socket, file, process, thread or logger below the effects."""
    for room, path in modules():
        if room in PURE or path.relative_to(HOUSE).with_suffix("").as_posix() in PURE_FILES:
            libraries = LIBRARIES_BELOW.get(path.relative_to(HOUSE).with_suffix("").as_posix(), {})
            outside = {full for full in imports(path) if not full.startswith("tideover")} - libraries.keys()
            assert outside <= MAY_BE_PURE, (str(path.relative_to(HOUSE)), outside - MAY_BE_PURE)
            for node in nodes(path):
                if isinstance(node, ast.ImportFrom) and node.module in libraries:
                    assert {alias.name for alias in node.names} <= libraries[node.module]


def test_only_the_outermost_frame_of_a_thread_catches_everything():
    for room, path in modules():
        if room == "threads":
            continue
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                caught = node.type.id if isinstance(node.type, ast.Name) else node.type
                assert caught not in (None, "Exception", "BaseException"), (str(path.relative_to(HOUSE)), node.lineno)


def test_every_thread_is_begun_in_one_place():
    """So that no exception on one of them ends the process."""
    for room, path in modules():
        if room in ("threads", "client"):       # the client's is its application's own
            continue
        for node in nodes(path):
            called = node.func if isinstance(node, ast.Call) else None
            named = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            assert named not in {"Thread", "Timer"}, (str(path.relative_to(HOUSE)), node.lineno)


def test_no_code_folds_case_beyond_ascii():
    """`casefold` takes two names for one (ß and SS); ids and names go through `fold_case`."""
    for _, path in modules():
        for node in nodes(path):
            assert not (isinstance(node, ast.Attribute) and node.attr == "casefold"), (str(path.relative_to(HOUSE)), node.lineno)


def test_no_room_has_a_name_that_says_nothing():
    for _, path in modules():
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_every_file_of_the_package_is_installed_with_it():
    """What is no module is named in pyproject.toml; the Windows installer takes the folder as it is."""
    named = tomllib.loads((HOUSE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["tideover"]
    others = {path.relative_to(HOUSE) for path in HOUSE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    others -= {path.relative_to(HOUSE) for _, path in modules()}
    assert [path for path in others if not any(path.match(pattern) for pattern in named)] == []


TWO_SYSTEMS = {     # class names that two files may define: the halves of one thing for two systems, of which one is loaded
    "ApiListener": {"api/named_pipe", "api/unix_socket"},
    "Channel": {"api/named_pipe", "api/unix_socket"},
    "HookProcess": {"hooks/posix_process", "hooks/windows_process"},
    "Process": {"hooks/posix_process", "hooks/windows_process"},
    "ProcessGroup": {"drill/process_group"},
}


def test_a_class_name_means_one_thing():
    """A reader who searches for a class finds it, and only it; a leading underscore makes no second name."""
    homes = {}
    for _, path in modules():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(path.relative_to(HOUSE).with_suffix("").as_posix())
    shared = {name: set(files) for name, files in homes.items() if len(files) > 1}
    assert shared == TWO_SYSTEMS
