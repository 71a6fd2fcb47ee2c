"""Replace this process by a program that makes files for its owner alone, and cannot change their modes.

Boost, which Triton's Python backend uses, opens its shared memory to every account by `fchmod`, whatever the umask.
This filter of system calls (seccomp), which child processes inherit, has every `fchmod` fail.
Its Unix socket lies in the folder that it runs in, as a socket's path has 107 bytes at most; what a killed process left
there would be in the way.
Run     python keep_umask.py FOLDER SOCKET PROGRAM [ARGUMENT ...]
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path
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


def refuse_fchmod() -> None:
    """Have fchmod fail in this process and its children. Raises OSError where the kernel has no such filters."""
    architecture, fchmod = SYSTEM_CALLS[platform.machine()]
    # struct sock_filter: code, instructions to skip where a comparison is true and where it is false, value
    instructions = (
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 1, fchmod),
        (RETURN, 0, 0, FAIL),
        (RETURN, 0, 0, ALLOW),
    )
    packed = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    program = ctypes.byref(Program(len(instructions), packed))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    refused = prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if refused or prctl(SET_SECCOMP, FILTER_MODE, program):
        why = "this kernel does not filter system calls (seccomp)"
        raise OSError(ctypes.get_errno(), why)


if __name__ == "__main__":
    folder, socket, *command = sys.argv[1:]
    os.umask(0o077)
    try:
        refuse_fchmod()
    except OSError as error:
        sys.exit(
            f"Triton's shared memory cannot be closed to other accounts: {error.strerror}. Use Docker."
        )
    os.chdir(folder)
    Path(socket).unlink(missing_ok=True)
    os.execv(command[0], command)  # noqa: S606 (no shell is needed)
