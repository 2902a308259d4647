/*-------------------------------------------------------------------------
 *
 * header_list.h
 *		The option "headers": a JSON object becomes a list of headers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HEADER_LIST_H
#define RSTAR_HEADER_LIST_H

#include "postgres.h"

#include "model/config.h"

#define RSTAR_HEADER_LIST_MAX 32

/*
 * Reads the option.  Returns NULL and sets *list, palloc'd, or returns a
 * sentence that says what is wrong, and has no value of a header in it.
 */
extern const char *rstar_header_list_read(const char *value, RstarHeaderList *list);

/* The header of this name, or NULL */
extern const RstarHeader *rstar_header_list_find(const RstarHeaderList *list, const char *name);

#endif							/* RSTAR_HEADER_LIST_H */
