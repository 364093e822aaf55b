#!/bin/bash
# Another network: answers of name servers are forgotten, once for each change; what is only renewed changes nothing.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq dig
world_up
ORIGIN_TTL=600 origin_dns real.test=3
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunnet }
dns: { nameserver: [10.78.0.2], fake-ip-filter: [ real.test ] }
rules: [ "MATCH,DIRECT" ]
EOF
shunt_start "$DIR/p.yaml"
asked() { grep -c 'query\[A\] real.test' "$DIR/dnsmasq.log"; }
look_up() { in_app dig +short +time=2 +tries=1 @127.0.0.1 real.test A | grep -qx 10.78.0.3 || fail "no answer"; }
said() { grep -c 'the network is another one' "$DIR/shunt.log"; }
said_is() { [ "$(said)" = "$1" ]; }

step "an answer is remembered"
look_up
n=$(asked)
look_up
[ "$(asked)" = "$n" ] || fail "asked again"
ok
step "what is renewed, and our own device, change nothing"
in_app ip address change fd77::2/64 dev uplink valid_lft 9000 preferred_lft 9000
in_app ip address change fd77::2/64 dev uplink valid_lft forever preferred_lft forever
in_app ip link set uplink mtu 1400
in_app ip link set uplink mtu 1500
in_app ip address add 198.18.9.9/32 dev tunnet
sleep 1.5
look_up
[ "$(asked)" = "$n" ] && said_is 0 || fail "asked $(asked) times, said $(said) times"
ok
change() { # change HOW-OFTEN-SAID WHAT COMMAND...
    step "$2"
    in_app "${@:3}"
    wait_for 3 said_is "$1" || fail "said $(said) times"
    n=$(asked)
    look_up
    [ "$(asked)" = $((n + 1)) ] || fail "asked $((($(asked) - n))) times"
    ok
}
change 1 "another address" ip address add 10.77.0.22/24 dev uplink
change 2 "another gateway" ip route replace default via 10.77.0.1 src 10.77.0.22 metric 50
change 3 "an IPv6 address" ip address add fd77::22/64 dev uplink nodad
change 4 "one that goes" ip address del 10.77.0.22/24 dev uplink
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
