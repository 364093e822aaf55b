# lib_platform.sh - tests of the supervisor with the helper worker in the place of the engine; sourced, bash
SHUNT=${SHUNT:-$PWD/build/dev/tests/helper_worker}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# profile NAME LINE...: a profile of the helper; prints its path
profile() {
    local file="$DIR/$1"; shift
    printf '%s\n' "$@" >"$file"
    echo "$file"
}

# ask ADDR PORT TEXT [BIND-DEVICE]: one datagram from app, prints the answer; fails when there is none in time
ask() { in_app timeout 5 python3 "$PWD/tests/net/ask.py" "$@"; }
# the address a worker answers from: its resolver, by the redirect
pong() { ask 9.9.9.9 53 ping; }
# sent to ADDR:7 and echoed: by the helper when captured, else by the origin
echoed() { [ "$(ask "$1" 7 hello)" = hello ]; }

# an echo of datagrams in org on port 7
origin_echo() {
    background "$ORG" python3 "$PWD/tests/net/ask.py" serve 7
    wait_for 5 echoed 10.78.0.3 || fail "the echo did not start"
    wait_for 10 echoed fd78::3 || fail "no IPv6 in the world" # link-local addresses take a second or two
}

# the supervisor ends on its own with STATUS within 5 s
ends_with() {
    local want=$1 file=$2 status=0
    timeout 30 ip netns exec "$APP" "$SHUNT" run -f "$file" -d "${3:-$DIR/state}" </dev/null >>"$DIR/shunt.log" 2>&1 || status=$?
    [ "$status" = "$want" ] || fail "exit status $status instead of $want: $(tail -n 5 "$DIR/shunt.log")"
}
unchanged() {
    net_state >"$DIR/after"
    diff "$DIR/before" "$DIR/after" || fail "${1:-something was left behind}"
}
# kills supervisor and worker at the same moment
kill_both() {
    local worker
    worker=$(shunt_worker)
    kill -KILL "$SHUNT_PID" "$worker" 2>/dev/null
    wait "$SHUNT_PID" 2>/dev/null
    SHUNT_PID=
    wait_for 2 gone "$worker" || fail "the worker lives on"
}
# what of app leaves in clear is counted in mid: everything but what the worker's own id sends, to port 7777 of 10.78.0.9 or fd78::9
watch_uplink() {
    in_mid nft -f - <<'EOF2'
table inet watch {
    counter clear { }
    chain uplink {
        type filter hook prerouting priority -300;
        iifname "uplink" ip daddr 10.78.0.9 udp dport 7777 accept
        iifname "uplink" ip6 daddr fd78::9 udp dport 7777 accept
        iifname "uplink" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
        iifname "uplink" meta l4proto { tcp, udp, icmp, icmpv6 } counter name clear
    }
}
EOF2
}
clear_packets() { in_mid nft -j list counter inet watch clear | jq '.nftables[] | .counter? // empty | .packets'; }
reset_clear() { in_mid nft reset counters >/dev/null; }
sanitizers_silent() { ! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"; }
logged() { grep -q "$1" "$DIR/shunt.log"; }
