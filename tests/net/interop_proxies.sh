#!/bin/bash
# HTTP CONNECT against tinyproxy and squid, in clear and over TLS (stunnel); SOCKS5 against dante, microsocks and v2ray, and over TLS.
set -u
. "$(dirname "$0")/lib_interop.sh"
need tinyproxy stunnel4 microsocks danted openssl python3
interop_up
make_cert

# ---- HTTP ----
cat >"$DIR/tiny.conf" <<CONF
Port $(port 1)
Listen 127.0.0.1
Timeout 60
MaxClients 200
BasicAuth user pass
ConnectPort $PEER
Allow 127.0.0.1
CONF
serve tinyproxy -d -c "$DIR/tiny.conf"
cat >"$DIR/stunnel.conf" <<CONF
foreground = yes
pid =
[http]
accept = 127.0.0.1:$(port 2)
connect = 127.0.0.1:$(port 1)
cert = $DIR/cert.pem
key = $DIR/key.pem
[socks]
accept = 127.0.0.1:$(port 3)
connect = 127.0.0.1:$(port 5)
cert = $DIR/cert.pem
key = $DIR/key.pem
[certain]
accept = 127.0.0.1:$(port 4)
connect = 127.0.0.1:$(port 5)
cert = $DIR/cert.pem
key = $DIR/key.pem
CAfile = $DIR/me.pem
verifyChain = yes
requireCert = yes
CONF
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/me.key" -out "$DIR/me.pem" -days 2 -subj /CN=me 2>/dev/null
serve microsocks -i 127.0.0.1 -p "$(port 5)" -u user -P pass
serve stunnel4 "$DIR/stunnel.conf"
listening "$(port 1)"; listening "$(port 2)"; listening "$(port 5)"
auth="username: user, password: pass"
node "http, tinyproxy" "type: http, port: $(port 1), $auth" "x:$MB" d:1000000 short:300
TARGET=localhost node "a destination by name" "type: http, port: $(port 1), $auth" x:100000
node "https, stunnel and tinyproxy" "type: http, port: $(port 2), $auth, tls: true, sni: test.example" "x:$MB" short:200
node "wrong password" "type: http, port: $(port 1), username: user, password: no" "fails:authentication failed"
hinted "check password"
node "no password" "type: http, port: $(port 1)" "fails:authentication failed"
PEER_WAS=$PEER; PEER=$(port 98)
node "a port the proxy does not allow" "type: http, port: $(port 1), $auth" "fails:rejected by a rule"
PEER=$PEER_WAS
node "tls towards a proxy in clear" "type: http, port: $(port 1), $auth, tls: true, sni: test.example" "fails:says nothing"
hinted "check port, type, tls"
node "a SOCKS server" "type: http, port: $(port 5), $auth" "fails:"

if command -v squid >/dev/null; then
    auth_program=/usr/lib/squid/basic_ncsa_auth
    echo "user:$(openssl passwd -apr1 pass)" >"$DIR/squid.pw"
    mkdir -m 777 "$DIR/squid"
    chmod 755 "$DIR"; chmod 644 "$DIR/squid.pw"
    cat >"$DIR/squid.conf" <<CONF
http_port 127.0.0.1:$(port 6)
auth_param basic program $auth_program $DIR/squid.pw
auth_param basic children 2
acl au proxy_auth REQUIRED
http_access allow au
http_access deny all
cache deny all
pid_filename none
cache_log $DIR/squid/cache.log
access_log none
coredump_dir $DIR/squid
shutdown_lifetime 0 seconds
CONF
    serve squid -N -f "$DIR/squid.conf"
    listening "$(port 6)"
    node "http, squid" "type: http, port: $(port 6), $auth, headers: {X-Test: a}" "x:$MB" d:1000000 first short:300
    node "wrong password" "type: http, port: $(port 6), username: user, password: no" "fails:authentication failed"
fi

# ---- SOCKS5 ----
cat >"$DIR/dante.conf" <<CONF
internal: 127.0.0.1 port=$(port 7)
external: lo
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect udpassociate }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: udpreply }
CONF
serve danted -f "$DIR/dante.conf" -p "$DIR/dante.pid"
listening "$(port 7)"
node "socks5, dante" "type: socks5, port: $(port 7)" "x:$MB" u:1000000 d:1000000 first udp short:300
TARGET=localhost node "a destination by name" "type: socks5, port: $(port 7)" x:100000
node "socks5, microsocks" "type: socks5, port: $(port 5), $auth" "x:$MB" first short:300
node "wrong password" "type: socks5, port: $(port 5), username: user, password: no" "fails:authentication failed"
node "socks5 over tls" "type: socks5, port: $(port 3), $auth, tls: true, fingerprint: $PIN" "x:$MB" first short:200
NODE_STATE=$DIR; export NODE_STATE
node "socks5 over tls, with a certificate of ours" \
    "type: socks5, port: $(port 4), $auth, tls: true, fingerprint: $PIN, certificate: me.pem, private-key: me.key" "x:$MB" short:100
node "without it" "type: socks5, port: $(port 4), $auth, tls: true, fingerprint: $PIN" "fails:wants a client certificate"
if command -v v2ray >/dev/null; then
    printf '{"log":{"loglevel":"error"},"inbounds":[{"listen":"127.0.0.1","port":%s,"protocol":"socks","settings":{"auth":"password",
        "accounts":[{"user":"user","pass":"pass"}],"udp":true,"ip":"127.0.0.1"}}],"outbounds":[{"protocol":"freedom"}]}' "$(port 8)" >"$DIR/v2ray.json"
    serve v2ray -config "$DIR/v2ray.json"
    listening "$(port 8)"
    node "socks5, v2ray" "type: socks5, port: $(port 8), $auth" "x:$MB" first udp short:200
fi
interop_verdict
