#!/bin/bash
# DIRECT tells the truth: what connect() and a datagram's sender see of a refused, unreachable or silent upstream is what they see without shunt.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3 reject.test=6
in_mid ip route add unreachable 10.79.1.0/24
in_mid ip route add prohibit 10.79.2.0/24
in_mid ip route add blackhole 10.79.3.0/24
in_mid ip -6 route add unreachable fd79:1::/64
in_mid ip -6 route add prohibit fd79:2::/64
in_mid ip -6 route add blackhole fd79:3::/64
in_mid sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 # else one error a second for one destination
wait_for 10 in_app $PEER connect 6 fd78::3 9000 open || fail "no IPv6 in the world"
cat >"$DIR/p.yaml" <<'EOF2'
ipv6: true
tun: { device: tunno }
dns: { ipv6: true, fake-ip-range6: "fdfe:198:18::/64", nameserver: [10.78.0.2] }
rules: [ "DOMAIN,reject.test,REJECT", "MATCH,DIRECT" ]
EOF2
# errno TCP|UDP FAMILY HOST PORT: the name of what the application gets, or "open", or "silent" after 3 s
errno() {
    in_app python3 - "$@" <<'EOF2'
import errno, socket, sys, time
kind, fam, host, port = sys.argv[1], {"4": socket.AF_INET, "6": socket.AF_INET6}[sys.argv[2]], sys.argv[3], int(sys.argv[4])
s = socket.socket(fam, socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM)
s.settimeout(3)
try:
    s.connect(socket.getaddrinfo(host, port, fam, s.type)[0][4])
    if kind == "UDP":
        s.send(b"x")
        s.recv(10)
    print("open")
except TimeoutError:
    print("silent")
except OSError as e:
    print(errno.errorcode[e.errno])
EOF2
}
cases="TCP 4 10.78.0.3 9
TCP 6 fd78::3 9
TCP 4 10.78.0.3 9000
TCP 6 fd78::3 9000
TCP 4 10.79.1.1 80
TCP 4 10.79.2.1 80
TCP 4 10.80.0.1 80
TCP 6 fd79:1::1 80
TCP 6 fd79:2::1 80
TCP 6 fd80::1 80
TCP 4 10.79.3.1 80
TCP 6 fd79:3::1 80"
answers() { while read -r kind family host port; do echo "$kind $family $host $port $(errno "$kind" "$family" "$host" "$port")"; done <<<"$cases"; }
answers >"$DIR/without"
step "positive control: without shunt there are five different answers"
[ "$(awk '{print $5}' "$DIR/without" | sort -u | wc -l)" -ge 5 ] || fail "$(cat "$DIR/without")"
ok "$(awk '{print $5}' "$DIR/without" | sort -u | tr '\n' ' ')"
shunt_start "$DIR/p.yaml"
step "with shunt they are the same"
answers >"$DIR/with"
diff "$DIR/without" "$DIR/with" || fail "(< without, > with)"
ok
step "also by name: refused IPv4 and IPv6"
[ "$(errno TCP 4 direct.test 9)" = ECONNREFUSED ] && [ "$(errno TCP 6 direct.test 9)" = ECONNREFUSED ] || fail "not refused"
ok
step "a silent upstream is no route to host within 12 s"
began=$SECONDS
said=$(in_app timeout 20 python3 -c '
import errno, socket
try:
    socket.create_connection(("10.79.3.1", 80), timeout=20); print("open")
except OSError as e:
    print(errno.errorcode.get(e.errno, e))')
[ "$said" = EHOSTUNREACH ] && [ $((SECONDS - began)) -le 12 ] || fail "$said after $((SECONDS - began)) s"
ok "$((SECONDS - began)) s"
step "a rejected datagram is refused, IPv4 and IPv6"
[ "$(errno UDP 4 reject.test 80)" = ECONNREFUSED ] && [ "$(errno UDP 6 reject.test 80)" = ECONNREFUSED ] || fail "not refused"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
