#!/bin/bash
# Rules about programs and users: the worker, who may not look into other processes, knows who sends.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq curl jq socat setpriv python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3
wait_for 5 port_open "$ORG" 10.78.0.3 9000 || fail "the origin did not start"
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunprog }
dns: { nameserver: [10.78.0.2] }
rules:
  - PROCESS-NAME,SOCAT,REJECT
  - UID,1234,REJECT
  - PROCESS-PATH-REGEX,^/no/such/,REJECT
  - MATCH,DIRECT
EOF
shunt_start "$DIR/p.yaml"
api() { curl -sS --max-time 5 --unix-socket "$DIR/state/shunt.sock" "http://x$1"; }
bash_connects() { in_app timeout 5 bash -c "exec 3<>/dev/tcp/$1/9000"; }
as_1234() { in_app timeout 5 setpriv --reuid 1234 --regid 1234 --clear-groups bash -c "exec 3<>/dev/tcp/$1/9000"; }

for host in direct.test 10.78.0.3; do
    step "another program of root: DIRECT ($host)"
    bash_connects $host || fail "not connected"
    ok
    step "socat is rejected by its name ($host)"
    ! in_app timeout 5 socat -u /dev/null "TCP4:$host:9000" 2>"$DIR/err" || fail "connected"
    grep -q refused "$DIR/err" || fail "$(cat "$DIR/err")"
    ok
    step "user 1234 is rejected ($host)"
    ! as_1234 $host 2>"$DIR/err" || fail "connected"
    grep -q refused "$DIR/err" || fail "$(cat "$DIR/err")"
    ok
done

step "datagrams, too"
echo x | in_app timeout 3 socat -t 1 - UDP4:10.78.0.3:9000 >"$DIR/out" 2>"$DIR/err"
[ ! -s "$DIR/out" ] || fail "socat was answered"
in_app timeout 30 $PEER udp 4 10.78.0.3 9000 || fail "python was not answered"
ok

step "the list of flows and the log name them"
api '/shunt/flows?closed=1' >"$DIR/flows"
jq -e '[.connections[].metadata | select(.process == "socat" and .uid == 0 and (.processPath | startswith("/")))] | length >= 2' "$DIR/flows" >/dev/null ||
    fail "$(cat "$DIR/flows")"
jq -e '[.connections[].metadata | select(.process == "bash" and .uid == 1234)] | length >= 2' "$DIR/flows" >/dev/null || fail "no bash of 1234"
grep -q 'socat .* PROCESS-NAME,SOCAT' "$DIR/shunt.log" || fail "not in the log"
ok

step "200 connections at once are asked about and get through"
in_app timeout 60 $PEER burst 0 direct.test 9000 200 || fail "burst"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
