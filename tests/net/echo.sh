#!/bin/bash
# ping: where net.ipv4.ping_group_range admits the worker's group a DIRECT destination answers itself, so one that is not there does not; everything else is answered here.
. "$(dirname "$0")/lib.sh"
need_world jq ping python3
world_up
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
wait_for 5 port_open "$ORG" 10.78.0.3 9000
in_org nft -f - <<'EOF2'
table inet count {
    counter pings { }
    chain in { type filter hook input priority 0; icmp type echo-request counter name pings; icmpv6 type echo-request counter name pings; }
}
EOF2
arrived() { in_org nft -j reset counter inet count pings | jq '.nftables[] | .counter? // empty | .packets'; }
write() { # write DISABLE-ICMP-FORWARDING
    cat >"$DIR/p.yaml" <<EOF2
ipv6: true
tun: { device: tunecho, disable-icmp-forwarding: $1 }
dns: { ipv6: true, nameserver: [10.78.0.2] }
proxies: [ { name: away, type: socks5, server: 10.77.0.1, port: 1 } ]
rules: [ "IP-CIDR,10.78.0.8/32,away", "IP-CIDR6,fd78::8/128,away", "IP-CIDR,10.78.0.7/32,REJECT", "MATCH,DIRECT" ]
EOF2
}
answers() { in_app ping -c 1 -W 1 "$@" >"$DIR/ping" 2>&1; }

write false
step "without the kernel's leave all is answered here, also for a host that is not there"
in_app sysctl -qw net.ipv4.ping_group_range="1 0"
shunt_start "$DIR/p.yaml"
answers 10.78.0.3 && answers 10.78.0.99 && answers fd78::99 || fail "not answered"
[ "$(arrived)" = 0 ] || fail "it reached the origin"
shunt_stop || fail "exit status $?"
ok

in_app sysctl -qw net.ipv4.ping_group_range="65017 65017"
shunt_start "$DIR/p.yaml"
step "DIRECT: the origin answers, IPv4 and IPv6"
in_app ping -c 3 -i 0.2 -W 2 10.78.0.3 >/dev/null && [ "$(arrived)" = 3 ] || fail "IPv4"
in_app ping -c 3 -i 0.2 -W 2 fd78::3 >/dev/null && [ "$(arrived)" = 3 ] || fail "IPv6"
ok
step "... and who is not there does not"
! answers 10.78.0.99 || fail "IPv4: $(cat "$DIR/ping")"
! answers fd78::99 || fail "IPv6: $(cat "$DIR/ping")"
ok
step "every size, in pieces too; several programs at once"
for size in 0 1 56 1400 1473 4000; do
    answers -s $size 10.78.0.3 && answers -s $size fd78::3 || fail "$size bytes: $(cat "$DIR/ping")"
done
for i in 1 2 3 4 5; do in_app ping -q -c 4 -i 0.2 -W 2 -s $((100 + i)) 10.78.0.$((2 + i % 3)) >"$DIR/ping$i" 2>&1 & pids[i]=$!; done
for i in 1 2 3 4 5; do wait "${pids[i]}" || fail "$(cat "$DIR/ping$i")"; done
grep -L ' 0% packet loss' "$DIR"/ping[1-5] | grep . && fail "lost some"
ok
step "what is proxied or rejected, and our own network, is answered here"
arrived >/dev/null
answers 10.78.0.8 && answers fd78::8 && answers 10.78.0.7 && answers 198.18.0.2 || fail "not answered: $(cat "$DIR/ping")"
[ "$(arrived)" = 0 ] || fail "it reached the origin"
ok
step "a new worker does the same"
kill -KILL "$(shunt_worker)"
wait_for 3 in_app python3 "$PWD/tests/net/peer.py" connect 4 10.78.0.3 9000 open || fail "no worker"
in_app ping -c 3 -i 0.2 -W 2 10.78.0.3 >/dev/null && [ "$(arrived)" = 3 ] && ! answers 10.78.0.99 || fail "not by the origin"
ok
shunt_stop || fail "exit status $?"
step "disable-icmp-forwarding: answered here"
write true
shunt_start "$DIR/p.yaml"
answers 10.78.0.3 && answers 10.78.0.99 && [ "$(arrived)" = 0 ] || fail "not here"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
ok
