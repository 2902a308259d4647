#!/usr/bin/env python3
"""Blanks the GPU code in a library that one card and one model's shape cannot use, so that it packs small.

usage: trim.py FILE...      (changed in place)

Each translation unit of a CUDA library carries its machine code once per architecture, in the ELF section .nv_fatbin.
Kept is that of compute capability 9.0 (Hopper), and of FlashAttention's kernels those for head size 128 and bf16.  All
else is overwritten by zeros: offsets, headers and host code stay as they are, and a lazy loader
(CUDA_MODULE_LOADING=LAZY) never looks at an entry that no kernel asks for.  What was blanked fails when it is used:
this is for a measurement, not for serving."""
import re
import struct
import sys

ARCHITECTURE = 90
MACHINE_CODE = 2                # a kind of entry; the other is PTX
CONTAINER = 0xBA55ED50
# the end of the tile's shape, then head size and type, as the kernel's name has them
HEAD = re.compile(rb"(?:E|S[0-9A-Z]?_)EEELi(\d+)ENS_(\d+[a-z][0-9a-z_]*)")


def section(data, wanted):
    """Where a section lies in an ELF file, and its size"""
    if data[:4] != b"\x7fELF":
        sys.exit("not an ELF file")
    table, = struct.unpack_from("<Q", data, 0x28)
    size, number, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + n * size) for n in range(number)]
    strings = headers[names][4]
    for header in headers:
        end = data.find(b"\0", strings + header[0])
        if data[strings + header[0]:end] == wanted:
            return header[4], header[5]
    return 0, 0


def entries(data):
    """(kind, architecture, offset of the code, its size, is it compressed?) of each"""
    at, size = section(data, b".nv_fatbin")
    end = at + size
    while at < end - 16:
        magic, _, head, size = struct.unpack_from("<IHHQ", data, at)
        if magic != CONTAINER:
            at += 8
            continue
        at += head
        last = at + size
        while at < last:
            kind, _, head, size = struct.unpack_from("<HHIQ", data, at)
            compressed, = struct.unpack_from("<I", data, at + 16)
            architecture, = struct.unpack_from("<I", data, at + 28)
            yield kind, architecture, at + head, size, compressed > 0
            at += head + size


def wanted(code, doubtful):
    if b"FlashAttnFwdSm90" in code or b"enable_sm80_to_sm89" in code:
        head = HEAD.search(code)
        return bool(head) and head.group(1) == b"128" and head.group(2).startswith(b"10bfloat16")
    return not doubtful


def trim(path):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    flash = b"FlashAttnFwdSm90" in data or "flash" in path
    kept = blanked = 0
    for kind, architecture, at, size, compressed in list(entries(data)):
        # what is compressed cannot be looked into; FlashAttention's large ones are other shapes'
        doubtful = compressed and flash and size > 1 << 20
        if kind == MACHINE_CODE and architecture == ARCHITECTURE and wanted(bytes(data[at:at + size]), doubtful):
            kept += size
        else:
            data[at:at + size] = bytes(size)
            blanked += size
    if not kept:
        sys.exit(f"{path}: no code for compute capability {ARCHITECTURE / 10}")
    with open(path, "wb") as file:
        file.write(data)
    print(f"{path.rsplit('/', 1)[-1]}: kept {kept / 1e6:.1f} MB of GPU code, blanked {blanked / 1e6:.1f} MB")


for path in sys.argv[1:]:
    trim(path)
