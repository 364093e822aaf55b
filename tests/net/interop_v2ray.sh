#!/bin/bash
# VMess, VLESS and Trojan against v2ray: ciphers and options, TLS, WebSocket, HTTP/2, the HTTP disguise, behind nginx too.
# (Debian's 4.34 knows neither authenticated length nor early data nor gRPC; those are tried against other peers. Its filter against replayed VMess
# heads takes about one in 3,000 fresh ones for old, and is silent then: a few of many connections may be lost.)
set -u
. "$(dirname "$0")/lib_interop.sh"
need v2ray openssl python3
interop_up
make_cert
ID=b831381d-6324-4d53-ad4f-8cda48b30811
TLS="\"security\":\"tls\",\"tlsSettings\":{\"certificates\":[{\"certificateFile\":\"$DIR/cert.pem\",\"keyFile\":\"$DIR/key.pem\"}]}"

vmess="\"protocol\":\"vmess\",\"settings\":{\"clients\":[{\"id\":\"$ID\",\"alterId\":0}]}"
vless="\"protocol\":\"vless\",\"settings\":{\"clients\":[{\"id\":\"$ID\"}],\"decryption\":\"none\"}"
trojan="\"protocol\":\"trojan\",\"settings\":{\"clients\":[{\"password\":\"pw\"}]}"
inbounds=
inbound() { # N PROTOCOL STREAM
    inbounds="$inbounds${inbounds:+,}{\"listen\":\"127.0.0.1\",\"port\":$(port "$1"),$2${3:+,\"streamSettings\":{$3\}}}"
}
inbound 1 "$vmess"
inbound 2 "$vmess" '"network":"ws","wsSettings":{"path":"/ray"}'
inbound 3 "$vmess" "\"network\":\"ws\",$TLS,\"wsSettings\":{\"path\":\"/ray\"}"
inbound 4 "$vmess" "\"network\":\"http\",$TLS,\"httpSettings\":{\"path\":\"/h2\",\"host\":[\"test.example\"]}"
inbound 5 "$vmess" '"network":"tcp","tcpSettings":{"header":{"type":"http"}}'
inbound 6 "$vless"
inbound 7 "$vless" "\"network\":\"tcp\",$TLS"
inbound 8 "$vless" "\"network\":\"ws\",$TLS,\"wsSettings\":{\"path\":\"/ray\"}"
inbound 9 "$trojan" "\"network\":\"ws\",$TLS,\"wsSettings\":{\"path\":\"/tr\"}"
inbound 10 "$trojan" "\"network\":\"tcp\",$TLS"
inbound 11 "$vmess" "\"network\":\"tcp\",$TLS"
inbound 12 "$vless" "\"network\":\"http\",$TLS,\"httpSettings\":{\"path\":\"/h2\",\"host\":[\"test.example\"]}"
printf '{"log":{"loglevel":"warning"},"inbounds":[%s],"outbounds":[{"protocol":"freedom"}]}' "$inbounds" >"$DIR/v2ray.json"
serve v2ray -config "$DIR/v2ray.json"
SERVER=$LAST
for n in 1 2 3 4 5 6 7 8 9 10 11 12; do listening "$(port $n)"; done

id="uuid: $ID, alterId: 0"
for cipher in auto aes-128-gcm chacha20-poly1305 none zero; do
    node "vmess, $cipher" "type: vmess, port: $(port 1), $id, cipher: $cipher" "x:$MB" first udp
done
node "vmess, padding" "type: vmess, port: $(port 1), $id, cipher: auto, global-padding: true" "x:$MB" d:1000000 short:1000:4
TARGET=localhost node "vmess, a destination by name" "type: vmess, port: $(port 1), $id, cipher: auto" x:100000 udp
node "vmess, ws" "type: vmess, port: $(port 2), $id, cipher: auto, network: ws, ws-opts: {path: /ray}" "x:$MB" first udp short:200:2
node "vmess, ws, tls" "type: vmess, port: $(port 3), $id, cipher: auto, tls: true, servername: test.example, network: ws, ws-opts: {path: /ray}" "x:$MB" first short:200:2
node "vmess, ws, tls, Host" "type: vmess, port: $(port 3), $id, cipher: none, tls: true, network: ws, ws-opts: {path: /ray, headers: {Host: test.example}}" "x:$MB" first udp
node "vmess, h2" "type: vmess, port: $(port 4), $id, cipher: auto, tls: true, servername: test.example, network: h2, h2-opts: {path: /h2, host: [test.example]}" "x:$MB" first short:200:2
node "vmess, http" "type: vmess, port: $(port 5), $id, cipher: auto, network: http, http-opts: {path: [/], headers: {Host: [a.example, b.example]}}" "x:$MB" first short:200:2
node "vmess, tls" "type: vmess, port: $(port 11), $id, cipher: zero, tls: true, servername: test.example" "x:$MB" first udp short:200:2
node "vless" "type: vless, port: $(port 6), uuid: $ID" "x:$MB" d:1000000 first udp short:1000
node "vless, a stream for each destination of datagrams" "type: vless, port: $(port 6), uuid: $ID, packet-encoding: none" udp
node "vless, tls" "type: vless, port: $(port 7), uuid: $ID, tls: true, servername: test.example" "x:$MB" d:1000000 first udp short:200
node "vless, ws, tls" "type: vless, port: $(port 8), uuid: $ID, tls: true, servername: test.example, network: ws, ws-opts: {path: /ray}" "x:$MB" first short:200
node "vless, h2" "type: vless, port: $(port 12), uuid: $ID, tls: true, servername: test.example, network: h2, h2-opts: {path: /h2, host: [test.example]}" "x:$MB" first short:200
node "trojan, ws" "type: trojan, port: $(port 9), password: pw, sni: test.example, network: ws, ws-opts: {path: /tr}" "x:$MB" first udp short:200
node "trojan" "type: trojan, port: $(port 10), password: pw, sni: test.example" "x:$MB" d:1000000 first udp short:200

OTHER=00000000-0000-4000-8000-000000000000
node "vmess, wrong uuid" "type: vmess, port: $(port 1), uuid: $OTHER, alterId: 0, cipher: auto" silent
hinted "never got an answer: check password or uuid"
node "vless, wrong uuid" "type: vless, port: $(port 6), uuid: $OTHER" "fails:hung up before its first word"
node "ws, wrong path" "type: vmess, port: $(port 2), $id, cipher: auto, network: ws, ws-opts: {path: /no}" "fails:HTTP answer means no"
hinted "check path"
node "h2, wrong path" "type: vmess, port: $(port 4), $id, cipher: auto, tls: true, servername: test.example, network: h2, h2-opts: {path: /no, host: [test.example]}" "fails:HTTP answer means no"
node "ws without tls" "type: vmess, port: $(port 3), $id, cipher: auto, network: ws, ws-opts: {path: /ray}" "fails:"
node "h2 of a server without" "type: vmess, port: $(port 7), $id, cipher: auto, tls: true, servername: test.example, network: h2" "fails:"

if command -v nginx >/dev/null; then
    mkdir "$DIR/nginx"
    cat >"$DIR/nginx.conf" <<CONF
daemon off; pid $DIR/nginx.pid; error_log $DIR/nginx.log; worker_processes 1;
events { worker_connections 500; }
http { access_log off; client_body_temp_path $DIR/nginx; proxy_temp_path $DIR/nginx; fastcgi_temp_path $DIR/nginx; uwsgi_temp_path $DIR/nginx; scgi_temp_path $DIR/nginx;
  server { listen 127.0.0.1:$(port 20) ssl http2; server_name test.example; ssl_certificate $DIR/cert.pem; ssl_certificate_key $DIR/key.pem;
    location /ray { proxy_pass http://127.0.0.1:$(port 2); proxy_http_version 1.1; proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection "upgrade";
      proxy_set_header Host \$host; proxy_read_timeout 300s; } } }
CONF
    serve nginx -c "$DIR/nginx.conf" -e "$DIR/nginx.log"
    listening "$(port 20)"
    node "vmess, ws, behind nginx" "type: vmess, port: $(port 20), $id, cipher: auto, tls: true, servername: test.example, network: ws, ws-opts: {path: /ray}" "x:$MB" first short:200
    killed "killed in mid-transfer, h2" "type: vmess, port: $(port 4), $id, cipher: auto, tls: true, servername: test.example, network: h2, h2-opts: {path: /h2, host: [test.example]}" "$SERVER"
    node "behind nginx, nobody" "type: vmess, port: $(port 20), $id, cipher: auto, tls: true, servername: test.example, network: ws, ws-opts: {path: /ray}" "fails:HTTP answer means no"
    serve v2ray -config "$DIR/v2ray.json"
    listening "$(port 4)"
    node "and back" "type: vmess, port: $(port 4), $id, cipher: auto, tls: true, servername: test.example, network: h2, h2-opts: {path: /h2, host: [test.example]}" x:100000
    node "behind nginx, wrong path" "type: vmess, port: $(port 20), $id, cipher: auto, tls: true, servername: test.example, network: ws, ws-opts: {path: /x}" "fails:HTTP answer means no"
fi
interop_verdict
