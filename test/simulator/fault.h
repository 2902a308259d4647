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

#include "sim.h"

/* When a failure does its work */
typedef enum SimFaultPhase
{
	SIM_PHASE_ARRIVAL,			/* in the place of any service */
	SIM_PHASE_CONTENT,			/* another text, finish_reason, usage, .. */
	SIM_PHASE_BODY,				/* the made body is replaced */
	SIM_PHASE_DELIVERY			/* the reply is sent in a bad way */
} SimFaultPhase;

struct SimFault;

typedef struct SimFaultMode
{
	const char *name;
	SimFaultPhase phase;
	void		(*apply) (SimRequest *req, struct SimFault *fault);
	int			status;			/* default of the parameter "status" */
	const char *help;			/* for GET /sim/modes and the README */
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
	char		path[64];		/* "" : chat only; "all"; or a path */
	int			status;
	long		ms;
	long		bytes;
	long		delay_ms;		/* -1: not set */
	bool		late;			/* an error comes after the service time */
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
 * Chooses the failure of a request, into req->fault: its X-Sim header, else
 * the marker in its prompt, else a rule of POST /sim/control.  "seen" is how
 * often this prompt has come.  False when header or marker are not
 * understood; the request is then answered.
 */
extern bool sim_fault_choose(SimRequest *req, const char *prompt,
							 size_t prompt_len, unsigned seen);

/* The number that "mode" has for counting; all of them in a JSON object */
extern void sim_fault_count(const SimFaultMode *mode);
extern void sim_fault_counts_json(SimBuf *buf);
extern void sim_fault_counts_reset(void);

/* Rules of the control URL */
extern void sim_fault_add_rule(const SimFault *fault);
extern void sim_fault_clear_rules(void);
extern void sim_fault_rules_json(SimBuf *buf);
extern bool sim_fault_has_rules(void);

#endif							/* SIM_FAULT_H */
