#!/bin/bash
# A host of the LAN whose gateway is this machine: its packets are carried like our own, and what it may have open is bounded, without harm to our own programs.
#
#   lan ---- app (shunt) ---- mid ---- org
. "$(dirname "$0")/lib.sh"
need_world dnsmasq jq python3 dig
world_up
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
PEER="python3 $PWD/tests/net/peer.py"
LAN=$ID-lan
lan_down() { ip netns del "$LAN" 2>/dev/null; }
trap 'lan_down; world_down' EXIT
ip netns add "$LAN"
in_lan() { ip netns exec "$LAN" "$@"; }
ip link add lan netns "$APP" type veth peer name lan netns "$LAN"
ip -n "$APP" addr add 10.79.0.1/24 dev lan
ip -n "$APP" addr add fd79::1/64 dev lan nodad
ip -n "$LAN" addr add 10.79.0.2/24 dev lan
ip -n "$LAN" addr add fd79::2/64 dev lan nodad
for ns in "$APP" "$LAN"; do ip -n "$ns" link set lan up; done
ip -n "$LAN" link set lo up
ip -n "$LAN" route add default via 10.79.0.1
ip -n "$LAN" -6 route add default via fd79::1
in_app sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
in_org sysctl -qw net.core.somaxconn=4096
background "$ORG" $PEER serve 9000
background "$ORG" python3 "$PWD/tests/net/many.py" serve 9100
origin_dns direct.test=3
wait_for 5 port_open "$ORG" 10.78.0.3 9100
cat >"$DIR/p.yaml" <<'EOF'
log-level: warning
tun: { device: tunlan }
dns: { nameserver: [10.78.0.2] }
rules: [ "MATCH,DIRECT" ]
EOF
shunt_start "$DIR/p.yaml"
step "its connections, datagrams and names, IPv4 and IPv6"
in_lan timeout 30 $PEER exchange 4 10.78.0.3 9000 1000000 || fail "IPv4"
in_lan timeout 30 $PEER exchange 6 fd78::3 9000 1000000 || fail "IPv6"
in_lan timeout 30 $PEER udp 4 10.78.0.3 9000 || fail "UDP"
in_lan dig +short +tries=1 +time=2 @10.78.0.2 direct.test | grep -q '^198\.18\.' || fail "its DNS is not answered here"
ctl flows --closed --json | jq -e 'any(.metadata.sourceIP == "10.79.0.2")' >/dev/null || fail "no flow of it is shown"
ok
step "a thousand flows of it are carried, soon the next ones refused; our own go on"
in_lan timeout 60 python3 "$PWD/tests/net/many.py" open 10.78.0.3 9100 1000 "$DIR/open" "$DIR/go" >"$DIR/many.out" 2>&1 &
many=$!
wait_for 30 test -e "$DIR/open" || fail "$(tail -n 3 "$DIR/many.out")"
in_lan timeout 30 python3 "$PWD/tests/net/many.py" open 10.78.0.3 9100 30 "$DIR/none" "$DIR/go" >"$DIR/more.out" 2>&1 && fail "1,030 flows were carried" # it has datagram flows, too
grep -q ConnectionRefused "$DIR/more.out" || fail "$(cat "$DIR/more.out")"
in_app timeout 30 $PEER exchange 4 10.78.0.3 9000 1000 || fail "our own are refused, too"
grep -q '10.79.0.2 has 1024 flows open' "$DIR/shunt.log" || fail "not said"
touch "$DIR/go"
wait $many || fail "$(tail -n 3 "$DIR/many.out")"
again() { in_lan timeout 5 $PEER exchange 4 10.78.0.3 9000 10; }
wait_for 5 again || fail "refused for ever"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
