/*-------------------------------------------------------------------------
 *
 * reply.h
 *		A chat completion's body.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_REPLY_H
#define SIM_REPLY_H

#include "score.h"
#include "sim.h"

/* Which member of the message has the text */
typedef enum SimField
{
	SIM_IN_CONTENT,
	SIM_IN_REASONING_CONTENT,	/* content is null */
	SIM_IN_REASONING,
	SIM_IN_NOTHING,				/* content is null and nothing else is there */
	SIM_IN_PARTS				/* content is a list of parts */
} SimField;

/* What failures change of a reply; all zero for a good one */
typedef struct SimShape
{
	SimField	field;
	const char *score;			/* text in the tags in the place of the number */
	bool		no_score;		/* the text ends before the tags */
	bool		quoted;			/* the reasoning quotes other tags */
	bool		think;			/* a <think> block with another score first */
	bool		split;			/* the reasoning in reasoning_content, the
								 * score in content */
	const char *finish;			/* finish_reason */
	bool		used_up;		/* usage says that max_tokens were */
	const char *insert;			/* raw JSON string characters, before the tags */
	size_t		insert_len;
	const char *tail;			/* text behind the tags */
	const char *usage;			/* raw JSON; "" leaves usage out */
	const char *choices;		/* raw JSON; "" leaves choices out */
	int			drop;			/* choices not sent of n */
	bool		reversed;		/* choices in reversed order */
} SimShape;

/* What the request wants */
typedef struct SimWish
{
	const char *model;
	SimPair		pair;
	uint64_t	prompt_hash;
	uint64_t	seed;
	double		temperature;
	int			n;
	int			max_tokens;		/* of a choice; -1: no limit */
	const char *stop[4];
	int			nstop;
	int			prompt_tokens;
	int			cached_tokens;
} SimWish;

/*
 * Appends the body.  Returns the completion tokens of the longest choice, and
 * of all in *total.
 */
extern int	sim_reply_make(SimBuf *body, const SimWish *wish,
						   const SimShape *shape, int *total);

/* The body of the fixed mode */
extern void sim_reply_fixed(SimBuf *body, int score);

/* Bytes of a token, near to what English text has with Qwen's tokenizer */
#define SIM_TOKEN_BYTES 4

/* Tokens of so many bytes, as the simulator counts them */
extern int	sim_tokens(size_t bytes);

#endif							/* SIM_REPLY_H */
