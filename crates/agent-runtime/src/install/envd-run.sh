#!/bin/bash
# Starts envd in this container, then runs what follows "--". The postStart hook of the main container.
# Running it again while envd answers changes nothing.
directory="${ENVD_DIR:-$(cd "$(dirname "$0")" && pwd)}"
agent() { "$directory/mountlab" agent-runtime "$@"; }

if ! agent wait --envd --timeout 0 2>/dev/null; then
    # The output of the container's first process is the container's log.
    log=/dev/null
    if { : >>/proc/1/fd/1; } 2>/dev/null; then
        log=/proc/1/fd/1
    fi
    agent envd </dev/null >>"$log" 2>&1 &
    disown
    agent wait --envd --timeout 10 || exit 1
fi

if [ "$1" = "--" ]; then
    shift
    [ "$#" -eq 0 ] || exec "$@"
fi
exit 0
