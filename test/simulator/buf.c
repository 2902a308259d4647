/*-------------------------------------------------------------------------
 *
 * buf.c
 *		Growing byte buffers, and JSON written into them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

static void
out_of_memory(void)
{
	fputs("simulator: out of memory\n", stderr);
	abort();
}

void *
sim_alloc(size_t size)
{
	void	   *p = calloc(1, size);

	if (p == NULL)
		out_of_memory();
	return p;
}

void *
sim_realloc(void *old, size_t size)
{
	void	   *p = realloc(old, size);

	if (p == NULL)
		out_of_memory();
	return p;
}

char *
sim_strdup(const char *s)
{
	char	   *copy = strdup(s);

	if (copy == NULL)
		out_of_memory();
	return copy;
}

void
sim_buf_reserve(SimBuf *buf, size_t more)
{
	size_t		need = buf->len + more + 1;

	if (need <= buf->cap)
		return;
	if (need < buf->cap * 2)
		need = buf->cap * 2;
	if (need < 256)
		need = 256;
	buf->data = sim_realloc(buf->data, need);
	buf->cap = need;
}

void
sim_buf_append(SimBuf *buf, const char *data, size_t len)
{
	sim_buf_reserve(buf, len);
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void
sim_buf_puts(SimBuf *buf, const char *s)
{
	sim_buf_append(buf, s, strlen(s));
}

void
sim_buf_printf(SimBuf *buf, const char *fmt,...)
{
	va_list		args;
	int			len;

	sim_buf_reserve(buf, 128);
	va_start(args, fmt);
	len = vsnprintf(buf->data + buf->len, buf->cap - buf->len, fmt, args);
	va_end(args);
	if (len < 0)
		return;
	if ((size_t) len >= buf->cap - buf->len)
	{
		sim_buf_reserve(buf, len);
		va_start(args, fmt);
		vsnprintf(buf->data + buf->len, buf->cap - buf->len, fmt, args);
		va_end(args);
	}
	buf->len += len;
}

void
sim_buf_free(SimBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

void
sim_buf_json_chars(SimBuf *buf, const char *data, size_t len)
{
	size_t		done = 0;

	sim_buf_reserve(buf, len + len / 16);
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = data[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		sim_buf_append(buf, data + done, i - done);
		done = i + 1;
		if (c == '\n')
			sim_buf_append(buf, "\\n", 2);
		else if (c == '"' || c == '\\')
		{
			sim_buf_append(buf, "\\", 1);
			sim_buf_append(buf, data + i, 1);
		}
		else
			sim_buf_printf(buf, "\\u%04x", c);
	}
	sim_buf_append(buf, data + done, len - done);
}

void
sim_buf_json(SimBuf *buf, const char *s)
{
	if (s == NULL)
	{
		sim_buf_append(buf, "null", 4);
		return;
	}
	sim_buf_append(buf, "\"", 1);
	sim_buf_json_chars(buf, s, strlen(s));
	sim_buf_append(buf, "\"", 1);
}

bool
sim_utf8_valid(const char *data, size_t len)
{
	const unsigned char *p = (const unsigned char *) data;
	const unsigned char *end = p + len;

	while (p < end)
	{
		uint64_t	word;
		int			more;

		/* Mostly it is ASCII */
		if (end - p >= 8)
		{
			memcpy(&word, p, 8);
			if ((word & UINT64_C(0x8080808080808080)) == 0)
			{
				p += 8;
				continue;
			}
		}
		if (*p < 0x80)
		{
			p++;
			continue;
		}
		more = *p >= 0xF0 ? 3 : *p >= 0xE0 ? 2 : 1;
		if (*p < 0xC2 || *p > 0xF4 || end - p <= more ||
			(*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) ||
			(*p == 0xF0 && p[1] < 0x90) || (*p == 0xF4 && p[1] > 0x8F))
			return false;
		for (int i = 1; i <= more; i++)
		{
			if ((p[i] & 0xC0) != 0x80)
				return false;
		}
		p += more + 1;
	}
	return true;
}
