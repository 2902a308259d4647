/*-------------------------------------------------------------------------
 *
 * form.h
 *		Where in an answer the score is, and on which scale.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_FORM_H
#define RSTAR_FORM_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes of what stands before and behind the number, together */
#define RSTAR_FORM_LEN 64

/* The bounds count in parts of this size, and so do numbers in answers */
#define RSTAR_FORM_UNIT 1000000

/* Has no pointers, for it goes through shared memory */
typedef struct RstarForm
{
	char		text[RSTAR_FORM_LEN];	/* what is before the number, at least
										 * a byte, and then what is behind it */
	uint8_t		before_len;
	uint8_t		behind_len;
	uint8_t		digits;			/* before the point, at most */
	bool		fraction;		/* a number may have one */
	int64_t		low;			/* score 0 */
	int64_t		high;			/* score 100, more than low */
} RstarForm;

/* As Retro* answers: "<score>", a whole number from 0 to 100, "</score>" */
extern const RstarForm rstar_form_retro;

#endif							/* RSTAR_FORM_H */
