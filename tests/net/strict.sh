#!/bin/bash
# strict-route: nothing of the machine leaves in clear, whatever dies or changes: routes pushed by others, programs bound to the uplink, a family the TUN does not
# carry, worker killed, supervisor killed. A positive control without shunt sees every one of these leak.
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq jq python3 ping
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns via-ss.test=4
proxy_ss 8388 aes-128-gcm secret-one
in_mid nft -f - <<'EOF'
table inet watch {
    counter clear { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.77.0.1 meta l4proto { tcp, udp } th dport 8388 accept
        iifname "uplink" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
        iifname "uplink" ip6 daddr ff00::/8 accept
        iifname "uplink" meta l4proto { tcp, udp, icmp, icmpv6 } counter name clear
    }
}
EOF
clear_packets() { in_mid nft -j list counter inet watch clear | jq '.nftables[] | .counter? // empty | .packets'; }
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunstrict, strict-route: true }
ipv6: false
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: secret-one, udp: true } ]
rules: [ "MATCH,ss" ]
EOF
# what of our own gets past our chains into the TUN
in_app nft -f - <<EOF
table inet spy {
    counter own { }
    chain out { type filter hook output priority 10; oifname "tunstrict" meta skuid $(id -u shunt 2>/dev/null || echo 65017) counter name own; }
}
EOF
own_captured() { in_app nft -j list counter inet spy own | jq '.nftables[] | .counter? // empty | .packets'; }
# everything an application may try; none may hurt
flood() {
    in_app timeout 1 ping -c 2 -i 0.1 -W 1 10.78.0.5 >/dev/null 2>&1
    in_app timeout 1 ping -6 -c 2 -i 0.1 -W 1 fd78::5 >/dev/null 2>&1
    in_app timeout 2 python3 - <<'EOF' >/dev/null 2>&1
import socket
def attempt(fam, kind, at, device=None):
    try:
        s = socket.socket(fam, kind); s.settimeout(0.2)
        if device: s.setsockopt(socket.SOL_SOCKET, 25, device)
        s.connect(at); s.send(b"clear?")
    except OSError:
        pass
for device in (None, b"uplink"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        attempt(socket.AF_INET, kind, ("10.78.0.5", 9000), device)
        attempt(socket.AF_INET6, kind, ("fd78::5", 9000), device)
        attempt(socket.AF_INET, kind, ("10.78.0.2", 53), device)
EOF
}
step "positive control: without shunt every attempt is seen"
flood
[ "$(clear_packets)" -gt 5 ] || fail "only $(clear_packets) packets"
in_mid nft reset counters >/dev/null
ok "$(clear_packets) after reset"
net_state >"$DIR/before"
shunt_start "$DIR/p.yaml"
step "proxied traffic flows"
in_app $PEER exchange 4 via-ss.test 9000 100000 || fail "exchange"
ok
nothing() { flood; [ "$(clear_packets)" = 0 ] || fail "$(clear_packets) packets in clear"; ok; }
step "v4, v6, TCP, UDP, ping, DNS, bound to the uplink or not: nothing in clear"
nothing
step "routes pushed by somebody else (halves of the world, host routes): nothing in clear"
pushed=(0.0.0.0/1 128.0.0.0/1 10.78.0.5 ::/1 8000::/1 fd78::5) # as `ip route` shows them
for net in "${pushed[@]}"; do
    case $net in *:*) family=-6 gateway=fd77::1 ;; *) family=-4 gateway=10.77.0.1 ;; esac
    in_app ip $family route add "$net" via $gateway dev uplink || fail "no route to $net" # without `dev` the kernel finds the gateway by our rules, behind the TUN
    [[ $(in_app ip $family route show "$net") = *"via $gateway dev uplink"* ]] || fail "$net leads elsewhere: $(in_app ip $family route show "$net")"
done
nothing
for net in "${pushed[@]}"; do in_app ip route del "$net" dev uplink || fail "$net is gone"; done
step "the uplink lost its routes, and a default route comes back that leads into the TUN: no loop"
in_app ip link set uplink down
in_app ip link set uplink up
in_app ip route add default via 10.77.0.1 # without `dev` the kernel finds the gateway by our rules
in_app ip route show default | grep -q 'dev tunstrict' || fail "it leads elsewhere: $(in_app ip route show)"
flood
in_app timeout 2 dig +time=1 +tries=1 @10.78.0.2 via-ss.test TXT >/dev/null # not faked: the worker asks, and its name server is not on the link
[ "$(own_captured)" = 0 ] || fail "$(own_captured) packets of our own went into the TUN"
[ "$(ctl flows --json | jq length)" -le 20 ] || fail "$(ctl flows --json | jq length) flows"
nothing
in_app ip route del default
in_app ip route add default via 10.77.0.1 dev uplink
in_app ip addr add fd77::2/64 dev uplink nodad
in_app ip -6 route add default via fd77::1 dev uplink
wait_for 5 in_app $PEER exchange 4 via-ss.test 9000 1000 || fail "nothing flows any more"
step "worker killed: nothing in clear, and it comes back"
kill -KILL "$(shunt_worker)"
flood
wait_for 5 in_app $PEER exchange 4 via-ss.test 9000 1000 || fail "did not come back"
nothing
step "both killed: still nothing in clear, until cleanup"
worker=$(shunt_worker)
kill -KILL "$SHUNT_PID" "$worker" 2>/dev/null; wait "$SHUNT_PID" 2>/dev/null; SHUNT_PID=
nothing
step "cleanup: as before"
in_app "$SHUNT" cleanup -d "$DIR/state" >/dev/null || fail "cleanup"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "something was left behind"
ok
