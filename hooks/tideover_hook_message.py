"""Messages about an event, for the webhook hook and for the notification programs in ../notify: what is known of the
event, a sentence for people, the payloads of chat services, and the ways to send them.

Needs Python 3.11 and its standard library only; for Linux and Windows. Not a hook itself.
"""
from __future__ import annotations

import http.client
import json
import os
import pathlib
import platform
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

FIELDS = ("EVENT_ID", "KIND", "REASON", "NOT_BEFORE", "EXPECTED_PAUSE_S", "PAUSE_S", "CLOCK", "CLOCK_OFFSET_S",
          "ATTEMPT", "TRACE_ID", "DRILL")
FORMATS = ("json", "text", "slack", "teams")
PHASES = {
    "observed": "an event of a kind that is not acted on", "scheduled": "is to prepare later",
    "waiting-for-slot": "waits for a slot of its group", "preparing": "prepares",
    "waiting-for-peers": "is prepared and waits for other machines", "acknowledging": "acknowledges the event",
    "unconfirmed": "has no answer to its acknowledgement", "held": "does not acknowledge the event",
    "acknowledged": "has acknowledged the event", "started": "is being interrupted",
    "checking-clock": "checks its clock", "settling": "waits for quiet after the pause",
    "recovering": "recovers its applications", "recovered": "has recovered its applications",
    "closed": "the event is over",
}
"""What the machine does in each phase (the agent's docs/events.md)."""
FACTS = (("Event", "event_id"), ("Kind", "kind"), ("Not before", "not_before"), ("Expected pause", "expected_pause_s"),
         ("Pause", "pause_s"), ("Clock", "clock"), ("Reason", "reason"))
"""Shown below the sentence, where they are known."""


# --- what is known

def facts(environ: Mapping[str, str]) -> dict[str, str]:
    """Given a run's environment, return what is known of the event; unknown is the empty string."""
    return {"host": platform.node()} | {name.lower(): environ.get(f"TIDEOVER_{name}", "") for name in FIELDS}


def hook_message(phase: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Given prepare or recover and what is known, return the document of the webhook hook."""
    if phase == "prepare":
        text = f"{known['host']} prepares for {known['kind']}, not before {known['not_before'] or 'an unknown time'}"
    else:
        why, clock = known["reason"] or known["kind"], known["clock"] or "unknown"
        text = f"{known['host']} is back ({why}, pause {known['pause_s'] or '?'} s, clock {clock})"
    return {"phase": phase, **known, "text": text}


def phase_message(phase: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Given the event's phase and what is known, return the document of a notification."""
    drill = "drill: " if known["drill"] else ""
    about = PHASES.get(phase, phase)
    text = f"{drill}{known['host']}: {known['kind'] or 'event'}: {about}"
    if phase in ("scheduled", "preparing", "held") and known["not_before"]:
        text += f", not before {known['not_before']}"
    if phase in ("recovered", "closed"):
        ended = [known["reason"], f"pause {known['pause_s']} s" if known["pause_s"] else "",
                 f"clock {known['clock']}" if known["pause_s"] else ""]
        text += f" ({', '.join(filter(None, ended))})" if any(ended) else ""
    return {"event_phase": phase, **known, "text": text}


def shown_facts(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Given a message, return what is shown below its sentence: each fact's name and value. The clock is checked after
    the event only, before which "unknown" would mislead."""
    return [(name, _with_unit(key, str(message[key]))) for name, key in FACTS
            if message.get(key) and (key != "clock" or message.get("reason"))]


def _with_unit(key: str, value: str) -> str:
    return f"{float(value):g} s" if key.endswith("_s") else value


# --- payloads

def payload(format_: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Given a format (one of FORMATS) and a message, return the JSON document that such a receiver takes."""
    shown = shown_facts(message)
    match format_:
        case "text":
            return {"text": message["text"]}
        case "slack":
            return _slack(message["text"], shown)
        case "teams":
            return _teams(message["text"], shown)
        case _:
            return dict(message)


def _slack(text: str, shown: list[tuple[str, str]]) -> dict[str, Any]:
    """Slack's incoming webhooks: `text` for notifications, blocks for the channel; at most 10 fields a section. & < >
    are the only characters with a meaning that foreign text could use to mention people (docs.slack.dev)."""
    section: dict[str, Any] = {"type": "section", "text": {"type": "mrkdwn", "text": f"*{_slack_safe(text)}*"}}
    if shown:
        section["fields"] = [{"type": "mrkdwn", "text": f"*{name}*\n{_slack_safe(value)[:2000]}"}
                             for name, value in shown[:10]]
    return {"text": _slack_safe(text), "blocks": [section]}


def _slack_safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(text: str, shown: list[tuple[str, str]]) -> dict[str, Any]:
    """Teams' webhooks of a workflow: a message with one adaptive card (learn.microsoft.com)."""
    body: list[dict[str, Any]] = [{"type": "TextBlock", "text": text, "weight": "Bolder", "wrap": True}]
    if shown:
        body.append({"type": "FactSet", "facts": [{"title": name, "value": value} for name, value in shown]})
    card = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
            "body": body}
    return {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive",
                                                "contentUrl": None, "content": card}]}


# --- HTTP

class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET somewhere else: it counts as not delivered."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def read_headers(path: str) -> dict[str, str]:
    """Given a file with one "Name: value" a line ("": there is none), return them. Raise OSError."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines() if path else []
    parts = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in parts}


def post(url: str, document: Mapping[str, Any], headers: Mapping[str, str], ca_file: str, timeout_s: float) -> int:
    """Given an address, what to send, further headers, a file of certificates ("": the system's) and the longest that
    one wait may take, return the receiver's 2xx. It follows no redirect. Raise OSError if it is not delivered."""
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json", **headers}, method="POST")
    try:
        with _opener(url, ca_file).open(request, timeout=timeout_s) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        raise OSError(f"the receiver answers {error.code}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            why = error.reason.verify_message
            raise OSError(f"the receiver's certificate is refused: {why} (name a file with who may sign it)") from None
        raise OSError(str(error.reason)) from None
    except http.client.HTTPException as error:
        raise OSError(f"the receiver does not answer properly: {error!r}") from None


def _opener(url: str, ca_file: str) -> urllib.request.OpenerDirector:
    """What opens the address: over https it trusts whom the owner or the system trusts."""
    if not url.startswith("https://"):
        return urllib.request.build_opener(NoRedirect)
    context = ssl.create_default_context(cafile=ca_file or None)
    return urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))


# --- mail

SENDMAIL = "/usr/sbin/sendmail"
SUBJECT_AT_MOST, LONGEST_LINE = 200, 300        # characters; a subject is not folded


def mail(message: Mapping[str, Any], sender: str, recipients: list[str], record: str = "") -> bytes:
    """Given a message, a sender ("": the local mail system's default) and who gets it, return the mail. `record`: JSON
    to attach, "" for none."""
    written = EmailMessage(policy=SMTP.clone(max_line_length=LONGEST_LINE))
    written["Subject"] = " ".join(f"tideover: {message['text']}".split())[:SUBJECT_AT_MOST]
    if sender:
        written["From"] = sender
    written["To"] = ", ".join(recipients)
    written["Auto-Submitted"] = "auto-generated"         # RFC 3834: answering machines leave it alone
    lines = [message["text"], "", *(f"{name}: {value}" for name, value in shown_facts(message)),
             "", f"On the machine: tideover show {message['event_id']}"]
    written.set_content("\n".join(lines) + "\n")
    if record:
        written.add_attachment(record.encode(), maintype="application", subtype="json", filename="record.json")
    return written.as_bytes()


def send_mail(program: str, letter: bytes, sender: str, recipients: list[str], timeout_s: float) -> None:
    """Given the local sendmail, a mail, its sender and who gets it, send it. Raise OSError if it is not taken."""
    words = [program, "-i", *(["-f", sender] if sender else []), "--", *recipients]
    # The letter goes with the line ends of this system: sendmail makes the others (sendmail(8)).
    local = letter.replace(b"\r\n", os.linesep.encode())
    try:
        ran = subprocess.run(words, input=local, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{program} took longer than {timeout_s:g} s") from None
    if ran.returncode != 0:
        printed = ran.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"{program} ended with {ran.returncode}{f': {printed[-1]}' if printed else ''}")
