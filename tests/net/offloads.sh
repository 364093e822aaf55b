#!/bin/bash
# Every way the kernel may hand us packets: no offload, checksums only, TSO, everything; MTU 1500 and 9000; IPv4 and IPv6; slow readers with small
# buffers; and the same with 5 % of the packets lost on the TUN, both ways. Every byte right each time.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq python3
world_up
echo "options timeout:1 attempts:8" >>"/etc/netns/$APP/resolv.conf" # questions get lost here like anything else
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3
proxy_ss 8388 aes-128-gcm secret-one
wait_for 5 port_open "$ORG" 10.78.0.3 9000
lose() {
    in_app nft -f - <<'EOF'
table inet lossy {
    chain in { type filter hook input priority -300; iifname "tunoff" numgen random mod 100 < 5 drop; }
    chain out { type filter hook output priority -300; oifname "tunoff" numgen random mod 100 < 5 drop; }
}
EOF
}
for mtu in 1500 9000; do
    cat >"$DIR/p.yaml" <<EOF
log-level: warning
ipv6: true
tun: { device: tunoff, mtu: $mtu }
dns: { ipv6: true, fake-ip-range6: "fdfe:198:18::/64", nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true } ]
rules: [ "IP-CIDR,10.78.0.4/32,ss,no-resolve", "IP-CIDR6,fd78::4/128,ss,no-resolve", "MATCH,DIRECT" ]
EOF
    for offload in none csum tso full; do
        export SHUNT_TUN_OFFLOAD=$offload
        shunt_start "$DIR/p.yaml"
        [ "$(in_app cat /sys/class/net/tunoff/mtu)" = $mtu ] || fail "the device has MTU $(in_app cat /sys/class/net/tunoff/mtu)"
        for family in 4 6; do
            step "MTU $mtu, offload $offload, IPv$family"
            in_app timeout 60 $PEER upload $family direct.test 9000 5000000 || fail "upload"
            in_app timeout 60 $PEER download $family direct.test 9000 5000000 || fail "download"
            in_app timeout 60 $PEER slow $family direct.test 9000 400000 || fail "slow reader"
            [ $family = 4 ] && at=10.78.0.4 || at=fd78::4
            in_app timeout 60 $PEER exchange $family $at 9000 3000000 || fail "exchange through ss"
            in_app timeout 30 $PEER udp $family $at 9000 || fail "datagrams through ss"
            ok
        done
        if [ $offload = none ] || [ $offload = full ]; then
            step "MTU $mtu, offload $offload, 5 % lost both ways"
            lose
            in_app timeout 120 $PEER upload 4 direct.test 9000 2000000 || fail "upload"
            in_app timeout 120 $PEER download 4 direct.test 9000 2000000 || fail "download"
            in_app timeout 120 $PEER exchange 6 fd78::4 9000 1000000 || fail "exchange through ss"
            in_app nft delete table inet lossy
            ok
        fi
        shunt_stop || fail "exit status $?"
    done
done
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
