/*-------------------------------------------------------------------------
 *
 * gzip.c
 *		Bytes in gzip's format, without compression.
 *
 * Called by: fault_apply.c.  Stored blocks are all that a client needs to trip
 * over, and no library has to be there for them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>

#include "gzip.h"

#define SIM_BLOCK_MAX 65535

static void
append_le(SimBuf *out, uint32_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
	{
		char		c = value >> (8 * i);

		sim_buf_append(out, &c, 1);
	}
}

static uint32_t
crc32_of(const unsigned char *data, size_t len)
{
	uint32_t	crc = 0xFFFFFFFF;

	for (size_t i = 0; i < len; i++)
	{
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0xEDB88320 & -(crc & 1));
	}
	return ~crc;
}

void
sim_gzip_store(SimBuf *out, const char *data, size_t len)
{
	static const char header[10] = {0x1f, (char) 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
	size_t		done = 0;

	sim_buf_append(out, header, sizeof(header));
	do
	{
		size_t		n = len - done;
		char		last;

		if (n > SIM_BLOCK_MAX)
			n = SIM_BLOCK_MAX;
		last = done + n == len;
		sim_buf_append(out, &last, 1);
		append_le(out, n, 2);
		append_le(out, ~(uint32_t) n, 2);
		sim_buf_append(out, data + done, n);
		done += n;
	} while (done < len);
	append_le(out, crc32_of((const unsigned char *) data, len), 4);
	append_le(out, len, 4);
}
