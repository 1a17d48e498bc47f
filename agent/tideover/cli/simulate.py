"""`tideover simulate`: the built-in metadata service alone, with a scenario, and everything that is asked of it."""
from __future__ import annotations

import threading
import time
from urllib.parse import urlsplit

import click

from tideover.cli.options import print_lines, until_interrupted, without_settings
from tideover.cli.render import key_value
from tideover.cli.terminal import render_lines, this_terminal
from tideover.errors import EXIT_OK, TideoverError, WrongUseError
from tideover.settings.types import is_ipv4, listen_address
from tideover.simulator import MetadataService, Request
from tideover.simulator.imds import EVENTS, VERSIONS, read_start_requests, refuse
from tideover.simulator.scenarios import Scenario, play, read_scenario, scenario_names
from tideover.text_safety import dot_controls
from tideover.threads import start_task

ANY_PORT = "127.0.0.1:0"
LOOK_S = 0.5                # for an interrupt, and for a scenario that has ended
REPEATS_TOLD_S = 10.0       # a client that asks the same again and again is told of this often
SHOWN_AT_MOST = 160         # characters of what a client sends


@click.command("simulate")
@click.argument("scenario", required=False, default="freeze")
@click.option("--listen", default=ANY_PORT, metavar="IP:PORT", show_default=True, help="Where to serve; port 0: any.")
@click.option("--vm-name", default="vm-1", show_default=True, help="The VM that asks, as the events name it.")
@click.option("--pace", type=click.FloatRange(0.01, 1000.0), default=1.0, show_default=True,
              help="2 plays it in half the time.")
@click.option("--list", "lists", is_flag=True, help="The scenarios that come along.")
@without_settings
def command(scenario: str, listen: str, vm_name: str, pace: float, lists: bool) -> int:
    """Serve the metadata service alone, with SCENARIO (a name, or a file) played, until Ctrl-C."""
    if lists:
        parts = [key_value(name, read_scenario(name).about) for name in scenario_names()]
        print_lines(render_lines(parts, this_terminal()))
        return EXIT_OK
    story = read_scenario(scenario)
    with until_interrupted(), _open(listen, vm_name) as service:
        _show_head(service, story)
        _ScenarioRun(service, story, pace).run()
    return EXIT_OK


def _open(listen: str, vm_name: str) -> MetadataService:
    """Raise WrongUseError if it cannot be served there."""
    address = listen_address(listen)
    if listen != ANY_PORT and (address is None or not is_ipv4(address.host)):
        raise WrongUseError("cannot simulate", f"--listen {dot_controls(listen)} is no IPv4 address with a port",
                            "Write it as 127.0.0.1:8080.")
    host, port = (address.host, address.port) if address else ("127.0.0.1", 0)
    try:
        return MetadataService(vm_name, address=host, port=port)
    except OSError as trouble:
        raise WrongUseError("cannot simulate", f"{listen}: {(trouble.strerror or str(trouble)).lower()}",
                            "Name another address with --listen, or leave it out.") from trouble


class _ScenarioRun:
    """One service, one scenario on a thread of its own, and what is asked told as it comes."""

    def __init__(self, service: MetadataService, story: Scenario, pace: float) -> None:
        self._service, self._story, self._pace = service, story, pace
        self._began_s = time.monotonic()
        self._stopping = threading.Event()
        self._trouble: TideoverError | None = None
        self._newest: Request | None = None
        self._last_line, self._repeats, self._told_s = "", 0, 0.0

    def run(self) -> None:
        """Until interrupted. Raise WrongUseError for a scenario that does not fit."""
        start_task("scenario", self._play, self._cannot_play)
        try:
            while self._trouble is None:
                self._service.wait_until(self._has_news, LOOK_S)
                for request in self._news():
                    self._tell_request(request)
                if self._repeats and time.monotonic() - self._told_s >= REPEATS_TOLD_S:
                    self._tell_repeats()
        except KeyboardInterrupt:
            self._tell_repeats()
            click.echo("")
        finally:
            self._stopping.set()
        if self._trouble is not None:
            raise self._trouble

    def _play(self) -> None:
        try:
            play(self._story, self._service, tell=lambda line: self._tell("platform", line), stopping=self._stopping,
                 pace=self._pace)
        except WrongUseError as trouble:
            self._trouble = trouble
        else:
            self._tell("platform", "the scenario is over; the service answers on until Ctrl-C")

    def _cannot_play(self, reason: str) -> None:
        self._trouble = TideoverError(f"cannot play {self._story.name}", reason, "Try another scenario.")

    def _has_news(self) -> bool:
        return bool(self._service.requests) and self._service.requests[-1] is not self._newest

    def _news(self) -> list[Request]:
        fresh: list[Request] = []
        for request in reversed(list(self._service.requests)):
            if request is self._newest:
                break
            fresh.insert(0, request)
        self._newest = fresh[-1] if fresh else self._newest
        return fresh

    def _tell_request(self, request: Request) -> None:
        line = self._described(request)
        if line == self._last_line:
            self._repeats += 1
            return
        self._tell_repeats()
        self._last_line = line
        self._tell("client", line)

    def _tell_repeats(self) -> None:
        if self._repeats:
            self._tell("client", f"the same {self._repeats} times more")
        self._repeats, self._told_s = 0, time.monotonic()

    def _described(self, request: Request) -> str:
        url = urlsplit(request.target)
        path = url.path.lower().rstrip("/")
        names = [pair.partition("=")[0].lower() for pair in url.query.split("&") if pair]
        who = dot_controls(request.header("User-Agent") or "a client without a name")[:SHOWN_AT_MOST]
        what = f"{request.method} {dot_controls(request.target)[:SHOWN_AT_MOST]} ({who})"
        refusal = refuse(request, path, names)
        if refusal is not None:
            return f"{what}: refused, {refusal.status} {refusal.body.decode()}"
        if request.method == "POST" and path == EVENTS:
            return self._acknowledgement(request, what)
        return what

    def _acknowledgement(self, request: Request, what: str) -> str:
        ids = read_start_requests(request.body)
        if ids is None:
            sent = dot_controls(request.body[:SHOWN_AT_MOST].decode("latin-1"))
            return f"{what}: refused, it is no acknowledgement: {sent}"
        named = ", ".join(dot_controls(name)[:SHOWN_AT_MOST] for name in ids)
        taken = any(given.at_monotonic_s == request.at_monotonic_s for given in self._service.acknowledgements)
        return f"{what}: " + (f"ACKNOWLEDGES {named}" if taken else f"refused, nothing of the kind is listed: {named}")

    def _tell(self, who: str, what: str) -> None:
        click.echo(f"{time.monotonic() - self._began_s:8.2f} s  {who:<9} {dot_controls(what)}")


def _show_head(service: MetadataService, story: Scenario) -> None:
    url = f"{service.endpoint}{EVENTS}?api-version={VERSIONS[-1]}"
    click.echo(f"""\
{story.name}: {story.about}
The metadata service of the VM {dot_controls(service.vm_name)} at {service.endpoint} (Ctrl-C ends it)

  look:         curl -s -H Metadata:true '{url}'
  acknowledge:  curl -s -H Metadata:true -d '{{"StartRequests":[{{"EventId":"ID"}}]}}' '{url}'
  tideover:     [source]
                kind = "azure"
                endpoint = "{service.endpoint}"
""")
