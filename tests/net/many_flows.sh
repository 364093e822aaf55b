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
# a server needs two descriptors a flow, and a machine's hard limit may be 20,000: so there are two
proxy_ss 8388 aes-128-gcm secret-one
proxy_ss 8389 aes-128-gcm secret-one
cat >"$DIR/p.yaml" <<'EOF'
log-level: warning
tun: { device: tunmany }
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: one, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one }
  - { name: two, type: ss, server: 10.77.0.1, port: 8389, cipher: aes-128-gcm, password: secret-one }
rules: [ "IP-CIDR,10.78.0.4/32,one,no-resolve", "IP-CIDR,10.78.0.5/32,two,no-resolve", "MATCH,DIRECT" ]
EOF
wait_for 5 port_open "$ORG" 10.78.0.3 9100
fds() { ls "/proc/$worker/fd" | wc -l; }
private_kb() { awk '/^Private/ {n += $2} END {print n}' "/proc/$worker/smaps_rollup"; }
descriptors_back() { [ "$(fds)" -le $((fds_before + 4)) ]; }
for at in "DIRECT 10.78.0.3" "ss 10.78.0.4,10.78.0.5"; do
    set -- $at
    shunt_start "$DIR/p.yaml"
    worker=$(shunt_worker) fds_before=$(fds) kb_before=$(private_kb)
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
    ok "$(cat "$DIR/many.out"); $kb_before KB private at start, $per_flow bytes per idle flow"
    if [ -n "${MAX_PER_FLOW:-}" ] && [ "$per_flow" -gt "$MAX_PER_FLOW" ]; then fail "more than $MAX_PER_FLOW bytes per flow"; fi
    step "all descriptors came back; no leak in either process"
    wait_for 20 descriptors_back || fail "$fds_before before, $(fds) after"
    shunt_stop || fail "exit status $?"
    ! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
    ok
done
