"""The walls of the sandbox: limits of the process, and a filter on what it may ask the kernel for.

The filter (seccomp, `man 2 seccomp`) lets through what computing needs (memory, the two pipes that are open, ending)
and refuses everything else: no file is opened, no socket made, no process begun, no signal sent.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from typing import Final

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_MODE_FILTER: Final = 2
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0000 | 1  # EPERM
_ALLOW: Final = 0x7FFF_0000
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_RETURN: Final = 0x06


#: What the kernel calls each architecture, and where its numbers stand in `_CALLS`.
_MACHINES: Final = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
#: What is let through, by its number on x86_64 and on aarch64.
_CALLS: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "writev": (20, 66),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "sched_yield": (24, 124),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
}


def can_shut_in() -> bool:
    """Whether there is a filter for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def limit(memory: int, cpu_s: int) -> None:
    """Limits this process for good, to so many bytes of address space and seconds of processor time; what it has open
    stays open, and nothing is opened further."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            # Not every system has each of them; where the filter is, none of them is the only wall.
            if sys.platform == "linux":
                raise


def shut_in() -> None:
    """Refuses this process from here on whatever is not computing. Raises `OSError` where that has no effect."""
    audit, column = _MACHINES[platform.machine()]
    calls = [numbers[column] for numbers in _CALLS.values()]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += [(_EQUAL, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    filled = struct.pack("HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _MODE_FILTER, filled, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        return
    raise OSError("the filter is without effect")
