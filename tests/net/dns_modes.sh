#!/bin/bash
# What the keys of `dns` and `hosts` say is what a program is told: the three modes, names written down, filters of fake addresses, whose servers are asked, which answers
# count, the words behind a server, and the cache. The servers are unbound, dnsmasq (each answers with its own address, which says who was asked) and one that writes down
# what it was sent.
. "$(dirname "$0")/lib.sh"
need_world unbound dnsmasq danted dig jq curl python3
CLIENT="python3 $PWD/tests/net/dns_client.py"
PEER="python3 $PWD/tests/net/peer.py"
world_up
origin_dns via.test=3 x.sys.test=3 direct.test=3
proxy_socks

# everything N [OPTION...]: a dnsmasq at 10.78.0.N that answers every A with its own address, if nothing else is said
everything() {
    background "$ORG" dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --listen-address="10.78.0.$1" --bind-interfaces --pid-file= --local-ttl=10 \
        --log-queries --log-facility="$DIR/dnsmasq.$1" --address="/#/10.78.0.$1" "${@:2}"
}
everything 5
everything 6 --address=/here.test/203.0.113.1 --address=/abroad.test/198.51.100.1 --address=/poison.test/240.0.0.1 --address=/mixed.test/203.0.113.1
everything 7 --address=/node.n.test/10.77.0.1 --host-record=svc.off.test,10.78.0.7,fd78::7 --dns-rr=svc.off.test,65,000100
background "$ORG" python3 "$PWD/tests/net/slow_dns.py" 10.78.0.8 0 "$DIR/written"
cat >"$DIR/u.zone" <<'END'
$ORIGIN u.test.
$TTL 60
@ SOA ns root 1 3600 600 86400 30
@ NS ns
ns A 10.78.0.4
both A 10.78.0.4
both AAAA fd78::4
alias CNAME both
svc A 10.78.0.4
svc HTTPS 1 . alpn=h2 ipv4hint=10.78.0.4
svc TYPE64 \# 3 000100
stale 1 A 10.78.0.4
*.wild A 10.78.0.4
*.plus A 10.78.0.4
plus A 10.78.0.4
END
cat >"$DIR/unbound.conf" <<END
server:
    directory: "$DIR"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: "$DIR/unbound.log"
    log-queries: yes
    local-zone: "test." transparent
    interface: 10.78.0.4
    access-control: 0.0.0.0/0 allow
    module-config: "iterator"
auth-zone:
    name: "u.test."
    zonefile: "$DIR/u.zone"
END
background "$ORG" unbound -d -c "$DIR/unbound.conf"
UNBOUND_PID=${WORLD_PIDS[-1]}
for n in 4 5 6 7 8; do wait_for 10 in_org dig +time=1 +tries=1 "@10.78.0.$n" both.u.test || fail "no server at 10.78.0.$n: $(cat "$DIR/background.log")"; done
for at in 10.78.0.3 fd78::3 10.78.0.5; do background "$ORG" python3 -m http.server --bind $at 9000; done
for at in 10.78.0.3 fd78::3 10.78.0.5; do wait_for 10 port_open "$ORG" $at 9000 || fail "nobody listens at $at"; done

# the system of the machine under test: its hosts file, its resolv.conf (10.78.0.2), and what a DHCP client wrote down
printf '10.9.9.8 system.test\n10.9.9.99 four.test\n' >"/etc/netns/$APP/hosts"
REAL=$SHUNT SHUNT=$DIR/with_lease
cat >"$SHUNT" <<END
#!/bin/sh
if [ "\$1" = run ]; then
    mount -t tmpfs none /run && mkdir -p /run/dhcpcd/resolv.conf && echo nameserver 10.78.0.7 >/run/dhcpcd/resolv.conf/uplink.dhcp
fi
exec "$REAL" "\$@"
END
chmod 755 "$SHUNT"

# told NAME TYPE [OPTION...]: what a program is told, "TYPE DATA; ...", or "empty"; and what went wrong
told() {
    in_app dig +time=5 +tries=1 +noall +comments +answer "$@" @127.0.0.1 | awk '
        /status:/ { sub(",", "", $6); status = $6 }
        /^[^;]/ { out = out (out ? "; " : "") $4; for (i = 5; i <= NF; i++) out = out " " $i }
        END { if (status != "NOERROR") out = out (out ? "; " : "") (status ? status : "nothing"); print out ? out : "empty" }'
}
tell() { # a table: NAME TYPE what is told
    local name type want said
    while read -r name type want; do
        said=$(told "$name" "$type")
        [ "$said" = "$want" ] || fail "$name $type: \"$said\" instead of \"$want\""
    done
}
fake() { # a table: NAME and whether its address is a fake one
    local name want said
    while read -r name want; do
        said=$(told "$name" A)
        case "$said" in "A 198.18."*) said=fake ;; "A 10.78.0."*) said=real ;; esac
        [ "$said" = "$want" ] || fail "$name: $said instead of $want"
    done
}
# asked NAME TYPE: how often unbound was
asked() { grep -ci " $1\\. $2 IN" "$DIR/unbound.log"; }
asked_more() { [ "$(asked "$1" "$2")" -gt "$3" ]; }
connects() { in_app curl -sf --max-time 10 -o /dev/null "http://$1:9000/"; }
refused() { in_app timeout 5 $PEER connect 4 "$1" 9000 refused >/dev/null 2>&1; }
# profile: standard input becomes the one in force
profile() {
    { cat; printf 'tun: { device: tunmodes }\n'; } >"$DIR/p.yaml"
    [ -z "${SHUNT_PID:-}" ] || ctl reload >"$DIR/said" 2>&1 || fail "no reload: $(cat "$DIR/said")"
}

profile <<<'dns: { nameserver: [ 10.78.0.5 ] }'
shunt_start "$DIR/p.yaml"
# two lists of names, a country
python3 - "$DIR/state" <<'END'
import os, sys
def field(n, b): return bytes([n << 3 | 2, len(b)]) + b
def site(code, suffix): return field(1, field(1, code) + field(2, b"\x08\x02" + field(2, suffix)))
there = os.stat(sys.argv[1])
for name, data in (("GeoSite.dat", site(b"PLACE", b"site.test") + site(b"SITES", b"u.test")),
                   ("GeoIP.dat", field(1, field(1, b"ZZ") + field(2, field(1, bytes([203, 0, 113, 0])) + b"\x10\x18")))):
    path = os.path.join(sys.argv[1], name)
    open(path, "wb").write(data)
    os.chown(path, there.st_uid, there.st_gid)
END
PROVIDERS='rule-providers: { names: { type: inline, behavior: domain, payload: [ "+.set.test", "listed.u.test" ] }, lines: { type: inline, behavior: classical, payload: [ "DOMAIN-SUFFIX,plus.u.test" ] } }'

# the profile of the first half; MODE, IPV6 (dns.ipv6), TOP6 (ipv6)
first() {
    profile <<END
ipv6: ${TOP6:-true}
geodata-mode: true
$PROVIDERS
hosts:
  four.test: 10.9.9.1
  many.test: [ 10.9.9.2, "fd99::2", 10.9.9.3 ]
  alias.test: both.u.test
  chain.test: alias.test
  "*.star.test": 10.9.9.4
  exact.star.test: 10.9.9.7
  "+.plus.test": 10.9.9.5
  ".dot.test": 10.9.9.6
  machine.test: lan
dns:
  enable: true
  ipv6: ${IPV6:-true}
  enhanced-mode: $MODE
  use-hosts: ${HOSTS:-true}
  use-system-hosts: ${SYSTEM:-true}
  nameserver: [ 10.78.0.5 ]
  nameserver-policy:
    "+.u.test": 10.78.0.4
    "+.off.test": "10.78.0.7#disable-qtype-65=true&disable-ipv6=true"
    "+.pol.test": 10.78.0.6
    "deep.in.pol.test,other.test": 10.78.0.7
    "*.one.pol.test": 10.78.0.8
    "geosite:place": [ 10.78.0.6 ]
    "first.site.test": 10.78.0.7
    "rule-set:names": 10.78.0.7
    "+.ecs.test": "10.78.0.8#ecs=192.0.2.9/24"
    "+.ecs6.test": "10.78.0.8#ecs=2001:db8::/48"
    "+.plain.test": 10.78.0.8
    "+.sys.test,+.10.in-addr.arpa": system
    "+.lease.test": dhcp://uplink
    "+.none.test": rcode://name_error
    "+.no.test": rcode://refused
    "+.void.test": rcode://success
    "+.broken.test": rcode://server_failure
    "+.fetched.test": 10.78.0.7
rules: [ "DOMAIN,blocked.test,REJECT", "MATCH,DIRECT" ]
END
}

say "redir-host"
MODE=redir-host first
in_app $CLIENT prefetch 10 one.fetched.test two.fetched.test three.fetched.test >"$DIR/fetched" 2>&1 & FETCH=$!
WORLD_PIDS+=("$FETCH")
step "hosts: addresses, an alias, a chain, patterns, this machine, the system's file"
tell <<'END'
four.test A A 10.9.9.1
four.test AAAA empty
many.test A A 10.9.9.2; A 10.9.9.3
many.test AAAA AAAA fd99::2
alias.test A CNAME both.u.test.; A 10.78.0.4
alias.test AAAA CNAME both.u.test.; AAAA fd78::4
alias.test CNAME CNAME both.u.test.
chain.test A CNAME both.u.test.; A 10.78.0.4
a.star.test A A 10.9.9.4
exact.star.test A A 10.9.9.7
b.a.star.test A A 10.78.0.5
plus.test A A 10.9.9.5
b.a.plus.test A A 10.9.9.5
dot.test A A 10.78.0.5
b.a.dot.test A A 10.9.9.6
system.test A A 10.9.9.8
localhost A A 127.0.0.1
machine.test A A 10.77.0.2
machine.test AAAA AAAA fd77::2
END
ok
step "whose servers: the most specific key, several names in one, geosite:, rule-set:, in order"
tell <<'END'
x.any.test A A 10.78.0.5
x.pol.test A A 10.78.0.6
pol.test A A 10.78.0.6
deep.in.pol.test A A 10.78.0.7
x.deep.in.pol.test A A 10.78.0.6
other.test A A 10.78.0.7
a.one.pol.test A A 10.78.0.8
b.a.one.pol.test A A 10.78.0.6
www.site.test A A 10.78.0.6
first.site.test A A 10.78.0.6
www.set.test A A 10.78.0.7
END
ok
step "system, dhcp://, rcode://"
tell <<'END'
x.sys.test A A 10.78.0.3
x.lease.test A A 10.78.0.7
x.none.test A NXDOMAIN
x.no.test A REFUSED
x.void.test A empty
x.broken.test A SERVFAIL
END
answers y.lease.test 10.78.0.7 dhcp://uplink
ok
step "HTTPS records as the server has them"
tell <<'END'
both.u.test AAAA AAAA fd78::4
both.u.test HTTPS empty
svc.u.test SVCB SVCB 1 .
svc.u.test HTTPS HTTPS 1 . alpn="h2" ipv4hint=10.78.0.4
END
ok
step "... but not where they are switched off: asked for, empty; in other answers left out"
[ "$(in_org dig +noall +answer @10.78.0.7 svc.off.test ANY | grep -c 'AAAA\|HTTPS')" = 2 ] || fail "the server: $(in_org dig @10.78.0.7 svc.off.test ANY)"
tell <<'END'
svc.off.test HTTPS empty
svc.off.test AAAA empty
svc.off.test A A 10.78.0.7
svc.off.test ANY A 10.78.0.7
END
! grep -q '\(HTTPS\|type=65\|AAAA\)\] svc.off.test from 10.77' "$DIR/dnsmasq.7" || fail "the server was asked: $(grep svc.off "$DIR/dnsmasq.7")"
grep -q 'query\[A\] svc.off.test from 10.77' "$DIR/dnsmasq.7" || fail "$(grep svc.off "$DIR/dnsmasq.7")"
ok
step "the client's subnet goes where the profile says, with addresses only"
tell <<'END'
x.ecs.test A A 10.78.0.8
x.ecs.test TXT empty
x.ecs6.test A A 10.78.0.8
x.plain.test A A 10.78.0.8
END
grep -qi '^x.ecs.test 1 .*00080007000118.*c00002' "$DIR/written" && grep -qi '^x.ecs6.test 1 .*0008000a00023000' "$DIR/written" || fail "$(cat "$DIR/written")"
! grep -qi '^x.ecs.test 16 .*00080007\|^x.plain.test 1 .*0008000' "$DIR/written" && grep -qi '^x.plain.test 1 ' "$DIR/written" || fail "$(cat "$DIR/written")"
ok
step "reverse names of real addresses are the servers' to say"
tell <<'END'
3.0.78.10.in-addr.arpa PTR PTR via.test.
4.0.18.198.in-addr.arpa PTR NXDOMAIN
END
ok
step "a flow to an address has the name that was asked for last"
tell <<<"blocked.test A A 10.78.0.5"
wait_for 5 refused 10.78.0.5 || fail "blocked.test is not"
tell <<<"open.test A A 10.78.0.5"
connects 10.78.0.5 || fail "open.test is"
ok
step "the cache: letters do not matter and stay as they were asked, what is not there is kept, too"
before=$(asked both.u.test A)
said=$(in_app dig +noall +answer @127.0.0.1 bOtH.U.tEsT | awk '{print $1, $5}')
[ "$said" = "bOtH.U.tEsT. 10.78.0.4" ] || fail "$said"
[ "$(asked both.u.test A)" = "$before" ] || fail "the server was asked again"
for i in 1 2 3; do tell <<<"nobody.u.test A NXDOMAIN"; tell <<<"both.u.test TXT empty"; done
[ "$(asked nobody.u.test A) $(asked both.u.test TXT)" = "1 1" ] || fail "$(asked nobody.u.test A), $(asked both.u.test TXT) questions"
ok
step "... an answer that is over is told at once while the server is silent"
answers stale.u.test 10.78.0.4 10.78.0.4
kill -STOP "$UNBOUND_PID"
by_old() { [ "$(who stale.u.test)" = "10.78.0.4 old nobody" ]; }
wait_for 5 by_old || { kill -CONT "$UNBOUND_PID"; fail "$(who stale.u.test)"; }
said=$(in_app dig +noall +answer +stats @127.0.0.1 stale.u.test | awk '/^stale/ {print $2, $5} /Query time/ {print $4 < 1000}' | tr '\n' ' ')
kill -CONT "$UNBOUND_PID"
[ "$said" = "1 10.78.0.4 1 " ] || fail "$said"
tell <<<"new.plus.u.test A A 10.78.0.4"
wait_for 5 asked_more stale.u.test A 1 || fail "the server was not asked again"
ok
step "... one that is used is fetched before it is over"
wait "$FETCH" || fail "$(cat "$DIR/fetched")"
name=$(cut -d: -f1 "$DIR/fetched")
[ "$(grep -c "query\[A\] $name from 10.77" "$DIR/dnsmasq.7")" = 2 ] || fail "$(grep "$name" "$DIR/dnsmasq.7")"
ok "$(cat "$DIR/fetched")"

say "ipv6: false"
for switches in "IPV6=false TOP6=true" "IPV6=true TOP6=false"; do
    step "$switches: AAAA is empty, whatever the servers and hosts have"
    before=$(asked both.u.test AAAA)
    MODE=redir-host eval "$switches first"
    tell <<'END'
both.u.test AAAA empty
both.u.test A A 10.78.0.4
alias.test AAAA CNAME both.u.test.
END
    [ "$(asked both.u.test AAAA)" = "$before" ] || fail "the server was asked"
    ok
done

say "normal"
step "a flow to an address has no name"
MODE=normal SYSTEM=false first
tell <<<"blocked.test A A 10.78.0.5"
connects 10.78.0.5 || fail "it has"
ok
step "use-hosts: false, use-system-hosts: false"
tell <<<"system.test A A 10.78.0.5"
MODE=normal HOSTS=false first
tell <<'END'
four.test A A 10.9.9.99
system.test A A 10.9.9.8
alias.test A A 10.78.0.5
END
ok

step "enable: false: the system's servers are asked, by programs as by us"
profile <<END
dns: { enable: false, enhanced-mode: fake-ip, nameserver: [ 10.78.0.6 ], nameserver-policy: { "+.test": 10.78.0.6 } }
END
[ "$(in_app dig +short +time=2 +tries=1 @10.78.0.7 x.no-dns.test)" = 10.78.0.7 ] || fail "a query to 10.78.0.7 does not reach it"
answers x.sys.test 10.78.0.3 system
ctl status | grep -q "DNS *the system's own" || fail "$(ctl status)"
in_app dig +time=2 +tries=1 @198.18.0.2 z.no-dns.test >"$DIR/out" && fail "the device's own address answers: $(cat "$DIR/out")"
ok

say "fake-ip"
# fakes MODE LINES [MORE]: fake-ip-filter
fakes() {
    profile <<END
$PROVIDERS
hosts: { alias.test: site.test, away.test: any.u.test, nowhere.test: both.u.test }
dns:
  enable: true
  enhanced-mode: fake-ip
  ipv6: ${IPV6:-true}
  fake-ip-filter-mode: $1
  fake-ip-filter: [ $2 ]
  nameserver: [ 10.78.0.4 ]
  nameserver-policy: { "+.site.test,+.set.test": 10.78.0.6 }
  ${3:-}
END
}
step "blacklist: what is listed is real"
fakes blacklist '"*.wild.u.test", "+.plus.u.test", svc.u.test, both.u.test, "geosite:place", "rule-set:names,lines"'
fake <<'END'
a.wild.u.test real
b.a.wild.u.test fake
plus.u.test real
b.a.plus.u.test real
www.site.test real
www.set.test real
any.u.test fake
END
ok
step "... HTTPS and SVCB are empty for a fake one, and the server's for a real one"
tell <<'END'
any.u.test HTTPS empty
any.u.test SVCB empty
svc.u.test HTTPS HTTPS 1 . alpn="h2" ipv4hint=10.78.0.4
any.u.test AAAA empty
nowhere.test A CNAME both.u.test.; A 10.78.0.4
END
[ "$(asked any.u.test HTTPS)" = 0 ] || fail "the server was asked"
[[ $(told away.test A) = "CNAME any.u.test.; A 198.18."* ]] || fail "$(told away.test A)"
ok
step "whitelist: only what is listed is fake"
fakes whitelist '"*.wild.u.test", "+.plus.u.test", "geosite:place", "rule-set:names"'
fake <<'END'
a.wild.u.test fake
b.a.wild.u.test real
plus.u.test fake
b.a.plus.u.test fake
www.site.test fake
www.set.test fake
both.u.test real
END
ok
step "rule: the first that is true says which"
fakes rule '"DOMAIN,www.site.test,fake-ip", "GEOSITE,place,real-ip", "RULE-SET,names,real-ip", "DOMAIN-WILDCARD,*.w?ld.u.test,real-ip", "DOMAIN-SUFFIX,plus.u.test,fake-ip", "DOMAIN-REGEX,^b,real-ip", "MATCH,fake-ip"'
fake <<'END'
www.site.test fake
other.site.test real
www.set.test real
a.wild.u.test real
b.a.plus.u.test fake
both.u.test real
any.u.test fake
END
ok
step "fake-ip-ttl, both pools, and back to the name"
fakes blacklist svc.u.test $'fake-ip-range6: "fdfe:198:18::/64"\n  fake-ip-ttl: 7'
four=$(in_app dig +noall +answer @127.0.0.1 any.u.test A | awk '{print $2, $5}') six=$(in_app dig +noall +answer @127.0.0.1 any.u.test AAAA | awk '{print $2, $5}')
[[ $four = "7 198.18."* && $six = "7 fdfe:198:18::"* ]] || fail "$four, $six"
for address in ${four#* } ${six#* }; do
    [ "$(in_app dig +noall +answer -x "$address" @127.0.0.1 | awk '{print $2, $5}')" = "7 any.u.test." ] || fail "$(in_app dig -x "$address" @127.0.0.1)"
done
before=$(wc -l <"$DIR/unbound.log")
tell <<'END'
250.250.18.198.in-addr.arpa PTR NXDOMAIN
END
[ "$(wc -l <"$DIR/unbound.log")" = "$before" ] || fail "the server was asked: $(tail -n 1 "$DIR/unbound.log")"
ok
step "... with ipv6: false of the one pool only"
IPV6=false fakes blacklist svc.u.test 'fake-ip-range6: "fdfe:198:18::/64"'
tell <<<"any.u.test AAAA empty"
fake <<<"any.u.test fake"
ok

say "fallback"
# second LINES: fallback-filter, and more of dns
second() {
    profile <<END
geodata-mode: true
dns:
  enable: true
  enhanced-mode: redir-host
  nameserver: [ 10.78.0.6 ]
  fallback: [ 10.78.0.7 ]
  fallback-filter: { $1 }
  ${2:-}
END
}
step "geoip-code, ipcidr, domain: whose answer counts"
second 'geoip: true, geoip-code: ZZ, ipcidr: [ 240.0.0.0/4 ], domain: [ "+.doubt.test", "mixed.test" ]'
tell <<'END'
here.test A A 203.0.113.1
abroad.test A A 10.78.0.7
poison.test A A 10.78.0.7
lan.test A A 10.78.0.6
x.doubt.test A A 10.78.0.7
mixed.test A A 10.78.0.7
END
! grep -q 'x.doubt.test from 10.77\|mixed.test from 10.77' "$DIR/dnsmasq.6" || fail "nameserver was asked for a name that only fallback knows"
ok
step "... without geoip every country is fit; fallback is asked when it is needed, where that is wanted"
second 'geoip: false, ipcidr: [ 240.0.0.0/4 ]' 'fallback-lazy-query: true'
tell <<'END'
abroad.test A A 198.51.100.1
poison.test A A 10.78.0.7
alone.test A A 10.78.0.6
END
! grep -q 'alone.test from 10.77' "$DIR/dnsmasq.7" || fail "fallback was asked"
ok

say "servers for nodes, for DIRECT, behind the rules"
in_mid nft -f - <<'END'
table inet watch {
    counter straight { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.78.0.6 tcp dport 53 counter name straight
    }
}
END
straight() { in_mid nft -j list counter inet watch straight | jq '.nftables[] | .counter? // empty | .packets'; }
# third RESPECT: respect-rules
third() {
    profile <<END
proxies: [ { name: Node, type: socks5, server: node.n.test, port: 1080 } ]
dns:
  enable: true
  enhanced-mode: fake-ip
  nameserver: [ tcp://10.78.0.6 ]
  proxy-server-nameserver: [ 10.78.0.5 ]
  proxy-server-nameserver-policy: { "+.n.test": 10.78.0.7 }
  direct-nameserver: [ 10.78.0.2 ]
  respect-rules: $1
  fake-ip-filter: [ "+.real.test" ]
rules: [ "DOMAIN,via.test,Node", "IP-CIDR,10.78.0.6/32,Node,no-resolve", "MATCH,DIRECT" ]
END
}
step "a node's name by proxy-server-nameserver and its policy, a DIRECT flow's by direct-nameserver"
third false
connects via.test || fail "not by the node: $(tail -n 3 "$DIR/shunt.log")"
connects direct.test || fail "not DIRECT: $(tail -n 3 "$DIR/shunt.log")"
grep -q 'node.n.test from 10.77' "$DIR/dnsmasq.7" && ! grep -q '[.]n[.]test from 10.77' "$DIR/dnsmasq.6" "$DIR/dnsmasq.5" || fail "$(grep -H '[.]n[.]test from 10.77' "$DIR"/dnsmasq.*)"
grep -q 'direct.test from 10.77' "$DIR/dnsmasq.log" && ! grep -q 'direct.test from' "$DIR/dnsmasq.6" || fail "$(grep -H direct.test "$DIR"/dnsmasq.*)"
ok
step "respect-rules: the server is reached as the rules say"
tell <<<"a.real.test A A 10.78.0.6"
before=$(straight)
[ "$before" -gt 0 ] || fail "the counter counts nothing"
third true
before=$(straight)
tell <<<"b.real.test A A 10.78.0.6"
[ "$(straight)" = "$before" ] || fail "it was asked straight"
grep -q 'b.real.test from 10.78.0.1' "$DIR/dnsmasq.6" || fail "not by the node: $(grep b.real.test "$DIR/dnsmasq.6")"
ok

say "at the check"
step "what cannot be used is told, with its place; what is asked instead works"
profile <<'END'
dns:
  enable: true
  enhanced-mode: normal
  default-nameserver: [ dns.test ]
  nameserver: [ "::::", htps://1.1.1.1/q ]
END
ctl check -f "$DIR/p.yaml" >"$DIR/said" 2>&1 || fail "$(cat "$DIR/said")"
for words in 'p.yaml:4:25: warning: default-nameserver finds' 'p.yaml:4:25: warning: dns.default-nameserver: none of its servers' 'p.yaml:5:17: warning: the name server "::::" has no host' \
    'p.yaml:5:25: warning.*did you mean "https"' 'p.yaml:5:17: warning: dns.nameserver: none of its servers'; do
    grep -q "$words" "$DIR/said" || fail "\"$words\": $(cat "$DIR/said")"
done
grep -A 2 '::::' "$DIR/said" | grep -q '^ *^$' || fail "no caret: $(cat "$DIR/said")"
tell <<<"x.sys.test A A 10.78.0.3"
ok
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
