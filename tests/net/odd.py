"""Packets that programs do not send by themselves, put on a TUN device as the kernel would (packet socket): odd.py DEVICE VERB ...

Sources are the device's own addresses (198.18.0.1 or what SRC4, SRC6 say); answers come to ordinary sockets.
  fragments ADDR PORT            a datagram in pieces, in every order: echoed
  overlap ADDR PORT              pieces that overlap: nothing comes; the next whole one is echoed
  extensions ADDR PORT           IPv6 extension headers before a datagram: echoed; type 0 routing, too many, ESP: nothing
  garbage N                      malformed packets of every kind
  group                          datagrams to multicast, broadcast and link-local destinations
  syns ADDR N                    SYNs of N different clients
"""
import itertools
import os
import random
import socket
import struct
import sys

SRC4 = os.environ.get("SRC4", "198.18.0.1")
SRC6 = os.environ.get("SRC6", "fdfe:dcba:9876::1")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def packed(addr):
    return socket.inet_pton(socket.AF_INET6 if ":" in addr else socket.AF_INET, addr)


def ip4(dst, proto, payload, src=None, ident=0, frag=0):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0, packed(src or SRC4), packed(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(dst, proto, payload, src=None):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), proto, 64, packed(src or SRC6), packed(dst)) + payload


def with_sum(dst, proto, payload, at, src=None):
    s = packed(src or (SRC6 if ":" in dst else SRC4))
    value = checksum(s + packed(dst) + struct.pack("!II", len(payload), proto) + payload) or 0xFFFF
    return payload[:at] + struct.pack("!H", value) + payload[at + 2 :]


def udp(dst, sport, dport, data, src=None):
    return with_sum(dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, 6, src)


def tcp_syn(dst, sport, dport, src=None):
    return with_sum(dst, 6, struct.pack("!HHIIBBHHH", sport, dport, random.getrandbits(32), 0, 0x50, 2, 65535, 0, 0), 16, src)


class Device:
    def __init__(self, name):
        self.name = name
        self.socks = {}
        for ver, kind in ((4, 0x0800), (6, 0x86DD)):
            self.socks[ver] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            self.socks[ver].bind((name, kind))

    def put(self, packet):
        ver = packet[0] >> 4 if packet else 4
        try:
            self.socks.get(ver, self.socks[4]).send(packet)
        except OSError:
            pass  # the kernel does not take it: neither would shunt see it


class Echo:
    """A socket whose port the packets name as their source."""

    def __init__(self, dst, dport):
        self.six = ":" in dst
        self.dst, self.dport = dst, dport
        self.s = socket.socket(socket.AF_INET6 if self.six else socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind((SRC6 if self.six else SRC4, 0))
        self.s.settimeout(1)
        self.port = self.s.getsockname()[1]

    def datagram(self, size):
        self.want = os.urandom(size)
        return udp(self.dst, self.port, self.dport, self.want)

    def comes(self, timeout=1):
        self.s.settimeout(timeout)
        try:
            return self.s.recv(65536) == self.want
        except TimeoutError:
            return False


def pieces(e, payload, cuts, ident):
    """The payload cut at these offsets (multiples of eight)."""
    edges = [0, *cuts, len(payload)]
    out = []
    for a, b in zip(edges, edges[1:]):
        out.append(piece(e, payload[a:b], a, b < len(payload), ident))
    return out


def piece(e, data, off, more, ident):
    if e.six:
        return ip6(e.dst, 44, struct.pack("!BBHI", 17, 0, off | more, ident) + data)
    return ip4(e.dst, 17, data, ident=ident & 0xFFFF, frag=(0x2000 if more else 0) | off // 8)


def fragments(dev, dst, port):
    e = Echo(dst, int(port))
    ident = random.getrandbits(16)
    for order in itertools.permutations(range(3)):
        for _ in range(3):  # a datagram may be lost
            ident += 1
            parts = pieces(e, e.datagram(2000), (800, 1600), ident)
            for i in order:
                dev.put(parts[i])
            if e.comes():
                break
        else:
            sys.exit(f"order {order}: no echo")


def overlap(dev, dst, port):
    e = Echo(dst, int(port))
    ident = random.getrandbits(16)
    payload = e.datagram(2000)
    for p in pieces(e, payload, (800,), ident):
        dev.put(p)
    if not e.comes():
        sys.exit("not even without an overlap")
    for spoil in ((0, 808), (792, 1600), (400, 480), (0, 1400)):
        ident += 1
        payload = e.datagram(2000)
        first, last = pieces(e, payload, (800,), ident)
        dev.put(first)
        dev.put(piece(e, payload[spoil[0] : spoil[1]], spoil[0], True, ident))
        dev.put(last)
        if e.comes(0.3):
            sys.exit(f"{spoil}: put together")
    ident += 1
    for p in pieces(e, e.datagram(2000), (800,), ident):
        dev.put(p)
    if not e.comes():
        sys.exit("the next one is lost")


def options(kind_next, n=8):
    return bytes([kind_next, n // 8 - 1]) + bytes([1, n - 4]) + bytes(n - 4)


def extensions(dev, dst, port):
    e = Echo(dst, int(port))
    good = {
        "hop-by-hop": (0, lambda u: options(17) + u),
        "destination": (60, lambda u: options(17, 24) + u),
        "both, and routing type 2": (0, lambda u: options(60) + options(43) + bytes([17, 0, 2, 0, 0, 0, 0, 0]) + u),
        "a fragment header around a whole one": (44, lambda u: struct.pack("!BBHI", 17, 0, 0, 7) + u),
        "eight": (60, lambda u: options(60) * 7 + options(17) + u),
    }
    bad = {
        "nine": (60, lambda u: options(60) * 8 + options(17) + u),
        "routing type 0": (43, lambda u: bytes([17, 0, 0, 0, 0, 0, 0, 0]) + u),
        "ESP": (50, lambda u: options(17) + u),
        "AH": (51, lambda u: options(17) + u),
        "one longer than the packet": (60, lambda u: bytes([17, 255]) + bytes(6) + u),
    }
    for name, (first, wrap) in good.items():
        for _ in range(3):
            dev.put(ip6(dst, first, wrap(e.datagram(100))))
            if e.comes():
                break
        else:
            sys.exit(f"{name}: no echo")
    for name, (first, wrap) in bad.items():
        dev.put(ip6(dst, first, wrap(e.datagram(100))))
        if e.comes(0.2):
            sys.exit(f"{name}: echoed")


def garbage(dev, n):
    rnd = random.Random(7)
    seeds = [
        ip4("10.78.0.3", 6, tcp_syn("10.78.0.3", 999, 80)),
        ip4("10.78.0.3", 17, udp("10.78.0.3", 999, 53, b"x" * 40)),
        ip4("10.78.0.3", 1, struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"data"),
        ip4("10.78.0.3", 17, b"y" * 64, frag=0x2000),
        ip6("fd78::3", 6, tcp_syn("fd78::3", 999, 80)),
        ip6("fd78::3", 60, options(44) + struct.pack("!BBHI", 17, 0, 1, 5) + b"z" * 32),
        ip6("fd78::3", 58, struct.pack("!BBHHH", 128, 0, 0, 1, 1)),
    ]
    for _ in range(int(n)):
        p = bytearray(rnd.choice(seeds))
        for _ in range(rnd.randrange(1, 6)):
            p[rnd.randrange(len(p))] = rnd.randrange(256)
        p = p[: rnd.randrange(1, len(p) + 1)] if rnd.random() < 0.3 else p
        dev.put(bytes([p[0] & 0x0F | (0x40 if rnd.random() < 0.5 else 0x60)]) + bytes(p[1:]) if rnd.random() < 0.2 else bytes(p))


GROUPS = ["224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255", "198.18.0.3", "169.254.9.9", "ff02::fb", "ff05::1:3", "ff0e::1", "fe80::9"]


def group(dev):
    for dst in GROUPS:
        packet = ip6 if ":" in dst else ip4
        dev.put(packet(dst, 17, udp(dst, 5353, 5353, b"who is there?")))
        dev.put(packet(dst, 6, tcp_syn(dst, 4444, 80)))


def syns(dev, dst, n):
    for i in range(int(n)):
        src = f"10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}"
        dev.put(ip4(dst, 6, tcp_syn(dst, 1024 + i % 60000, 80, src), src=src))


globals()[sys.argv[2]](Device(sys.argv[1]), *sys.argv[3:])
