/*-------------------------------------------------------------------------
 *
 * form.c
 *		Where in an answer the score is, and on which scale.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "base/form.h"

#define BEFORE "<score>"
#define BEHIND "</score>"

const RstarForm rstar_form_retro = {
	.text = BEFORE BEHIND,
	.before_len = sizeof(BEFORE) - 1,
	.behind_len = sizeof(BEHIND) - 1,
	.digits = 3,
	.low = 0,
	.high = INT64_C(100) * RSTAR_FORM_UNIT
};
