#!/bin/bash
# Real name servers: unbound, knot-resolver, dnsdist, dnsmasq and stunnel; by UDP, TCP, TLS and HTTPS; straight, by a proxy, by the rules; when they die, come back,
# are not who they say, or are slow with a hundred questions on one connection.
. "$(dirname "$0")/lib.sh"
need_world unbound kresd dnsdist dnsmasq stunnel4 danted openssl dig jq python3 ss
world_up
origin_dns plain.test=3
proxy_socks

# ---- certificates: a root of our own, which the profile trusts
cd "$DIR" || exit 1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj "/CN=world CA" 2>/dev/null
cert() { # cert FILE SAN
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf 'subjectAltName=%s' "$2") -out "$1.pem" 2>/dev/null
    cat "$1.pem" "$1.key" >"$1.both"
    chmod 644 "$1".*
}
cert good "DNS:dns.test,IP:10.78.0.4,IP:10.78.0.5,IP:10.78.0.6,IP:10.78.0.7,IP:fd78::4"
cert other "DNS:other.test"
cd - >/dev/null || exit 1

# ---- a server that takes its time, for unbound to forward to: every name is 10.78.0.9, after a second
background "$ORG" python3 "$PWD/tests/net/slow_dns.py" 10.78.0.9 1.0

# ---- unbound: 10.78.0.4, and fd78::4; UDP, TCP, TLS 853, HTTPS 443
cat >"$DIR/unbound.conf" <<END
server:
    directory: "$DIR"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: "$DIR/unbound.log"
    interface: 10.78.0.4
    interface: fd78::4
    interface: 10.78.0.4@853
    interface: fd78::4@853
    interface: 10.78.0.4@443
    tls-service-key: "$DIR/good.key"
    tls-service-pem: "$DIR/good.pem"
    tls-port: 853
    https-port: 443
    http-endpoint: "/dns-query"
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    do-not-query-localhost: no
    module-config: "iterator"
    incoming-num-tcp: 200
    num-queries-per-thread: 2048
    outgoing-range: 2048
    http-max-streams: 200
    local-zone: "u.test." redirect
    local-data: "u.test. 60 IN A 10.78.0.4"
    local-data: "u.test. 60 IN AAAA fd78::4"
    local-zone: "big.test." static
    local-data: 'big.test. 60 IN TXT "$(printf 'x%.0s' {1..250})" "$(printf 'y%.0s' {1..250})" "$(printf 'z%.0s' {1..250})" "$(printf 'a%.0s' {1..250})" "$(printf 'b%.0s' {1..250})" "$(printf 'c%.0s' {1..250})" "$(printf 'd%.0s' {1..250})" "$(printf 'e%.0s' {1..250})" "$(printf 'f%.0s' {1..250})" "$(printf 'g%.0s' {1..250})"'
    local-zone: "test." transparent
forward-zone:
    name: "slow.test."
    forward-addr: 10.78.0.9
END
unbound_start() {
    background "$ORG" unbound -d -c "$DIR/unbound.conf"
    UNBOUND_PID=${WORLD_PIDS[-1]}
    wait_for 5 in_org dig +time=1 +tries=1 @10.78.0.4 x.u.test || fail "unbound did not start: $(cat "$DIR/unbound.log" "$DIR/background.log")"
}
unbound_start

# ---- knot-resolver: 10.78.0.5; TLS, HTTPS
mkdir -p "$DIR/kresd"
cat >"$DIR/kresd.conf" <<END
net.listen('10.78.0.5', 53)
net.listen('10.78.0.5', 853, { kind = 'tls' })
net.listen('10.78.0.5', 443, { kind = 'doh2' })
net.tls('$DIR/good.pem', '$DIR/good.key')
modules.unload('ta_signal_query'); modules.unload('ta_update'); trust_anchors.remove('.')
policy.add(policy.suffix(policy.ANSWER({ [kres.type.A] = { rdata = kres.str2ip('10.78.0.5'), ttl = 60 } }), policy.todnames({'k.test.'})))
END
background "$ORG" kresd -n -c "$DIR/kresd.conf" "$DIR/kresd"

# ---- dnsdist in front of unbound: 10.78.0.6; TLS, HTTPS
cat >"$DIR/dnsdist.conf" <<END
setLocal('10.78.0.6:53')
addTLSLocal('10.78.0.6:853', '$DIR/good.pem', '$DIR/good.key')
addDOHLocal('10.78.0.6:443', '$DIR/good.pem', '$DIR/good.key', '/dns-query')
newServer({ address = '10.78.0.4:53' }):setUp()
setACL('0.0.0.0/0')
END
background "$ORG" dnsdist --supervised -C "$DIR/dnsdist.conf"

# ---- stunnel in front of unbound: 10.78.0.7:853, no ALPN; and one that is not who it says, 8853
cat >"$DIR/stunnel.conf" <<END
foreground = yes
pid =
[good]
accept = 10.78.0.7:853
connect = 10.78.0.4:53
cert = $DIR/good.both
[other]
accept = 10.78.0.7:8853
connect = 10.78.0.4:53
cert = $DIR/other.both
END
background "$ORG" stunnel4 "$DIR/stunnel.conf"
for at in 10.78.0.5/853 10.78.0.6/853 10.78.0.7/8853 10.78.0.6/443; do
    wait_for 10 port_open "$ORG" "${at%/*}" "${at#*/}" || fail "nobody listens on $at: $(tail -n 5 "$DIR/background.log")"
done

# ---- the profile: a domain for every server
cat >"$DIR/p.yaml" <<END
ipv6: true
tun: { device: tundns }
tls:
  custom-certifactes:
    - |
$(sed 's/^/      /' "$DIR/ca.pem")
proxies:
  - { name: socks, type: socks5, server: 10.77.0.1, port: 1080, udp: true }
  - { name: named, type: socks5, server: node.u.test, port: 1080 }
hosts: { dns.test: 10.78.0.4 }
dns:
  enable: true
  ipv6: true
  enhanced-mode: redir-host
  default-nameserver: [ 10.78.0.4 ]
  nameserver: [ 10.78.0.2 ]
  nameserver-policy:
    "+.udp.u.test": 10.78.0.4
    "+.udp6.u.test": "[fd78::4]:53"
    "+.tcp.u.test": tcp://10.78.0.4
    "+.tls.u.test": tls://10.78.0.4
    "+.tls6.u.test": "tls://[fd78::4]:853"
    "+.name.u.test": tls://dns.test
    "+.https.u.test": https://10.78.0.4/dns-query
    "+.get.u.test": "https://10.78.0.4/dns-query{?dns}"
    "+.via.u.test": tls://10.78.0.4#socks
    "+.viahttps.u.test": https://10.78.0.4/dns-query#socks
    "+.viatcp.u.test": 10.78.0.4#socks
    "+.rules.u.test": tls://10.78.0.4#RULES
    "+.two.u.test": [ tls://10.78.0.7:9, tls://10.78.0.4 ]
    "+.big.test,big.test": 10.78.0.4
    "+.slow.test": tls://10.78.0.4
    "+.tls.k.test": tls://10.78.0.5
    "+.https.k.test": https://10.78.0.5/dns-query
    "+.tls.d.u.test": tls://10.78.0.6
    "+.https.d.u.test": https://10.78.0.6/dns-query
    "+.stunnel.u.test": tls://10.78.0.7
    "+.other.test": tls://10.78.0.7:8853
    "+.anyway.u.test": tls://10.78.0.7:8853#skip-cert-verify=true
    "+.refused.test": rcode://refused
    "+.s.k.test,+.s.u.test": system
    "+.lease.u.test": dhcp://system
    "+.here.test": 10.77.0.2
    "+.plainup.u.test": "10.78.0.4#uplink"
    "+.tcpup.u.test": "tcp://10.78.0.4#uplink"
    "+.tlsup.u.test": "tls://10.78.0.4#uplink"
    "+.httpsup.u.test": "https://10.78.0.4/dns-query#uplink"
    "+.plainside.u.test": "10.78.0.4#side"
    "+.tcpside.u.test": "tcp://10.78.0.4#side"
    "+.tlsside.u.test": "tls://10.78.0.4#side"
    "+.httpsside.u.test": "https://10.78.0.4/dns-query#side"
rules:
  - IP-CIDR,10.78.0.4/32,socks,no-resolve
  - MATCH,DIRECT
END
# another interface, which leads nowhere
ip -n "$APP" link add side type veth peer name otherside
ip -n "$APP" address add 10.79.0.2/24 dev side
ip -n "$APP" link set side up
ip -n "$APP" link set otherside up
shunt_start "$DIR/p.yaml"

say "every way to ask"
while read -r name address server; do
    step "$server"
    answers "$name" "$address" "$server"
    ok
done <<'END'
a.udp.u.test 10.78.0.4 10.78.0.4
a.udp6.u.test 10.78.0.4 [fd78::4]:53
a.tcp.u.test 10.78.0.4 tcp://10.78.0.4
a.tls.u.test 10.78.0.4 tls://10.78.0.4
a.tls6.u.test 10.78.0.4 tls://[fd78::4]:853
a.name.u.test 10.78.0.4 tls://dns.test
a.https.u.test 10.78.0.4 https://10.78.0.4/dns-query
a.get.u.test 10.78.0.4 https://10.78.0.4/dns-query{?dns}
a.via.u.test 10.78.0.4 tls://10.78.0.4#socks
a.viahttps.u.test 10.78.0.4 https://10.78.0.4/dns-query#socks
a.viatcp.u.test 10.78.0.4 10.78.0.4#socks
a.rules.u.test 10.78.0.4 tls://10.78.0.4#RULES
a.tls.k.test 10.78.0.5 tls://10.78.0.5
a.https.k.test 10.78.0.5 https://10.78.0.5/dns-query
a.tls.d.u.test 10.78.0.4 tls://10.78.0.6
a.https.d.u.test 10.78.0.4 https://10.78.0.6/dns-query
a.stunnel.u.test 10.78.0.4 tls://10.78.0.7
plain.test 10.78.0.3 10.78.0.2
a.two.u.test 10.78.0.4 tls://10.78.0.4
a.plainup.u.test 10.78.0.4 10.78.0.4#uplink
a.tcpup.u.test 10.78.0.4 tcp://10.78.0.4#uplink
a.tlsup.u.test 10.78.0.4 tls://10.78.0.4#uplink
a.httpsup.u.test 10.78.0.4 https://10.78.0.4/dns-query#uplink
END
step "rcode:// says so"
[ "$(in_app dig +noall +comments @127.0.0.1 x.refused.test | grep -c 'status: REFUSED')" = 1 ] || fail "$(in_app dig @127.0.0.1 x.refused.test)"
ok
step "by a proxy or another interface: nothing goes to the server straight"
in_mid nft -f - <<'END'
table inet watch {
    counter straight { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.78.0.4 udp dport 53 counter name straight
        iifname "uplink" ip daddr 10.78.0.4 tcp flags & (syn | ack) == syn counter name straight # idle connections may end meanwhile
    }
}
END
straight() { in_mid nft -j list counter inet watch straight | jq '.nftables[] | .counter? // empty | .packets'; }
for kind in via viahttps viatcp rules; do answers "b.$kind.u.test" 10.78.0.4 "$(who "c.$kind.u.test" | cut -d' ' -f3)"; done
[ "$(straight)" = 0 ] || fail "$(straight) packets"
for kind in plain tcp tls https; do
    [ "$(who "a.${kind}side.u.test")" = "none nobody nobody" ] || fail "by an interface that leads nowhere: $(who "b.${kind}side.u.test")"
done
[ "$(straight)" = 0 ] || fail "$(straight) packets leave by another interface than was said"
who d.udp.u.test >/dev/null
[ "$(straight)" -gt 0 ] || fail "the counter counts nothing"
ok
step "not who it says: nobody answers, and it is said"
[ "$(who a.other.test)" = "none nobody nobody" ] || fail "$(who a.other.test)"
wait_for 2 grep -q 'made for another name' "$DIR/shunt.log" || fail "not said: $(tail -n 3 "$DIR/shunt.log")"
ok
step "... but where the profile does not care"
who a.anyway.u.test | grep -q 'tls://10.78.0.7:8853#skip-cert-verify=true' || fail "$(who a.anyway.u.test)"
ok

step "interface-name of the profile counts for plain servers"
reload() {
    local from
    from=$(wc -c <"$DIR/shunt.log")
    kill -HUP "$SHUNT_PID"
    wait_for 5 bash -c "tail -c +$((from + 1)) '$DIR/shunt.log' | grep -q 'read again'" || fail "no reload"
}
cp "$DIR/p.yaml" "$DIR/kept.yaml"
echo "interface-name: side" >>"$DIR/p.yaml"
reload
[ "$(who e.udp.u.test)" = "none nobody nobody" ] || fail "$(who f.udp.u.test)"
cp "$DIR/kept.yaml" "$DIR/p.yaml"
reload
answers g.udp.u.test 10.78.0.4 10.78.0.4
ok

say "system"
resolv() { printf 'nameserver %s\n' "$@" >"/etc/netns/$APP/resolv.conf"; }
step "nobody is written down but this machine: said, with what to do"
resolv 127.0.0.1 10.77.0.2
reload
[ "$(who a.s.k.test)" = "none nobody nobody" ] || fail "$(who b.s.k.test)"
grep -q 'system: no name server is written down there that is not this machine itself' "$DIR/shunt.log" || fail "not said: $(tail -n 3 "$DIR/shunt.log")"
ok
step "... and looked for again soon"
resolv 10.78.0.5
found() { [ "$(who "$1")" = "10.78.0.5 server system" ]; }
wait_for 5 found c.s.k.test || fail "$(who d.s.k.test)"
ok
step "with a reload the others are asked that are written down then"
resolv 10.78.0.4
reload
answers e.s.u.test 10.78.0.4 system
answers f.lease.u.test 10.78.0.4 system # dhcp://system is the same
ok
step "a forwarder on this machine that asks us is found out"
background "$APP" dnsmasq --keep-in-foreground --no-daemon --conf-file=/dev/null --no-hosts --no-resolv --user=nobody --listen-address=10.77.0.2 \
    --bind-interfaces --port=53 --server=10.78.0.2 --pid-file= --cache-size=0
wait_for 5 port_open "$APP" 10.77.0.2 53 || fail "the forwarder did not start"
[ "$(who x.here.test)" = "none nobody nobody" ] || fail "$(who y.here.test)"
wait_for 5 grep -q 'comes back while we wait for its answer' "$DIR/shunt.log" || fail "not said: $(tail -n 3 "$DIR/shunt.log")"
ok

say "clients"
step "an answer that no datagram holds: truncated, then whole by TCP"
in_app dig +ignore +noedns @127.0.0.1 big.test TXT | grep -q 'flags:.* tc' || fail "not truncated"
[ "$(in_app dig +short @127.0.0.1 big.test TXT | tr -d '" \n' | wc -c)" = 2500 ] || fail "not whole"
ok
step "one server dies: the other answers; it comes back: it is asked again"
kill "$UNBOUND_PID"; wait "$UNBOUND_PID" 2>/dev/null
[ "$(who e.tls.u.test)" = "none nobody nobody" ] || fail "$(who e.tls.u.test)"
answers e.https.k.test 10.78.0.5 https://10.78.0.5/dns-query
unbound_start
sleep 5.2 # a failure is kept for five seconds
answers e.tls.u.test 10.78.0.4 tls://10.78.0.4
answers e.https.u.test 10.78.0.4 https://10.78.0.4/dns-query
ok

say "a hundred questions at once to a server that takes a second for each"
ctl dns flush >/dev/null
connections() { in_org ss -Htn state established "( sport = :$1 )" src 10.78.0.4 | wc -l; }
for port in 853; do
    step "by TLS: all are under way on one connection"
    before=$(connections $port)
    in_app python3 "$PWD/tests/net/slow_dns.py" ask 127.0.0.1 120 slow.test >"$DIR/asked" || fail "$(cat "$DIR/asked")"
    [ "$(connections $port)" -le $((before > 1 ? before : 1)) ] || fail "$(connections $port) connections"
    ok "$(cat "$DIR/asked"), $(connections $port) connection"
done
step "by HTTPS, too"
sed 's|"+.slow.test": tls://10.78.0.4|"+.slow.test": https://10.78.0.4/dns-query|' "$DIR/p.yaml" >"$DIR/p2.yaml" && cp "$DIR/p2.yaml" "$DIR/p.yaml"
kill -HUP "$SHUNT_PID"
wait_for 5 grep -q 'read again' "$DIR/shunt.log" || fail "no reload"
in_app python3 "$PWD/tests/net/slow_dns.py" ask 127.0.0.1 120 more.slow.test >"$DIR/asked" || fail "$(cat "$DIR/asked")"
[ "$(connections 443)" -le 1 ] || fail "$(connections 443) connections"
ok "$(cat "$DIR/asked"), $(connections 443) connection"
step "the worker is killed: names go on, by connections of the new one"
kill -KILL "$(shunt_worker)"
wait_for 5 grep -q 'worker is back' "$DIR/shunt.log" || fail "it did not come back"
answers f.https.u.test 10.78.0.4 https://10.78.0.4/dns-query
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
