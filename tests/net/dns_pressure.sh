#!/bin/bash
# Names under pressure: a pool that is far too small, a cache behind us that keeps answers for longer than they hold, and name servers that are dead while the machine's
# programs go on asking. F3, F4, S3 of reference/reliability.md.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq dig jq python3
CLIENT="python3 $PWD/tests/net/dns_client.py"
world_up
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
origin_dns site.test=3 real.test=4
in_mid nft -f - <<'END2'
table inet watch {
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" meta l4proto { tcp, udp } th dport { 53, 853, 443 } counter
        iifname "uplink" ip daddr 10.78.0.8 drop
        iifname "uplink" ip daddr 10.78.0.9 tcp dport { 853, 443 } reject with tcp reset
    }
}
END2
write() { # write RANGE SERVERS
    cat >"$DIR/p.yaml" <<END2
tun: { device: tunpress }
ipv6: true
dns: { enable: true, ipv6: true, fake-ip-range: $1, fake-ip-range6: "fdfe:198:18::/64", fake-ip-filter: [ "+.real.test" ], nameserver: [ $2 ] }
rules: [ "MATCH,DIRECT" ]
END2
}
packets() { in_mid nft -j list chain inet watch uplink | jq '[.nftables[].rule?.expr[]?.counter? // empty | .packets] | add'; }

say "F3: a pool of 256, 100,000 names"
write 198.18.0.0/24 tcp://10.78.0.2
shunt_start "$DIR/p.yaml"
address=$(in_app dig +short @127.0.0.1 site.test)
in_app $CLIENT hold "$address" 9000 "$DIR/held" &
wait_for 5 grep -q connected "$DIR/held" || fail "no connection"
step "nobody's address is another's within its lifetime, or under a flow"
said=$(in_app timeout 200 $CLIENT flood 100000 "$address") || fail "$said"
ok "$said"
step "the flow's address still has its name, and it is said what is wrong"
[ "$(in_app dig +short -x "$address" @127.0.0.1)" = site.test. ] || fail "$(in_app dig +short -x "$address" @127.0.0.1)"
[ "$(in_app dig +short @127.0.0.1 site.test)" = "$address" ] || fail "another address"
grep -q 'widen dns.fake-ip-range' "$DIR/shunt.log" || fail "not said"
! grep -q . <(tail -n +2 "$DIR/held") || fail "the flow has ended: $(cat "$DIR/held")"
ok
step "both addresses of a name are of one slot"
sleep 1.1 # what the flood was told has its lifetime
for i in $(seq 20); do
    four=$(in_app dig +short @127.0.0.1 "both$i.test" A) six=$(in_app dig +short @127.0.0.1 "both$i.test" AAAA)
    [ "$six" = "$(printf 'fdfe:198:18::%x' "${four##*.}")" ] || fail "both$i.test: $four, $six"
done
shunt_stop || fail "exit status $?"
ok

say "F4: a cache behind us with a floor of 60 s"
write 198.18.0.0/16 tcp://10.78.0.2
shunt_start "$DIR/p.yaml"
background "$APP" dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --listen-address=127.0.0.1 --port=5353 --bind-interfaces --pid-file= --server=10.78.0.2 \
    --min-cache-ttl=60
wait_for 5 in_app dig +time=1 +tries=1 @127.0.0.1 -p 5353 site.test || fail "no dnsmasq"
step "an answer holds for a second at most"
ttl=$(in_app dig +noall +answer @127.0.0.1 site.test | awk '{print $2}')
[ "$ttl" -le 1 ] || fail "$ttl s"
ok
step "what the cache says leads there long after it"
kept=$(in_app dig +short @127.0.0.1 -p 5353 site.test)
in_app $CLIENT names 3000 other "$DIR/others"
sleep 2
[ "$(in_app dig +noall +answer @127.0.0.1 -p 5353 site.test | awk '$2 > 1 {print $5}')" = "$kept" ] || fail "the cache has forgotten"
in_app python3 "$PWD/tests/net/peer.py" exchange 4 "$kept" 9000 1000 || fail "it leads nowhere"
shunt_stop || fail "exit status $?"
ok

say "S3: name servers are dead after a resume, programs go on asking: one try a second and a few more at first, a line for each at most"
TICKS=10
! grep -q __asan_init "$SHUNT" || TICKS=30 # each check of a sanitizer costs as well
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
for server in 10.78.0.8 tls://10.78.0.8 tls://10.78.0.9 https://10.78.0.9/dns-query; do
    write 198.18.0.0/16 "'$server'"
    step "$server"
    shunt_start "$DIR/p.yaml"
    worker=$(shunt_worker)
    kill -STOP "$SHUNT_PID" "$worker"; sleep 0.3; kill -CONT "$worker" "$SHUNT_PID"
    lines=$(wc -l <"$DIR/shunt.log") before=$(ticks "$worker") seen=$(packets)
    said=$(in_app $CLIENT nag 10 5 real.test)
    spent=$(($(ticks "$worker") - before)) seen=$(($(packets) - seen)) lines=$(($(wc -l <"$DIR/shunt.log") - lines))
    [ "$spent" -le "$TICKS" ] || fail "$spent ticks in 10 s"
    [ "$lines" -le 14 ] || fail "$lines lines in 10 s: $(tail "$DIR/shunt.log")"
    [ "$seen" -le 150 ] || fail "$seen packets in 10 s"
    shunt_stop || fail "exit status $?"
    ok "$spent ticks, $seen packets, $lines lines in 10 s; $said"
done
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
