#!/bin/bash
# The main job, shown: real requests travel TUN -> lwIP -> rules -> a real Shadowsocks server, in rule, global and direct mode.
# The world is made of namespaces (tests/net/lib.sh draws it). Exit 0 only if everything went as it should.
set -u
cd "$(dirname "$0")/.."
. tests/net/lib.sh

need_world ss-server dnsmasq busybox socat curl dig jq tcpdump
BAD=0
FLOWS_SEEN=0
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then RED=$'\e[31m' GREEN=$'\e[32m' BOLD=$'\e[1m' PLAIN=$'\e[0m'; else RED='' GREEN='' BOLD='' PLAIN=''; fi

head1() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
verdict() { # verdict OK? TEXT
    if [ "$1" = 0 ]; then printf '  %s✓%s %s\n' "$GREEN" "$PLAIN" "$2"; else printf '  %s✗ %s%s\n' "$RED" "$2" "$PLAIN"; BAD=$((BAD + 1)); fi
}

profile() {
    cat <<'EOF'
mode: rule
log-level: info
ipv6: true
tun: { enable: true, device: shunt0, stack: gvisor, dns-hijack: [any:53] }
dns:
  enable: true
  ipv6: true
  enhanced-mode: fake-ip
  fake-ip-range: 198.18.0.1/16
  fake-ip-range6: fdfe:198:18::/64
  nameserver: [10.78.0.2]
proxies:
  - { name: Amsterdam, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: demo-one, udp: true }
  - { name: Tokyo, type: ss, server: "fd77::1", port: 8389, cipher: chacha20-ietf-poly1305, password: demo-two, udp: true }
proxy-groups:
  - { name: Proxy, type: select, proxies: [Amsterdam, Tokyo] }
rules:
  - DOMAIN,ads.demo,REJECT
  - DOMAIN-SUFFIX,video.demo,Proxy
  - DOMAIN-KEYWORD,secret,Tokyo
  - IP-CIDR,10.78.0.7/32,Proxy,no-resolve
  - IP-CIDR6,fd78::7/128,Tokyo,no-resolve
  - MATCH,DIRECT
EOF
}

# ask WHAT EXPECT(rule path) COMMAND...: runs a request in app, finds its flow, prints a row. EXPECT "reject" = the command must fail.
ask() {
    local what=$1 expect=$2 out status row mark
    shift 2
    out=$(in_app timeout 10 "$@" 2>&1)
    status=$?
    sleep 0.15
    row=$(ctl_rows | tail -n 1)
    local path
    path=$(printf '%s' "$row" | cut -f3)
    if [ "$expect" = reject ]; then
        [ $status != 0 ] && [ $status != 124 ]; status=$?
    else
        [ $status = 0 ] && [ "$path" = "$expect" ] && printf '%s' "$out" | grep -q MARKER; status=$?
    fi
    [ "$status" = 0 ] && mark="${GREEN}✓${PLAIN}" || { mark="${RED}✗${PLAIN}"; BAD=$((BAD + 1)); }
    FLOWS_SEEN=$((FLOWS_SEEN + 1))
    printf '  %s %-36s %-34s %s\n' "$mark" "$what" "$(printf '%s' "$row" | cut -f2)" "$path"
    [ "$status" = 0 ] || printf '      expected %s, got: %s\n' "$expect" "$(printf '%s' "$out" | head -c 200)"
}
# every flow, live and closed, oldest first: start, rule, path outermost first
ctl_rows() {
    { ctl flows --json --closed; ctl flows --json; } 2>/dev/null | jq -rs 'add | map({start, rule, rulePayload, chains}) | unique_by(.start) | sort_by(.start)[]
        | [.start, (if .rule == "" then "(mode)" else .rule + (if .rulePayload == "" then "" else "," + .rulePayload end) end),
           (.chains | reverse | join(" > "))] | @tsv'
}
http() { printf 'curl -sS --max-time 8 -o - %s' "$1"; }

head1 "The world: application | router with Shadowsocks servers | origin"
world_up
background "$ORG" socat TCP6-LISTEN:7,ipv6only=0,fork,reuseaddr EXEC:/bin/cat
for n in 3 4 5 7; do # one socket an address, so that each answers as itself
    background "$ORG" socat UDP4-RECVFROM:7,bind=10.78.0.$n,fork EXEC:/bin/cat
    background "$ORG" socat "UDP6-RECVFROM:7,bind=[fd78::$n],fork" EXEC:/bin/cat
done
mkdir "$DIR/www" && echo "MARKER of the origin" >"$DIR/www/index.html"
background "$ORG" busybox httpd -f -p "[::]:80" -h "$DIR/www"
origin_dns news.demo=3 video.demo=4 www.video.demo=4 my-secret.demo=5 ads.demo=6
proxy_ss 8388 aes-256-gcm demo-one
proxy_ss 8389 chacha20-ietf-poly1305 demo-two
wait_for 5 port_open "$ORG" 10.78.0.3 80
in_mid nft -f - <<'EOF'
table inet watch {
    counter clear_proxied { }
    counter clear_direct { }
    counter to_proxy { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr { 10.78.0.4, 10.78.0.5, 10.78.0.6, 10.78.0.7 } counter name clear_proxied
        iifname "uplink" ip6 daddr { fd78::4, fd78::5, fd78::6, fd78::7 } counter name clear_proxied
        iifname "uplink" ip daddr 10.78.0.3 counter name clear_direct
        iifname "uplink" ip6 daddr fd78::3 counter name clear_direct
        iifname "uplink" ip daddr 10.77.0.1 meta l4proto { tcp, udp } th dport { 8388, 8389 } counter name to_proxy
        iifname "uplink" ip6 daddr fd77::1 meta l4proto { tcp, udp } th dport { 8388, 8389 } counter name to_proxy
    }
}
EOF
seen() { in_mid nft -j list counter inet watch "$1" | jq '.nftables[] | .counter? // empty | .packets'; }
background "$MID" tcpdump -i uplink -U -w "$DIR/uplink.pcap"
CAPTURE=${WORLD_PIDS[-1]}
net_state >"$DIR/before"
profile >"$DIR/profile.yaml"
verdict 0 "web, DNS and echo in the origin; ss-server (aes-256-gcm, chacha20-ietf-poly1305) on the way"

shunt_start "$DIR/profile.yaml"
verdict 0 "shunt carries the machine's traffic: $(grep -o 'ready in.*' "$DIR/shunt.log" | tail -n 1)"

# the sender stays open until the answer is there: ss-server drops what comes after a half-close
udp() { echo "(printf MARKER; sleep 0.3) | timeout 3 socat -t 1 -T 2 - $1"; }

head1 "Mode rule            rule that decided                   path"
ask "http  news.demo"            "DIRECT"            $(http http://news.demo/)
ask "http  www.video.demo"       "Proxy > Amsterdam" $(http http://www.video.demo/)
ask "http  www.video.demo (IPv6)" "Proxy > Amsterdam" $(http "-6 http://www.video.demo/")
ask "http  my-secret.demo"       "Tokyo"             $(http http://my-secret.demo/)
ask "http  10.78.0.7"            "Proxy > Amsterdam" $(http http://10.78.0.7/)
ask "http  [fd78::7]"            "Tokyo"             $(http -g\ http://[fd78::7]/)
ask "http  ads.demo"             reject              $(http http://ads.demo/)
ask "tcp echo  video.demo:7"     "Proxy > Amsterdam" bash -c "$(udp TCP:video.demo:7)"
ask "udp echo  video.demo:7"     "Proxy > Amsterdam" bash -c "$(udp UDP4:video.demo:7)"
ask "udp echo  [fd78::7]:7"      "Tokyo"             bash -c "$(udp 'UDP6:[fd78::7]:7')"
ask "udp echo  news.demo:7"      "DIRECT"            bash -c "$(udp UDP4:news.demo:7)"
in_app dig +short +time=2 +tries=1 @192.0.2.99 news.demo | grep -q '^198\.18\.'
verdict $? "a DNS query to any server is answered by the fake-IP resolver"
[ "$(seen clear_proxied)" = 0 ] && [ "$(seen clear_direct)" -gt 0 ] && [ "$(seen to_proxy)" -gt 0 ]
verdict $? "uplink: $(seen to_proxy) packets to the proxy servers, $(seen clear_direct) in clear to DIRECT destinations, $(seen clear_proxied) in clear to proxied ones"

head1 "Mode global (GLOBAL > Tokyo)"
ctl use GLOBAL Tokyo >/dev/null && ctl mode global >/dev/null
direct_before=$(seen clear_direct)
ask "http  news.demo"            "GLOBAL > Tokyo"    $(http http://news.demo/)
ask "http  10.78.0.7"            "GLOBAL > Tokyo"    $(http http://10.78.0.7/)
ask "udp echo  news.demo:7"      "GLOBAL > Tokyo"    bash -c "$(udp UDP4:news.demo:7)"
[ "$(seen clear_direct)" = "$direct_before" ] && [ "$(seen clear_proxied)" = 0 ]
verdict $? "uplink: nothing in clear"

kill "$CAPTURE" 2>/dev/null; sleep 0.2 # the capture so far holds rule and global mode
! grep -aqE 'my-secret|video.demo' "$DIR/uplink.pcap"
verdict $? "capture of the uplink: no name and no byte of a proxied request is readable"

head1 "Mode direct (the positive control: now the same watch must see clear packets)"
ctl mode direct >/dev/null
ask "http  www.video.demo"       "DIRECT"            $(http http://www.video.demo/)
ask "udp echo  10.78.0.7:7"      "DIRECT"            bash -c "$(udp UDP4:10.78.0.7:7)"
[ "$(seen clear_proxied)" -gt 0 ]
verdict $? "uplink: $(seen clear_proxied) packets in clear, so the counters do count"

head1 "The end"
shunt_stop
verdict $? "shunt left on SIGTERM"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" >"$DIR/difference"
verdict $? "links, addresses, routes, rules, nft and resolver are exactly as before"
[ $BAD = 0 ] || cat "$DIR/difference"

if [ $BAD = 0 ]; then head1 "All $FLOWS_SEEN flows went as they should."; exit 0; fi
head1 "${RED}$BAD things went wrong.${PLAIN}"
exit 1
