"""slow_dns.py ADDRESS SECONDS [FILE]: a name server that answers every A with its own address, so much later; in FILE a line for each question: name, type, and the
    options behind it (EDNS) in hex
slow_dns.py ask ADDRESS N DOMAIN: asks N names at once; says how long the last answer took; status 1 when one is missing"""
import heapq
import os
import select
import socket
import struct
import sys
import time


def note(query, end, log):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    print(".".join(labels), struct.unpack("!H", query[end - 4:end - 2])[0], query[end + 11:].hex(), file=log, flush=True)


def serve(address, delay, log=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.bind((address, 53))
    later = []
    while True:
        wait = max(0, later[0][0] - time.monotonic()) if later else None
        if select.select([s], [], [], wait)[0]:
            query, peer = s.recvfrom(4096)
            end = query.index(0, 12) + 5
            if log:
                note(query, end, log)
            answer = query[:2] + b"\x81\x80" + struct.pack("!4H", 1, query[end - 4:end - 2] == b"\0\1", 0, 0) + query[12:end]
            if query[end - 4:end - 2] == b"\0\1":
                answer += b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 60, 4) + socket.inet_aton(address)
            heapq.heappush(later, (time.monotonic() + delay, answer, peer))
        while later and later[0][0] <= time.monotonic():
            _, answer, peer = heapq.heappop(later)
            s.sendto(answer, peer)


def ask(address, n, domain):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((address, 53))
    began = time.monotonic()
    tag = os.urandom(3).hex()
    left = set(range(n))
    for i in range(n):
        name = b"".join(bytes([len(x)]) + x.encode() for x in f"n{i}-{tag}.{domain}".split(".")) + b"\0"
        s.send(struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1")
    while left and select.select([s], [], [], 8)[0]:
        answer = s.recv(4096)
        if answer[3] & 15 == 0 and answer[7]:
            left.discard(answer[0] << 8 | answer[1])
    print(f"{n - len(left)} of {n} answers in {time.monotonic() - began:.2f} s")
    sys.exit(1 if left else 0)


if sys.argv[1] == "ask":
    ask(sys.argv[2], int(sys.argv[3]), sys.argv[4])
serve(sys.argv[1], float(sys.argv[2]), open(sys.argv[3], "w") if len(sys.argv) > 3 else None)
