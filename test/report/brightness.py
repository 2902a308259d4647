#!/usr/bin/env python3
"""brightness.py LIGHT DARK: fails unless the first PNG is bright and the second one dark, on average.

For report.sh.  Reads what Chromium writes: 8 bits, RGB or RGBA, not interlaced.
"""

import struct
import sys
import zlib


def mean(path):
    """Of all bytes of the picture, 0 to 255, with PNG's filters undone."""
    data = open(path, 'rb').read()
    width, height, depth, colour, _, _, interlaced = struct.unpack('>IIBBBBB', data[16:29])
    assert depth == 8 and colour in (2, 6) and not interlaced, (depth, colour, interlaced)
    packed, at = b'', 8
    while at < len(data):
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        if kind == b'IDAT':
            packed += data[at + 8:at + 8 + length]
        at += length + 12
    size = 4 if colour == 6 else 3
    raw, line, total = zlib.decompress(packed), width * size, 0
    before = bytearray(line)
    for row in range(height):
        kind = raw[row * (line + 1)]
        now = bytearray(raw[row * (line + 1) + 1:(row + 1) * (line + 1)])
        for i in range(line if kind else 0):
            left = now[i - size] if i >= size else 0
            up, corner = before[i], before[i - size] if i >= size else 0
            if kind == 1:
                add = left
            elif kind == 2:
                add = up
            elif kind == 3:
                add = (left + up) // 2
            else:
                guess = left + up - corner
                add = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            now[i] = (now[i] + add) & 255
        total += sum(now[0::size])
        before = now
    return total / (width * height)


light, dark = mean(sys.argv[1]), mean(sys.argv[2])
print('light %.0f, dark %.0f' % (light, dark))
sys.exit(not (light > 200 and dark < 60))
