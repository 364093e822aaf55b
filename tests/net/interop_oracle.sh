#!/bin/bash
# Against the small reference programs, where no package speaks the protocol: Shadowsocks 2022 (ss.py); WebSocket with early data, HTTP upgrade and
# gRPC (bridge.mjs, on npm's ws and @grpc/grpc-js) in front of v2ray.
#
# SHUNT_ORACLE: their folder. SHUNT_NODE_MODULES: a folder where `npm install ws @grpc/grpc-js` was done; without it that part is left out.
set -u
. "$(dirname "$0")/lib_interop.sh"
ORACLE=${SHUNT_ORACLE:-$PWD/../shared/reference/protocols/oracle}
[ -d "$ORACLE" ] || ORACLE=$PWD/../../shared/reference/protocols/oracle
need python3 openssl
[ -e "$ORACLE/ss.py" ] || skip "needs the reference programs (SHUNT_ORACLE)"
python3 -c 'import cryptography' 2>/dev/null || PATH=/usr/bin:$PATH
python3 -c 'import cryptography' 2>/dev/null || skip "needs python3-cryptography"
interop_up
make_cert

b64() { head -c "$1" /dev/urandom | base64 -w0; }
K16=$(b64 16) K32=$(b64 32) R16=$(b64 16) S16=$(b64 16) R32=$(b64 32)
n=1
two() { # METHOD PASSWORD TESTS...
    local m=$1 p=$2; shift 2
    serve python3 "$ORACLE/ss.py" serve "$(port $n)" "$m" "$p"
    listening "$(port $n)"
    node "$m, $(( $(tr -cd : <<<"$p" | wc -c) )) relays" "type: ss, port: $(port $n), cipher: $m, password: '$p'" "$@"
    n=$((n + 1))
}
SMALL=$(( MB < 4000000 ? MB : 4000000 )) # it is slow
two 2022-blake3-aes-128-gcm "$K16" "x:$SMALL" u:300000 d:300000 first udp short:200
node "another key" "type: ss, port: $(port 1), cipher: 2022-blake3-aes-128-gcm, password: '$R16'" "fails:"
two 2022-blake3-aes-256-gcm "$K32" "x:$SMALL" u:300000 first udp
two 2022-blake3-chacha20-poly1305 "$K32" "x:$SMALL" u:300000 first udp
two 2022-blake3-aes-128-gcm "$R16:$K16" "x:$SMALL" first udp
two 2022-blake3-aes-128-gcm "$R16:$S16:$K16" x:100000 first udp
two 2022-blake3-aes-256-gcm "$R32:$K32" x:100000 first udp

MODULES=${SHUNT_NODE_MODULES:-/tmp/trnpm}
if command -v node >/dev/null && command -v v2ray >/dev/null && [ -d "$MODULES/node_modules/ws" ]; then
    ID=b831381d-6324-4d53-ad4f-8cda48b30811
    printf '{"log":{"loglevel":"error"},"inbounds":[{"listen":"127.0.0.1","port":%s,"protocol":"vless","settings":{"clients":[{"id":"%s"}],"decryption":"none"}},
        {"listen":"127.0.0.1","port":%s,"protocol":"vmess","settings":{"clients":[{"id":"%s","alterId":0}]}}],"outbounds":[{"protocol":"freedom"}]}' \
        "$(port 40)" $ID "$(port 41)" $ID >"$DIR/v2ray.json"
    serve v2ray -config "$DIR/v2ray.json"
    listening "$(port 40)"
    bridge() { # N KIND NAME BACKEND [cert key]
        local p; p=$(port "$1"); shift
        (cd "$MODULES" && exec env node "$ORACLE/bridge.mjs" "$1" "$p" "${@:2}") </dev/null >>"$DIR/servers.log" 2>&1 &
        PIDS+=($!)
        listening "$p"
    }
    bridge 50 ws /ws "$(port 40)"
    bridge 51 httpupgrade /up "$(port 40)"
    bridge 52 grpc GunService "$(port 40)"
    bridge 53 grpc GunService "$(port 40)" "$DIR/cert.pem" "$DIR/key.pem"
    bridge 54 ws /ws "$(port 41)" "$DIR/cert.pem" "$DIR/key.pem"
    vless="type: vless, uuid: $ID"
    node "ws" "$vless, port: $(port 50), network: ws, ws-opts: {path: /ws}" "x:$MB" first short:200
    node "ws, early data in the path's query" "$vless, port: $(port 50), network: ws, ws-opts: {path: '/ws?ed=2048'}" "x:$MB" first short:200
    node "ws, early data, tls" "type: vmess, uuid: $ID, alterId: 0, cipher: auto, port: $(port 54), tls: true, servername: test.example, network: ws, ws-opts: {path: /ws, max-early-data: 100, early-data-header-name: Sec-WebSocket-Protocol}" x:1000000 first short:100:2
    node "http upgrade" "$vless, port: $(port 51), network: ws, ws-opts: {path: /up, v2ray-http-upgrade: true}" "x:$MB" d:300000 first short:200
    node "http upgrade, fast" "$vless, port: $(port 51), network: ws, ws-opts: {path: /up, v2ray-http-upgrade: true, v2ray-http-upgrade-fast-open: true}" "x:$MB" d:300000 first short:200
    node "grpc in clear" "$vless, port: $(port 52), network: grpc" "x:$MB" first short:500
    node "grpc" "$vless, port: $(port 53), tls: true, servername: test.example, network: grpc, grpc-opts: {grpc-service-name: GunService}" "x:$MB" first short:500 udp
    node "grpc, several connections" "$vless, port: $(port 53), tls: true, servername: test.example, network: grpc, grpc-opts: {max-connections: 4, min-streams: 2}" x:1000000 short:500
    node "grpc, another service" "$vless, port: $(port 53), tls: true, servername: test.example, network: grpc, grpc-opts: {grpc-service-name: Other}" "fails:HTTP answer means no"
else
    say "  (no node, v2ray or node modules: WebSocket early data, HTTP upgrade and gRPC are left out)"
fi
interop_verdict
