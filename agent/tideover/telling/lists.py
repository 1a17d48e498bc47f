"""What the commands that list tell a person: events, pauses, hooks, a row each. Pure."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tideover.model import ANNOUNCED, HookSpec, Kind
from tideover.telling.parts import Row, Table, Text, Tone, row
from tideover.telling.status import VERDICT_TONES
from tideover.wording import NOT_KNOWN, Times, bounded_text, length_text


def history_table(records: Iterable[dict[str, Any]], times: Times) -> Table:
    """Given records, oldest first, return a row for each."""
    heads = (*_when_heads("NOTICED", times), "KIND", "OUTCOME", "PAUSE", "CLOCK", "HOOKS", "EVENT")
    return Table(heads, tuple(_event(record, times) for record in records))


def pauses_table(pauses: Iterable[dict[str, Any]], times: Times) -> Table:
    """Given pauses, oldest first, return a row for each."""
    heads = (*_when_heads("RESUMED", times), "LENGTH", "CAUSE", "QUALITY", "EVENT", "EVIDENCE")
    return Table(heads, tuple(
        row(*_when(pause["resumed_at"], times), bounded_text(pause["length_s"], pause["uncertainty_s"]), pause["cause"],
            pause["quality"], ", ".join(pause["event_ids"]) or "-", "; ".join(pause["evidence"])) for pause in pauses))


def hooks_table(hooks: Iterable[HookSpec], disabled: Iterable[str]) -> Table:
    """Given what lies in the hooks directory, return a row for each file that is or could be a hook, in the order of
    their names; below a refused one why it is."""
    rows = [(spec.order, spec.name, _hook(spec)) for spec in hooks]
    rows += [(int(file[:2]), file[3:], row(file[:2], file[3:], "-", "-", Text("disabled", Tone.FAINT), "-",
                                           below=(Text("no run bit: chmod +x enables it", Tone.FAINT),)))
             for file in disabled]
    return Table(("NN", "NAME", "TIMEOUT", "FAILURE", "STATE", "KINDS"),
                 tuple(made for _, _, made in sorted(rows, key=lambda known: known[:2])))


def kinds_text(kinds: frozenset[Kind]) -> str:
    """Given the kinds a hook is run for, return them in words."""
    if kinds >= ANNOUNCED:
        return ", ".join(["all announced", *sorted(kind.value for kind in kinds - ANNOUNCED)])
    return ", ".join(kind.value for kind in Kind if kind in kinds)


def _event(record: dict[str, Any], times: Times) -> Row:
    longest = _longest(record["pauses"])
    several = f" (of {len(record['pauses'])})" if len(record["pauses"]) > 1 else ""
    failed = sum(run["outcome"] in ("failed", "timed-out") for run in record["hooks"])
    runs = f"{len(record['hooks'])} run" + ("" if len(record["hooks"]) == 1 else "s")
    hooks = Text(f"{runs}, {failed} failed", Tone.BAD) if failed else Text(runs if record["hooks"] else "-")
    clock = record["clock"]
    checked = clock["checked_at"] is not None or clock["reason"]
    verdict = Text(clock["verdict"], VERDICT_TONES.get(clock["verdict"], Tone.WARN)) if checked else Text("-")
    missed = record["outcome"] == "missed"
    return row(*_when(record["noticed_at"], times), record["kind"] or "?",
               Text(record["outcome"] or record["status"], Tone.WARN if missed else Tone.PLAIN),
               f"{longest}{several}", verdict, hooks, record["event_id"])


def _longest(pauses: list[dict[str, Any]]) -> str:
    """Without its bound, for which a list has no room, unless the bound is all that is known."""
    known = [pause for pause in pauses if pause["length_s"] is not None]
    if not known:
        return NOT_KNOWN if pauses else "-"
    length_s, doubt_s = max((pause["length_s"], pause["uncertainty_s"]) for pause in known)
    return bounded_text(length_s, doubt_s if doubt_s is not None and doubt_s >= length_s else None)


def _hook(spec: HookSpec) -> Row:
    failure = "holds" if spec.required or spec.refused else "may fail"
    return row(f"{spec.order:02d}", spec.name, length_text(spec.timeout_s), failure,
               Text("refused", Tone.BAD) if spec.refused else Text("ready", Tone.GOOD), kinds_text(spec.kinds),
               below=(Text(spec.refused, Tone.BAD),) if spec.refused else ())


def _when_heads(what: str, times: Times) -> tuple[str, ...]:
    return (what,) if times.utc else (what, "")


def _when(at: str, times: Times) -> tuple[str, ...]:
    return (times.local(at),) if times.utc else (times.local(at), times.ago(at))
