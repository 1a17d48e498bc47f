"""The drill's sample hooks for POSIX systems, as text."""
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTES = '''#!/bin/sh
# 10-notes: keeps what is known of the event, from prepare to recover.
set -eu
. "$NOTEBOOK"                                   # the drill writes down when this begins and ends

case "$1" in
prepare)
    cat > "$TIDEOVER_STATE_DIR/event.json"      # the event's record comes on standard input
    echo "this is coming: $TIDEOVER_KIND, ${TIDEOVER_EXPECTED_PAUSE_S:-?} s long"
    ;;
recover)
    test ! -e "$TIDEOVER_STATE_DIR/event.json" || rm "$TIDEOVER_STATE_DIR/event.json"
    echo "it is over: $TIDEOVER_REASON after ${TIDEOVER_PAUSE_S:-?} s, the clock is $TIDEOVER_CLOCK"
    ;;
esac
'''

TRAFFIC = '''#!/bin/sh
# 20-traffic: tells the load balancer to send no new requests, and waits until the old ones are answered.
set -eu
. "$NOTEBOOK"

case "$1" in
prepare)
    touch "$COUNTER/no-new-requests"            # a real one would talk to the balancer here
    sleep "$DRAIN_S"
    echo "no new requests; the old ones are answered"
    ;;
recover)
    rm -f "$COUNTER/no-new-requests"            # -f: it may be run twice, and also when prepare was cut short
    echo "requests are welcome again"
    ;;
esac
'''

COUNTER = '''#!/bin/sh
# 30-counter: lets a running application save its work and stand still, and later carry on.
set -eu
. "$NOTEBOOK"

case "$1" in
prepare)
    touch "$COUNTER/hold"                                   # ask it to stand still ...
    until [ -e "$COUNTER/saved" ]; do sleep 0.02; done      # ... and wait until it does
    echo "the counter stands still at $(cat "$COUNTER/saved")"
    ;;
recover)
    rm -f "$COUNTER/hold"
    while [ -e "$COUNTER/saved" ]; do sleep 0.02; done
    echo "the counter counts again"
    ;;
esac
'''

NOTEBOOK = '''# Read by each sample hook: one line when it begins, one when it ends by itself.
note() { echo "$(date +%s.%N) $hook $TIDEOVER_PHASE $1 ${TIDEOVER_CLOCK:--}" >> "$NOTEBOOK.log"; }
hook=${0##*/}
note begun
trap 'status=$?; test $status -ne 0 || note done' EXIT
'''

HOOKS: Mapping[str, str] = MappingProxyType({"10-notes": NOTES, "20-traffic": TRAFFIC, "30-counter": COUNTER})
