#!/bin/bash
# The worker is killed again and again under load: new flows work again within 200 ms of the kill, nothing goes out in clear, also with rp_filter=1;
# then the supervisor alone is killed: worker and TUN go with it and the machine has its network back.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq curl jq python3
KILLS=${KILLS:-20}
RECOVER_MS=${RECOVER_MS:-200}
grep -q __asan_init "$SHUNT" && RECOVER_MS=$((RECOVER_MS * 4)) # with sanitizers a start takes three to four times as long; 200 ms is what users get
world_up
in_app sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.uplink.rp_filter=1
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns via-ss.test=4
proxy_ss 8388 aes-256-gcm secret-one
in_mid nft -f - <<'EOF'
table inet watch {
    counter clear { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.77.0.1 meta l4proto { tcp, udp } th dport 8388 accept
        iifname "uplink" ip daddr { 10.78.0.0/24, 198.18.0.0/16 } counter name clear
        iifname "uplink" udp dport 53 counter name clear
    }
}
EOF
clear_packets() { in_mid nft -j list counter inet watch clear | jq '.nftables[] | .counter? // empty | .packets'; }
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunkill }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: secret-one, udp: true } ]
rules: [ "MATCH,ss" ]
EOF
step "positive control: without shunt the counter sees the same traffic"
in_app $PEER exchange 4 10.78.0.4 9000 1000 || fail "no path"
[ "$(clear_packets)" -gt 0 ] || fail "the counter counts nothing"
in_mid nft reset counters >/dev/null
ok
net_state >"$DIR/before"
shunt_start "$DIR/p.yaml"
in_app $PEER exchange 4 via-ss.test 9000 1000 || fail "no path through shunt"

# load: bulk transfers by name and by address, and datagrams, until told to stop
cat >"$DIR/load.sh" <<EOF
while [ ! -e "$DIR/stop" ]; do timeout 5 $PEER exchange 4 10.78.0.4 9000 20000000 >/dev/null 2>&1; timeout 2 $PEER udp 4 10.78.0.5 9000 >/dev/null 2>&1; done
EOF
background "$APP" bash "$DIR/load.sh"
background "$APP" bash "$DIR/load.sh"

worst=0
for i in $(seq "$KILLS"); do
    sleep 2
    pid=$(shunt_worker)
    [ -n "$pid" ] || fail "no worker"
    ms=$(in_app python3 "$PWD/tests/net/recover.py" "$pid" via-ss.test 9000) || fail "kill $i: no new flow within 5 s"
    say "  kill $i: a new flow (name looked up, connected, bytes both ways) worked ${ms} ms after the kill"
    [ "$ms" -gt "$worst" ] && worst=$ms
done
touch "$DIR/stop"
step "worst of $KILLS kills: $worst ms"
[ "$worst" -le "$RECOVER_MS" ] || fail "more than $RECOVER_MS ms"
ok
step "nothing went out in clear"
[ "$(clear_packets)" = 0 ] || fail "$(clear_packets) packets in clear"
ok

mode() { [ "$(ctl mode)" = "$1" ]; }
step "the mode a person chose lives as long as the supervisor, and so does the time it is up"
mode rule || fail "it is $(ctl mode)"
ctl mode direct >/dev/null && mode direct || fail "it cannot be chosen"
up=$(ctl status --json | jq .uptime_s)
[ "$up" -ge $((2 * KILLS)) ] || fail "up $up s after $KILLS kills"
for signal in ABRT KILL; do # at SEGV sanitizers would speak
    pid=$(shunt_worker)
    kill -$signal "$pid"
    replaced() { [ -n "$(shunt_worker)" ] && [ "$(shunt_worker)" != "$pid" ] && ctl mode; }
    wait_for 5 replaced || fail "no new worker after SIG$signal"
    mode direct || fail "it is $(ctl mode) after SIG$signal"
    sleep 1.2 # one that was ready for a second was no early death
done
in_app $PEER exchange 4 via-ss.test 9000 1000 || fail "no path"
grep 'via-ss.test:9000' "$DIR/shunt.log" | tail -n 1 | grep -q '| DIRECT |' || fail "the flow went by rules: $(tail -n 1 "$DIR/shunt.log")"
ctl mode rule >/dev/null
kill -KILL "$(shunt_worker)"
ok
step "... and goes with a stop in order"
wait_for 5 mode rule || fail "it is $(ctl mode)"
ctl mode direct >/dev/null && mode direct || fail "it cannot be chosen"
shunt_stop || fail "exit status $?"
shunt_start "$DIR/p.yaml"
mode rule || fail "it is $(ctl mode)"
ok

step "SIGKILL of the supervisor alone: worker and TUN are gone, the network is back within 1 s"
worker=$(shunt_worker)
kill -KILL "$SHUNT_PID"; wait "$SHUNT_PID" 2>/dev/null; SHUNT_PID=
wait_for 1 gone "$worker" || fail "the worker lives on"
! in_app ip link show tunkill >/dev/null 2>&1 || fail "the TUN lives on"
in_app $PEER exchange 4 10.78.0.4 9000 1000 || fail "no plain traffic"
in_app getent ahostsv4 via-ss.test | grep -q '10.78.0.4' || fail "names do not resolve"
ok
step "cleanup leaves the machine as before, twice"
in_app "$SHUNT" cleanup -d "$DIR/state" >/dev/null || fail "cleanup"
in_app "$SHUNT" cleanup -d "$DIR/state" >/dev/null || fail "second cleanup"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "something was left behind"
ok
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
