"""`tideover simulate`: the simulated platform alone, its scenario, and a line for each request that it gets."""
from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import click

from tideover.applications.protocol import NAME
from tideover.cli.endings import until_interrupted
from tideover.cli.options import example, print_lines, without_settings
from tideover.cli.render import key_value
from tideover.cli.terminal import render_lines, this_terminal
from tideover.client import VARIABLE
from tideover.drill.trial import TrialAgent
from tideover.errors import EXIT_OK, TideoverError, WrongUseError, system_reason
from tideover.platforms import SIMULATED_KINDS, Platform, platform_named
from tideover.settings.types import is_ipv4, listen_address, quoted
from tideover.simulator import Request, SimulatedService, SimulatorModule, load_simulator
from tideover.simulator.ntp_server import TimeServer
from tideover.simulator.scenarios import Scenario, play, read_scenario, scenario_names
from tideover.text_safety import dot_controls
from tideover.threads import start_task

ANY_PORT = "127.0.0.1:0"
HIGHEST_PORT = 65535
LOOK_S = 0.5                # for an interrupt, and for a scenario that has ended
REPEATS_SHOWN_S = 10.0       # a repeated request is shown this often
SHOWN_AT_MOST = 160         # characters of what a client sends


@click.command("simulate", epilog=example("tideover simulate freeze --listen 127.0.0.1:8080"))
@click.argument("scenario", required=False)
@click.option("--listen", default=ANY_PORT, metavar="IP:PORT", show_default=True, help="The address to listen at; "
                                                                                       "port 0: any free port.")
@click.option("--platform", "kind", type=click.Choice(SIMULATED_KINDS), default=SIMULATED_KINDS[0], show_default=True,
              help="The platform whose service is simulated.")
@click.option("--vm-name", "vm_names", multiple=True, metavar="NAME", help="The name of the VM in the events, vm-1 by "
              "default; repeat it for a scenario of several VMs. Each VM's service has a port of its own.")
@click.option("--pace", type=click.FloatRange(0.01, 1000.0), metavar="FACTOR", default=1.0, show_default=True,
              help="The speed factor; 2 takes half the time.")
@click.option("--application", "applications", multiple=True, metavar="NAME", help="Also run an agent in which the "
              "application NAME takes part, started by you as this user; repeat it for more. The scenario begins when "
              "all are connected.")
@click.option("--list", "lists", is_flag=True, help="List the built-in scenarios.")
@without_settings
def command(scenario: str | None, listen: str, kind: str, vm_names: Sequence[str], pace: float,
            applications: Sequence[str], lists: bool) -> int:
    """Serve a simulated metadata service that runs SCENARIO (a name or a file), and a time server, until Ctrl-C.

    The scenario availability-set serves three VMs that share their events."""
    if lists:
        parts = [key_value(name, read_scenario(name, kind).about) for name in scenario_names(kind)]
        print_lines(render_lines(parts, this_terminal()))
        return EXIT_OK
    story = read_scenario(scenario or load_simulator(platform_named(kind)).FIRST_SCENARIO, kind)
    platform = platform_named(kind)
    simulator = load_simulator(platform)
    names = (*vm_names, *(f"vm-{number}" for number in range(len(vm_names) + 1, story.vms + 1)))
    with until_interrupted(), ExitStack() as opened:
        services = [opened.enter_context(_open(partial(simulator.open_service, names[0]), listen, 0))]
        for offset, name in enumerate(names[1:], start=1):
            services.append(opened.enter_context(_open_beside(services[0], name, listen, offset, platform)))
        time_server = opened.enter_context(_open_time_server(services[0]))
        _show_head(platform, simulator, services, story, time_server)
        agent = opened.enter_context(_agent(applications, platform, simulator, services[0], time_server)) \
            if applications else None
        _ScenarioRun(simulator, services, story, pace, agent).run()
    return EXIT_OK


def _agent(names: Sequence[str], platform: Platform, simulator: SimulatorModule, service: SimulatedService,
           time_server: TimeServer) -> TrialAgent:
    """Raise WrongUseError if an application cannot have such a name."""
    wrong = [name for name in names if not NAME.fullmatch(name)]
    if wrong:
        raise WrongUseError("cannot simulate", f"--application {dot_controls(wrong[0])} is not a name of small "
                            "letters, digits and hyphens", "Name it as in its table [application.NAME].")
    agent = TrialAgent(names, platform, simulator.source_settings(service), time_server)
    click.echo(f"An agent runs beside it; start {' and '.join(names)} with\n\n  {VARIABLE}={agent.address}\n")
    return agent


def _open_beside(service: SimulatedService, vm_name: str, listen: str, offset: int,
                 platform: Platform) -> SimulatedService:
    """Raise WrongUseError if the platform has no such thing, or it cannot be served there."""
    try:
        return _open(lambda *, address, port: service.beside(vm_name, port=port), listen, offset)
    except NotImplementedError:
        raise WrongUseError("cannot simulate several VMs", f"{platform.name} shows each VM its own events",
                            "Run one simulation for each VM.") from None


class _Opening(Protocol):
    def __call__(self, *, address: str, port: int) -> SimulatedService: ...


def _open(opening: _Opening, listen: str, offset: int) -> SimulatedService:
    """Open a service at the port that --listen names, or `offset` beyond it. Raise WrongUseError if it cannot be served
    there."""
    address = listen_address(listen)
    if listen != ANY_PORT and (address is None or not is_ipv4(address.host)):
        raise WrongUseError("cannot simulate", f"--listen {dot_controls(listen)} is not an IPv4 address with a port",
                            "Write it as 127.0.0.1:8080.")
    host, port = (address.host, address.port + offset) if address else ("127.0.0.1", 0)
    try:
        return opening(address=host, port=min(port, HIGHEST_PORT))      # where another VM's service is already
    except OSError as trouble:
        raise WrongUseError("cannot simulate", f"{listen}: {system_reason(trouble)}",
                            "Choose another address with --listen, or omit the option.") from trouble


def _open_time_server(service: SimulatedService) -> TimeServer:
    """At the service's own address and port number, which is UDP's here; at any port where that one is in use."""
    host, _, port = service.endpoint.rpartition("//")[2].rpartition(":")
    try:
        return TimeServer(host=host, port=int(port))
    except OSError:
        return TimeServer(host=host)


class _ScenarioRun:
    """The services, one scenario on a thread of its own, and each request shown as it comes."""

    def __init__(self, simulator: SimulatorModule, services: Sequence[SimulatedService], story: Scenario,
                 pace: float, agent: TrialAgent | None) -> None:
        self._agent = agent
        self._simulator = simulator
        self._services, self._story, self._pace = services, story, pace
        self._began_s = time.monotonic()
        self._stopping = threading.Event()
        self._trouble: TideoverError | None = None
        self._newest: dict[str, Request] = {}                    # of each VM
        self._last_line, self._repeats, self._shown_s = dict.fromkeys(self._vm_names(), ""), 0, 0.0

    def run(self) -> None:
        """Until interrupted. Raise WrongUseError for a scenario that does not fit."""
        try:
            if self._agent is not None:
                self._agent.wait_connected()
            start_task("scenario", self._play, self._cannot_play)
            while self._trouble is None:
                self._services[0].wait_until(self._has_news, LOOK_S)
                for service, request in self._news():
                    if self._agent is None:
                        self._show_request(service, request)
                for line in self._agent.news() if self._agent is not None else ():
                    self._show("agent", line)
                if self._repeats and time.monotonic() - self._shown_s >= REPEATS_SHOWN_S:
                    self._show_repeats()
        except KeyboardInterrupt:
            self._show_repeats()
            click.echo("")
        finally:
            self._stopping.set()
        if self._trouble is not None:
            raise self._trouble

    def _play(self) -> None:
        try:
            play(self._story, self._services[0], vm_names=self._vm_names(), pace=self._pace,
                 show=lambda line: self._show("platform", line), stopping=self._stopping)
        except WrongUseError as trouble:
            self._trouble = trouble
        else:
            self._show("platform", "the scenario has ended; the service keeps answering until Ctrl-C")

    def _cannot_play(self, reason: str) -> None:
        self._trouble = TideoverError(f"cannot run {self._story.name}", reason, "Choose another scenario.")

    def _vm_names(self) -> tuple[str, ...]:
        return tuple(service.vm_name for service in self._services)

    def _has_news(self) -> bool:
        return any(service.requests and service.requests[-1] is not self._newest.get(service.vm_name)
                   for service in self._services)

    def _news(self) -> list[tuple[SimulatedService, Request]]:
        fresh: list[tuple[SimulatedService, Request]] = []
        for service in self._services:
            known = self._newest.get(service.vm_name)
            for request in reversed(list(service.requests)):
                if request is known:
                    break
                fresh.append((service, request))
            if service.requests:
                self._newest[service.vm_name] = service.requests[-1]
        return sorted(fresh, key=lambda one: one[1].at_monotonic_s)

    def _show_request(self, service: SimulatedService, request: Request) -> None:
        line = self._described(service, request)
        if line == self._last_line[service.vm_name]:
            self._repeats += 1
            return
        self._show_repeats()
        self._last_line[service.vm_name] = line
        self._show(dot_controls(service.vm_name) if len(self._services) > 1 else "client", line)

    def _show_repeats(self) -> None:
        if self._repeats:
            self._show("client", "repeated once" if self._repeats == 1 else f"repeated {self._repeats} times")
        self._repeats, self._shown_s = 0, time.monotonic()

    def _described(self, service: SimulatedService, request: Request) -> str:
        who = dot_controls(request.header("User-Agent") or "unknown client")[:SHOWN_AT_MOST]
        what = f"{request.method} {dot_controls(request.target)[:SHOWN_AT_MOST]} ({who})"
        description = dot_controls(self._simulator.describe(service, request))
        return f"{what}: {description}" if description else what

    def _show(self, who: str, what: str) -> None:
        click.echo(f"{time.monotonic() - self._began_s:8.2f} s  {who:<9} {dot_controls(what)}")


def _show_head(platform: Platform, simulator: SimulatorModule, services: Sequence[SimulatedService], story: Scenario,
               time_server: TimeServer) -> None:
    what = f"{platform.service[0].upper()}{platform.service[1:]} of {platform.name}, simulated for the VM"
    lines = [f"{story.name}: {story.about}"]
    for service in services:
        source = "\n".join(["[source]", f"kind = {quoted(platform.kind)}",
                            *(f"{key} = {quoted(text)}" for key, text in simulator.source_settings(service).items()),
                            "[clock]", f"servers = [{quoted(time_server.address)}]"])
        lines += [f"{what} {dot_controls(service.vm_name)}, at {service.endpoint} (Ctrl-C ends it)", ""]
        for name, text in (*simulator.usage(service), ("tideover", source)):
            first, *more = text.splitlines()
            lines += [f"  {name + ':':<13} {first}", *(f"{'':<16}{line}" for line in more)]
        lines.append("")
    click.echo("\n".join(lines))
