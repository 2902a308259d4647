/*-------------------------------------------------------------------------
 *
 * url.h
 *		A server's base URLs: what is accepted, and its canonical form.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_URL_H
#define RSTAR_URL_H

#include "postgres.h"

#include "model/config.h"

/*
 * Parses one URL, NUL-terminated, into "url" (strings palloc'd in the current
 * context; url->text is the argument itself).  Returns NULL, or a
 * sentence that says what is wrong and never quotes the URL, which may hold a
 * password.
 */
extern const char *rstar_url_parse(char *given, RstarUrl *url);

/* Do both name the same endpoint? */
extern bool rstar_url_equal(const RstarUrl *a, const RstarUrl *b);

#endif							/* RSTAR_URL_H */
