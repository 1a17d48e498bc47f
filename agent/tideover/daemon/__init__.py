"""The wiring: puts the parts together into a running agent, and takes them apart again. It decides nothing."""
from tideover.daemon.agent import Agent
from tideover.daemon.main import run_agent, start_agent

__all__ = ["Agent", "run_agent", "start_agent"]
