/*-------------------------------------------------------------------------
 *
 * fault_modes.h
 *		The single failures, for the table in fault_apply.c.
 *
 * do_: does it to a request on arrival; sh_: shapes the text; re_: does it to
 * the finished reply.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_FAULT_MODES_H
#define SIM_FAULT_MODES_H

#include "fault.h"

/* fault_error.c: in the place of any service */
extern void sim_fault_do_status(SimRequest *req, SimFault *f);
extern void sim_fault_do_too_long(SimRequest *req, SimFault *f);
extern void sim_fault_do_model(SimRequest *req, SimFault *f);
extern void sim_fault_do_key(SimRequest *req, SimFault *f);
extern void sim_fault_do_echo_key(SimRequest *req, SimFault *f);
extern void sim_fault_do_forbidden(SimRequest *req, SimFault *f);
extern void sim_fault_do_quota(SimRequest *req, SimFault *f);
extern void sim_fault_do_rate_limit(SimRequest *req, SimFault *f);
extern void sim_fault_do_queue_full(SimRequest *req, SimFault *f);
extern void sim_fault_do_overloaded(SimRequest *req, SimFault *f);
extern void sim_fault_do_preempted(SimRequest *req, SimFault *f);
extern void sim_fault_do_loading(SimRequest *req, SimFault *f);
extern void sim_fault_do_no_worker(SimRequest *req, SimFault *f);
extern void sim_fault_do_shed(SimRequest *req, SimFault *f);
extern void sim_fault_do_draining(SimRequest *req, SimFault *f);
extern void sim_fault_do_engine_dead(SimRequest *req, SimFault *f);
extern void sim_fault_do_body_too_large(SimRequest *req, SimFault *f);
extern void sim_fault_do_bad_gateway(SimRequest *req, SimFault *f);
extern void sim_fault_do_gateway_timeout(SimRequest *req, SimFault *f);
extern void sim_fault_do_redirect(SimRequest *req, SimFault *f);
extern void sim_fault_do_duplicate_id(SimRequest *req, SimFault *f);
extern void sim_fault_do_validation(SimRequest *req, SimFault *f);
extern void sim_fault_do_close(SimRequest *req, SimFault *f);
extern void sim_fault_do_reset(SimRequest *req, SimFault *f);
extern void sim_fault_do_silent(SimRequest *req, SimFault *f);
extern void sim_fault_do_garbage(SimRequest *req, SimFault *f);
extern void sim_fault_do_header_cut(SimRequest *req, SimFault *f);
extern void sim_fault_do_bad_length(SimRequest *req, SimFault *f);
extern void sim_fault_do_huge_header(SimRequest *req, SimFault *f);

/* fault_content.c: another text, finish_reason, usage, .. */
extern void sim_fault_sh_score(SimShape *s, SimFault *f);
extern void sim_fault_sh_no_score(SimShape *s, SimFault *f);
extern void sim_fault_sh_abort(SimShape *s, SimFault *f);
extern void sim_fault_sh_length(SimShape *s, SimFault *f);
extern void sim_fault_sh_finish(SimShape *s, SimFault *f);
extern void sim_fault_sh_quoted(SimShape *s, SimFault *f);
extern void sim_fault_sh_tail(SimShape *s, SimFault *f);
extern void sim_fault_sh_think(SimShape *s, SimFault *f);
extern void sim_fault_sh_split(SimShape *s, SimFault *f);
extern void sim_fault_sh_reasoning_content(SimShape *s, SimFault *f);
extern void sim_fault_sh_reasoning(SimShape *s, SimFault *f);
extern void sim_fault_sh_null(SimShape *s, SimFault *f);
extern void sim_fault_sh_parts(SimShape *s, SimFault *f);
extern void sim_fault_sh_usage(SimShape *s, SimFault *f);
extern void sim_fault_sh_choices(SimShape *s, SimFault *f);
extern void sim_fault_sh_nul(SimShape *s, SimFault *f);
extern void sim_fault_sh_control(SimShape *s, SimFault *f);
extern void sim_fault_sh_replacement(SimShape *s, SimFault *f);
extern void sim_fault_sh_surrogate(SimShape *s, SimFault *f);
extern void sim_fault_sh_bad_utf8(SimShape *s, SimFault *f);
extern void sim_fault_sh_raw_control(SimShape *s, SimFault *f);
extern void sim_fault_sh_unicode(SimShape *s, SimFault *f);

/* fault_reply.c: the made reply is changed, or sent in a bad way */
extern void sim_fault_re_none(SimRequest *req, SimFault *f);
extern void sim_fault_re_hang(SimRequest *req, SimFault *f);
extern void sim_fault_re_hold(SimRequest *req, SimFault *f);
extern void sim_fault_re_success(SimRequest *req, SimFault *f);
extern void sim_fault_re_body(SimRequest *req, SimFault *f);
extern void sim_fault_re_junk(SimRequest *req, SimFault *f);
extern void sim_fault_re_truncated(SimRequest *req, SimFault *f);
extern void sim_fault_re_empty(SimRequest *req, SimFault *f);
extern void sim_fault_re_sse_error(SimRequest *req, SimFault *f);
extern void sim_fault_re_error_200(SimRequest *req, SimFault *f);
extern void sim_fault_re_json(SimRequest *req, SimFault *f);
extern void sim_fault_re_deep(SimRequest *req, SimFault *f);
extern void sim_fault_re_bom(SimRequest *req, SimFault *f);
extern void sim_fault_re_twice(SimRequest *req, SimFault *f);
extern void sim_fault_re_padded(SimRequest *req, SimFault *f);
extern void sim_fault_re_gzip(SimRequest *req, SimFault *f);
extern void sim_fault_re_content_type(SimRequest *req, SimFault *f);
extern void sim_fault_re_cut(SimRequest *req, SimFault *f);
extern void sim_fault_re_cut_reset(SimRequest *req, SimFault *f);
extern void sim_fault_re_stall(SimRequest *req, SimFault *f);
extern void sim_fault_re_drip(SimRequest *req, SimFault *f);
extern void sim_fault_re_huge(SimRequest *req, SimFault *f);
extern void sim_fault_re_huge_chunked(SimRequest *req, SimFault *f);
extern void sim_fault_re_chunked(SimRequest *req, SimFault *f);
extern void sim_fault_re_chunked_cut(SimRequest *req, SimFault *f);
extern void sim_fault_re_last(SimRequest *req, SimFault *f);
extern void sim_fault_re_close_behind(SimRequest *req, SimFault *f);

/* fault_apply.c: for all of these.  A number that the value, or else a
 * parameter, gives */
extern long sim_fault_number(const char *value, long parameter,
							 long otherwise);
extern const char *sim_fault_text(const char *text, const char *otherwise);

/* The second of the pair whose first is "name"; else "name" itself */
extern const char *sim_fault_pick(const char *const table[][2],
								  const char *name);

/* An error reply with the failure's own words, else those given here */
extern void sim_fault_error(SimRequest *req, const SimFault *f, int status,
							const char *type, const char *code,
							const char *envelope, const char *message);

#endif							/* SIM_FAULT_MODES_H */
