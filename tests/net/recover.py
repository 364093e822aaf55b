"""Kills PID and prints after how many milliseconds a new flow (look-up, connect, bytes both ways) to HOST PORT works."""
import os
import signal
import socket
import sys
import time

pid, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def works():
    try:
        with socket.create_connection((host, port), timeout=0.1) as s:
            s.settimeout(0.3)
            s.sendall(b"D" + bytes(7) + b"\x10")
            return len(s.recv(16)) > 0
    except OSError:
        return False


os.kill(pid, signal.SIGKILL)
start = time.monotonic()
while time.monotonic() - start < 5:
    began = time.monotonic()
    if works():
        print(round((time.monotonic() - start) * 1000))
        sys.exit(0)
    time.sleep(max(0, 0.01 - (time.monotonic() - began)))
sys.exit(1)
