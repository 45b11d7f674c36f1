#!/usr/bin/env python3
"""Holds many TCP connections to one address at the same time and says nothing on any of them.

crowd.py STATE TARGET COUNT FIRST SOURCES [again]

The connections come from SOURCES addresses in turn, from FIRST on. One that the other end closes is held all the same until all
COUNT were there; then all stay as they are, or, with `again`, are closed and opened anew, for ever. STATE is a file that says
how many were there at the same time at most, how many the other end has closed, and how often all were there.
"""
import errno
import ipaddress
import json
import os
import resource
import selectors
import socket
import sys
import time

# Attempts that are under way at once: more would only wait in line, and be repeated after seconds.
ATTEMPTS = 2000


def main():
    state, target, count, first, sources = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
    again = sys.argv[6:] == ["again"]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector = selectors.EpollSelector()
    totals = {"most": 0, "closed": 0, "rounds": 0}

    told = 0.0

    def tell(at_once=False):
        nonlocal told
        if not at_once and time.monotonic() - told < 0.05:
            return
        told = time.monotonic()
        with open(state + ".next", "w") as file:
            json.dump(totals, file)
        os.rename(state + ".next", state)

    def attempt(number):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        # The port is chosen with the destination known, so that each address has all ports for each destination.
        one.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        one.bind((str(ipaddress.ip_address(first) + number % sources), 0))
        if one.connect_ex((target, 179)) not in (0, errno.EINPROGRESS):
            one.close()
            return False
        selector.register(one, selectors.EVENT_WRITE)
        return True

    while True:
        held, under_way, begun = [], 0, 0
        while len(held) < count:
            while begun < count and under_way < ATTEMPTS and attempt(begun):
                begun, under_way = begun + 1, under_way + 1
            for key, _ in selector.select(1):
                one = key.fileobj
                if key.events == selectors.EVENT_WRITE:
                    under_way -= 1
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        held.append(one)
                        selector.modify(one, selectors.EVENT_READ)
                        continue
                    begun -= 1
                    selector.unregister(one)
                    one.close()
                elif not hears(one):
                    totals["closed"] += 1
                    selector.unregister(one)
            totals["most"] = max(totals["most"], len(held))
            tell()
        totals["rounds"] += 1
        tell(at_once=True)
        while not again:
            for key, _ in selector.select(1):
                if not hears(key.fileobj):
                    totals["closed"] += 1
                    selector.unregister(key.fileobj)
            tell()
        for one in held:
            if one in selector.get_map():
                selector.unregister(one)
            one.close()


def hears(one):
    """Whether the other end is still there; what it says is of no interest."""
    try:
        return one.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


main()
