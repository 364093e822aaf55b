#!/bin/bash
# 10,000 flows open at once through ss-server and DIRECT: all carry bytes, memory per idle flow is bounded, descriptors return, nothing leaks.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq jq python3
FLOWS=${FLOWS:-10000}
world_up
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
in_org sysctl -qw net.core.somaxconn=4096
in_mid sysctl -qw net.core.somaxconn=4096
background "$ORG" python3 "$PWD/tests/net/many.py" serve 9100
origin_dns direct.test=3
proxy_ss 8388 aes-128-gcm secret-one
cat >"$DIR/p.yaml" <<'EOF'
log-level: warning
tun: { device: tunmany }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true } ]
rules: [ "IP-CIDR,10.78.0.4/32,ss,no-resolve", "MATCH,DIRECT" ]
EOF
wait_for 5 port_open "$ORG" 10.78.0.3 9100
shunt_start "$DIR/p.yaml"
worker=$(shunt_worker)
fds() { ls "/proc/$worker/fd" | wc -l; }
private_kb() { awk '/^Private/ {n += $2} END {print n}' "/proc/$worker/smaps_rollup"; }
fds_before=$(fds) kb_before=$(private_kb)
for at in "DIRECT 10.78.0.3" "ss 10.78.0.4"; do
    set -- $at
    step "$FLOWS flows at once, $1"
    rm -f "$DIR/open" "$DIR/go"
    in_app python3 "$PWD/tests/net/many.py" open "$2" 9100 "$FLOWS" "$DIR/open" "$DIR/go" >"$DIR/many.out" 2>&1 &
    many=$!
    wait_for 120 test -e "$DIR/open" || { kill $many; fail "$(tail -n 3 "$DIR/many.out")"; }
    sleep 1
    kb=$(private_kb) open=$(ctl flows --json | jq length)
    touch "$DIR/go"
    wait $many || fail "$(tail -n 3 "$DIR/many.out")"
    [ "$open" -ge "$FLOWS" ] || fail "only $open flows live"
    per_flow=$(((kb - kb_before) * 1024 / FLOWS))
    ok "$(cat "$DIR/many.out"); $per_flow bytes private per idle flow"
    if [ -n "${MAX_PER_FLOW:-}" ] && [ "$per_flow" -gt "$MAX_PER_FLOW" ]; then fail "more than $MAX_PER_FLOW bytes per flow"; fi
done
step "all descriptors came back"
wait_for 20 test "$(fds)" -le $((fds_before + 4)) || { sleep 5; [ "$(fds)" -le $((fds_before + 4)) ] || fail "$fds_before before, $(fds) after"; }
ok
step "the machine's own memory is given back on exit: no leak in either process"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
ok
