"""What `explain --batch` says of every rule type, as profiles write it.

    only(RULE, yes, no)       RULE stands before a MATCH: flows that it decides, and flows that it does not
    decide(RULES, flows)      per flow the index of the rule that decides (None: none, "error": no such flow), and facts of the answer

Run by explain_batch.sh with the program to test.
"""
import json
import subprocess
import sys
import tempfile

SHUNT = sys.argv[1]
DIR = tempfile.TemporaryDirectory()
WAYS = """proxies:
- {name: "🇭🇰 HK 01", type: ss, server: 1.1.1.1, port: 1, cipher: aes-128-gcm, password: x, udp: true}
- {name: noudp, type: ss, server: 1.1.1.1, port: 1, cipher: aes-128-gcm, password: x}
proxy-groups:
- {name: "🚀 节点选择", type: select, proxies: ["🇭🇰 HK 01", DIRECT]}
- {name: P, type: select, proxies: [PASS, DIRECT]}
- {name: PR, type: select, proxies: [PASS-RULE, DIRECT]}
"""
N = {"needed": []}
IP = {"needed": ["ip"]}
PR = {"needed": ["process"]}
passed = failed = 0


def quoted(rule):
    return "'" + rule.replace("'", "''") + "'"


def ask(profile, flows):
    with open(DIR.name + "/p.yaml", "w") as f:
        f.write(profile)
    p = subprocess.run([SHUNT, "explain", "-f", f.name, "--local", "/dev/null", "-d", DIR.name, "--batch"], input="\n".join(flows) + "\n",
                       capture_output=True, text=True)
    return [json.loads(line) for line in p.stdout.splitlines()], p.stderr


def decide(rules, cases, more=""):
    global passed, failed
    got, said = ask(WAYS + more + "rules:\n" + "".join("- " + quoted(r) + "\n" for r in rules), [c[0] for c in cases])
    if len(got) != len(cases):
        failed += 1
        print(rules, "gives", len(got), "answers:", said)
    for (flow, want, *facts), x in zip(cases, got):
        index = "error" if "error" in x else x["rule"] and x["rule"]["index"]
        if index == want and all(x[k] == v for k, v in (facts[0] if facts else {}).items()):
            passed += 1
            continue
        failed += 1
        print(rules, "|", flow, "| wanted", want, *facts, "| got", json.dumps(x, ensure_ascii=False))


def only(rule, yes=(), no=(), more=""):
    decide([rule, "MATCH,DIRECT"], [(f, 0) for f in yes] + [(f, 1) for f in no], more)


def tcp(host, port=443, *facts):
    return " ".join(["tcp", host, str(port), *facts])


def udp(host, port=443, *facts):
    return " ".join(["udp", host, str(port), *facts])


only('DOMAIN,Example.COM,🚀 节点选择', [tcp('example.com'), tcp('EXAMPLE.com'), tcp('example.com.')], [tcp('a.example.com'), tcp('1.2.3.4')])
only('domain , example.com ,  🚀 节点选择 ', [tcp('example.com')], [tcp('www.example.com')])
only('Domain-Suffix,example.com,DIRECT', [tcp('example.com'), tcp('a.b.example.com')], [tcp('badexample.com'), tcp('example.com.cn')])
only('DOMAIN-SUFFIX,.x.com,DIRECT', [tcp('x.com'), tcp('a.x.com')], [tcp('ax.com')])
only('DOMAIN-SUFFIX,cn,DIRECT', [tcp('a.cn'), tcp('cn')], [tcp('acn')])
only('DOMAIN-KEYWORD,Google,DIRECT', [tcp('www.google.com'), tcp('googleapis.com')], [tcp('goog.le'), tcp('8.8.8.8')])
only('DOMAIN-KEYWORD,-ads.,DIRECT', [tcp('my-ads.x.com')], [tcp('ads.x.com')])
only('DOMAIN-WILDCARD,*.example.com,DIRECT', [tcp('a.example.com'), tcp('a.b.example.com')], [tcp('example.com')])
only('DOMAIN-WILDCARD,a?c*,DIRECT', [tcp('abc.com'), tcp('a.cx')], [tcp('ac.com'), tcp('xabc.com')])
only('DOMAIN-WILDCARD,*,DIRECT', [tcp('x.y')], [tcp('1.1.1.1')] )
only(r'DOMAIN-REGEX,^ab{1,3}\.example\.(com|org)$,DIRECT', [tcp('abb.example.com'), tcp('AB.example.org')], [tcp('abbbb.example.com'),
     tcp('a.example.com')])
only(r'DOMAIN-REGEX,^(?=.*x)(?!a).+\d{2,},🚀 节点选择', [tcp('bx12.com')], [tcp('ax12.com'), tcp('bx1.com')])
only(r'DOMAIN-REGEX,(^|\.)é\w+\.com$,DIRECT', [], [tcp('a.com')])
only('IP-CIDR,10.0.0.0/8,DIRECT', [tcp('10.1.1.1'), tcp('::ffff:10.2.3.4'), tcp('h.com',443,'ip=10.0.0.1')], [tcp('11.0.0.1'), tcp('h.com')])
only('IP-CIDR,10.0.0.0/8,DIRECT,no-resolve', [tcp('10.1.1.1')], [tcp('h.com',443,'ip=10.0.0.1')])
only('IP-CIDR,10.0.0.0/8,DIRECT, No-Resolve', [tcp('10.1.1.1')], [])
only('IP-CIDR,10.5.5.5/8,DIRECT', [tcp('10.1.1.1')], [])
only('IP-CIDR6,2001:db8::/32,DIRECT', [tcp('[2001:db8::1]'), tcp('2001:DB8:0:1::1')], [tcp('2001:db9::1')])
only('IP-CIDR,2001:db8::/32,DIRECT', [tcp('2001:db8::1')], [tcp('1.1.1.1')])
only('IP-CIDR,0.0.0.0/0,DIRECT,no-resolve', [tcp('1.1.1.1')], [tcp('::1'), tcp('h.com')])
only('IP-CIDR,::/0,DIRECT,no-resolve', [tcp('::1')], [tcp('1.1.1.1')])
only('IP-CIDR,::ffff:10.0.0.0/104,DIRECT', [tcp('10.1.1.1')], [tcp('11.1.1.1')])
only('IP-CIDR,10.0.0.0/8,DIRECT,src', [tcp('h.com',443,'src=10.0.0.5')], [tcp('10.0.0.1',443,'src=1.1.1.1'), tcp('h.com',443,'ip=10.0.0.1')])
only('SRC-IP-CIDR,192.168.1.0/24,DIRECT', [tcp('h.com',443,'src=192.168.1.9:55'), tcp('1.1.1.1',443,'src=192.168.1.9')], [tcp('192.168.1.9')])
only('SRC-IP-CIDR,fd00::/8,DIRECT', [tcp('h.com',443,'src=[fd00::1]:9'), tcp('h.com',443,'src=fd00::1')], [tcp('h')])
only('IP-SUFFIX,8.8.8.8/24,DIRECT', [tcp('1.8.8.8'), tcp('255.8.8.8')], [tcp('1.8.8.9')])
only('IP-SUFFIX,0.0.0.1/8,DIRECT', [tcp('5.5.5.1')], [tcp('5.5.5.2')])
only('IP-SUFFIX,1.2.3.4/32,DIRECT', [tcp('1.2.3.4')], [tcp('1.2.3.5')])
only('IP-SUFFIX,0.0.0.3/3,DIRECT', [tcp('9.9.9.11'), tcp('9.9.9.3')], [tcp('9.9.9.4')])
only('IP-SUFFIX,::1:2/32,DIRECT', [tcp('fd00::1:2')], [tcp('fd00::2:2'), tcp('0.1.0.2')])
only('SRC-IP-SUFFIX,0.0.0.9/8,DIRECT', [tcp('h',443,'src=1.2.3.9')], [tcp('1.2.3.9')])
only('DST-PORT,80/443/8000-9000,DIRECT', [tcp('h',80), tcp('h',443), tcp('h',8500), tcp('h',9000), udp('h',8000)], [tcp('h',81), tcp('h',7999),
     tcp('h',9001)])
only('DST-PORT,80-90,DIRECT', [tcp('h',80), tcp('h',90)], [tcp('h',91)])
only('DST-PORT,90-80,DIRECT', [tcp('h',80), tcp('h',85)], [tcp('h',91)])
only('DST-PORT, 80 / 443 ,DIRECT', [tcp('h',80), tcp('h',443)], [tcp('h',81)])
only('SRC-PORT,1000-2000,DIRECT', [tcp('h',1,'src=1.1.1.1:1500')], [tcp('h',1500), tcp('h',1,'src=1.1.1.1:2001')])
only('IN-PORT,7890,DIRECT', [], [tcp('h')])
only('IN-TYPE,SOCKS/http,DIRECT', [tcp('h',1,'in=SOCKS5'), tcp('h',1,'in=SOCKS4'), tcp('h',1,'in=HTTP'), tcp('h',1,'in=SOCKS')],
     [tcp('h',1,'in=TUN'), tcp('h',1,'in=HTTPS'), tcp('h')])
only('IN-TYPE,HTTPS,DIRECT', [tcp('h',1,'in=https')], [tcp('h',1,'in=HTTP')])
only('IN-TYPE,tun,DIRECT', [tcp('h',1,'in=TUN'), tcp('h')], [tcp('h',1,'in=INNER')])
only('IN-NAME,DEFAULT-TUN/foo,DIRECT', [tcp('h')], [tcp('h',1,'in=SOCKS5')])
only('IN-USER,bob,DIRECT', [], [tcp('h')])
only('NETWORK,TCP,DIRECT', [tcp('h')], [udp('h')])
only('NETWORK,udp,DIRECT', [udp('h')], [tcp('h')])
only('UID,0,DIRECT', [tcp('h',1,'uid=0')], [tcp('h',1,'uid=1'), tcp('h')])
only('UID,1000-2000/3000,DIRECT', [tcp('h',1,'uid=1500'), tcp('h',1,'uid=3000')], [tcp('h',1,'uid=2001')])
only('DSCP,0,DIRECT', [tcp('h')], [])
only('DSCP,46/10-20,DIRECT', [], [tcp('h')])
only('PROCESS-NAME,Curl,DIRECT', [tcp('h',1,'process=curl'), tcp('h',1,'path=/usr/bin/curl')], [tcp('h',1,'process=curly'), tcp('h')])
only('PROCESS-PATH,/usr/bin/curl,DIRECT', [tcp('h',1,'path=/usr/bin/curl'), tcp('h',1,'path=/USR/bin/curl')], [tcp('h',1,'process=curl'),
     tcp('h',1,'path=/bin/curl')])
only('PROCESS-NAME-WILDCARD,*curl?,DIRECT', [tcp('h',1,'process=mycurl5')], [tcp('h',1,'process=curl')])
only('PROCESS-PATH-WILDCARD,/opt/*/x,DIRECT', [tcp('h',1,'path=/opt/a/b/X')], [tcp('h',1,'path=/opt/x')])
only('PROCESS-NAME-REGEX,^(fire|chrom).{1,9}$,DIRECT', [tcp('h',1,'process=Firefox'), tcp('h',1,'process=chromium')], [tcp('h',1,'process=fire')])
only('PROCESS-PATH-REGEX,^/opt/.*,DIRECT', [tcp('h',1,'path=/opt/a')], [tcp('h',1,'path=/usr/opt/a')])
only('PROCESS-NAME,a b,DIRECT', [], [tcp('h',1,'process=a')])
only('GEOIP,LAN,DIRECT', [tcp('10.1.1.1'), tcp('127.0.0.1'), tcp('192.168.1.1'), tcp('172.16.9.9'), tcp('169.254.1.1'), tcp('224.0.0.1'),
     tcp('fe80::1'), tcp('fd00::1'), tcp('::1'), tcp('ff02::1'), tcp('0.0.0.0'), tcp('::'), tcp('h',1,'ip=10.0.0.1')], [tcp('8.8.8.8'),
     tcp('2001:db8::1'), tcp('172.32.0.1')])
only('GEOIP,lan,DIRECT,no-resolve', [tcp('10.1.1.1')], [tcp('h',1,'ip=10.0.0.1')])
only('SRC-GEOIP,LAN,DIRECT', [tcp('h',1,'src=10.0.0.1')], [tcp('10.0.0.1',1,'src=8.8.8.8')])
only('GEOIP,LAN,DIRECT,src', [tcp('h',1,'src=10.0.0.1')], [tcp('10.0.0.1')])

# AND, OR, NOT
only('AND,((DOMAIN,a.com), (NETWORK,UDP)),DIRECT', [udp('a.com')], [tcp('a.com'), udp('b.com')])
only('and , ( ( domain , a.com ) , ( network , udp ) ) , DIRECT ', [udp('a.com')], [tcp('a.com')])
only('AND,(DOMAIN,a.com), (NETWORK,UDP),DIRECT', [udp('a.com')], [tcp('a.com')])
only('OR,((DOMAIN,a.com), (DOMAIN-SUFFIX,b.com), (DST-PORT,22)),DIRECT', [tcp('a.com'), tcp('x.b.com'), tcp('h',22)], [tcp('c.com')])
only('NOT,((DOMAIN,a.com)),DIRECT', [tcp('b.com'), tcp('1.1.1.1')], [tcp('a.com')])
only('NOT,((DOMAIN-SUFFIX,cn)),DIRECT', [tcp('b.com')], [tcp('a.cn')])
only('NOT,(DOMAIN,a.com),DIRECT', [tcp('b.com')], [tcp('a.com')])
only('AND,((OR,((DOMAIN,a.com), (DOMAIN,b.com))), (NOT,((NETWORK,UDP)))),🚀 节点选择', [tcp('a.com'), tcp('b.com')], [udp('a.com'), tcp('c.com')])
only(r'AND,((DOMAIN-REGEX,^(a|b)\.c{1,2}$), (DST-PORT,443)),DIRECT', [tcp('a.c'), tcp('b.cc')], [tcp('a.c',80), tcp('a.ccc')])
only('OR,((AND,((NETWORK,TCP), (DST-PORT,443,))), (DOMAIN,z)),DIRECT', [tcp('z',80)], [])
only('AND,((IP-CIDR,10.0.0.0/8,no-resolve), (DST-PORT,22)),DIRECT', [tcp('10.1.1.1',22)], [tcp('h',22,'ip=10.0.0.1')])
only('AND,((DST-PORT,22), (IP-CIDR,10.0.0.0/8)),DIRECT', [tcp('h',22,'ip=10.0.0.1')], [tcp('h',23,'ip=10.0.0.1')])
only('AND,((SRC-IP-CIDR,10.0.0.0/8), (PROCESS-NAME,curl)),DIRECT', [tcp('h',1,'src=10.0.0.1','process=curl')],
     [tcp('h',1,'src=11.0.0.1','process=curl')])
decide(['AND,((DST-PORT,22), (IP-CIDR,10.0.0.0/8)),DIRECT', 'MATCH,DIRECT'], [('tcp h 23 ip=10.0.0.1',1,N), ('tcp h 22',1,IP),
     ('tcp h 22 ip=10.1.1.1',0,IP)])
decide(['AND,((IP-CIDR,10.0.0.0/8), (DST-PORT,22)),DIRECT', 'MATCH,DIRECT'], [('tcp h 23 ip=10.0.0.1',1,IP)])
decide(['OR,((DST-PORT,23), (IP-CIDR,10.0.0.0/8)),DIRECT', 'MATCH,DIRECT'], [('tcp h 23 ip=10.0.0.1',0,N), ('tcp h 24 ip=10.0.0.1',0,IP)])
decide(['OR,((IP-CIDR,10.0.0.0/8), (DST-PORT,23)),DIRECT', 'MATCH,DIRECT'], [('tcp h 23',0,IP)])
decide(['NOT,((IP-CIDR,10.0.0.0/8)),DIRECT', 'MATCH,DIRECT'], [('tcp h 23',0,IP), ('tcp h 23 ip=10.0.0.1',1,IP)])

# an address is asked for when a rule that could win needs it, and once
decide(['IP-CIDR,1.0.0.0/8,DIRECT,no-resolve','IP-CIDR,2.0.0.0/8,DIRECT','IP-CIDR,1.0.0.0/8,REJECT,no-resolve', 'MATCH,DIRECT'],
  [('tcp h 1 ip=1.1.1.1',2,IP), ('tcp h 1 ip=2.1.1.1',1,IP), ('tcp 1.1.1.1 1',0,N), ('tcp h 1',3,IP)])
decide(['DOMAIN,h,DIRECT','IP-CIDR,2.0.0.0/8,DIRECT', 'MATCH,DIRECT'], [('tcp h 1',0,N), ('tcp g 1',2,IP)])
decide(['PROCESS-NAME,x,DIRECT','IP-CIDR,2.0.0.0/8,DIRECT', 'MATCH,DIRECT'], [('tcp g 1',2,{'needed':['ip','process']}), ('tcp 2.2.2.2 1',1,PR)])
decide(['UID,5,DIRECT', 'MATCH,DIRECT'], [('tcp g 1',1,PR), ('tcp g 1 uid=5',0,PR)])

# going on behind a match
decide(['DOMAIN,a,P','DOMAIN,a,PASS','DOMAIN,a,noudp', 'MATCH,🚀 节点选择'], [('tcp a 1',2), ('udp a 1',3,{'outbound':'🇭🇰 HK 01'})])
decide(['DOMAIN,a,nonesuch', 'MATCH,DIRECT'], [('tcp a 1',0,{'action':'reject'})])
decide(['DOMAIN,a,REJECT-DROP','DOMAIN,b,REJECT','DOMAIN,c,COMPATIBLE','DOMAIN,d,GLOBAL', 'MATCH,DIRECT'],
     [('tcp a 1',0,{'action':'reject-drop'}), ('tcp b 1',1,{'action':'reject'}), ('tcp c 1',2,{'action':'direct'}),
     ('tcp d 1',3,{'chain':['GLOBAL','DIRECT']})])
decide(['DOMAIN,a,DIRECT'], [('tcp b 1',None,{'chain':['DIRECT']})])

# lists of rules
S = '''sub-rules:
  s1: ["DOMAIN,a,REJECT","SUB-RULE,(NETWORK,udp),s2","DOMAIN,p,P","DOMAIN,p,REJECT","DOMAIN,q,PR","DOMAIN,q,REJECT"]
  s2: ["DOMAIN,u,REJECT"]
'''
decide(['SUB-RULE,(OR,((DST-PORT,443), (DST-PORT,80))),s1', 'MATCH,DIRECT'], [('tcp a 443',0,{'action':'reject'}), ('tcp a 22',1),
     ('udp u 80',0,{'action':'reject'}), ('tcp u 80',1), ('tcp p 80',1), ('tcp q 80',0,{'action':'reject'})],S)
decide(['sub-rule,(NETWORK,TCP),s1', 'MATCH,DIRECT'], [('tcp a 443',0)],S)

# lines that are none
decide(['FOO,a,DIRECT', 'DOMAIN', 'DOMAIN,a', 'DOMAIN,,DIRECT', 'IP-CIDR,1.2.3.4,DIRECT', 'IP-CIDR,1.2.3.0/33,DIRECT', 'DST-PORT,x,DIRECT',
        'NETWORK,icmp,DIRECT', 'DOMAIN-REGEX,(,DIRECT', 'AND,((MATCH)),DIRECT', 'NOT,((DOMAIN,a), (DOMAIN,b)),DIRECT', 'IN-TYPE,foo,DIRECT',
        'RULE-SET,none,DIRECT', 'IP-ASN,x,DIRECT', 'UID,x,DIRECT', 'DSCP,64,DIRECT', 'MATCH,DIRECT'], [('tcp a 1',16), ('tcp 1.2.3.4 80',16)])
decide(['MATCH,DIRECT','DOMAIN,a,REJECT'], [('tcp a 1',0)])
decide(['FINAL,DIRECT','match,🚀 节点选择'], [('tcp a 1',1)])
decide(['DOMAIN,a,DIRECT,no-resolve,foo', 'MATCH,DIRECT'], [('tcp a 1',0)])

# what a batch may hold
decide(['DOMAIN,a,DIRECT', 'MATCH,DIRECT'], [('tcp a',"error"), ('tcp a 0',"error"), ('tcp a 1 foo=1',"error"),
     ('tcp a 1 in=TUN uid=1 process=x path=/x src=1.1.1.1 ip=1.1.1.1',0), ('tcp 中文.com 1',1), ('udp [::1] 53',1), ('tcp a 1 uid=-1','error'),
     ('tcp a 1 ip=x','error')])

# hosts, and sets
decide(['IP-CIDR,9.0.0.0/8,DIRECT,no-resolve','DOMAIN,real.com,DIRECT', 'MATCH,DIRECT'], [('tcp hh 1',0,N),
     ('tcp al.com 1',1,N)],'hosts: {hh: 9.9.9.9, al.com: real.com}\n')
decide(['RULE-SET,d,REJECT','RULE-SET,i,REJECT','RULE-SET,c,REJECT', 'MATCH,DIRECT'], [('tcp x.com 1',0,N), ('tcp a.y.com 1',0),
     ('tcp y.com 1',3,IP), ('tcp 5.5.5.5 1',1,N), ('tcp h 1 ip=5.5.5.5',1,IP), ('tcp k 9999',2,IP), ('tcp w 1 ip=6.6.6.6',2), ('tcp 6.6.6.6 1',2),
     ('tcp w 1 ip=7.7.7.7',2), ('tcp a.one.com 1',0), ('tcp a.b.one.com 1',3)],'''rule-providers:
  d: {type: inline, behavior: domain, payload: [+.x.com, .y.com, "*.one.com"]}
  i: {type: inline, behavior: ipcidr, payload: [5.0.0.0/8]}
  c: {type: inline, behavior: classical, payload: ["DST-PORT,9999","IP-CIDR,6.0.0.0/8,no-resolve","IP-CIDR,7.0.0.0/8"]}
''')
R = '''rule-providers:
  i: {type: inline, behavior: ipcidr, payload: [5.0.0.0/8]}
  c: {type: inline, behavior: classical, payload: ["DST-PORT,9999","SRC-PORT,1","IP-CIDR,6.0.0.0/8","SRC-IP-CIDR,8.0.0.0/8","DOMAIN,dd", "AND,((DST-PORT,70), (NETWORK,UDP))"]}
'''
decide(['RULE-SET,i,REJECT,no-resolve', 'MATCH,DIRECT'], [('tcp h 1 ip=5.5.5.5',1,N), ('tcp 5.5.5.5 1',0)],R)
decide(['RULE-SET,i,REJECT,src', 'MATCH,DIRECT'], [('tcp h 1 ip=5.5.5.5',1,N), ('tcp h 1 src=5.5.5.5',0,N)],R)
decide(['RULE-SET,c,REJECT,src', 'MATCH,DIRECT'], [('tcp h 9999',1,N), ('tcp h 7 src=1.1.1.1:9999',0), ('tcp h 1',0), ('tcp h 7 src=6.6.6.6',0,N),
     ('tcp h 7 ip=6.6.6.6',1), ('tcp 8.8.8.8 7',0), ('tcp dd 7',0), ('udp h 70 src=1.1.1.1:70',0)],R)
decide(['AND,((RULE-SET,i), (NETWORK,UDP)),REJECT','NOT,((RULE-SET,c)),REJECT', 'MATCH,DIRECT'], [('udp h 1 ip=5.5.5.5',0,IP), ('tcp dd 1',2),
     ('tcp h 2',1)],R)
decide(['SUB-RULE,(RULE-SET,i,no-resolve),s', 'MATCH,DIRECT'], [('tcp 5.5.5.5 1',0),
     ('tcp h 1 ip=5.5.5.5',1,N)],R+'sub-rules: {s: ["MATCH,REJECT"]}\n')

only(r'AND,((DOMAIN-REGEX,^(www|m)\.(a,b|a)\.(com)$), (NETWORK,TCP)),DIRECT', [tcp('www.a.com'), tcp('m.a.com')], [tcp('x.a.com'), udp('www.a.com')])
only(r'OR,((DOMAIN-REGEX,^a{1,2}$), (DOMAIN,z)),DIRECT', [tcp('aa'), tcp('z')], [tcp('aaa')])
only(r'DOMAIN-REGEX,a{2,},b,DIRECT', [], [tcp('aa')])  # payload "a{2,},b"
only(r'DOMAIN-REGEX,^ads?[0-9]*\.(?i:FOO)\.com$,🚀 节点选择', [tcp('ad1.foo.com')], [tcp('bad1.foo.com')])
only(r'DOMAIN-REGEX,(?<=x)\.com$,DIRECT', [tcp('x.com')], [tcp('y.com')])
only(r'DOMAIN-REGEX,^[\w-]+\.ex\.com$,DIRECT', [tcp('a-b_1.ex.com')], [tcp('a.b.ex.com')])
only('IP-CIDR,10.0.0.0/8,DIRECT,no-resolve,src', [tcp('h',1,'src=10.0.0.1')], [tcp('10.0.0.1')])
only('IP-CIDR,10.0.0.0/8,DIRECT,src,no-resolve', [tcp('h',1,'src=10.0.0.1')], [tcp('10.0.0.1')])
only('IP-CIDR , 10.0.0.0/8 , DIRECT , no-resolve ', [tcp('10.0.0.1')], [tcp('h',1,'ip=10.0.0.1')])
only('DOMAIN-SUFFIX,中文.com,DIRECT', [tcp('中文.com'), tcp('a.中文.com')], [tcp('文.com')])
only('DOMAIN-SUFFIX,COM,DIRECT', [tcp('a.com')], [tcp('acom')])
only('DOMAIN-KEYWORD,.CO,DIRECT', [tcp('a.com')], [tcp('aco')])
only('PROCESS-NAME,Google Chrome,DIRECT', [], [tcp('h')])
only('IN-TYPE,SOCKS4,DIRECT', [tcp('h',1,'in=socks4')], [tcp('h',1,'in=socks5')])
only('IN-TYPE,INNER,DIRECT', [tcp('h',1,'in=INNER')], [tcp('h')])
only('IN-TYPE,REDIR/TPROXY/TUNNEL,DIRECT', [tcp('h',1,'in=REDIR'), tcp('h',1,'in=TPROXY'), tcp('h',1,'in=TUNNEL')], [tcp('h')])
only('IN-NAME,DEFAULT-MIXED,DIRECT', [tcp('h',1,'in=mixed')], [tcp('h',1,'in=SOCKS5')])
only('IN-NAME,DEFAULT-SOCKS,DIRECT', [tcp('h',1,'in=SOCKS5')], [tcp('h',1,'in=HTTP')])
n = '(DOMAIN,deep)'
for i in range(30):
    n = f'(AND,({n},(NETWORK,TCP)))'
only(n[1:-1]+',DIRECT', [tcp('deep')], [tcp('x'), udp('deep')])
n = '(DOMAIN,deep)'
for i in range(30):
    n = f'(AND,({n},(NETWORK,TCP)))'
only(n[1:-1]+',DIRECT', [tcp('deep')], [tcp('x')])
only('OR,((DOMAIN,a)),DIRECT', [tcp('a')], [tcp('b')])
only('AND,((DOMAIN,a)),DIRECT', [tcp('a')], [tcp('b')])
only('AND,((DOMAIN-SUFFIX,a), (NOT,((OR,((DOMAIN,x.a), (DST-PORT,22)))))),REJECT', [tcp('y.a')], [tcp('x.a'), tcp('y.a',22)])
only('NOT,((IP-CIDR,10.0.0.0/8,no-resolve)),DIRECT', [tcp('h',1,'ip=10.0.0.1'), tcp('1.1.1.1')], [tcp('10.0.0.1')])
only('NOT,((PROCESS-NAME,curl)),DIRECT', [tcp('h'), tcp('h',1,'process=x')], [tcp('h',1,'process=curl')])
only('NOT,((SRC-IP-CIDR,10.0.0.0/8)),DIRECT', [tcp('h')], [tcp('h',1,'src=10.0.0.1')])
only('NOT,((DST-PORT,80/443)),DIRECT', [tcp('h',22)], [tcp('h',80)])
R = 'rule-providers: {i: {type: inline, behavior: ipcidr, payload: [5.0.0.0/8]}, ' \
    'd: {type: inline, behavior: domain, payload: [+.dd.com, "127-*-*.x.com", "*.b.com", xab.b.com, "+.*.st", "*"]}}\n'
only('AND,((RULE-SET,i,src), (RULE-SET,d)),REJECT', [tcp('a.dd.com',1,'src=5.5.5.5')], [tcp('a.dd.com',1,'src=6.5.5.5'),
     tcp('5.5.5.5',1,'src=5.5.5.5')],R)
only('AND,((RULE-SET,i,no-resolve), (NETWORK,TCP)),REJECT', [tcp('5.5.5.5')], [tcp('h.x.y',1,'ip=5.5.5.5')],R)
only('RULE-SET,d,REJECT', [tcp('127-0-1.x.com'), tcp('ab.b.com'), tcp('xab.b.com'), tcp('localhost'), tcp('q.st'), tcp('a.q.st'),
     tcp('127-0-0.x.com')], [tcp('st.x'), tcp('127-0.x.com'), tcp('b.com'), tcp('a.b.b.com'), tcp('1.1.1.1')],R)
only('RULE-SET,d,REJECT,src', [tcp('dd.com')], [tcp('ee.ff')],R)
only('rule-set,d,REJECT,no-resolve', [tcp('dd.com')], [],R)

# lists that call each other in a circle
S = '''sub-rules:
  a: ["SUB-RULE,(NETWORK,TCP),b","DOMAIN,x,REJECT"]
  b: ["SUB-RULE,(NETWORK,TCP),c","DOMAIN,y,REJECT"]
  c: ["SUB-RULE,(NETWORK,TCP),a","DOMAIN,z,REJECT","MATCH,noudp"]
  m: ["MATCH,PASS"]
  r: ["AND,((DOMAIN,k), (DST-PORT,1)),REJECT"]
'''
decide(['SUB-RULE,(DST-PORT,1),a', 'MATCH,DIRECT'], [('tcp z 1',0,{'action':'reject'}), ('tcp q 1',0,{'outbound':'noudp'}), ('tcp q 2',1),
     ('udp x 1',0,{'action':'reject'}), ('udp y 1',1)],S)
decide(['SUB-RULE,(DST-PORT,1),m','SUB-RULE,(AND,((NETWORK,TCP), (DST-PORT,1))),r', 'MATCH,DIRECT'], [('tcp k 1',1,{'action':'reject'}),
     ('udp k 1',2)],S)

# IPv4 in IPv6
decide(['SRC-IP-CIDR,10.0.0.0/8,DIRECT','IP-CIDR,1.2.3.4/32,DIRECT,no-resolve', 'MATCH,DIRECT'], [('tcp h 1 src=::ffff:10.0.0.1',0),
     ('tcp ::ffff:1.2.3.4 1',1), ('tcp [::ffff:1.2.3.4] 1',1), ('tcp h 1 src=[::ffff:10.1.1.1]:99',0)])

# the first in the profile wins
decide(['DOMAIN-SUFFIX,com,DIRECT','DOMAIN,a.com,REJECT','DOMAIN-KEYWORD,a,REJECT', 'MATCH,DIRECT'], [('tcp a.com 1',0), ('tcp a.org 1',2)])
decide(['DOMAIN-KEYWORD,a,REJECT','DOMAIN,a.com,DIRECT', 'MATCH,DIRECT'], [('tcp a.com 1',0)])
decide(['IP-CIDR,10.0.0.0/8,REJECT','IP-CIDR,10.1.0.0/16,DIRECT', 'MATCH,DIRECT'], [('tcp 10.1.1.1 1',0)])

# names that are odd, and none
L='.'.join(['a'*62]*4)
decide(['DOMAIN-SUFFIX,'+'a'*62+',REJECT', 'MATCH,DIRECT'], [('tcp '+L+' 1',0), ('tcp '+'b'*64+'.com 1',"error"), ('tcp a..b 1','error'),
     ('tcp _x.y-.c 1',1)])

# modes
decide(['MATCH,REJECT'], [('tcp a 1',None,{'chain':['DIRECT'],'action':'direct','mode':'direct'})],'mode: direct\n')
decide(['MATCH,REJECT'], [('tcp a 1',None,{'chain':['GLOBAL','DIRECT'],'mode':'global'})],'mode: Global\n')

# lists of ports, words in any case
only('DST-PORT,'+'/'.join(str(i) for i in range(1,29))+',REJECT', [tcp('h',28)], [tcp('h',29)])
only('DST-PORT,80,REJECT,foo', [tcp('h',80)], [])
only('DST-PORT,[80-90]/[100],REJECT', [tcp('h',85), tcp('h',100)], [tcp('h',99)])
only('DST-PORT,0-65535,REJECT', [tcp('h',1)], [])
only('UID,"1000",REJECT', [], [tcp('h',1,'uid=1000')])
only('REMATCH-NAME,x,REJECT', [], [tcp('h')])
only('PROCESS-NAME,*,REJECT', [], [tcp('h',1,'process=x')])
only('PROCESS-PATH,/usr/bin/Foo Bar,REJECT', [], [tcp('h')])
only('IP-CIDR6,10.0.0.0/8,REJECT', [tcp('10.0.0.1')], [])
only('IP-SUFFIX,8.8.8.8/24,REJECT,no-resolve', [tcp('1.8.8.8')], [tcp('h',1,'ip=1.8.8.8')])
only('IP-SUFFIX,8.8.8.8/24,REJECT,src', [tcp('h',1,'src=1.8.8.8')], [tcp('1.8.8.8')])
only('NETWORK,Tcp,REJECT', [tcp('h')], [])
only('DOMAIN-WILDCARD,*.Example.COM,REJECT', [tcp('a.example.com')], [])
only('DOMAIN-WILDCARD,?.a,REJECT', [tcp('x.a')], [tcp('xx.a')])

print(f"{passed} as they should be, {failed} not")
sys.exit(failed != 0)
