/*-------------------------------------------------------------------------
 *
 * fault.h
 *		Failures: what they are called, and which request gets one.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include <json-c/json.h>

#include "reply.h"
#include "sim.h"

/* When a failure does its work */
typedef enum SimFaultPhase
{
	SIM_PHASE_ARRIVAL,			/* in the place of any service */
	SIM_PHASE_CONTENT,			/* another text, finish_reason, usage, .. */
	SIM_PHASE_REPLY				/* the made reply is changed, or sent in a bad
								 * way */
} SimFaultPhase;

struct SimFault;

typedef struct SimFaultMode
{
	const char *name;
	SimFaultPhase phase;
	void		(*apply) (SimRequest *req, struct SimFault *fault);
	void		(*shape) (SimShape *shape, struct SimFault *fault);
	const char *help;			/* for GET /sim/modes */
} SimFaultMode;

/* fault_apply.c; ends with a mode without a name */
extern const SimFaultMode sim_fault_modes[];

typedef struct SimFault
{
	const SimFaultMode *mode;
	char		value[512];		/* of the mode: [[sim:MODE=VALUE]] */
	char		message[512];
	char		type[64];
	char		code[64];
	char		param[64];
	char		envelope[16];
	char		retry_after[64];
	char		match[128];		/* must occur in the body */
	char		path[64];		/* "": chat only; "all"; or a path */
	int			status;			/* 0: not set */
	long		ms;				/* -1: not set; so are the next two */
	long		bytes;
	long		tokens;			/* the limit that too-long speaks of */
	long		delay_ms;		/* -1: not set */
	bool		late;			/* an error comes after the service time */
	bool		early;			/* before the body was read */
	double		p;				/* probability */
	long		times;			/* -1: no limit */
	long		after;			/* first ones that are spared */
	uint64_t	seen;			/* matching requests so far */
	uint64_t	done;			/* failures so far */
} SimFault;

/*
 * Reads "MODE[=VALUE],key=value,..." (a header, or a marker without its
 * brackets).  False and a message in "error" when it is not understood.
 */
extern bool sim_fault_parse(SimFault *fault, const char *text, size_t len,
							char *error, size_t error_size);

/* The same from a control request's JSON object */
extern bool sim_fault_from_json(SimFault *fault, struct json_object *object,
								char *error, size_t error_size);

/*
 * Chooses the failure of a chat request, into req->fault: its X-Sim header,
 * else the marker in its prompt, else a rule of POST /sim/control.  "seen" is
 * how often this prompt has come, 0 when that is not known.  False when header
 * or marker are not understood; the request is then answered.
 */
extern bool sim_fault_choose(SimRequest *req, const char *prompt,
							 size_t prompt_len, unsigned seen);

/* The same before the body is there; only failures that are "early" */
extern bool sim_fault_choose_early(SimRequest *req);

/* The same for another path than chat */
extern bool sim_fault_choose_probe(SimRequest *req);

/* How often each mode was used, and what there is */
extern void sim_fault_counts_json(SimBuf *buf);
extern void sim_fault_counts_reset(void);

/* Rules of the control URL */
extern void sim_fault_add_rule(const SimFault *fault);
extern void sim_fault_clear_rules(void);
extern void sim_fault_rules_json(SimBuf *buf);
extern bool sim_fault_has_rules(void);
extern void sim_fault_modes_json(SimBuf *buf);

#endif							/* SIM_FAULT_H */
