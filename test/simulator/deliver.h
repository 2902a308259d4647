/*-------------------------------------------------------------------------
 *
 * deliver.h
 *		A reply goes out: whole, in pieces, cut, or not at all.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_DELIVER_H
#define SIM_DELIVER_H

#include "sim.h"

/* Sends a READY request's reply; MHD_NO closes the connection */
extern enum MHD_Result sim_deliver(SimRequest *req);

/* The prebuilt reply of the fixed mode; made anew when "settings" change */
extern void sim_deliver_prepare_fixed(void);
extern enum MHD_Result sim_deliver_fixed(SimRequest *req);

/* Adds a header; the value is copied */
extern void sim_reply_header(SimReply *reply, const char *name,
							 const char *value);

/* Forgets all that the reply holds */
extern void sim_reply_clear(SimReply *reply);

/* A JSON reply, for control.c and probe.c; takes the buffer over */
extern void sim_reply_json(SimRequest *req, int status, SimBuf *body);

#endif							/* SIM_DELIVER_H */
