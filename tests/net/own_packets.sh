#!/bin/bash
# Our own packets never come back to us: somebody's route leads what the worker sends into the TUN, by its name or by a gateway that the kernel finds behind it.
# One connection of a program is one flow that fails, not one that calls the next until all are taken; normal and strict mode, TCP and UDP, v4 and v6.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq jq python3
world_up
PEER="python3 $PWD/tests/net/peer.py"
background "$ORG" $PEER serve 9000
origin_dns direct.test=3
worker_id=$(id -u shunt 2>/dev/null || echo 65017)
# behind our own chains: what they let through
in_app nft -f - <<EOF
table inet spy {
    counter own { }
    chain out {
        type filter hook output priority 10;
        oifname "tunown" meta skuid $worker_id counter name own
    }
}
EOF
captured() { in_app nft -j list counter inet spy own | jq '.nftables[] | .counter? // empty | .packets'; }
attempt() { # attempt 4|6 STREAM|DGRAM ADDRESS
    in_app timeout 3 python3 - "$@" <<'EOF'
import socket, sys
family, kind, at = sys.argv[1:]
s = socket.socket(socket.AF_INET if family == "4" else socket.AF_INET6, getattr(socket, "SOCK_" + kind)); s.settimeout(2)
try:
    s.connect((at, 9000)); s.send(b"x"); print(s.recv(9))
except TimeoutError:
    print("silence")
except OSError:
    print("error")
EOF
}
# every flow that there was: lines of those that ended, and those that live
flows() { echo $(($(grep -cE '(tcp|udp) +#' "$DIR/shunt.log") + $(ctl flows --json | jq length))); }
# at_most N WHAT: new flows since the last call
at_most() {
    local now
    now=$(flows)
    [ $((now - seen)) -le "$1" ] || fail "$((now - seen)) flows of $2"
    [ "$(captured)" = 0 ] || fail "$(captured) packets of our own went into the TUN ($2)"
    seen=$now
}

for strict in false true; do
    cat >"$DIR/p.yaml" <<EOF
tun: { device: tunown, strict-route: $strict }
ipv6: true
dns: { nameserver: [10.78.0.2] }
rules: [ "MATCH,DIRECT" ]
EOF
    : >"$DIR/shunt.log"
    shunt_start "$DIR/p.yaml"
    seen=0
    step "strict $strict: what is DIRECT flows, IPv4 and IPv6"
    in_app $PEER exchange 4 10.78.0.3 9000 1000 && in_app $PEER exchange 6 fd78::3 9000 1000 || fail "exchange"
    seen=$(flows)
    ok
    in_app ip route add 203.0.113.0/24 dev tunown
    in_app ip -6 route add 2001:db8::/32 dev tunown
    step "... a route into the TUN, one connection: an error at once, one flow"
    for at in "4 STREAM 203.0.113.1" "6 STREAM 2001:db8::1"; do
        [ "$(attempt $at)" = error ] || fail "$at: no error"
        sleep 0.5
        at_most 1 "$at"
    done
    ok
    step "... one datagram"
    for at in "4 DGRAM 203.0.113.2" "6 DGRAM 2001:db8::2"; do
        attempt $at >/dev/null
        at_most 2 "$at"
    done
    ok
    in_app ip route del 203.0.113.0/24 dev tunown
    in_app ip -6 route del 2001:db8::/32 dev tunown
    if $strict; then # in normal mode the main table is asked first, and says the uplink
        step "... a route whose gateway the kernel finds behind the TUN"
        in_app ip route add 10.78.0.0/24 via 10.77.0.1
        in_app ip route show 10.78.0.0/24 | grep -q 'dev tunown' || fail "it is not there: $(in_app ip route show)"
        [ "$(attempt 4 STREAM 10.78.0.3)" = error ] || fail "no error"
        sleep 0.5
        at_most 1 "a connection"
        in_app ip route del 10.78.0.0/24
        ok
    fi
    step "... and after that all is well"
    in_app $PEER exchange 4 direct.test 9000 1000 || fail "exchange"
    ok
    shunt_stop || fail "exit status $?"
done
