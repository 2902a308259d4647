/*-------------------------------------------------------------------------
 *
 * chat.h
 *		POST /v1/chat/completions and POST /abort_request.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CHAT_H
#define SIM_CHAT_H

#include "sim.h"

extern void sim_chat_handle(SimRequest *req);
extern void sim_chat_abort(SimRequest *req);

/* Counts and logs a chat request, whoever answers it; not if it is already */
extern void sim_chat_count(SimRequest *req);

/* A chat request is over: whole, or broken off by either side */
extern void sim_chat_end(SimRequest *req, bool whole);

#endif							/* SIM_CHAT_H */
