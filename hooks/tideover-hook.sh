# shellcheck shell=sh
# The part of a hook that every hook in POSIX sh has: phases, time left, and state that survives a kill. A hook reads this
# file, defines describe, prepare and recover, and ends with: run_hook "$@". Not a hook itself; docs/hooks.md has the rules.
#
#   STATE         its private directory (TIDEOVER_STATE_DIR)          PHASE         describe, prepare or recover
#   now           seconds of a clock that is never set                left          whole seconds this run may still take
#   keep KEY VALUE, kept KEY, has KEY, forget                         its state; "changed" means that recover has work to do
#   leave STATUS WHY, trouble WHY, whole_numbers SETTING...           how it ends

begun=$(cut -d. -f1 /proc/uptime)
STATE=${TIDEOVER_STATE_DIR:-}
LEFT=${TIDEOVER_SECONDS_LEFT:-60}
PHASE=${1:-}

now() { cut -d. -f1 /proc/uptime; }
left() { echo $((${LEFT%.*} - 1 - $(now) + begun)); }  # one second is kept for leaving in order

# keep KEY VALUE: on disk before anything is changed, so that a recover after a kill knows of it
keep() { printf '%s\n' "$2" > "$STATE/.$1" && sync "$STATE/.$1" && mv "$STATE/.$1" "$STATE/$1" && sync "$STATE"; }
kept() { cat "$STATE/$1" 2> /dev/null; }
has() { [ -e "$STATE/$1" ]; }
forget() { rm -f "$STATE"/* "$STATE"/.[a-z]*; }

# leave STATUS WHY: 3 and 4 say "nothing was changed"; with a change kept, that would cost us the recover
leave() {
    status=$1 && shift
    if [ "$PHASE" = prepare ] && has changed; then
        case $status in 3) status=0 ;; 4) status=1 ;; esac
    fi
    echo "$*"
    exit "$status"
}

# trouble WHY: a call just failed; one that ran out of its time is "not yet"
trouble() {
    case $? in 75 | 124 | 137) leave 75 "$*" ;; esac
    leave 1 "$*"
}

# whole_numbers SETTING...: leaves with status 2 if one is none
whole_numbers() {
    for setting in "$@"; do
        is=
        eval "is=\$$setting"
        case $is in '' | *[!0-9]*) leave 2 "$setting must be a whole number, not \"$is\"" ;; esac
    done
}

# run_hook "$@": the last line of a hook
run_hook() {
    PHASE=${1:-}
    case $PHASE in
        describe) describe && exit ;;
        prepare | recover) [ -d "$STATE" ] || { echo "TIDEOVER_STATE_DIR is not a directory" && exit 2; } ;;
        *) echo "usage: ${0##*/} describe | prepare | recover" && exit 2 ;;
    esac
    if [ "$PHASE" = recover ] && ! has changed; then
        forget                               # a prepare that was killed before it changed anything may have left notes
        leave 3 "nothing was prepared"
    fi
    "$PHASE"
}
