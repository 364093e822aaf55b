#!/bin/bash
# Shadowsocks against shadowsocks-libev: every method it has, both disguises of simple-obfs, v2ray-plugin with and without its multiplexer.
# (ss-server ends both directions when the client ends one: an upload that waits for an answer behind its end cannot work through it.)
set -u
. "$(dirname "$0")/lib_interop.sh"
need ss-server obfs-server ss-v2ray-plugin openssl python3
interop_up
make_cert

server() { # PORT METHOD ARGS...
    local p=$1 m=$2; shift 2
    serve ss-server -s 127.0.0.1 -p "$p" -k pw -m "$m" -u "$@"
    listening "$p"
}

n=1
for method in aes-128-gcm aes-192-gcm aes-256-gcm chacha20-ietf-poly1305 xchacha20-ietf-poly1305; do
    server "$(port $n)" $method
    [ $n = 1 ] && FIRST=$LAST
    node "$method" "type: ss, port: $(port $n), cipher: $method, password: pw" "x:$MB" d:1000000 first cone
    n=$((n + 1))
done
TARGET=localhost node "a destination by name" "type: ss, port: $(port 1), cipher: aes-128-gcm, password: pw" x:100000 udp
node "many short ones" "type: ss, port: $(port 1), cipher: aes-128-gcm, password: pw" short:1000
node "wrong password" "type: ss, port: $(port 1), cipher: aes-128-gcm, password: wrong" silent silent
hinted "never got an answer: check password"
node "wrong port" "type: ss, port: $(port 99), cipher: aes-128-gcm, password: pw" "fails:Connection refused"

killed "killed in mid-transfer" "type: ss, port: $(port 1), cipher: aes-128-gcm, password: pw" "$FIRST"
server "$(port 1)" aes-128-gcm
node "and back" "type: ss, port: $(port 1), cipher: aes-128-gcm, password: pw" x:100000 udp

for mode in http tls; do
    server "$(port $n)" aes-128-gcm --plugin obfs-server --plugin-opts "obfs=$mode"
    node "obfs $mode" "type: ss, port: $(port $n), cipher: aes-128-gcm, password: pw, plugin: obfs, plugin-opts: {mode: $mode, host: front.example}" \
        "x:$MB" d:1000000 first short:200 cone
    n=$((n + 1))
done
for mux in 0 1; do
    server "$(port $n)" aes-128-gcm --plugin ss-v2ray-plugin --plugin-opts "server;host=front.example;path=/ws;mux=$mux"
    keys="type: ss, port: $(port $n), cipher: aes-128-gcm, password: pw, plugin: v2ray-plugin"
    node "v2ray-plugin, mux=$mux" "$keys, plugin-opts: {mode: websocket, host: front.example, path: /ws, mux: $([ $mux = 1 ] && echo true || echo false)}" \
        "x:$MB" first short:200
    n=$((n + 1))
done
server "$(port $n)" aes-128-gcm --plugin ss-v2ray-plugin --plugin-opts "server;tls;host=test.example;path=/ws;cert=$DIR/cert.pem;key=$DIR/key.pem"
node "v2ray-plugin, tls" "type: ss, port: $(port $n), cipher: aes-128-gcm, password: pw, plugin: v2ray-plugin, plugin-opts: {mode: websocket, host: test.example, path: /ws, tls: true}" \
    "x:$MB" first short:100
n=$((n + 1))
for method in aes-128-ctr aes-192-ctr aes-256-ctr aes-128-cfb aes-192-cfb aes-256-cfb rc4-md5 chacha20 chacha20-ietf; do
    server "$(port $n)" $method
    node "$method" "type: ss, port: $(port $n), cipher: $method, password: pw" x:1000000 d:100000 first cone
    n=$((n + 1))
done
interop_verdict
