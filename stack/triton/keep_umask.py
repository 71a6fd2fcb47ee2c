"""Replace this process by a program that makes files for its owner alone, and cannot change their modes.

Boost, which Triton's Python backend uses, opens its shared memory to every account by `fchmod`, whatever the umask.
This filter of system calls (seccomp), which child processes inherit, has every `fchmod` fail.
Run     python keep_umask.py PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

# linux/audit.h and the table of system calls: (architecture, number of fchmod)
SYSTEM_CALLS: Final = {"x86_64": (0xC000003E, 91), "aarch64": (0xC00000B7, 52)}
NUMBER_AT, ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
# linux/filter.h, linux/seccomp.h, linux/prctl.h
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FAIL, ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000
SET_NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER_MODE = 38, 22, 2


class Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def instruction(code: int, value: int, *, skip_if_not: int = 0) -> bytes:
    """The kernel's struct sock_filter; ``skip_if_not``: instructions that a comparison skips where it is false."""
    return struct.pack("=HBBI", code, 0, skip_if_not, value)


def refuse_fchmod() -> None:
    """Have fchmod fail in this process and its children. Raises OSError where the kernel has no such filters."""
    architecture, fchmod = SYSTEM_CALLS[platform.machine()]
    instructions = (
        instruction(LOAD, ARCHITECTURE_AT),
        instruction(JUMP_IF_EQUAL, architecture, skip_if_not=3),
        instruction(LOAD, NUMBER_AT),
        instruction(JUMP_IF_EQUAL, fchmod, skip_if_not=1),
        instruction(RETURN, FAIL),
        instruction(RETURN, ALLOW),
    )
    program = Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(
        SET_SECCOMP, FILTER_MODE, ctypes.byref(program)
    ):
        raise OSError(
            ctypes.get_errno(), "this kernel does not filter system calls (seccomp)"
        )


if __name__ == "__main__":
    os.umask(0o077)
    try:
        refuse_fchmod()
    except OSError as error:
        sys.exit(
            f"Triton's shared memory cannot be closed to other accounts: {error.strerror}. Use Docker."
        )
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 (no shell is needed)
