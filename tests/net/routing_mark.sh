#!/bin/bash
# routing-mark: sockets of ours carry the profile's mark, or their node's: TCP, datagrams, name servers; rules of the system send them another way.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns a.test=5 b.test=6
proxy_ss 8388 aes-128-gcm secret-one
# what leaves, by mark; a packet of ours without any is counted too
in_app nft -f - <<'EOF'
table inet marks {
    counter seven { }
    counter nine { }
    counter dns { }
    counter none { }
    chain out {
        type filter hook output priority 0;
        oifname != "uplink" accept
        meta l4proto { tcp, udp } th dport 53 meta mark 7 counter name dns accept
        meta mark 7 counter name seven accept
        meta mark 9 counter name nine accept
        meta l4proto { tcp, udp } ct direction original counter name none
    }
}
EOF
counted() { in_app nft -j list counter inet marks "$1" | jq '.nftables[] | .counter? // empty | .packets'; }
# whatever has mark 9 and goes to 10.77.0.1 finds no way
in_app ip route add unreachable 10.77.0.1/32 table 99
write() {
    cat >"$DIR/p.yaml" <<EOF
routing-mark: $1
tun: { device: tunmark }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true, routing-mark: $2 } ]
rules: [ "DOMAIN,b.test,ss", "MATCH,DIRECT" ]
EOF
}
exchange() { in_app timeout 5 $PEER exchange 4 "$1" 9000 10000 && in_app timeout 5 $PEER udp 4 "$1" 9000; }
write 7 9
shunt_start "$DIR/p.yaml"
step "direct connections and datagrams have the profile's mark, so have questions to name servers"
exchange a.test || fail "no traffic"
[ "$(counted seven)" -gt 4 ] && [ "$(counted dns)" -gt 0 ] && [ "$(counted nine)" = 0 ] || fail "$(counted seven) $(counted dns) $(counted nine)"
ok
step "a node's own mark counts for its server"
exchange b.test || fail "no traffic"
[ "$(counted nine)" -gt 4 ] || fail "$(counted nine)"
ok "$(counted nine) packets"
step "nothing of ours left without a mark"
[ "$(counted none)" = 0 ] || fail "$(counted none) packets"
ok
step "a rule of the system decides by it"
in_app ip rule add fwmark 9 table 99 priority 100
! in_app timeout 5 $PEER exchange 4 b.test 9000 1000 >/dev/null 2>&1 || fail "it got through"
in_app timeout 5 $PEER exchange 4 a.test 9000 1000 || fail "the others do not"
in_app ip rule del fwmark 9 table 99 priority 100
in_app timeout 5 $PEER exchange 4 b.test 9000 1000 || fail "not back"
ok
step "a new worker has the way to marks, too"
kill -KILL "$(shunt_worker)"
wait_for 5 exchange a.test || fail "no traffic"
[ "$(counted none)" = 0 ] || fail "$(counted none) packets"
ok
step "without the key no mark is asked for"
write 0 0
kill -HUP "$SHUNT_PID"
wait_for 5 grep -q 'read again' "$DIR/shunt.log" || fail "no reload"
exchange a.test && exchange b.test || fail "no traffic"
[ "$(counted none)" -gt 4 ] || fail "$(counted none)"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer|cannot be marked' "$DIR/shunt.log" || fail "$(grep -E 'ERROR: |runtime error|cannot be marked' "$DIR/shunt.log")"
