#!/bin/bash
# Trojan against the original server: TCP, UDP, wrong password, wrong name, and what becomes of half-closed connections.
set -u
. "$(dirname "$0")/lib_interop.sh"
need trojan openssl python3
interop_up
make_cert
# what a visitor without the password gets to see
serve python3 -c '
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = s.accept()
    c.recv(65536)
    c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    c.close()
' "$(port 1)"
listening "$(port 1)"

cat >"$DIR/trojan.json" <<JSON
{"run_type":"server","local_addr":"127.0.0.1","local_port":$(port 2),"remote_addr":"127.0.0.1","remote_port":$(port 1),"password":["pw"],"log_level":2,
 "ssl":{"cert":"$DIR/cert.pem","key":"$DIR/key.pem","key_password":"","cipher":"ECDHE-ECDSA-AES128-GCM-SHA256","cipher_tls13":"TLS_AES_128_GCM_SHA256",
 "prefer_server_cipher":true,"alpn":["http/1.1"],"alpn_port_override":{"h2":81},"reuse_session":true,"session_ticket":true,"session_timeout":600,
 "plain_http_response":"","curves":"","dhparam":""},
 "tcp":{"prefer_ipv4":false,"no_delay":true,"keep_alive":true,"reuse_port":false,"fast_open":false,"fast_open_qlen":20},"mysql":{"enabled":false}}
JSON
serve trojan -c "$DIR/trojan.json"
SERVER=$LAST
listening "$(port 2)"

keys="type: trojan, port: $(port 2), password: pw"
node "trojan" "$keys, sni: test.example" "x:$MB" d:1000000 first cone short:1000
node "pinned" "$keys, fingerprint: $PIN" x:100000
node "skip-cert-verify" "$keys, sni: other.example, skip-cert-verify: true" x:100000
TARGET=localhost node "a destination by name" "$keys, sni: test.example" x:100000 udp
node "wrong name" "$keys, sni: other.example" "fails:made for another name"
node "wrong pin" "$keys, fingerprint: $(printf '%064d' 1)" "fails:not the one"
node "wrong password" "type: trojan, port: $(port 2), password: no, sni: test.example" "fails:" "fails:"
hinted "check password"
SSL_CERT_FILE=/nowhere SSL_CERT_DIR=/nowhere node "no authority" "$keys, sni: test.example" "fails:signed by itself"
node "not TLS at all" "type: trojan, port: $(port 1), password: pw, sni: test.example" "fails:does not speak TLS"
killed "killed in mid-transfer" "$keys, sni: test.example" "$SERVER"
serve trojan -c "$DIR/trojan.json"
listening "$(port 2)"
node "and back" "$keys, sni: test.example" x:100000 udp
interop_verdict
