/*-------------------------------------------------------------------------
 *
 * error.h
 *		Error replies in the words and shapes of each server.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_ERROR_H
#define SIM_ERROR_H

#include "sim.h"

/* What an error reply says; NULL and 0 stand for the dialect's own */
typedef struct SimError
{
	int			status;
	const char *message;
	const char *type;
	const char *code;			/* OpenAI's string code */
	const char *param;
	const char *envelope;		/* flat, wrapped, string, detail, details,
								 * text, html, raw (the message is the body),
								 * empty */
} SimError;

/* Makes it the request's reply and the request READY */
extern void sim_error(SimRequest *req, const SimError *error);

/* The same for the usual case */
extern void sim_error_simple(SimRequest *req, int status, const char *type,
							 const char *fmt,...)
			__attribute__((format(printf, 4, 5)));

/* Is this a name for SimError.envelope? */
extern bool sim_error_envelope_valid(const char *name);

/* Errors that each dialect words in its own way */
extern void sim_error_too_long(SimRequest *req, int prompt_tokens,
							   int max_tokens, int context, bool old);
extern void sim_error_max_tokens(SimRequest *req, const char *name,
								 int max_tokens, int context);
extern void sim_error_model(SimRequest *req, const char *model);
extern void sim_error_queue_full(SimRequest *req);
extern void sim_error_loading(SimRequest *req);
extern void sim_error_key(SimRequest *req);
extern void sim_error_path(SimRequest *req);	/* no such path or method */

#endif							/* SIM_ERROR_H */
