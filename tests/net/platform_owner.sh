#!/bin/bash
# Whose socket is it: the worker, who may not look, learns user, process and program of a socket from the kernel and the supervisor.
. "$(dirname "$0")/lib_platform.sh"
need_world python3 jq setpriv socat
world_up

# holder UID PORT: a program of that user with an unconnected UDP socket
holder() { background "$APP" setpriv --reuid "$1" --regid "$1" --clear-groups socat -u "UDP4-RECV:$2" OPEN:/dev/null; }
owner() { ask 9.9.9.9 53 "owner 10.77.0.2:$1 203.0.113.1:443"; }
program=$(readlink -f "$(command -v socat)")
known() { [[ $(owner "$1") =~ ^uid\ $2\ pid\ ([0-9]+)\ $program$ ]] && [ "$(stat -c %u "/proc/${BASH_REMATCH[1]}")" = "$2" ]; }

shunt_start "$(profile p "device tunown")"
holder 1234 40001
holder 0 40002

step "a program of another user, and one of root"
wait_for 5 known 40001 1234 || fail "$(owner 40001)"
wait_for 5 known 40002 0 || fail "$(owner 40002)"
ok "$(owner 40001)"

step "nobody's port"
[ "$(owner 40003)" = none ] || fail "$(owner 40003)"
ok

step "after a reload, and by a worker that was restarted"
kill -HUP "$SHUNT_PID"
wait_for 5 logged 'helper: taken' || fail "no reload"
known 40001 1234 || fail "after the reload: $(owner 40001)"
kill -KILL "$(shunt_worker)"
wait_for 5 known 40001 1234 || fail "after the restart: $(owner 40001)"
ok

shunt_stop || fail "exit status $?"
sanitizers_silent
