/*
 * configs_sections.c - every key of the sections of fixed shape: its default, a value, another spelling of it, a value that cannot be
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/configs_dump.h"

#define ALL(cases) assert_true(dump_all_hold(cases, sizeof(cases) / sizeof((cases)[0])))

static void general(void **state)
{
    static const struct dump_case cases[] = {
        { "{}", "mode=rule\nlog-level=info\nipv6=true\nport=0\nsocks-port=0\nmixed-port=0\nredir-port=0\ntproxy-port=0\nallow-lan=false\nbind-address=*\n"
                "authentication=not given\nskip-auth-prefixes=\nlan-allowed-ips=\nlan-disallowed-ips=\ninbound-tfo=false\ninbound-mptcp=false\nsecret=-\ninterface-name=-\n"
                "routing-mark=0\nunified-delay=false\ntcp-concurrent=false\nfind-process-mode=0\nkeep-alive-idle=0\nkeep-alive-interval=0\ndisable-keep-alive=false\n"
                "global-ua=-\netag-support=true" },
        { "mode: Global", "mode=global" },
        { "mode: DIRECT", "mode=direct" },
        { "mode:", "mode=rule" },
        { "mode: foo", "mode=rule", "mode: \"foo\" is unknown; it can be rule, global, direct", 1, true },
        { "mode: globel", "", "did you mean \"global\"", 1, true },
        { "mode: [rule]", "", "a single value is expected here, not a list", 1, true },
        { "log-level: WARNING", "log-level=warning" },
        { "log-level: silent", "log-level=silent" },
        { "log-level: trace", "log-level=info", "\"trace\" is unknown", 1, true },
        { "ipv6: no", "ipv6=false\ndns.ipv6=false" },
        { "ipv6: maybe", "", "neither true nor false", 1, true },
        { "port: '7890'\nsocks-port: 0x1F90\nmixed-port: 7893.0\nredir-port: 1\ntproxy-port: 2", "port=7890\nsocks-port=8080\nmixed-port=7893\nredir-port=1\ntproxy-port=2" },
        { "port: 78900\nmode: rule", "port=0", "\"78900\" is no port (0 to 65535); it is ignored", 1 },
        { "socks-port: x", "socks-port=0", "no port", 1 },
        { "port: ''", "port=0" },
        { "allow-lan: true\nbind-address: '[::1]'", "allow-lan=true\nbind-address=[::1]" },
        { "allow-lan: 1", "allow-lan=true" },
        { "authentication: ['a:b', 'c:d:e', nothing]", "authentication=a/b|c/d:e" },
        { "authentication: []", "authentication=not given" },
        { "authentication: 'u:p'", "authentication=u/p" },
        { "skip-auth-prefixes: [127.0.0.1/8, '::1/128']\nlan-allowed-ips: [0.0.0.0/0]\nlan-disallowed-ips: [10.0.0.1]",
          "skip-auth-prefixes=127.0.0.0/8|::1/128\nlan-allowed-ips=0.0.0.0/0\nlan-disallowed-ips=10.0.0.1/32" },
        { "skip-auth-prefixes:\n  - 127.0.0.1/8\n  - all", "skip-auth-prefixes=127.0.0.0/8", "\"all\" is no address or prefix", 3 },
        { "inbound-tfo: true\ninbound-mptcp: on", "inbound-tfo=true\ninbound-mptcp=true" },
        { "interface-name: eth0\nrouting-mark: 0x1a", "interface-name=eth0\nrouting-mark=26" },
        { "secret: 123\nglobal-ua: clash.meta", "secret=123\nglobal-ua=clash.meta" },
        { "secret: ''", "secret=" },
        { "unified-delay: true\ntcp-concurrent: true\nfind-process-mode: Always\nkeep-alive-idle: 600\nkeep-alive-interval: 15\ndisable-keep-alive: true\netag-support: no",
          "unified-delay=true\ntcp-concurrent=true\nfind-process-mode=1\nkeep-alive-idle=600\nkeep-alive-interval=15\ndisable-keep-alive=true\netag-support=false" },
        { "find-process-mode: off", "find-process-mode=2" },
        { "find-process-mode: sometimes", "", "strict, always, off", 1, true },
        { "keep-alive-interval: -1", "keep-alive-interval=0", "-1 is out of range: 0 is used", 1 },
        { "enable-process: true\nclash-for-android: {append-system-dns: false}\ncfw-bypass: [localhost]\nebpf: {}\nx: &x {y: z}", "mode=rule" },
        { "rules: &r\n- MATCH,DIRECT\nrule-anchor: *r", "rule.n=1" },
        { "global-client-fingerprint: chrome", "", "it has no effect any more", 1 },
        { "a: b\nProxy: [x]", "proxies.n=0", "it is called proxies now", 2 },
        { "Proxy: ~\nProxy Group: ~\nRule: ~", "proxies.n=0" },
        { "Mode: global", "mode=rule", "did you mean \"mode\"", 1 },
    };

    ALL(cases);
}

static void controller_and_small_sections(void **state)
{
    static const struct dump_case cases[] = {
        { "{}", "external-controller=-\nexternal-controller-unix=-\nexternal-controller-tls=-\nexternal-controller-pipe=-\nexternal-controller-routing-mark=0\n"
                "external-controller-cors.allow-origins=\nexternal-controller-cors.allow-private-network=true\nexternal-ui=-\nexternal-ui-name=-\nexternal-ui-url=-\n"
                "external-doh-server=-\nprofile.store-selected=true\nprofile.store-fake-ip=true\ngeodata-mode=false\ngeo-auto-update=false\ngeo-update-interval=24\n"
                "geox-url.geoip=-\nntp.enable=false\nntp.server=time.apple.com\nntp.port=123\nntp.interval=30\nntp.dialer-proxy=-\nntp.write-to-system=false\n"
                "tls.certificate=-\nexperimental.quic-go-disable-gso=false" },
        { "external-controller: :9090\nexternal-controller-unix: mihomo.sock\nexternal-controller-tls: 0.0.0.0:9443\nexternal-controller-pipe: '\\\\.\\pipe\\x'\n"
          "external-controller-routing-mark: 7\nexternal-ui: ui\nexternal-ui-name: xd\nexternal-ui-url: https://x/y.zip\nexternal-doh-server: /dns-query",
          "external-controller=:9090\nexternal-controller-unix=mihomo.sock\nexternal-controller-tls=0.0.0.0:9443\nexternal-controller-pipe=\\\\.\\pipe\\x\n"
          "external-controller-routing-mark=7\nexternal-ui=ui\nexternal-ui-name=xd\nexternal-ui-url=https://x/y.zip\nexternal-doh-server=/dns-query" },
        { "external-controller: 9090", "external-controller=9090" },
        { "external-controller-cors: {allow-origins: ['*', http://a], allow-private-network: false}",
          "external-controller-cors.allow-origins=*|http://a\nexternal-controller-cors.allow-private-network=false" },
        { "external-controller-cors: {allow-origins: '*'}", "external-controller-cors.allow-origins=*" },
        { "profile: {store-selected: no, store-fake-ip: true, tracing: true}", "profile.store-selected=false\nprofile.store-fake-ip=true" },
        { "profile:", "profile.store-selected=true" },
        { "profile: {}", "profile.store-selected=true" },
        { "profile: []", "profile.store-selected=true" },
        { "profile: x", "", "a mapping (key: value) is expected here", 1, true },
        { "profile: {store-selected: perhaps}", "", "neither true nor false", 1, true },
        { "geodata-mode: true\ngeodata-loader: memconservative\ngeosite-matcher: succinct\ngeo-auto-update: yes\ngeo-update-interval: 48\n"
          "geox-url: {geoip: a, geosite: b, mmdb: c, asn: d}",
          "geodata-mode=true\ngeo-auto-update=true\ngeo-update-interval=48\ngeox-url.geoip=a\ngeox-url.geosite=b\ngeox-url.mmdb=c\ngeox-url.asn=d" },
        { "geo-update-interval: 0", "geo-update-interval=24" },
        { "ntp: {enable: true, server: ntp.aliyun.com, port: '1123', interval: 60, dialer-proxy: A, write-to-system: true}",
          "ntp.enable=true\nntp.server=ntp.aliyun.com\nntp.port=1123\nntp.interval=60\nntp.dialer-proxy=A\nntp.write-to-system=true" },
        { "ntp: {port: 99999}", "ntp.port=123", "no port", 1 },
        { "tls: {certificate: a.crt, private-key: a.key, client-auth-type: verify, client-auth-cert: c, ech-key: e, custom-certifactes: ['-----BEGIN', x]}",
          "tls.certificate=a.crt\ntls.private-key=a.key\ntls.client-auth-type=verify\ntls.client-auth-cert=c\ntls.ech-key=e\ntls.custom-certifactes=-----BEGIN|x" },
        { "experimental: {quic-go-disable-gso: true, quic-go-disable-ecn: true, dialer-ip4p-convert: true, ignore-resolve-fail: true}",
          "experimental.quic-go-disable-gso=true\nexperimental.quic-go-disable-ecn=true\nexperimental.dialer-ip4p-convert=true" },
        { "experimental:\nhosts:\nproxies:\nproxy-providers:\nrules:\ntun:\ndns:\nsniffer:\nlisteners: ~\ntunnels: null", "mode=rule\nhosts.n=0\nrule.n=0" },
        { "iptables: {enable: false, inbound-interface: lo}", "mode=rule" },
        { "iptables: {enable: true}", "", "enable is not supported by this build: the device carries all", 1 },
    };

    ALL(cases);
}

static void tun(void **state)
{
    static const struct dump_case cases[] = {
        { "{}", "tun.enable=true\ntun.device=-\ntun.mtu=1500\ntun.gso=false\ntun.gso-max-size=65536\ntun.auto-route=true\ntun.auto-detect-interface=true\n"
                "tun.auto-redirect=false\ntun.auto-redirect-input-mark=8227\ntun.auto-redirect-output-mark=8228\ntun.auto-redirect-iproute2-fallback-rule-index=32768\n"
                "tun.strict-route=false\ntun.dns-hijack=0.0.0.0:53\ntun.inet4=198.18.0.1/30\ntun.inet6=fdfe:dcba:9876::1/126\ntun.route-address=\n"
                "tun.route-exclude-address=\ntun.include-interface=\ntun.include-uid=\ntun.endpoint-independent-nat=false\ntun.udp-timeout=300\ntun.icmp-timeout=10\n"
                "tun.disable-icmp-forwarding=false\ntun.loopback-address=\ntun.iproute2-table-index=2022\ntun.iproute2-rule-index=9000" },
        { "tun: {enable: false}", "tun.enable=false" },
        { "tun: true", "", "a mapping (key: value) is expected here", 1, true },
        { "tun: null", "tun.enable=true" },
        { "tun: {device: Meta, stack: Mixed, mtu: 9000, gso: true, gso-max-size: 1000, auto-route: no, auto-detect-interface: false, strict-route: true}",
          "tun.device=Meta\ntun.mtu=9000\ntun.gso=true\ntun.gso-max-size=1000\ntun.auto-route=false\ntun.auto-detect-interface=false\ntun.strict-route=true" },
        { "tun: {stack: gVisor}", "" },
        { "tun: {stack: kernel}", "", "gvisor, system, mixed", 1, true },
        { "tun: {device: ''}", "tun.device=-" },
        { "tun:\n  device: Clash Meta Tunnel", "tun.device=-", "at most 15 characters", 2 },
        { "tun: {device: a/b}", "tun.device=-", "slash", 1 },
        { "tun: {mtu: 0}", "tun.mtu=1500" },
        { "tun: {mtu: 1200}", "tun.mtu=1280", "at least 1280", 1 },
        { "tun: {mtu: 90000}", "tun.mtu=65535", "out of range", 1 },
        { "tun: {mtu: big}", "", "no number", 1, true },
        { "tun: {auto-redirect: true, auto-redirect-input-mark: 1, auto-redirect-output-mark: 2, auto-redirect-iproute2-fallback-rule-index: 3}",
          "tun.auto-redirect=true\ntun.auto-redirect-input-mark=1\ntun.auto-redirect-output-mark=2\ntun.auto-redirect-iproute2-fallback-rule-index=3" },
        { "tun: {dns-hijack: ['any:53', 'tcp://any:53']}", "tun.dns-hijack=any:53|tcp://any:53" },
        { "tun: {dns-hijack: []}", "tun.dns-hijack=" },
        { "tun:\n  dns-hijack:\n    - any:53\n    - foo", "", "dns-hijack: \"foo\" is not ADDRESS:PORT or any:PORT", 4 },
        { "tun: {dns-hijack: ['1.1.1.1:99999']}", "", "is not ADDRESS:PORT or any:PORT", 1 },
        { "tun: {inet6-address: ['fd00::1/64']}", "tun.inet6=fd00::1/64" },
        { "tun: {inet6-address: 'fd00::1/64'}", "tun.inet6=fd00::1/64" },
        { "tun: {inet6-address: []}", "tun.inet6=-" },
        { "ipv6: false\ntun: {inet6-address: ['fd00::1/64']}", "tun.inet6=-" },
        { "tun: {inet6-address: [nonsense]}", "tun.inet6=fdfe:dcba:9876::1/126", "\"nonsense\" is no ADDRESS/LENGTH", 1 },
        { "tun: {route-address: [0.0.0.0/1], inet4-route-address: [128.0.0.0/1], inet6-route-address: ['::/1']}", "tun.route-address=0.0.0.0/1|128.0.0.0/1|::/1" },
        { "tun: {route-exclude-address: [10.0.0.0/8], inet4-route-exclude-address: 192.168.0.0/16, inet6-route-exclude-address: ['fc00::/7']}",
          "tun.route-exclude-address=10.0.0.0/8|192.168.0.0/16|fc00::/7" },
        { "tun: {route-address-set: [a], route-exclude-address-set: [b, c]}", "tun.route-address-set=a\ntun.route-exclude-address-set=b|c" },
        { "tun: {include-interface: [eth0], exclude-interface: [docker0]}", "tun.include-interface=eth0\ntun.exclude-interface=docker0" },
        { "tun: {include-uid: [0], include-uid-range: ['1000:9999'], exclude-uid: 5, exclude-uid-range: [1:2]}", "tun.include-uid=0-0|1000-9999\ntun.exclude-uid=5-5|1-2" },
        { "tun: {include-uid-range: [a:b]}", "tun.include-uid=", "neither a number nor a range (1000:2000); it is ignored", 1 },
        { "tun: {exclude-src-port: [1], exclude-src-port-range: [2:3], exclude-dst-port: [4], exclude-dst-port-range: ['5:6']}",
          "tun.exclude-src-port=1-1|2-3\ntun.exclude-dst-port=4-4|5-6" },
        { "tun: {include-mac-address: ['00:11:22:33:44:55'], exclude-mac-address: [x]}", "tun.include-mac-address=00:11:22:33:44:55\ntun.exclude-mac-address=x" },
        { "tun: {include-android-user: [0, 10], include-package: [a], exclude-package: [b], file-descriptor: 0, recvmsgx: true}", "tun.enable=true" },
        { "tun: {endpoint-independent-nat: true, udp-timeout: 60, icmp-timeout: 5, disable-icmp-forwarding: true, loopback-address: [10.0.0.5]}",
          "tun.endpoint-independent-nat=true\ntun.udp-timeout=60\ntun.icmp-timeout=5\ntun.disable-icmp-forwarding=true\ntun.loopback-address=10.0.0.5" },
        { "tun: {udp-timeout: 0, iproute2-table-index: 0, iproute2-rule-index: 0}", "tun.udp-timeout=300\ntun.iproute2-table-index=2022\ntun.iproute2-rule-index=9000" },
        { "tun: {iproute2-table-index: 100, iproute2-rule-index: 5000}", "tun.iproute2-table-index=100\ntun.iproute2-rule-index=5000" },
        { "tun: {enabled: true}", "tun.enable=true", "did you mean \"enable\"", 1 },
    };

    ALL(cases);
}

static void dns(void **state)
{
    static const struct dump_case cases[] = {
        { "{}", "dns.enable=true\ndns.listen=-\ndns.ipv6=false\ndns.ipv6-timeout=100\ndns.prefer-h3=false\ndns.use-hosts=true\ndns.use-system-hosts=true\n"
                "dns.enhanced-mode=1\ndns.fake-ip-range=198.18.0.0/16\ndns.fake-ip-range6=-\ndns.fake-ip-filter=\ndns.fake-ip-filter-mode=0\ndns.fake-ip-ttl=1\n"
                "dns.nameserver=\ndns.fallback=\ndns.fallback-filter.geoip=true\ndns.fallback-filter.geoip-code=CN\ndns.fallback-filter.ipcidr=\n"
                "dns.fallback-filter.domain=\ndns.fallback-lazy-query=false\ndns.default-nameserver=\ndns.nameserver-policy.n=0\ndns.proxy-server-nameserver=\n"
                "dns.proxy-server-nameserver-policy.n=0\ndns.direct-nameserver=\ndns.direct-nameserver-follow-policy=false\ndns.respect-rules=false\n"
                "dns.cache-max-size=4096\ndns.listen-routing-mark=0" },
        { "dns: {listen-routing-mark: 1}", "dns.listen-routing-mark=1", "listen-routing-mark is not supported by this build: it has no effect", 1 },
        { "dns: {prefer-h3: true}", "dns.prefer-h3=true", "HTTP/2 is spoken", 1 },
        { "dns: {listen: foo}", "dns.listen=foo", "listen: \"foo\" is not ADDRESS:PORT", 1 },
        { "dns: {listen: '0.0.0.0:0'}", "", "is not ADDRESS:PORT", 1 },
        { "dns: {listen: ':53'}", "dns.listen=:53" },
        { "dns: {listen: 'localhost:1053'}", "dns.listen=localhost:1053" },
        { "dns: {listen: '[::]:1053'}", "dns.listen=[::]:1053" },
        { "dns: {listen: ''}", "dns.listen=" },
        { "dns: {enable: false, listen: '0.0.0.0:53', ipv6: true, ipv6-timeout: 3000, use-hosts: false, use-system-hosts: false}",
          "dns.enable=false\ndns.listen=0.0.0.0:53\ndns.ipv6=true\ndns.ipv6-timeout=3000\ndns.use-hosts=false\n"
          "dns.use-system-hosts=false\ndns.fake-ip-range=-\ntun.inet4=198.18.0.1/30" },
        { "ipv6: false\ndns: {ipv6: true}", "dns.ipv6=false" },
        { "dns: {listen: {udp: x}}", "", "a single value is expected here, not a mapping", 1, true },
        /* modes and pools */
        { "dns: {enhanced-mode: Redir-Host}", "dns.enhanced-mode=2\ndns.fake-ip-range=-" },
        { "dns: {enhanced-mode: normal, fake-ip-range: nonsense}", "dns.enhanced-mode=0\ntun.inet4=198.18.0.1/30", "is no IPv4 range", 1 },
        { "dns: {enhanced-mode: fakeip}", "", "did you mean \"fake-ip\"", 1, true },
        { "dns: {fake-ip-range: 28.0.0.1/8}", "dns.fake-ip-range=28.0.0.0/8\ntun.inet4=28.0.0.1/30" },
        { "dns: {fake-ip-range: 0.0.0.0/8}", "", "is no IPv4 range", 1, true },
        { "dns: {fake-ip-range: 127.1.0.0/16}", "", "is no IPv4 range", 1, true },
        { "dns: {fake-ip-range: 239.0.0.0/16}", "", "is no IPv4 range", 1, true },
        { "dns: {fake-ip-range: 198.18.0.0/16}", "dns.fake-ip-range=198.18.0.0/16\ntun.inet4=198.18.0.1/30" },
        { "dns:\n  fake-ip-range: 198.18.0.1", "", "\"198.18.0.1\" is no IPv4 range between /8 and /28", 2, true },
        { "dns: {fake-ip-range: 'fc00::/18'}", "", "is no IPv4 range", 1, true },
        { "dns: {enable: false, fake-ip-range: 'fc00::/18'}", "", "is no IPv4 range", 1 },
        { "dns: {ipv6: true, fake-ip-range6: 'fdfe:dcba:9876::1/64'}", "dns.fake-ip-range6=fdfe:dcba:9876::/64" },
        { "dns: {fake-ip-range6: 'fdfe:dcba:9876::1/64'}", "dns.fake-ip-range6=-" },
        { "dns: {ipv6: true, fake-ip-range6: 198.18.0.1/16}", "dns.fake-ip-range6=-", "is no IPv6 range", 1, true },
        { "dns: {fake-ip-ttl: 10}", "dns.fake-ip-ttl=10" },
        { "dns: {fake-ip-ttl: 0}", "dns.fake-ip-ttl=1", "out of range: 1 is used", 1 },
        /* filters */
        { "dns: {fake-ip-filter: ['*.lan', '+.x.y', 'geosite:cn,private', 'rule-set:a']}", "dns.fake-ip-filter=*.lan|+.x.y|geo cn|geo private|set a" },
        { "dns: {fake-ip-filter: '+.*'}", "dns.fake-ip-filter=+.*" },
        { "dns: {fake-ip-filter-mode: whitelist, fake-ip-filter: [a.b]}", "dns.fake-ip-filter-mode=1\ndns.fake-ip-filter=a.b" },
        { "dns: {fake-ip-filter-mode: rule, fake-ip-filter: ['RULE-SET,cn,real-ip', 'MATCH,fake-ip']}",
          "dns.fake-ip-filter-mode=2\ndns.fake-ip-filter=rule RULE-SET,cn,real-ip|rule MATCH,fake-ip" },
        { "dns: {fake-ip-filter-mode: greylist}", "", "blacklist, whitelist, rule", 1, true },
        /* servers */
        { "dns: {nameserver: [9.9.9.9, 'https://x/dns-query#A&h3=true'], default-nameserver: 1.1.1.1, direct-nameserver: [system], proxy-server-nameserver: [a, b]}",
          "dns.nameserver=9.9.9.9|https://x/dns-query#A&h3=true\ndns.default-nameserver=1.1.1.1\ndns.direct-nameserver=system\ndns.proxy-server-nameserver=a|b" },
        { "dns:\n  nameserver:\n    - 9.9.9.9\n    - {a: b}", "dns.nameserver=9.9.9.9", "a text is expected in this list", 4 },
        { "dns: {fallback: [a], fallback-lazy-query: true, fallback-filter: {geoip: false, geoip-code: JP, ipcidr: [240.0.0.0/4], domain: ['+.g.com'], geosite: [gfw]}}",
          "dns.fallback=a\ndns.fallback-lazy-query=true\ndns.fallback-filter.geoip=false\ndns.fallback-filter.geoip-code=JP\ndns.fallback-filter.ipcidr=240.0.0.0/4\n"
          "dns.fallback-filter.domain=+.g.com|geo gfw" },
        { "dns: {fallback-filter: {geoip: CN}}", "", "neither true nor false", 1, true },
        { "dns: {fallback-filter: []}", "dns.fallback-filter.geoip=true" },
        /* policies: in order */
        { "dns: {nameserver-policy: {'+.b.com': 1.1.1.1, 'geosite:cn, private': [2.2.2.2, 3.3.3.3], 'rule-set:x': system, 'a.com,*.c.com': [4.4.4.4]}}",
          "dns.nameserver-policy[0]=+.b.com\ndns.nameserver-policy[0].servers=1.1.1.1\ndns.nameserver-policy[1]=geo cn|geo private\n"
          "dns.nameserver-policy[1].servers=2.2.2.2|3.3.3.3\ndns.nameserver-policy[2]=set x\ndns.nameserver-policy[3]=a.com|*.c.com\ndns.nameserver-policy.n=4" },
        { "dns:\n  nameserver-policy:\n    a.com: 1.1.1.1\n    b.com:\n    c.com: 2.2.2.2", "dns.nameserver-policy.n=2\ndns.nameserver-policy[1]=c.com", "b.com: the name of a server", 4 },
        { "dns:\n  nameserver: []", "dns.nameserver=", "nameserver: the list names no server", 2 },
        { "dns:\n  nameserver: [1.1.1.1]\n  default-nameserver: []", "dns.default-nameserver=", "default-nameserver: the list names no server", 3 },
        { "dns: {nameserver: , default-nameserver: ~, fallback: []}", "dns.nameserver=" },
        { "dns: {enable: false, nameserver: []}", "dns.nameserver=" },
        { "dns:\n  ipv6: true\n  disable-qtype-65: true", "dns.ipv6=true", "9.9.9.9#disable-qtype-65=true; here it has no effect", 3 },
        { "dns: {ecs: 192.0.2.0/24}", "", "stands behind it: 9.9.9.9#ecs=192.0.2.0/24", 1 },
        { "dns: {nameserver-policy: {}}", "dns.nameserver-policy.n=0" },
        { "dns: {nameserver-policy: [a]}", "", "a mapping (name: servers) is expected here", 1, true },
        { "dns: {proxy-server-nameserver: [1.1.1.1], proxy-server-nameserver-policy: {a.com: 2.2.2.2}}", "dns.proxy-server-nameserver-policy[0]=a.com" },
        { "dns: {proxy-server-nameserver-policy: {a.com: 2.2.2.2}}", "dns.proxy-server-nameserver-policy.n=0", "needs proxy-server-nameserver: it is ignored", 1 },
        { "dns: {respect-rules: true, proxy-server-nameserver: [1.1.1.1]}", "dns.respect-rules=true" },
        { "dns: {respect-rules: true}", "dns.respect-rules=false", "respect-rules needs proxy-server-nameserver", 1 },
        { "dns: {direct-nameserver-follow-policy: true, cache-algorithm: LRU, cache-max-size: 100}",
          "dns.direct-nameserver-follow-policy=true\ndns.cache-max-size=100" },
        { "dns: {cache-algorithm: arc, cache-max-size: 0}", "dns.cache-max-size=4096", "cache-algorithm: the cache is lru", 1 },
        { "dns: {enhance-mode: redir-host}", "dns.enhanced-mode=1", "did you mean \"enhanced-mode\"", 1 },
    };

    ALL(cases);
}

static void sniffer(void **state)
{
    static const struct dump_case cases[] = {
        { "{}", "sniffer.enable=false\nsniffer.force-dns-mapping=true\nsniffer.parse-pure-ip=true\nsniffer.http=off=\nsniffer.tls=off=\nsniffer.quic=off=" },
        { "sniffer: {enable: true, sniff: {HTTP: {ports: [80, 8080-8880], override-destination: false}, tls: , QUIC: {ports: [443, 8443]}}}",
          "sniffer.enable=true\nsniffer.http=keep =80-80|8080-8880\nsniffer.tls=override =443-443\nsniffer.quic=override =443-443|8443-8443" },
        { "sniffer: {override-destination: false, sniff: {TLS: {ports: 443}, HTTP: {ports: '80/81', override-destination: true}}}",
          "sniffer.tls=keep =443-443\nsniffer.http=override =80-80|81-81" },
        { "sniffer:\n  sniff:\n    TLS: {ports: [443]}\n    SSH: {ports: [22]}", "sniffer.tls=override =443-443", "\"SSH\" cannot be sniffed", 4 },
        { "sniffer: {sniff: {TSL: {ports: [443]}}}", "", "did you mean \"tls\"", 1 },
        { "sniffer: {sniff: [tls]}", "", "a mapping (TLS: { ports: [443] }) is expected here", 1, true },
        { "sniffer: {sniff: {TLS: {ports: [x]}}}", "sniffer.tls=override =443-443", "neither a number nor a range", 1 },
        { "sniffer: {sniff: {TLS: 443}}", "sniffer.tls=override =443-443", "the usual ports are used", 1 },
        { "sniffer: {force-dns-mapping: false, parse-pure-ip: false, force-domain: ['+.a'], skip-domain: ['Mijia Cloud', 'rule-set:x'], skip-src-address: [10.0.0.0/8], "
          "skip-dst-address: ['geoip:cn', 'rule-set:y']}",
          "sniffer.force-dns-mapping=false\nsniffer.parse-pure-ip=false\nsniffer.force-domain=+.a\nsniffer.skip-domain=Mijia Cloud|set x\nsniffer.skip-src-address=10.0.0.0/8\n"
          "sniffer.skip-dst-address=geo cn|set y" },
        /* the old form counts when the new one says nothing */
        { "sniffer: {sniffing: [tls, http], port-whitelist: ['80', 443]}", "sniffer.tls=override =80-80|443-443\nsniffer.http=override =80-80|443-443\nsniffer.quic=off=" },
        { "sniffer: {sniffing: [tls]}", "sniffer.tls=override =443-443" },
        { "sniffer: {sniffing: [tls], sniff: {HTTP: }}", "sniffer.tls=off=\nsniffer.http=override =80-80" },
        { "sniffer: {sniffing: [ftp]}", "", "\"ftp\" cannot be sniffed", 1 },
    };

    ALL(cases);
}

static void keys_not_carried_out_are_told(void **state)
{
    static const char yaml[] = "tun: {auto-redirect: true, exclude-interface: []}\niptables: {enable: true}\nss-config: x\nsniffer: {enable: false}\n";
    struct diag d;
    size_t n = 0;

    diag_init(&d, "t", yaml, sizeof(yaml) - 1, false);
    profile_free(profile_load(yaml, sizeof(yaml) - 1, &d));
    diag_sort(&d);
    for (size_t i = 0; i < d.n; i++)
        n += !strcmp(d.items[i].code, "unsupported-key");
    assert_int_equal(n, 3); /* not those that say nothing */
    assert_int_equal(d.items[0].column, 7);
    assert_string_equal(d.items[0].path, "tun.auto-redirect");
    diag_fini(&d);
}

static void tops_that_are_no_profile(void **state)
{
    static const struct { const char *bytes, *words; } cases[] = {
        { "", "there is nothing in this file" }, { " \n\t\r\n", "there is nothing in this file" }, { "# x\n", "there is nothing in this file" },
        { "~", "there is nothing in this file" }, { "- a", "not a list" }, { "hello", "not a single text" },
        { "\xef\xbb\xbf\n<!DOCTYPE html><p>", "this is a web page" }, { "<HTML>", "this is a web page" }, { "<?xml version='1.0'?>", "XML" },
        { "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "encrypted (age)" }, { "\x1f\x8b\x08", "gzip" }, { "PK\x03\x04", "zip" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diag d;

        diag_init(&d, "t", NULL, 0, false);
        assert_null(profile_load(cases[i].bytes, strlen(cases[i].bytes), &d));
        if (d.n_errors != 1 || !strstr(d.items[0].message, cases[i].words) || !d.items[0].line || !d.items[0].column)
            fail_msg("%s: %s", cases[i].bytes, d.n ? d.items[0].message : "nothing");
        diag_fini(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(general),
        cmocka_unit_test(controller_and_small_sections),
        cmocka_unit_test(tun),
        cmocka_unit_test(dns),
        cmocka_unit_test(sniffer),
        cmocka_unit_test(keys_not_carried_out_are_told),
        cmocka_unit_test(tops_that_are_no_profile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
