/*-------------------------------------------------------------------------
 *
 * reply_scan.h
 *		The usual chat completion, read in one pass.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates with malloc only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_SCAN_H
#define RSTAR_REPLY_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "model/reply_text.h"

/* Where a message's texts are, in the order in which they are looked at */
typedef enum RstarScanPart
{
	RSTAR_SCAN_CONTENT,
	RSTAR_SCAN_REASONING_CONTENT,
	RSTAR_SCAN_REASONING
} RstarScanPart;

#define RSTAR_SCAN_PARTS 3

typedef struct RstarReplyScan
{
	/* inside the body, or inside the buffer; empty when absent or null */
	RstarText	texts[RSTAR_SCAN_PARTS];
	RstarText	finish_reason;
	int			prompt_tokens;	/* 0: absent or null */
	int			completion_tokens;
	int			cached_tokens;	/* as OpenAI names them, ... */
	int			cache_hit_tokens;	/* as DeepSeek does, ... */
	int			cache_n;		/* and llama-server, among its times */
	char	   *buffer;			/* malloc'd, for texts with escapes; or NULL */
} RstarReplyScan;

/*
 * Reads a body that is a chat completion without anything unusual, and says
 * whether it was one.  False says nothing about the body but that json-c
 * should look at it; where it is true, json-c would find the same.  The caller
 * calls rstar_reply_scan_free() in either case.
 */
extern bool rstar_reply_scan(RstarReplyScan *scan, const char *body, size_t len);

extern void rstar_reply_scan_free(RstarReplyScan *scan);

#endif							/* RSTAR_REPLY_SCAN_H */
