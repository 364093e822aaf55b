# lib.sh - the little world that network tests and the demo live in; sourced, bash
#
#      app                          mid                               org
#   +---------+   uplink   +-----------------------+            +--------------------+
#   | clients |  10.77.0.0 | router, proxy servers |  10.78.0.0 | web, DNS, echo     |
#   | shunt   |------------| 10.77.0.1  fd77::1    |------------| 10.78.0.2 ..       |
#   +---------+  fd77::/64 +-----------------------+  fd78::/64 +--------------------+
#   10.77.0.2 fd77::2
#
# What leaves the machine under test is what crosses `uplink`: counters and captures sit in mid. Names carry a prefix of this process, so tests
# never meet; everything goes in the trap. Needs root, /dev/net/tun and nft; else the test is skipped (77).

SHUNT=${SHUNT:-$PWD/build/dev/shunt}
ID=s$$
APP=$ID-app MID=$ID-mid ORG=$ID-org
WORLD_PIDS=()

say() { printf '%s\n' "$*"; }
step() { printf '  %-72s' "$*"; }
ok() { printf ' ok%s\n' "${1:+  ($1)}"; }
fail() { printf ' FAILED\n' ; printf '%s\n' "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

need_world() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    [ -c /dev/net/tun ] || skip "needs /dev/net/tun"
    command -v nft >/dev/null && command -v ip >/dev/null || skip "needs iproute2 and nft"
    ip netns add "$ID-probe" 2>/dev/null || skip "cannot make a network namespace"
    if ! ip netns exec "$ID-probe" nft add table inet probe 2>/dev/null; then ip netns del "$ID-probe"; skip "this kernel has no nf_tables"; fi
    ip netns del "$ID-probe"
    for program in "$@"; do command -v "$program" >/dev/null || skip "needs $program"; done
}

in_app() { ip netns exec "$APP" "$@"; }
in_mid() { ip netns exec "$MID" "$@"; }
in_org() { ip netns exec "$ORG" "$@"; }
# background NAMESPACE COMMAND...: started now, ended by the trap
background() {
    local ns=$1; shift
    ip netns exec "$ns" "$@" </dev/null >>"$DIR/background.log" 2>&1 &
    WORLD_PIDS+=($!)
}
# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
# gone PID: the process has ended, be it that nobody has collected it yet (an orphan waits for the machine's first process)
gone() { ! grep -qsE '^State:.[^ZX]' "/proc/$1/status"; }
port_open() { ip netns exec "$1" bash -c "exec 3<>/dev/tcp/$2/$3" 2>/dev/null; }

world_up() {
    DIR=$(mktemp -d /tmp/shunt-world.XXXXXX)
    chmod 711 "$DIR"
    trap world_down EXIT
    trap 'exit 130' INT TERM
    for ns in "$APP" "$MID" "$ORG"; do
        ip netns add "$ns"
        ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 # addresses are there at once
        ip -n "$ns" link set lo up
    done
    ip link add uplink netns "$APP" type veth peer name uplink netns "$MID"
    ip link add far netns "$MID" type veth peer name far netns "$ORG"
    ip -n "$APP" addr add 10.77.0.2/24 dev uplink
    ip -n "$APP" addr add fd77::2/64 dev uplink nodad
    ip -n "$MID" addr add 10.77.0.1/24 dev uplink
    ip -n "$MID" addr add fd77::1/64 dev uplink nodad
    ip -n "$MID" addr add 10.78.0.1/24 dev far
    ip -n "$MID" addr add fd78::1/64 dev far nodad
    for n in 2 3 4 5 6 7 8 9; do
        ip -n "$ORG" addr add 10.78.0.$n/24 dev far
        ip -n "$ORG" addr add fd78::$n/64 dev far nodad
    done
    ip -n "$APP" link set uplink up; ip -n "$MID" link set uplink up
    ip -n "$MID" link set far up; ip -n "$ORG" link set far up
    ip -n "$APP" route add default via 10.77.0.1
    ip -n "$APP" -6 route add default via fd77::1
    ip -n "$ORG" route add default via 10.78.0.1
    ip -n "$ORG" -6 route add default via fd78::1
    in_mid sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    for ns in "$APP" "$MID"; do
        mkdir -p "/etc/netns/$ns"
        echo "nameserver 10.78.0.2" >"/etc/netns/$ns/resolv.conf"
    done
}

world_down() {
    local status=$?
    trap - EXIT
    shunt_stop >/dev/null 2>&1
    for pid in "${WORLD_PIDS[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${WORLD_PIDS[@]}"; do wait "$pid" 2>/dev/null; done
    for ns in "$APP" "$MID" "$ORG"; do
        for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
        ip netns del "$ns" 2>/dev/null
        rm -rf "/etc/netns/$ns"
    done
    if [ $status != 0 ] && [ $status != 77 ] && [ -n "${DIR:-}" ]; then
        say "--- last lines of shunt's log"; tail -n "${LOG_LINES:-40}" "$DIR/shunt.log" 2>/dev/null
    fi
    [ -n "${KEEP:-}" ] || rm -rf "${DIR:-/nonexistent}"
    exit $status
}

# DNS in org: every name of the world, IPv4 and IPv6; names are handed as NAME=N for 10.78.0.N / fd78::N. Answers live for ORIGIN_TTL seconds, else 0
origin_dns() {
    local args=()
    for entry in "$@"; do args+=("--host-record=${entry%%=*},10.78.0.${entry##*=},fd78::${entry##*=}"); done
    background "$ORG" dnsmasq --keep-in-foreground --no-daemon --no-resolv --no-hosts --user=root --listen-address=10.78.0.2 --listen-address=fd78::2 \
        --bind-interfaces --pid-file= --local-ttl="${ORIGIN_TTL:-0}" --log-queries --log-facility="$DIR/dnsmasq.log" "${args[@]}"
    wait_for 5 in_org dig +time=1 +tries=1 @10.78.0.2 "${1%%=*}" || fail "the origin's DNS did not start"
}

# ss-server in mid on PORT with METHOD; resolves names by the origin's DNS
proxy_ss() {
    background "$MID" ss-server -s 0.0.0.0 -s ::0 -p "$1" -k "$3" -m "$2" -u -d 10.78.0.2 -t 600
    wait_for 5 port_open "$MID" 10.77.0.1 "$1" || fail "ss-server did not start"
}

# dante in mid on port 1080: SOCKS5 without a password, TCP and UDP
proxy_socks() {
    cat >"$DIR/danted.conf" <<EOF
logoutput: $DIR/danted.log
internal: 10.77.0.1 port = 1080
internal: fd77::1 port = 1080
external: far
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 command: connect udpassociate }
socks pass { from: 0/0 to: 0/0 command: udpreply }
EOF
    background "$MID" danted -f "$DIR/danted.conf"
    wait_for 5 port_open "$MID" 10.77.0.1 1080 || fail "danted did not start: $(cat "$DIR/danted.log" 2>/dev/null)"
}

# world_cert [NAME]: $DIR/cert.pem and $DIR/key.pem for NAME (test.example), and PIN, its fingerprint
world_cert() {
    local name=${1:-test.example}
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/key.pem" -out "$DIR/cert.pem" -days 2 \
        -subj "/CN=$name" -addext "subjectAltName=DNS:$name" 2>/dev/null
    PIN=$(openssl x509 -in "$DIR/cert.pem" -outform DER | sha256sum | cut -d' ' -f1)
}

# proxy_trojan PASSWORD [ADDRESS PORT]: trojan in mid on port 8443 with that certificate; who does not know the password gets to see what is there
proxy_trojan() {
    cat >"$DIR/trojan.json" <<EOF
{"run_type":"server","local_addr":"10.77.0.1","local_port":8443,"remote_addr":"${2:-127.0.0.1}","remote_port":${3:-80},"password":["$1"],"log_level":2,
 "ssl":{"cert":"$DIR/cert.pem","key":"$DIR/key.pem","key_password":"","cipher":"ECDHE-ECDSA-AES128-GCM-SHA256","cipher_tls13":"TLS_AES_128_GCM_SHA256",
 "prefer_server_cipher":true,"alpn":["http/1.1"],"alpn_port_override":{"h2":81},"reuse_session":true,"session_ticket":true,"session_timeout":600,
 "plain_http_response":"","curves":"","dhparam":""},
 "tcp":{"prefer_ipv4":false,"no_delay":true,"keep_alive":true,"reuse_port":false,"fast_open":false,"fast_open_qlen":20},"mysql":{"enabled":false}}
EOF
    background "$MID" trojan -c "$DIR/trojan.json"
    wait_for 5 port_open "$MID" 10.77.0.1 8443 || fail "trojan did not start: $(tail "$DIR/background.log")"
}

# proxy_vmess UUID: v2ray in mid on port 8400
proxy_vmess() {
    printf '{"log":{"loglevel":"error"},"inbounds":[{"listen":"10.77.0.1","port":8400,"protocol":"vmess","settings":{"clients":[{"id":"%s","alterId":0}]}}],
        "outbounds":[{"protocol":"freedom"}]}' "$1" >"$DIR/v2ray.json"
    background "$MID" v2ray -config "$DIR/v2ray.json"
    wait_for 5 port_open "$MID" 10.77.0.1 8400 || fail "v2ray did not start: $(tail "$DIR/background.log")"
}

# shunt_start PROFILE [OPTION...]: in app; waits until traffic is carried. The local file is $DIR/local.yaml
shunt_start() {
    : >>"$DIR/shunt.log"
    local from
    from=$(wc -c <"$DIR/shunt.log")
    [ -e "$DIR/local.yaml" ] || : >"$DIR/local.yaml"
    ip netns exec "$APP" "$SHUNT" run -f "$1" --local "$DIR/local.yaml" -d "$DIR/state" "${@:2}" <"${STDIN:-/dev/null}" >>"$DIR/shunt.log" 2>&1 &
    SHUNT_PID=$!
    wait_for 15 shunt_ready "$from" || fail "shunt did not become ready: $(tail -n 20 "$DIR/shunt.log")"
}
shunt_ready() { tail -c +"$(($1 + 1))" "$DIR/shunt.log" | grep -q 'ready in'; }
shunt_stop() {
    [ -n "${SHUNT_PID:-}" ] || return 0
    kill -TERM "$SHUNT_PID" 2>/dev/null
    wait "$SHUNT_PID"
    local status=$?
    SHUNT_PID=
    return $status
}
shunt_worker() { pgrep -P "$SHUNT_PID" | head -n 1; }
# ctl VERB...: the command line of the running shunt
ctl() { local verb=$1; shift; ip netns exec "$APP" "$SHUNT" "$verb" -d "$DIR/state" "$@"; }

# who NAME [TYPE]: the first address, how it was answered, by which server
who() {
    ctl dns "$@" --json 2>/dev/null >"$DIR/said" || { echo "none nobody nobody"; return; }
    jq -r '"\(.Answer[0].data // "none") \(.answered.by) \(.answered.server // "nobody")"' <"$DIR/said"
}
# answers NAME ADDRESS SERVER
answers() {
    local said
    said=$(who "$1")
    [ "$said" = "$2 server $3" ] || fail "$1: $said instead of $2 server $3: $(tail -n 3 "$DIR/shunt.log")"
}

# the machine's network state as text: must be the same before and after
net_state() {
    in_app ip -details link show
    in_app ip address show
    for family in -4 -6; do
        in_app ip $family rule show
        in_app ip $family route show table all | sort
    done
    in_app nft list ruleset
    in_app cat /etc/resolv.conf
}
