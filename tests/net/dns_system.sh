#!/bin/bash
# The machine's programs and their names: every client gets fake addresses, nothing escapes to another resolver, names keep their addresses over reloads, kills and spoiled
# files, and the end is in order. L1, L2, F1, F2, F5, F6, F7, S2 of reference/reliability.md.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq dig jq python3 curl
HELPERS=$(dirname "$SHUNT")/tests
CLIENT="python3 $PWD/tests/net/dns_client.py"
world_up
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
origin_dns site.test=3 real.test=4 node.test=5 8.8.8.8.in-addr.arpa=6
in_mid nft -f - <<'END'
table inet watch {
    counter dns { }
    counter v6 { }
    counter fake { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.78.0.2 tcp dport 53 accept
        iifname "uplink" meta l4proto { tcp, udp } th dport 53 counter name dns
        iifname "uplink" ip daddr 198.18.0.0/16 counter name fake
        iifname "uplink" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
        iifname "uplink" meta nfproto ipv6 counter name v6
    }
}
END
packets() { in_mid nft -j list counter inet watch "$1" | jq '.nftables[] | .counter? // empty | .packets'; }
reset() { in_mid nft reset counters >/dev/null; }
write() { # write STRICT FILTER [MORE-OF-DNS]
    cat >"$DIR/p.yaml" <<END
tun: { device: tunsys, strict-route: $1 }
ipv6: ${IPV6:-true}
proxies: [ { name: lost, type: socks5, server: 10.78.0.9, port: 1 } ]
dns:
  enable: true
  ipv6: ${IPV6:-true}
  fake-ip-range6: "fdfe:198:18::/64"
  fake-ip-filter: [ $2 ]
  nameserver: [ tcp://10.78.0.2 ]
  ${3:-}
rules: [ "DOMAIN,none.test,REJECT", "MATCH,DIRECT" ]
END
}
reload() {
    local from
    from=$(wc -c <"$DIR/shunt.log")
    kill -HUP "$SHUNT_PID"
    wait_for 5 bash -c "tail -c +$((from + 1)) '$DIR/shunt.log' | grep -q 'read again'" || fail "no reload"
}
address() { in_app dig +short +time=2 +tries=1 "@${2:-127.0.0.1}" "$1" A | tail -n 1; }
is_fake() { [[ $1 = 198.18.* || $1 = fdfe:198:18:* ]]; }

step "positive control: without shunt queries are seen on the uplink"
in_app $CLIENT leak
[ "$(packets dns)" -gt 4 ] && [ "$(packets v6)" -gt 0 ] || fail "$(packets dns), $(packets v6) packets"
seen=$(packets dns)
reset
ok "$seen packets"

write false '"real.test"'
net_state >"$DIR/before"
shunt_start "$DIR/p.yaml"
say "clients"
for server in 127.0.0.1 127.0.0.53 ::1 10.77.0.1 fd77::1 9.9.9.9 198.18.0.2; do
    step "dig @$server, UDP and TCP"
    is_fake "$(address site.test "$server")" || fail "$(address site.test "$server")"
    is_fake "$(in_app dig +tcp +short +time=2 +tries=1 @"$server" site.test AAAA)" || fail "TCP: $(in_app dig +tcp +short "@$server" site.test AAAA)"
    ok
done
step "the C library"
for n in $(in_app getent ahosts site.test | cut -d' ' -f1); do is_fake "$n" || fail "$n"; done
[ "$(in_app getent ahosts site.test | wc -l)" -ge 2 ] || fail "$(in_app getent ahosts site.test)"
in_app getent hosts "$(address site.test)" | grep -q 'site.test' || fail "no name for $(address site.test)"
ok
step "c-ares"
is_fake "$(in_app "$HELPERS/helper_cares" site.test)" && is_fake "$(in_app "$HELPERS/helper_cares" site.test 6)" || fail "$(in_app "$HELPERS/helper_cares" site.test)"
ok
step "filtered names are real"
[ "$(address real.test)" = 10.78.0.4 ] || fail "$(address real.test)"
ok
step "HTTPS records are empty, at once"
read -r rcode n ms <<<"$(in_app $CLIENT ms site.test HTTPS)"
[ "$rcode $n" = "0 0" ] && [ "$ms" -le 50 ] || fail "$rcode $n $ms"
ok
step "the system asks us, says status"
asks() { [ "$(ctl status --json | jq -r .dns.system_asks)" = "$1" ]; }
wait_for 10 asks yes || fail "$(ctl status --json | jq .dns)"
ctl status | grep -q "the system's resolver asks us" || fail "$(ctl status)"
ok

say "L1, L2: nothing escapes"
for strict in false true; do
    step "strict $strict: no query on the uplink"
    write "$strict" '"real.test"'
    reload
    reset
    in_app $CLIENT leak
    [ "$(packets dns)" = 0 ] || fail "$(packets dns) packets"
    ok
done
step "ipv6: false: AAAA is empty within 50 ms, and no IPv6 leaves"
shunt_stop || fail "exit status $?"
for strict in false true; do
    IPV6=false write $strict '"real.test"'
    shunt_start "$DIR/p.yaml"
    reset
    for name in site.test real.test; do
        read -r rcode n ms <<<"$(in_app $CLIENT ms $name AAAA)"
        [ "$rcode $n" = "0 0" ] && [ "$ms" -le 50 ] || fail "$name: $rcode $n $ms ms"
    done
    in_app $CLIENT leak
    in_app timeout 2 bash -c "exec 3<>/dev/tcp/fd78::3/9000" 2>/dev/null && fail "an IPv6 connection"
    [ "$(packets v6)" = 0 ] || fail "$(packets v6) packets"
    shunt_stop || fail "exit status $?"
done
ok
net_state | diff "$DIR/before" - || fail "something was left behind"

say "names keep their addresses"
write false '"real.test"'
shunt_start "$DIR/p.yaml"
step "F1: over 100 reloads"
in_app $CLIENT names 500 keep "$DIR/names"
for i in $(seq 100); do reload; done
said=$(in_app $CLIENT same "$DIR/names") || fail "$said"
ok "$said"
step "F1: over a SIGKILL of the worker"
kill -KILL "$(shunt_worker)"
wait_for 5 grep -q 'worker is back' "$DIR/shunt.log" || fail "no worker"
said=$(in_app $CLIENT same "$DIR/names") || fail "$said"
ok "$said"
step "kill -9 of everything: what was answered a second ago maps back"
in_app $CLIENT names 20000 many "$DIR/many"
sleep 1
worker=$(shunt_worker)
kill -KILL "$SHUNT_PID" "$worker"; wait "$SHUNT_PID" 2>/dev/null; SHUNT_PID=
wait_for 3 gone "$worker"
shunt_start "$DIR/p.yaml"
said=$(in_app $CLIENT reverse "$DIR/many") || fail "$said"
ok "$said"
step "a filter that changes is obeyed at once, and old addresses still map (F6)"
old=$(address site.test)
write false '"real.test", "site.test"'
reload
[ "$(address site.test)" = 10.78.0.3 ] || fail "$(address site.test)"
[ "$(in_app dig +short +time=2 -x "$old" @127.0.0.1)" = site.test. ] || fail "$(in_app dig +short -x "$old" @127.0.0.1)"
in_app python3 "$PWD/tests/net/peer.py" exchange 4 "$old" 9000 1000 || fail "the old address leads nowhere"
ok

step "F2: an unknown fake address is refused at once, never on the uplink"
reset
in_app python3 - <<'END' || fail "not refused at once"
import socket, time
began = time.monotonic()
try:
    socket.create_connection(("198.18.250.250", 80), 5)
    raise SystemExit(1)
except ConnectionRefusedError:
    pass
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2); s.connect(("198.18.250.250", 80)); s.send(b"x")
try:
    s.recv(1); raise SystemExit(1)
except socket.timeout:
    raise SystemExit(1)
except OSError:
    pass
raise SystemExit(time.monotonic() - began > 0.5)
END
[ "$(packets fake)" = 0 ] || fail "$(packets fake) packets"
ok

step "F7: at the end flows get a reset while the device is there"
in_app $CLIENT hold site.test 9000 "$DIR/held" &
wait_for 5 grep -q connected "$DIR/held" || fail "no connection"
shunt_stop || fail "exit status $?"
wait_for 2 grep -q device "$DIR/held" || fail "it hangs"
grep -q 'Connection reset by peer, the device is there' "$DIR/held" || fail "$(cat "$DIR/held")"
ok

say "F5: the file of names"
log=$(ls "$DIR/state" | grep -i fake | head -n 1)
[ -n "$log" ] || fail "no file: $(ls "$DIR/state")"
cp "$DIR/state/$log" "$DIR/kept"
spoil() { # spoil WHAT WORDS
    step "$1: $2"
    : >"$DIR/shunt.log"
    shunt_start "$DIR/p.yaml"
    grep -qE "$3" "$DIR/shunt.log" || fail "not said: $(cat "$DIR/shunt.log")"
    is_fake "$(address after.test)" || fail "no answers"
    shunt_stop || fail "exit status $?"
    ok
}
head -c 4096 /dev/urandom >"$DIR/state/$log"
spoil "garbage" "begins anew" 'fake'
cp "$DIR/kept" "$DIR/state/$log"
printf '\377\377\377\377' | dd of="$DIR/state/$log" bs=1 seek=$(($(stat -c %s "$DIR/kept") / 2)) conv=notrunc 2>/dev/null
: >"$DIR/shunt.log"
step "a flaw in the middle: what is before it maps, and it is said"
shunt_start "$DIR/p.yaml"
grep -qi 'damage\|spoil\|broken' "$DIR/shunt.log" || fail "not said: $(grep -i fake "$DIR/shunt.log")"
head -n 300 "$DIR/names" >"$DIR/first"
said=$(in_app $CLIENT reverse "$DIR/first") || fail "$said"
shunt_stop || fail "exit status $?"
ok "$said"
step "it cannot be written: names work, and it is said"
rm -f "$DIR/state/$log"; mkdir "$DIR/state/$log"
: >"$DIR/shunt.log"
shunt_start "$DIR/p.yaml"
grep -q 'fake' "$DIR/shunt.log" || fail "not said: $(cat "$DIR/shunt.log")"
is_fake "$(address after.test)" || fail "no answers"
shunt_stop || fail "exit status $?"
rmdir "$DIR/state/$log" 2>/dev/null
ok

say "S2: circles"
cat >"$DIR/circle.yaml" <<'END'
tun: { device: tunsys }
proxies:
  - { name: Node, type: socks5, server: node.test, port: 1080 }
  - { name: Two, type: socks5, server: two.test, port: 1080, dialer-proxy: Node }
dns:
  enable: true
  nameserver: [ tcp://10.78.0.2#Node ]
  fake-ip-filter: [ real.test ]
rules: [ "MATCH,Node" ]
END
step "a node whose name is asked for through itself: said at load"
in_app "$SHUNT" check -f "$DIR/circle.yaml" >"$DIR/said" 2>&1
grep -qi 'circle\|cycle' "$DIR/said" || fail "$(cat "$DIR/said")"
ok
step "... and at run time an error within 100 ms, no storm"
shunt_start "$DIR/circle.yaml"
read -r rcode n ms <<<"$(in_app $CLIENT ms real.test A)"
[ "$rcode $n" = "2 0" ] && [ "$ms" -le 100 ] || fail "$rcode $n $ms ms"
in_app timeout 5 curl -s -o /dev/null http://site.test:9000/
[ "$(ctl flows --json | jq length)" -le 8 ] || fail "$(ctl flows)"
lines=$(wc -l <"$DIR/shunt.log"); sleep 2
[ $(($(wc -l <"$DIR/shunt.log") - lines)) -le 4 ] || fail "it goes on and on"
shunt_stop || fail "exit status $?"
ok "$ms ms"

say "listening for others"
step "dns.listen on port 53, for hosts of the LAN"
write false '"real.test"'
echo 'dns: { listen: "0.0.0.0:53" }' >"$DIR/local.yaml"
shunt_start "$DIR/p.yaml"
is_fake "$(in_mid dig +short +time=2 +tries=1 @10.77.0.2 site.test)" || fail "UDP: $(in_mid dig +time=2 +tries=1 @10.77.0.2 site.test)"
is_fake "$(in_mid dig +tcp +short +time=2 +tries=1 @10.77.0.2 site.test)" || fail "TCP"
kill -KILL "$(shunt_worker)"
wait_for 5 grep -q 'worker is back' "$DIR/shunt.log" || fail "no worker"
is_fake "$(in_mid dig +short +time=2 +tries=3 @10.77.0.2 site.test)" || fail "not by the next worker"
echo 'dns: { listen: "0.0.0.0:54" }' >"$DIR/local.yaml"
reload
sleep 0.5
is_fake "$(in_mid dig -p 54 +short +time=2 +tries=1 @10.77.0.2 site.test)" || fail "not on another one after a reload"
in_mid dig +time=1 +tries=1 @10.77.0.2 site.test >/dev/null && fail "still on the old one"
shunt_stop || fail "exit status $?"
: >"$DIR/local.yaml"
ok
net_state | diff "$DIR/before" - || fail "something was left behind"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
