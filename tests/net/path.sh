#!/bin/bash
# The whole path: curl, dig and socat in the application host reach the origin DIRECT and through ss-server and dante, IPv4 and IPv6, TCP
# and UDP, every byte right; half-close both ways; refused stays refused; the three modes. BYTES=1000000000 makes the big transfers a gigabyte each way.
. "$(dirname "$0")/lib.sh"
BYTES=${BYTES:-3000000}
need_world ss-server danted dnsmasq curl dig jq python3 socat
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3 via-ss.test=4 via-socks.test=5 reject.test=6 drop.test=7
proxy_ss 8388 aes-256-gcm secret-one
proxy_ss 8389 chacha20-ietf-poly1305 secret-two
proxy_socks
cat >"$DIR/p.yaml" <<'EOF'
ipv6: true
tun: { device: tunpath, disable-icmp-forwarding: false }
dns: { ipv6: true, fake-ip-range6: "fdfe:198:18::/64", nameserver: [10.78.0.2] }
proxies:
  - { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: secret-one, udp: true }
  - { name: ss6, type: ss, server: "fd77::1", port: 8389, cipher: chacha20-ietf-poly1305, password: secret-two, udp: true }
  - { name: socks, type: socks5, server: 10.77.0.1, port: 1080, udp: true }
proxy-groups:
  - { name: Proxy, type: select, proxies: [ss, ss6, socks] }
rules:
  - DOMAIN,reject.test,REJECT
  - DOMAIN,drop.test,REJECT-DROP
  - DOMAIN,via-socks.test,socks
  - DOMAIN-SUFFIX,via-ss.test,Proxy
  - IP-CIDR6,fd78::8/128,ss6
  - IP-CIDR,10.78.0.8/32,ss6
  - MATCH,DIRECT
EOF
net_state >"$DIR/before"
shunt_start "$DIR/p.yaml"

say "every byte, both ways, with half-close (client closes first, then server answers)"
for host in direct.test via-socks.test; do
    for family in 4 6; do
        for size in 0 1 1000 3000000; do
            step "half-close after $size bytes: $host, IPv$family"
            in_app timeout 60 $PEER upload $family "$host" 9000 $size || fail "upload"
            in_app timeout 60 $PEER download $family "$host" 9000 $size || fail "download"
            ok
        done
    done
done
for host in via-ss.test 10.78.0.8 fd78::8 via-socks.test direct.test; do
    step "$((BYTES / 1000000)) MB each way: $host"
    in_app timeout 280 $PEER exchange 0 "$host" 9000 "$BYTES" || fail "exchange"
    ok
done
step "200 parallel connections, as a browser's burst"
in_app timeout 60 $PEER burst 0 via-ss.test 9000 200 || fail "burst"
ok

say "datagrams"
for host in direct.test via-ss.test via-socks.test 10.78.0.8; do
    step "1..1400 bytes echoed: $host"
    in_app timeout 30 $PEER udp 4 "$host" 9000 || fail "udp"
    ok
done
for host in direct.test via-ss.test fd78::8; do
    step "1..1400 bytes echoed, IPv6: $host"
    in_app timeout 30 $PEER udp 6 "$host" 9000 || fail "udp6"
    ok
done
for host in direct.test via-ss.test via-socks.test 10.78.0.8; do
    step "bursts come back whole: $host"
    in_app timeout 30 $PEER udp-burst 4 "$host" 9000 || fail "burst"
    ok
done
step "bursts come back whole, IPv6: fd78::3"
in_app timeout 30 $PEER udp-burst 6 fd78::3 9000 || fail "burst"
ok
step "full cone: a third party's datagram arrives (DIRECT)"
in_app timeout 10 $PEER cone 4 10.78.0.3 9000 || fail "cone"
ok
step "full cone through ss-server"
in_app timeout 10 $PEER cone 4 10.78.0.8 9000 || fail "cone"
ok

say "no is no, at once"
step "refused upstream is refused (DIRECT)"
in_app $PEER connect 4 direct.test 9 refused || fail "not refused"
ok
step "REJECT is refused"
in_app $PEER connect 4 reject.test 80 refused || fail "not refused"
ok
step "REJECT, IPv6"
in_app $PEER connect 6 reject.test 80 refused || fail "not refused"
ok
step "REJECT of a datagram is port unreachable"
in_app $PEER udp-refused 4 reject.test 80 || fail "not refused"
ok
step "REJECT-DROP is silence"
in_app $PEER connect 4 drop.test 80 silent || fail "not silent"
ok
step "an unknown fake address is refused at once"
in_app $PEER connect 4 198.18.200.200 80 refused || fail "not refused"
ok

say "names"
step "A and AAAA are fake, TXT is forwarded, HTTPS is empty"
in_app dig +short +tries=1 +time=2 A direct.test | grep -q '^198\.18\.' || fail "A"
in_app dig +short +tries=1 +time=2 AAAA direct.test | grep -q '^fdfe:198:18:' || fail "AAAA"
[ -z "$(in_app dig +short +tries=1 +time=2 HTTPS direct.test)" ] || fail "HTTPS"
ok
step "any server, UDP and TCP, v4 and v6, loopback too, is answered by us"
for server in 192.0.2.77 10.77.0.1 127.0.0.53 198.18.0.2 fd77::99 ::1; do
    in_app dig +short +tries=1 +time=2 @$server A direct.test | grep -q '^198\.18\.' || fail "UDP $server"
    in_app dig +short +tcp +tries=1 +time=2 @$server A direct.test | grep -q '^198\.18\.' || fail "TCP $server"
done
ok

say "echo"
step "ping of a fake, a proxied and an own address is answered locally"
in_app ping -c 1 -W 2 via-ss.test >/dev/null || fail "fake"
in_app ping -c 1 -W 2 10.78.0.8 >/dev/null || fail "proxied"
in_app ping -c 1 -W 2 -6 fd78::8 >/dev/null || fail "proxied v6"
ok

say "modes"
step "global sends all through GLOBAL's choice, direct nothing; PUT and PATCH by the API agree"
ctl use GLOBAL socks >/dev/null || fail "use"
ctl mode global || fail "mode"
in_app $PEER upload 4 direct.test 9000 1000 || fail "global"
ctl flows --closed --json | jq -e '[.[] | select(.metadata.host == "direct.test")] | last | .chains == ["socks", "GLOBAL"]' >/dev/null || fail "not by socks"
ctl mode direct >/dev/null
in_app $PEER upload 4 via-ss.test 9000 1000 || fail "direct"
ctl flows --closed --json | jq -e '[.[] | select(.metadata.host == "via-ss.test")] | last | .chains == ["DIRECT"]' >/dev/null || fail "not direct"
[ "$(ctl mode)" = direct ] || fail "mode says $(ctl mode)"
ok

step "SIGTERM leaves the machine as it was"
shunt_stop || fail "exit status $?"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "something was left behind"
ok
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
