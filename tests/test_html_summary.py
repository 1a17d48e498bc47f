"""What the pages say: the verdict in one honest sentence, our own words typeset, nothing taken for 0."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kept_records import NOW, kept, moved, page_of, read_record, statistics_of, times
from tideover.html import report_document, report_lines
from tideover.html.markup import Markup, tag, typeset, untrusted, verbatim
from tideover.html.summary import Severity, not_known, summarize


def said(record):
    verdict = summarize(read_record(record))
    return verdict.tone, verdict.sentence


def test_the_verdict_of_a_freeze_says_pause_hooks_and_clock():
    assert said(kept("freeze")) == (
        Severity.CARRIED, "The platform carried out a freeze: at least the agent was paused for 4.18 s ± 31 ms; "
        "all 3 hooks prepared in 2.25 s and recovered; the clock was good to within 1.77 ms at recovery.")


def test_only_a_pause_of_the_machine_is_shown_as_the_platforms_freeze():
    record = kept("freeze")
    record["pauses"][0]["cause"] = "vm-pause"
    assert said(record)[1].startswith("The platform froze this machine for 4.18 s")
    assert not any("only the agent" in one for one in not_known(read_record(record)))
    assert any("only the agent" in one for one in not_known(read_record(kept("freeze"))))


def test_an_event_without_preparation_is_not_shown_as_handled():
    tone, sentence = said(kept("freeze", hooks=[]))
    assert tone is Severity.PASSED and "no application was prepared" in sentence


def test_a_failed_preparation_needs_a_look_and_names_the_hook():
    tone, sentence = said(kept("failed"))
    assert tone is Severity.ATTENTION
    assert "preparation of galera failed, so the event was not acknowledged" in sentence


def test_a_withdrawn_event_claims_no_preparation_that_was_stopped():
    tone, sentence = said(kept("cancelled"))
    assert tone is Severity.WITHDRAWN
    assert sentence == ("The platform cancelled a freeze before it started; all 3 hooks that had started to prepare "
                        "recovered.")


def test_a_restart_of_which_only_the_bound_is_known():
    assert "down for at most 7.85 s" in said(kept("reboot"))[1]


def test_a_clock_that_was_wrong_or_unknown_is_never_shown_as_right():
    for verdict, words in (("bad", "the clock was still 3 s behind at recovery"),
                           ("unknown", "whether the clock was good at recovery is not known")):
        record = kept("freeze")
        record["clock"] |= {"verdict": verdict, "offset_s": -3.0, "good_after_s": None}
        tone, sentence = said(record)
        assert tone is Severity.ATTENTION and words in sentence and "right to within" not in sentence


def test_a_pause_of_unknown_length_is_shown_as_unknown():
    record = kept("freeze")
    record["pauses"][0] |= {"length_s": None, "uncertainty_s": None, "quality": "unknown"}
    assert "was paused for an unknown time" in said(record)[1]
    assert any(one.startswith("How long the machine was paused") for one in not_known(read_record(record)))


def test_a_recovery_that_failed_is_shown_whatever_else_went_well():
    record = kept("freeze")
    record["hooks"][-1] |= {"outcome": "failed", "exit_status": 1}
    tone, sentence = said(record)
    assert tone is Severity.ATTENTION and "recovery of haproxy failed" in sentence


CUT_SHORT = {"outcome": "stopped", "exit_status": None, "duration_s": None, "output": ""}


def test_a_run_whose_end_was_not_seen_is_given_no_length_anywhere():
    """Preparation took until its last run ended; where a hook was not run again after its end was not seen, that is not known."""
    whole = kept("freeze")
    first, *rest = whole["hooks"]
    again = dict(whole, hooks=[first | CUT_SHORT, first | {"attempt": 2}, *rest])
    assert read_record(again).preparation_s == read_record(whole).preparation_s is not None
    last = max((run for run in whole["hooks"] if run["phase"] == "prepare"), key=lambda run: run["started_at"])
    lost = dict(whole, hooks=[run | CUT_SHORT if run is last else run for run in whole["hooks"]])
    assert read_record(lost).preparation_s is None
    page = page_of(again, times(), "1.0")
    assert "prepare: stopped, end not known" in page and "not known" in page


def test_a_recovery_cut_short_is_not_shown_as_done():
    record = kept("freeze")
    record["hooks"][-1] |= CUT_SHORT
    assert "recovery of haproxy failed" in said(record)[1]


def test_an_event_that_is_not_over_is_shown_as_open():
    tone, sentence = said(kept("freeze", status="held", outcome=None, ended_at=None, closed_at=None))
    assert tone is Severity.OPEN and sentence.startswith("Still open, a freeze")


def test_plain_text_is_escaped_and_markup_is_not():
    assert tag("p", '<b>&"', Markup("<i></i>"), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;&quot;<i></i></p>'


def test_a_number_never_parts_from_its_unit_on_a_page():
    assert typeset("for 1 min 4.184 s ± 31 ms, 3 % of it") == (
        "for 1\u202fmin 4.184\u202fs ±\u00a031\u202fms, 3\u202f% of it")
    assert typeset("4 hooks since 2026-11-20 took 5 steps") == "4 hooks since 2026-11-20 took 5 steps"
    assert typeset("vm-3 h, within 3-5 d") == "vm-3\u202fh, within 3-5\u202fd"
    assert typeset("from -250 ms to +3 s") == "from \u2212250\u202fms to +3\u202fs"
    assert tag("td", "31 ms") == "<td>31\u202fms</td>"


def test_untrusted_text_is_not_typeset():
    """Their words are copied and searched for: a space they wrote is the space that is there."""
    assert untrusted("took -5 s ± 3 ms") == "<bdi>took -5 s ± 3 ms</bdi>" and verbatim("<5 s") == "&lt;5 s"
    page = page_of(kept("freeze", description="about 9 s & more"), times(), "1.0")
    assert "<bdi>about 9 s &amp; more</bdi>" in page


def test_a_page_tells_the_moment_in_local_time_with_utc_beside():
    page = page_of(kept("freeze"), times(), "1.0")
    assert "2026-11-21 13:09:31 CET (UTC+01:00); 12:09:31 UTC" in page


# --- the history ------------------------------------------------------------------------------------------------

def history():
    """Twenty freezes, ten days apart; one of them with a notice shorter than the longest preparation."""
    records = []
    for index in range(20):
        record = moved(kept("freeze", event_id=f"event-{index}"), timedelta(days=-10 * index))
        record["notice_s"] = 2.0 if index == 3 else 900.0
        records.append(record)
    return records[::-1]


def test_the_report_holds_preparation_against_notice():
    figures = statistics_of(history(), times())
    lines = list(report_lines(figures, times()))
    assert lines[0] == "20 events: 20 handled."
    assert "Your hooks need 2.25 s; 1 of 20 notices gave less." in lines


def test_the_report_of_one_event_does_not_count_it():
    record = kept("freeze")
    record["clock"] |= {"verdict": "bad", "good_after_s": None}
    assert next(report_lines(statistics_of([record], times()), times())) == "One event, which needs attention."
    assert next(report_lines(statistics_of([*history(), moved(record, timedelta(days=1))], times()), times())) == (
        "21 events: 20 handled and 1 needs attention.")
    assert "The clock was not known to be good at recovery." in list(report_lines(statistics_of([record], times()), times()))
    lines = list(report_lines(statistics_of([*history(), moved(record, timedelta(days=1))], times()), times()))
    assert any("in 1 of 21 events it was not known to be good at recovery" in line for line in lines if isinstance(line, str))
    lines = list(report_lines(statistics_of([record, moved(record, timedelta(days=1))], times()), times()))
    assert "The clock was not known to be good at recovery in any of 2 events." in lines


def test_the_report_counts_by_local_month_and_keeps_empty_months():
    late = datetime(2026, 9, 30, 23, 30, tzinfo=UTC) - datetime.fromisoformat(kept("freeze")["noticed_at"])
    records = [moved(kept("freeze"), late - timedelta(days=70)), moved(kept("reboot"), late)]
    months = statistics_of(records, times(1)).months
    assert [(month.month, {kind.value: count for kind, count in month.by_kind.items()}) for month in months] == [
        (7, {"freeze": 1}), (8, {}), (9, {}), (10, {"reboot": 1})]
    assert statistics_of(records, times(0)).months[-1].month == 9


def test_since_leaves_out_what_was_before():
    figures = statistics_of(history(), times(), NOW - timedelta(days=35))
    assert len(figures.events) == 4 and "since 2026-10-17" in next(report_lines(figures, times()))


def test_what_is_not_known_is_counted_as_not_known_and_never_as_nothing():
    record = kept("freeze", not_before=None, notice_s=None)
    record["pauses"][0] |= {"length_s": None, "uncertainty_s": None}
    document = report_document(statistics_of([record], times()))
    for name in ("notice_s", "pause_s"):
        assert {"count": 0, "not_known": 1, "median": None}.items() <= document[name].items()


def test_an_event_first_seen_started_had_no_notice():
    record = kept("freeze")
    figures = statistics_of([record | {"started_at": record["noticed_at"], "hooks": []}], times())
    assert figures.without_notice == 1 and not figures.notice.lengths_s
    assert "1 event came without notice." in list(report_lines(figures, times()))


def wrong_clock():
    """A freeze with 40 s of notice, met with a clock 75 h behind that was set right when the machine had resumed."""
    record = moved(kept("freeze"), timedelta(hours=-75))
    record |= {"not_before": kept("freeze")["not_before"], "notice_s": 40.0}
    record["clock"]["samples"][0]["offset_s"] = -75 * 3600.0
    for run in record["hooks"]:
        if run["phase"] == "recover":
            run["started_at"] = moved(run, timedelta(hours=75))["started_at"]
    return record


def test_durations_are_not_differences_of_a_wrong_clocks_times():
    """The notice is the record's; how long applications were held is not known."""
    account = read_record(wrong_clock())
    assert (account.notice_s, account.held_back_s) == (40.0, None)
    assert read_record(kept("freeze")).held_back_s is not None
    assert report_document(statistics_of([wrong_clock()], times()))["notice_s"]["longest"] == 40.0


def test_a_clock_that_is_off_by_little_more_than_the_pause_still_says_how_long_applications_were_held():
    """A clock that stopped in the pause is behind by it; the pause is known to some hundredths, the clock to less."""
    record = kept("freeze")
    pause_s = record["pauses"][0]["length_s"]
    for off_s, is_known in ((0.001, True), (pause_s + 1.9, True), (-pause_s - 1.9, True), (pause_s + 2.1, False)):
        record["clock"]["samples"][0]["offset_s"] = off_s
        assert (read_record(record).held_back_s is not None) is is_known, off_s


def test_a_clock_that_is_set_while_hooks_prepare_leaves_the_preparation_unknown():
    record = kept("freeze")
    step = record["pauses"][0] | {"cause": "clock-step", "length_s": 0.0, "resumed_at": record["hooks"][1]["started_at"]}
    assert read_record(record | {"pauses": [step, *record["pauses"]]}).preparation_s is None
    backwards = kept("freeze")
    for run in backwards["hooks"][1:]:
        run["started_at"] = moved(run, timedelta(seconds=-3))["started_at"]
    assert read_record(backwards).preparation_s is None


def test_a_notice_that_was_not_measured_is_not_computed_from_times():
    record = kept("freeze", notice_s=None)
    assert read_record(record).notice_s is None
    assert "How much notice was given: this machine's clock was not known to be good then." in not_known(read_record(record))


def test_a_clock_that_showed_1970_adds_one_month():
    records = [moved(kept("freeze"), timedelta(days=-20_000)), kept("freeze"), moved(kept("freeze"), timedelta(days=90))]
    months = statistics_of(records, times()).months
    assert [(month.year, month.month) for month in months] == [(1972, 2), (2026, 11), (2026, 12), (2027, 1), (2027, 2)]


def test_preparation_that_was_stopped_says_nothing_of_what_hooks_need():
    assert statistics_of([kept("cancelled")], times()).need_s is None


def test_events_of_other_machines_are_counted_apart():
    record = kept("freeze", hooks=[], timeline=[
        {"at": "2026-11-21T12:09:31.337Z", "what": "noticed", "note": "it concerns vm-2, not vm-1"},
        {"at": "2026-11-21T12:09:31.337Z", "what": "observed", "note": ""}])
    figures = statistics_of([record], times())
    assert not figures.events and figures.watched == 1
    assert said(record) == (Severity.WATCHED, "This event was only observed: it concerns vm-2, not vm-1; no application was "
                                          "prepared.")


def test_no_history_is_no_fault():
    assert list(report_lines(statistics_of([], times()), times())) == ["No event concerned this machine."]
