#!/bin/bash
# SIGHUP with a good profile: rules, mode and routes of the new one are in force, live flows go on, and a worker that is replaced later has the new one, too. What a living
# device cannot change is said; the rest of the profile is used all the same.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3
write() { # write MODE RULE [TUN-KEYS]
    cat >"$DIR/p.yaml" <<EOF
mode: $1
tun: { device: tunreload${3:+, $3} }
dns: { nameserver: [10.78.0.2] }
rules: [ "$2" ]
EOF
}
decides() { [ "$(ctl explain 192.0.2.1:80 --json | jq -r .action)" = "$1" ]; }
mode_is() { [ "$(ctl mode)" = "$1" ]; }
flows_are() { [ "$(ctl flows --json | jq length)" = "$1" ]; }
hup() { kill -HUP "$SHUNT_PID"; }
write rule MATCH,DIRECT
net_state >"$DIR/before"
shunt_start "$DIR/p.yaml"

step "a flow that is open lives on over the reload"
in_app timeout 30 python3 - "$DIR/go" >"$DIR/held" 2>&1 <<'EOF' &
import os, socket, sys, time
s = socket.create_connection(("direct.test", 9000))
s.sendall(b"X" + (5).to_bytes(8, "big"))
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
s.sendall(b"12345")
assert len(s.recv(5, socket.MSG_WAITALL)) == 5
EOF
held=$!
wait_for 5 flows_are 1 || fail "no flow: $(cat "$DIR/held")"
write rule MATCH,REJECT 'route-exclude-address: [10.78.0.9/32]'
hup
wait_for 3 decides reject || fail "the new rules are not in use"
touch "$DIR/go"
wait $held || fail "$(cat "$DIR/held")"
ok
step "its routes are in force: what it excludes goes past the device"
in_app ip route get 10.78.0.9 | grep -q 'dev uplink' || fail "$(in_app ip route get 10.78.0.9)"
in_app ip route get 10.78.0.8 | grep -q 'dev tunreload' || fail "$(in_app ip route get 10.78.0.8)"
ok
step "a worker that is replaced has the new profile"
kill -KILL "$(shunt_worker)"
wait_for 3 decides reject || fail "it has the old one"
ok
step "another MTU needs a restart: said, and the rest is used"
write rule MATCH,DIRECT 'mtu: 9000'
hup
wait_for 3 decides direct || fail "the rest is not used"
grep -q 'tun.mtu cannot change while shunt runs' "$DIR/shunt.log" || fail "not said"
ok
step "a mode that the profile changes is taken over; one that a person chose stays"
ctl mode global || fail mode
hup
sleep 0.3
mode_is global || fail "the choice is lost: $(ctl mode)"
write direct MATCH,DIRECT 'mtu: 9000'
hup
wait_for 3 mode_is direct || fail "still $(ctl mode)"
ok
step "shunt reload waits for the verdict: in use"
write rule MATCH,REJECT
ctl reload >"$DIR/said" 2>&1 || fail "$(cat "$DIR/said")"
decides reject || fail "said to be in use, and it is not"
ok
step "... refused: every error with its line, status 1, and the old one decides"
printf 'mode: foo\nlog-level: loud\nrules: [ "MATCH,DIRECT" ]\n' >"$DIR/p.yaml"
ctl reload >"$DIR/said" 2>&1 && fail "it took it"
grep -q '^line 1, column 7: mode' "$DIR/said" && grep -q '^line 2, column 12: log-level' "$DIR/said" && grep -q 'the old profile stays in use' "$DIR/said" || fail "$(cat "$DIR/said")"
decides reject || fail "the old one is gone"
ctl reload --json | jq -e '.ok == false and (.errors | length) == 2 and .errors[1].line == 2' >/dev/null || fail json
ok
step "... not readable: said, and status 1"
mv "$DIR/p.yaml" "$DIR/gone.yaml"
ctl reload >"$DIR/said" 2>&1 && fail "it took nothing"
grep -q 'cannot be read: No such file' "$DIR/said" || fail "$(cat "$DIR/said")"
decides reject || fail "the old one is gone"
ok
step "... the local file is read again with it"
write rule MATCH,DIRECT
ctl reload --json | jq -e .ok >/dev/null || fail reload
decides direct || fail "the profile is not in use"
"$SHUNT" reload -d "$DIR/nowhere" 2>/dev/null
[ $? = 3 ] || fail "no shunt there, and the status is not 3"
ok
step "SIGTERM leaves the machine as it was"
shunt_stop || fail "exit status $?"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "something was left behind"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
ok
