/*-------------------------------------------------------------------------
 *
 * buf.h
 *		Growing byte buffers, and JSON written into them.
 *
 * Memory that runs out ends the process: a test must not go on with a
 * simulator that lies.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_BUF_H
#define SIM_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct SimBuf
{
	char	   *data;			/* NULL, or NUL-terminated behind len */
	size_t		len;
	size_t		cap;
} SimBuf;

extern void *sim_alloc(size_t size);	/* zeroed */
extern void *sim_realloc(void *old, size_t size);
extern char *sim_strdup(const char *s);

extern void sim_buf_reserve(SimBuf *buf, size_t more);
extern void sim_buf_append(SimBuf *buf, const char *data, size_t len);
extern void sim_buf_puts(SimBuf *buf, const char *s);
extern void sim_buf_printf(SimBuf *buf, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern void sim_buf_free(SimBuf *buf);

/* What goes between the quotes of a JSON string; UTF-8 passes as it is */
extern void sim_buf_json_chars(SimBuf *buf, const char *data, size_t len);

/* The same with the quotes; a NULL string is written as null */
extern void sim_buf_json(SimBuf *buf, const char *s);

extern bool sim_utf8_valid(const char *data, size_t len);

#endif							/* SIM_BUF_H */
