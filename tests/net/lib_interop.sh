# lib_interop.sh - real servers of each protocol on loopback, and a node of ours in front of them; sourced, bash
#
#      helper_node ──(the protocol)──► its server ──► peer.py              all on 127.0.0.1, no privileges, no TUN
#
# INTEROP_MB: size of the transfers (16). Everything started here is ended in the trap. A missing program skips the test (77). Root gets a loopback
# of his own, where nobody else has taken a port.

if [ "$(id -u)" = 0 ] && [ -z "${INTEROP_ALONE:-}" ]; then
    INTEROP_ALONE=1 exec unshare --net bash -c 'ip link set lo up && exec bash "$0" "$@"' "$0" "$@"
fi

NODE=${NODE:-$PWD/build/dev/tests/helper_node}
MB=$(( ${INTEROP_MB:-16} * 1000000 ))
HERE=$PWD/tests/net
PIDS=()

say() { printf '%s\n' "$*"; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }
need() { for program in "$@"; do command -v "$program" >/dev/null || skip "needs $program"; done; }

interop_up() {
    DIR=$(mktemp -d /tmp/shunt-interop.XXXXXX)
    trap interop_down EXIT
    trap 'exit 130' INT TERM
    BASE=$(( 12000 + $$ % 200 * 100 )) # below the ports that the kernel gives to clients
    PEER=$BASE
    BAD=0
    serve python3 "$HERE/peer.py" serve "$PEER"
    listening "$PEER"
}
interop_down() {
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$DIR"
}

# serve COMMAND...: in the background, ended by the trap; LAST is its process
serve() {
    "$@" </dev/null >>"$DIR/servers.log" 2>&1 &
    LAST=$!
    PIDS+=("$LAST")
}
# listening PORT: until somebody does
listening() {
    for _ in $(seq 100); do
        (exec 3<>/dev/tcp/127.0.0.1/"$1") 2>/dev/null && return 0
        sleep 0.05
    done
    say "nobody listens on $1"; tail -n 20 "$DIR/servers.log"; exit 1
}
# port N: a port of ours
port() { echo $(( BASE + $1 )); }

# make_cert: $DIR/cert.pem, $DIR/key.pem for test.example
make_cert() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/key.pem" -out "$DIR/cert.pem" -days 2 \
        -subj /CN=test.example -addext subjectAltName=DNS:test.example 2>/dev/null
    chmod 644 "$DIR/key.pem"
    PIN=$(openssl x509 -in "$DIR/cert.pem" -outform DER | sha256sum | cut -d' ' -f1)
    export SSL_CERT_FILE=$DIR/cert.pem
}

# node NAME 'KEYS' TEST...: an entry of that name with those keys, and the tests it must pass
node() {
    local name=$1 keys=$2; shift 2
    say "  $name"
    printf 'proxies:\n  - {name: n, server: 127.0.0.1, udp: true, %s}\n' "$keys" >"$DIR/profile.yaml"
    timeout 200 "$NODE" "$DIR/profile.yaml" n "${TARGET:-127.0.0.1}" "$PEER" "$@" >"$DIR/node.log" 2>&1 || { BAD=$((BAD + 1)); say "    FAILED: $keys"; }
    cat "$DIR/node.log"
}
# hinted WORDS: the log of the last node has them, once
hinted() {
    [ "$(grep -c -- "$1" "$DIR/node.log")" = 1 ] || { BAD=$((BAD + 1)); say "    FAILED: the log does not say once: $1"; }
}

# killed NAME 'KEYS' PID: the server goes in the middle of a transfer; the flow must end soon
killed() {
    local name=$1 keys=$2 pid=$3 job
    say "  $name"
    printf 'proxies:\n  - {name: n, server: 127.0.0.1, udp: true, %s}\n' "$keys" >"$DIR/profile.yaml"
    timeout 60 "$NODE" "$DIR/profile.yaml" n 127.0.0.1 "$PEER" rude:4000000000 >"$DIR/node.log" 2>&1 &
    job=$!
    for _ in $(seq 200); do grep -q now "$DIR/node.log" && break; sleep 0.05; done
    kill -9 "$pid"
    wait "$job" || { BAD=$((BAD + 1)); say "    FAILED: $keys"; }
    grep -v '^now' "$DIR/node.log"
}

interop_verdict() {
    [ "$BAD" = 0 ] || { say "$BAD nodes failed; the servers said:"; tail -n 40 "$DIR/servers.log"; exit 1; }
}
