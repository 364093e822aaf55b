#!/bin/bash
# A worker that was taken over says what it should not: out of turn, unknown, too short, with a descriptor. It is killed and replaced, and of the system nothing changes.
. "$(dirname "$0")/lib_platform.sh"
need_world python3 jq
world_up
net_state >"$DIR/before"
p=$(profile p "device tunturn")
shunt_start "$p"
[[ $(pong) = pong* ]] && echoed 203.0.113.1 || fail "not captured"
net_state >"$DIR/running"
replaced() { # by a worker that answers
    [ -n "$(shunt_worker)" ] && [ "$(shunt_worker)" != "$1" ] && [[ $(pong) = pong* ]]
}
said=0
punished() { # punished WHAT-IT-SAYS REASON
    local worker
    worker=$(shunt_worker)
    step "\"$1\": $2"
    : >"$DIR/shunt.log"
    ask 9.9.9.9 53 "say $1" >/dev/null
    wait_for 3 replaced "$worker" || fail "it lives on"
    logged "the worker is killed: $2" || fail "$(grep worker "$DIR/shunt.log")"
    net_state | diff "$DIR/running" - || fail "something changed"
    echoed 203.0.113.1 || fail "not captured any more"
    said=$((said + 1))
    sleep 1.1 # one that was ready for a second was no early death
    ok
}
punished "1 wish" "it speaks out of turn"
punished "3" "it speaks out of turn"
punished "4" "it speaks out of turn"
punished "5" "a socket has a number"
punished "0" "a worker does not say this"
punished "9" "there is no such mode"
punished "10" "a worker does not say this"
punished "11" "a worker does not say this"
punished "4711" "a worker does not say this"
punished "3 short" "its messages are broken"
punished "3 descriptor" "its messages are broken"
step "a wish that is none is told, not punished"
worker=$(shunt_worker)
ask 9.9.9.9 53 "say 1" >/dev/null
sleep 0.3
[ "$(shunt_worker)" = "$worker" ] && [[ $(pong) = pong* ]] || fail "it was killed"
net_state | diff "$DIR/running" - || fail "something changed"
ok
step "after $said of them SIGTERM leaves everything byte-equal"
shunt_stop || fail "exit status $?"
unchanged
sanitizers_silent
ok
