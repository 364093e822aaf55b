#!/bin/bash
# Another network: answers of name servers are forgotten, once for each change, and flows of an address that is gone, or whose way is another one now, end;
# what is only renewed changes nothing.
. "$(dirname "$0")/lib.sh"
need_world dnsmasq dig ss-server python3
world_up
ORIGIN_TTL=600 origin_dns real.test=3
cat >"$DIR/p.yaml" <<'EOF'
tun: { device: tunnet }
dns: { nameserver: [10.78.0.2], fake-ip-filter: [ real.test ] }
proxies: [ { name: node, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-128-gcm, password: pw } ]
rules: [ "IP-CIDR,10.78.0.4/32,node", "MATCH,DIRECT" ]
EOF
proxy_ss 8388 aes-128-gcm pw
background "$ORG" python3 "$PWD/tests/net/peer.py" serve 9000
cat >"$DIR/idle.py" <<'EOF'
import socket, sys, time
s = socket.create_connection((sys.argv[1], 9000), 5)
print("open", flush=True)
s.settimeout(60)
try: what = "end" if not s.recv(1) else "bytes"
except OSError as e: what = type(e).__name__
print(what, time.time(), flush=True)
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

# lost WHAT COMMANDS: idle flows end within two seconds of them, and new ones work within another
lost() {
    local flows= at began
    step "$1"
    for at in 10.78.0.3 10.78.0.4; do in_app python3 "$DIR/idle.py" $at >"$DIR/idle.$at" 2>&1 & flows+=" $!"; done
    for at in 10.78.0.3 10.78.0.4; do wait_for 5 grep -q open "$DIR/idle.$at" || fail "no flow to $at"; done
    sleep 0.3
    began=$(date +%s.%N)
    in_app bash -ec "$2"
    wait $flows
    for at in 10.78.0.3 10.78.0.4; do
        awk -v b="$began" 'END { exit !($1 != "open" && $2 - b < 3) }' "$DIR/idle.$at" || fail "$at: $(cat "$DIR/idle.$at") after $began"
        wait_for 2 in_app timeout 1 bash -c "exec 3<>/dev/tcp/$at/9000" || fail "no new flow to $at"
    done
    ok
}
lost "flows of an address that is gone end, DIRECT and by a node" \
    "ip address add 10.77.0.23/24 dev uplink; ip address del 10.77.0.2/24 dev uplink; ip address show dev uplink | grep -q 10.77.0.23 || ip address add 10.77.0.23/24 dev uplink; ip route replace default via 10.77.0.1"
ip link add second netns "$APP" type veth peer name second netns "$MID"
ip -n "$APP" address add 10.79.0.2/24 dev second; ip -n "$MID" address add 10.79.0.1/24 dev second
ip -n "$APP" link set second up; ip -n "$MID" link set second up
ip -n "$ORG" route replace 10.79.0.0/24 via 10.78.0.1
sleep 2.5
lost "so do those whose way is by another interface now" "ip route replace default via 10.79.0.1 dev second; ip route replace 10.77.0.1 via 10.79.0.1 dev second"
shunt_stop || fail "exit status $?"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
