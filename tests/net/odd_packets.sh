#!/bin/bash
# What the kernel or a hostile program may put on the device: fragments in any order and over one another, IPv6 extension headers, garbage, groups and broadcasts, a
# flood of SYNs; and ports that are used again at once. Whatever comes, the next honest connection works, by the same worker.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq jq python3
SYNS=${SYNS:-100000}
world_up
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3
wait_for 10 in_app $PEER connect 6 fd78::3 9000 open || fail "no IPv6 in the world"
in_mid ip route add blackhole 10.79.0.0/16
in_mid nft -f - <<'EOF2'
table inet watch {
    counter groups { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" meta l4proto { tcp, udp } ip daddr { 224.0.0.0/4, 255.255.255.255, 169.254.0.0/16 } counter name groups
        iifname "uplink" meta l4proto { tcp, udp } ip6 daddr { ff00::/8, fe80::9 } counter name groups
    }
}
EOF2
groups() { in_mid nft -j list counter inet watch groups | jq '.nftables[] | .counter? // empty | .packets'; }
cat >"$DIR/p.yaml" <<'EOF2'
log-level: warning
ipv6: true
tun: { device: tunodd }
dns: { ipv6: true, fake-ip-range6: "fdfe:198:18::/64", nameserver: [10.78.0.2] }
rules: [ "MATCH,DIRECT" ]
EOF2
odd() { in_app timeout 60 python3 "$PWD/tests/net/odd.py" tunodd "$@"; }
flows() { ctl flows --json | jq '[.[] | select(.metadata.network == "tcp")] | length'; }
few_flows() { [ "$(flows)" -le 5 ]; }
shunt_start "$DIR/p.yaml"
worker=$(shunt_worker)
SRC4=$(in_app ip -j addr show tunodd | jq -r '.[0].addr_info[] | select(.family == "inet") | .local')
SRC6=$(in_app ip -j addr show tunodd | jq -r '.[0].addr_info[] | select(.family == "inet6") | .local')
export SRC4 SRC6
well() { in_app timeout 20 $PEER exchange 4 10.78.0.3 9000 100000 && in_app timeout 20 $PEER exchange 6 fd78::3 9000 1000 && [ "$(shunt_worker)" = "$worker" ]; }

step "datagrams of 2 to 60 KB, which the kernel sends in pieces, are echoed in pieces"
for at in "4 10.78.0.3" "6 fd78::3"; do
    in_app timeout 30 $PEER udp-large ${at% *} "${at#* }" 9000 || fail "IPv${at% *}"
done
ok
for at in 10.78.0.3 fd78::3; do
    step "fragments in every order; overlapping ones are dropped: $at"
    odd fragments $at 9000 || fail "order"
    odd overlap $at 9000 || fail "overlap"
    ok
done
step "IPv6 extension headers: eight and not nine, no type 0 routing, no ESP"
odd extensions fd78::3 9000 || fail "extensions"
ok
step "20,000 malformed packets"
odd garbage 20000 || fail "garbage"
well || fail "not well afterwards"
ok
step "multicast, broadcast and link-local: no flow of ours, nothing on the uplink"
odd group || fail "group"
in_app python3 - <<'EOF2'
import socket
for fam, at in ((socket.AF_INET, ("239.1.2.3", 5000)), (socket.AF_INET, ("198.18.0.3", 5000)), (socket.AF_INET6, ("ff0e::5", 5000))):
    s = socket.socket(fam, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tunodd")
    try:
        s.sendto(b"anybody?", at)
    except OSError:
        pass
EOF2
sleep 0.3
ctl flows --closed --json | jq -r '.[].metadata.destinationIP' | grep -E '^(22[4-9]|23[0-9]|255|169\.254)\.|^198\.18\.0\.3$|^ff|^fe80' && fail "relayed"
[ "$(groups)" = 0 ] || fail "$(groups) packets on the uplink"
ok
step "200 connections from one port, one after the other: none is refused"
in_app timeout 60 $PEER same-port 4 10.78.0.3 9000 200 || fail "IPv4"
in_app timeout 60 $PEER same-port 6 fd78::3 9000 200 || fail "IPv6"
ok
step "$SYNS SYNs to a destination that does not answer: at most 4,096 wait"
memory() { awk '/^VmRSS/ {print $2}' "/proc/$worker/status"; }
kb=$(memory)
odd syns 10.79.1.1 "$SYNS" || fail "syns"
n=$(flows)
[ "$n" -ge 1000 ] && [ "$n" -le 4100 ] || fail "$n flows"
more=$((($(memory) - kb) / 1024))
[ "$(shunt_worker)" = "$worker" ] || fail "the worker died"
ldd "$SHUNT" | grep -q libasan || [ "$more" -le 64 ] || fail "$more MB more"
ok "$n flows, $more MB more"
step "... and when they are given up everything is as before"
wait_for 20 few_flows || fail "$(flows) flows"
well || fail "not well afterwards"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
