#!/bin/bash
# Every option of dialling, seen on the wire or by the server, for DIRECT and for nodes: interfaces, families and who is tried when, keep-alive, fast open, TLS sessions that are
# resumed, and first bytes and datagrams, which ride with the protocol's head or wait for the way.
#
#      app ══ uplink ══ mid ── far ── org: who.test, nodes; every port from 9001 on has a node of its own
#          ══ other  ══
. "$(dirname "$0")/lib.sh"
need_world ss-server dnsmasq python3 openssl ss jq
world_up
DIALS="python3 $PWD/tests/net/dials.py"
ip link add other netns "$APP" type veth peer name other netns "$MID"
ip -n "$APP" addr add 10.76.0.2/24 dev other; ip -n "$APP" addr add fd76::2/64 dev other nodad
ip -n "$MID" addr add 10.76.0.1/24 dev other; ip -n "$MID" addr add fd76::1/64 dev other nodad
ip -n "$APP" link set other up; ip -n "$MID" link set other up
ip -n "$APP" route add default via 10.76.0.1 dev other metric 500
ip -n "$APP" -6 route add default via fd76::1 dev other metric 5000
in_app sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.other.rp_filter=0
in_org sysctl -qw net.ipv4.tcp_fastopen=3
mkdir -p "/etc/netns/$ORG"; echo "nameserver 10.78.0.2" >"/etc/netns/$ORG/resolv.conf"
in_mid sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
in_app nft -f - <<'EOT'
table inet seen {
    set out { type ifname . nf_proto . inet_proto . inet_service; flags dynamic; }
    counter data { }
    chain out {
        type filter hook output priority 0;
        oifname != { uplink, other } accept
        meta l4proto != { tcp, udp } accept
        tcp dport 8388 ip length > 60 tcp flags & (syn | fin | rst) == 0 counter name data
        tcp flags & (syn | ack) != syn accept
        add @out { oifname . meta nfproto . meta l4proto . th dport }
    }
}
EOT
in_mid nft 'table inet hole { counter tried { }; counter eager { }; chain way { type filter hook forward priority 0; }; }'
# What left the app since the last time: "interface family protocol port" each
seen() { in_app nft -j list set inet seen out | jq -r '[.nftables[].set.elem // empty] | flatten(1) | map(.concat | join(" ")) | sort | join(", ")'; }
forget() { in_app nft flush set inet seen out; }
# hole RULE...: from now on in mid, instead of what there was
hole() { in_mid nft flush chain inet hole way; in_mid nft reset counters table inet hole >/dev/null; local rule; for rule; do in_mid nft add rule inet hole way "$rule"; done; }
counted() { ip netns exec "$1" nft -j list counter inet "$2" "$3" | jq '.nftables[] | .counter? // empty | .packets'; }
try() { in_app timeout 20 $DIALS try "$1" "$2" "${3:-1}" "${4:-}" 2>>"$DIR/try.log"; }
by() { read -r _ client here <<<"$1"; echo "$client $here"; }
ms() { echo "${1%% *}"; }

background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
background "$ORG" $DIALS who 9001 9040
world_cert node.test
background "$ORG" $DIALS trojan 8443 "$DIR/cert.pem" "$DIR/key.pem" "$DIR/tls.log"
background "$ORG" $DIALS dns 10.78.0.6 0.4
origin_dns who.test=5 node.test=4 many.test=5 many.test=6 two.test=6
for port in 8388 8389; do
    background "$ORG" ss-server -s 10.78.0.4 -s fd78::4 -p $port -k pw -m aes-128-gcm -u -d 10.78.0.2 -t 600 $([ $port = 8389 ] && echo --fast-open)
    wait_for 5 port_open "$ORG" 10.78.0.4 $port || fail "ss-server did not start"
done
wait_for 5 port_open "$ORG" 10.78.0.4 8443 && wait_for 5 port_open "$ORG" 10.78.0.5 9040 || fail "the origin did not start"

ss="type: ss, server: node.test, port: 8388, cipher: aes-128-gcm, password: pw, udp: true"
trojan="type: trojan, server: node.test, port: 8443, password: pw, udp: true"
nodes="plain|$ss
dual|$ss, ip-version: dual
v4|$ss, ip-version: ipv4
v6|$ss, ip-version: ipv6
v4-first|$ss, ip-version: ipv4-prefer
v6-first|$ss, ip-version: ipv6-prefer
other|$ss, interface-name: other
nowhere|$ss, interface-name: nosuch0
fast|type: ss, server: 10.78.0.4, port: 8389, cipher: aes-128-gcm, password: pw, tfo: true
not-fast|type: ss, server: 10.78.0.4, port: 8388, cipher: aes-128-gcm, password: pw, tfo: true
tls|$trojan, fingerprint: $PIN
tls-named|$trojan, fingerprint: $PIN, sni: other.test
tls-any|$trojan, skip-cert-verify: true
straight|type: direct, interface-name: other"
mkdir -p "$DIR/state"
echo "proxies: [ { name: listed, $ss } ]" >"$DIR/state/list.yaml"
declare -A PORT
write() { # write GENERAL-KEYS...: the profile
    local n=9001 line
    { printf '%s\n' "$@"
      echo 'tun: { device: tundial }'
      echo "dns: { nameserver: [10.78.0.2], proxy-server-nameserver: [${NODES_DNS:-10.78.0.2}], ipv6: true }"
      echo 'proxies:'
      while IFS='|' read -r name keys; do echo "  - { name: $name, $keys }"; done <<<"$nodes"
      echo 'proxy-providers: { list: { type: file, path: list.yaml, override: { interface-name: other } } }'
      echo 'proxy-groups: [ { name: group, type: select, use: [list] } ]'
      echo 'rules:'
    } >"$DIR/p.yaml"
    for name in $(cut -d'|' -f1 <<<"$nodes") group; do
        echo "  - DST-PORT,$n,$name" >>"$DIR/p.yaml"
        PORT[$name]=$n; n=$((n + 1))
    done
    PORT[DIRECT]=9040
    echo '  - MATCH,DIRECT' >>"$DIR/p.yaml"
}
again() { # the same, for the running one
    local n
    n=$(grep -c 'read again' "$DIR/shunt.log")
    write "$@"
    kill -HUP "$SHUNT_PID"
    wait_for 10 eval '[ $(grep -c "read again" "$DIR/shunt.log") -gt '"$n"' ]' || fail "no reload: $(tail -n 3 "$DIR/shunt.log")"
}
# keeper NAME NODE...: connections to NAME.test that stay; what each hears is in $DIR/keep.NODE
keeper() {
    local node name=$1; shift
    for node; do
        rm -f "$DIR/keep.$node"
        background "$APP" sh -c "exec $DIALS keep $name.test ${PORT[$node]} >$DIR/keep.$node"
        wait_for 5 grep -q . "$DIR/keep.$node" || fail "$node: no connection: $(in_app ss -tn; tail -n 3 "$DIR/background.log")"
    done
}
both() { in_app timeout 20 $DIALS both "$1" "$2" >/dev/null 2>>"$DIR/try.log"; }
write
shunt_start "$DIR/p.yaml"

# ---- interfaces ----

step "a node's interface-name: its connections and datagrams leave there, others do not"
forget
both who.test ${PORT[other]} || fail "no traffic"
try who.test ${PORT[DIRECT]} >/dev/null || fail "no direct traffic"
[ "$(seen | grep -o '[a-z]* ipv. tcp 8388')" = "other ipv6 tcp 8388" ] && seen | grep -q "other ipv. udp 8388" && ! seen | grep -q "uplink ipv. udp 8388" || fail "$(seen)"
seen | grep -q "uplink ipv6 tcp ${PORT[DIRECT]}" || fail "$(seen)"
ok
step "that of a provider's override, and of a direct entry"
forget
both who.test ${PORT[group]} && both who.test ${PORT[straight]} || fail "no traffic"
seen | grep -q "other ipv. tcp 8388" && seen | grep -q "other ipv. udp 8388" && seen | grep -q "other ipv. tcp ${PORT[straight]}" && seen | grep -q "other ipv. udp ${PORT[straight]}" || fail "$(seen)"
[ "$(seen | tr ',' '\n' | grep uplink | grep -cv ' 53$')" = 0 ] || fail "$(seen)"
ok
step "an interface that is not there: the log and status say so"
! try who.test ${PORT[nowhere]} || fail "it got through"
wait_for 3 grep -q 'warn.* nowhere: .*check interface-name' "$DIR/shunt.log" || fail "$(grep nowhere "$DIR/shunt.log")"
ctl status | grep -q 'nowhere: .*check interface-name' || fail "$(ctl status)"
ok "$(grep -o 'warn.* nowhere: .*' "$DIR/shunt.log" | cut -c1-100)"
step "the profile's: everything leaves there, name servers are asked there"
again 'interface-name: other'
forget
both who.test ${PORT[DIRECT]} && both who.test ${PORT[plain]} || fail "no traffic"
for what in "tcp ${PORT[DIRECT]}" "udp ${PORT[DIRECT]}" 'tcp 8388' 'udp 8388' 'udp 53'; do seen | grep -q "other ipv. $what" || fail "not $what: $(seen)"; done
! seen | grep uplink || fail "by the other way"
ok
step "the profile's is not there: nothing leaves, and DIRECT says why"
again 'interface-name: nosuch0'
forget
! try who.test ${PORT[DIRECT]} || fail "it got through"
wait_for 3 grep -q 'warn.* DIRECT: .*check interface-name' "$DIR/shunt.log" || fail "$(tail -n 3 "$DIR/shunt.log")"
ctl status | grep -q 'DIRECT: .*check interface-name' || fail "$(ctl status)"
! try 10.78.0.5 ${PORT[DIRECT]} && [ "$(in_app $DIALS udp 10.78.0.5 ${PORT[DIRECT]} 1 0.5 100 | tail -n 1)" = 0 ] && [ -z "$(seen)" ] || fail "$(seen)"
again
try who.test ${PORT[DIRECT]} >/dev/null || fail "not back"
! ctl status | grep 'DIRECT: ' || fail "still said"
ok

# ---- families, and who is tried when ----

step "DIRECT to a name with both: IPv6"
got=$(try who.test ${PORT[DIRECT]} 3) && [ "$(by "$got")" = "fd77::2 fd78::5" ] || fail "$got"
ok "$(ms "$got") ms"
step "where packets to IPv6 are lost: IPv4, a quarter of a second later"
hole "ip6 daddr fd78::5 tcp dport ${PORT[DIRECT]} drop"
got=$(try who.test ${PORT[DIRECT]} 2) && [ "$(by "$got")" = "10.77.0.2 10.78.0.5" ] || fail "$got"
[ "$(ms "$got")" -ge 240 ] && [ "$(ms "$got")" -le 900 ] || fail "$got"
ok "$(ms "$got") ms"
step "where IPv6 refuses: IPv4 at once"
hole "ip6 daddr fd78::5 tcp dport ${PORT[DIRECT]} reject with tcp reset"
got=$(try who.test ${PORT[DIRECT]} 6) && [ "$(by "$got")" = "10.77.0.2 10.78.0.5" ] && [ "$(ms "$got")" -lt 200 ] || fail "$got"
ok "$(ms "$got") ms"
step "where there is no way by IPv6: IPv4 at once"
hole
in_app ip -6 route add unreachable fd78::5/128
got=$(try who.test ${PORT[DIRECT]} 6) && [ "$(by "$got")" = "10.77.0.2 10.78.0.5" ] && [ "$(ms "$got")" -lt 200 ] || fail "$got"
in_app ip -6 route del unreachable fd78::5/128
ok "$(ms "$got") ms"
# family NODE TCP-FAMILY UDP-FAMILY: by which it reaches its server
family() {
    forget
    both who.test ${PORT[$1]} || fail "$1: no traffic"
    [ "$(seen | grep -o 'ipv. [a-z]* 8388')" = "$(printf '%s tcp 8388\n%s udp 8388' "$2" "$3" | sort)" ] || fail "$1: $(seen)"
}
step "a node whose server has both, by each ip-version, TCP and UDP"
family dual ipv6 ipv4
family v4 ipv4 ipv4
family v6 ipv6 ipv6
family v4-first ipv4 ipv4
family v6-first ipv6 ipv6
ok
step "the preferred one is refused: the other; the only one is: nothing"
hole 'ip protocol tcp tcp dport 8388 reject with tcp reset'
try who.test ${PORT[v4-first]} >/dev/null || fail "no traffic"
forget
! try who.test ${PORT[v4]} && [ "$(seen | grep -o 'ipv. tcp 8388')" = "ipv4 tcp 8388" ] || fail "ipv4 went another way: $(seen)"
hole 'meta nfproto ipv6 tcp dport 8388 reject with tcp reset'
try who.test ${PORT[v6-first]} >/dev/null && try who.test ${PORT[dual]} >/dev/null || fail "no traffic"
forget
! try who.test ${PORT[v6]} && [ "$(seen | grep -o 'ipv. tcp 8388')" = "ipv6 tcp 8388" ] || fail "ipv6 went another way: $(seen)"
hole
ok
step "ip-version: ipv6 waits for an address that is late"
NODES_DNS=10.78.0.6 again
forget
try who.test ${PORT[v6]} >/dev/null || fail "no traffic"
[ "$(seen | grep -o 'ipv. tcp 8388')" = "ipv6 tcp 8388" ] || fail "$(seen)"
ok
step "datagrams leave by the family that there is a way for"
again
in_app ip route add 10.78.0.2/32 via 10.77.0.1
in_app ip route del default via 10.77.0.1; in_app ip route del default via 10.76.0.1 dev other metric 500
forget
both who.test ${PORT[DIRECT]} && both who.test ${PORT[plain]} || fail "no answers: $(seen)"
in_app ip route add default via 10.77.0.1; in_app ip route add default via 10.76.0.1 dev other metric 500
ok

step "tcp-concurrent: all four addresses at once, the fastest wins, the others are closed"
again 'tcp-concurrent: true'
# only the last address that would be tried lets connections through at first
hole "tcp dport ${PORT[DIRECT]} tcp flags & (syn | ack) == syn counter name tried" "ip daddr != 10.78.0.6 tcp dport ${PORT[DIRECT]} drop" "meta nfproto ipv6 tcp dport ${PORT[DIRECT]} drop"
got=$(try many.test ${PORT[DIRECT]} 3) && [ "$(by "$got")" = "10.77.0.2 10.78.0.6" ] && [ "$(ms "$got")" -lt 240 ] || fail "$got"
[ "$(counted "$MID" hole tried)" = 12 ] || fail "$(counted "$MID" hole tried) attempts"
hole
# all of them answer: one connection is left
established() { [ "$(in_org ss -tnH state established sport = :${PORT[DIRECT]} | wc -l)" = "$1" ]; }
wait_for 3 established 0 || fail "$(in_org ss -tn)"
keeper many DIRECT
wait_for 3 established 1 || fail "$(in_org ss -tn state all)"
kill "${WORLD_PIDS[-1]}"
left() { [ -z "$(in_app ss -tnH state all exclude time-wait "dport = :${PORT[DIRECT]}" | grep -v 198.18)" ]; }
wait_for 3 left || fail "$(in_app ss -tn state all)"
ok "$(ms "$got") ms"

# ---- keep-alive ----

# timers PORT...: what the kernel says about our sockets to these, a line each
timers() { local port; for port; do in_app ss -tnoH state established "dport = :$port" | grep -v 198.18; done; }
step "keep-alive: after 15 s, DIRECT and node, where the profile says nothing"
again
keeper who DIRECT v4
for port in ${PORT[DIRECT]} 8388; do
    timers $port | grep -qE 'keepalive,1[0-5]sec' || fail "$port: $(timers $port)"
done
ok
step "keep-alive-idle is when; disable-keep-alive is never"
again 'keep-alive-idle: 600'
keeper who other DIRECT
[ "$(timers 8388 ${PORT[DIRECT]} | grep -cE 'keepalive,(9min|10min)')" = 2 ] || fail "$(timers 8388 ${PORT[DIRECT]})"
again 'disable-keep-alive: true'
keeper who group straight
[ -n "$(timers ${PORT[straight]})" ] && ! timers ${PORT[straight]} | grep -q keepalive || fail "$(timers ${PORT[straight]})"
ok
step "keep-alive-interval: a peer that vanished ends the connection, DIRECT and node"
again 'keep-alive-idle: 1' 'keep-alive-interval: 1'
keeper who DIRECT v6
hole "tcp sport { 8388, ${PORT[DIRECT]} } drop" "tcp dport { 8388, ${PORT[DIRECT]} } counter name eager drop"
for node in DIRECT v6; do wait_for 15 grep -q gone "$DIR/keep.$node" || fail "$node: $(timers 8388 ${PORT[DIRECT]})"; done
n=$(counted "$MID" hole eager)
hole
ok "$n probes"

# ---- fast open ----

opened() { in_org nstat -asz "$1" 2>/dev/null | awk -v k="$1" '$1 == k { print $2 }'; }
step "tfo: the SYN carries the first bytes, once the server has given its cookie"
hole "ip daddr 10.78.0.4 tcp dport 8389 tcp flags & (syn | ack) == syn ip length > 100 counter name eager"
n=$(opened TcpExtTCPFastOpenPassive)
got=$(try who.test ${PORT[fast]} 4 hello) || fail "no traffic"
[ "$(counted "$MID" hole eager)" -ge 2 ] && [ "$(($(opened TcpExtTCPFastOpenPassive) - n))" -ge 2 ] || fail "$(counted "$MID" hole eager) SYNs with data, $(opened TcpExtTCPFastOpenPassive) taken"
ok "$(counted "$MID" hole eager) SYNs with data"
step "a server without it: as ever"
try who.test ${PORT[not-fast]} 3 hello >/dev/null || fail "no traffic"
ok
step "where SYNs with data are lost on the way: without"
hole "tcp dport 8389 tcp flags & (syn | ack) == syn ip length > 100 counter name eager drop"
got=$(try who.test ${PORT[fast]} 1 hello) || fail "no traffic"
[ "$(counted "$MID" hole eager)" -ge 1 ] || fail "it was not tried"
hole
ok "$(ms "$got") ms"

# ---- TLS sessions ----

step "the next TLS connection to a node resumes; another SNI or another check does not"
again
: >"$DIR/tls.log"
for node in tls tls-named tls-any tls; do try who.test ${PORT[$node]} 2 hi >/dev/null || fail "$node: no traffic"; done
want="node.test full,node.test resumed,other.test full,other.test resumed,node.test full,node.test resumed,node.test resumed,node.test resumed,"
[ "$(cut -d' ' -f1,2 "$DIR/tls.log" | tr '\n' ',')" = "$want" ] || fail "$(cat "$DIR/tls.log")"
ok

# ---- first bytes ----

# While the first SYNs to the servers are lost, the applications have spoken; what is sent then is counted
: >"$DIR/tls.log"
in_app nft reset counters table inet seen >/dev/null
hole "tcp dport { 8388, 8443 } tcp flags & (syn | ack) == syn drop"
JOBS=()
for node in v4 tls; do in_app timeout 20 $DIALS try who.test ${PORT[$node]} 1 "first words" >"$DIR/held.$node" 2>&1 & JOBS+=($!); done
dialled() { local port; for port in 8388 8443; do [ -n "$(in_app ss -tnH state syn-sent "dport = :$port")" ] || return 1; done; }
wait_for 5 dialled || fail "they are not dialled: $(in_app ss -tn state syn-sent)"
sleep 0.2
hole
for job in "${JOBS[@]}"; do wait "$job" || fail "$(cat "$DIR"/held.*)"; done
step "ss: the head and the application's first bytes are one segment"
[ "$(counted "$APP" seen data)" = 1 ] || fail "$(counted "$APP" seen data) segments with data"
ok
step "trojan: the head and the first bytes are one TLS record"
# password and CR LF, command, address (a name), port, CR LF, words
[ "$(cut -d' ' -f3 "$DIR/tls.log")" = $((58 + 1 + 2 + 8 + 2 + 2 + 11)) ] || fail "$(cat "$DIR/tls.log")"
ok
step "a server that speaks first is heard at once, through ss and trojan"
for node in v4 tls; do got=$(try who.test ${PORT[$node]} 6) && [ "$(ms "$got")" -lt 150 ] || fail "$node: $got"; done
ok "$(ms "$got") ms"

# ---- first datagrams ----

# with the name server stopped no path is known; then it goes on
unknown() { # unknown N SIZE NODE: prints how many of N datagrams came back
    kill -STOP "$DNSMASQ"
    : >"$DIR/udp.out"
    in_app timeout 20 $DIALS udp who.test ${PORT[$3]} "$1" 3 "$2" >"$DIR/udp.out" &
    local pid=$!
    wait_for 5 grep -q sent "$DIR/udp.out"
    sleep 0.3
    kill -CONT "$DNSMASQ"
    wait $pid
    tail -n 1 "$DIR/udp.out"
}
DNSMASQ=$(pgrep -f "dnsmasq.*$DIR/dnsmasq.log")
step "the first datagrams wait for the way, DIRECT and node; not without bounds"
for node in DIRECT v4 tls; do
    n=$(unknown 5 100 $node)
    [ "$n" = 5 ] || fail "$node: $n of 5 came back"
done
n=$(unknown 200 1000 v4)
[ "$n" -ge 5 ] && [ "$n" -le 40 ] || fail "$n of 200 came back"
ok "5 of 5, $n of 200"
step "two names from one socket have their own answers, of servers that say an address back (ss) or the name (trojan)"
for node in DIRECT v4 tls; do in_app timeout 20 $DIALS names who.test two.test ${PORT[$node]} >"$DIR/names" 2>&1 || fail "$node: $(tail -n 1 "$DIR/names")"; done
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
