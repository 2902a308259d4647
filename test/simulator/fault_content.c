/*-------------------------------------------------------------------------
 *
 * fault_content.c
 *		Failures of the content: what a model, or the server around it, writes
 *		instead of a good answer.
 *
 * Called by: fault_apply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "fault_modes.h"

void
sim_fault_sh_score(SimShape *s, SimFault *f)
{
	s->score = f->value;
}

void
sim_fault_sh_no_score(SimShape *s, SimFault *f)
{
	(void) f;
	s->no_score = true;
}

void
sim_fault_sh_abort(SimShape *s, SimFault *f)
{
	(void) f;
	s->no_score = true;
	s->finish = "abort";
}

void
sim_fault_sh_length(SimShape *s, SimFault *f)
{
	s->no_score = true;
	s->finish = "length";
	s->used_up = strcmp(f->value, "early") != 0;
}

void
sim_fault_sh_finish(SimShape *s, SimFault *f)
{
	s->finish = f->value;
}

void
sim_fault_sh_quoted(SimShape *s, SimFault *f)
{
	(void) f;
	s->quoted = true;
}

void
sim_fault_sh_tail(SimShape *s, SimFault *f)
{
	s->tail = sim_fault_text(f->value, "\nThat is my score. <score>\n");
}

void
sim_fault_sh_think(SimShape *s, SimFault *f)
{
	(void) f;
	s->think = true;
}

void
sim_fault_sh_split(SimShape *s, SimFault *f)
{
	(void) f;
	s->split = true;
}

void
sim_fault_sh_reasoning_content(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_REASONING_CONTENT;
}

void
sim_fault_sh_reasoning(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_REASONING;
}

void
sim_fault_sh_null(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_NOTHING;
}

void
sim_fault_sh_parts(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_PARTS;
}

#define INSERT(name, text) \
void \
name(SimShape *s, SimFault *f) \
{ \
	(void) f; \
	s->insert = text; \
	s->insert_len = sizeof(text) - 1; \
}

INSERT(sim_fault_sh_nul, "a\\u0000b\\u0000")
INSERT(sim_fault_sh_control, "\\u0001\\u0008\\u000b\\u001b[31m\\u007f\\u0085")
INSERT(sim_fault_sh_replacement, "\xEF\xBF\xBD \\ufffd\\ufeff")
INSERT(sim_fault_sh_surrogate, "\\ud83d alone, \\ude00 alone, \\ud800\\u0041")
INSERT(sim_fault_sh_bad_utf8, "\xC3\x28 \xFF\xFE \xE2\x82 \xED\xA0\x80 \xF4\x90\x80\x80")
INSERT(sim_fault_sh_raw_control, "\x01\x1b\n\t")
INSERT(sim_fault_sh_unicode, "\\ud83d\\ude00 \xF0\x9F\x98\x80 \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xE4\xBD\xA0\xE5\xA5\xBD")

void
sim_fault_sh_usage(SimShape *s, SimFault *f)
{
	static const char *const usages[][2] = {
		{"", ""}, {"missing", ""}, {"null", "null"}, {"string", "\"many\""},
		{"empty", "{}"},
		{"wrong", "{\"prompt_tokens\":\"12\",\"completion_tokens\":[3],\"total_tokens\":null}"},
		{"negative", "{\"prompt_tokens\":-5,\"completion_tokens\":-1,\"total_tokens\":-6}"},
		{"huge", "{\"prompt_tokens\":99999999999999999999,\"completion_tokens\":1e300,\"total_tokens\":9223372036854775808}"},
		{"float", "{\"prompt_tokens\":12.75,\"completion_tokens\":3.5,\"total_tokens\":16.25}"},
		{NULL, NULL}
	};

	s->usage = sim_fault_pick(usages, f->value);
}

void
sim_fault_sh_choices(SimShape *s, SimFault *f)
{
	static const char *const choices[][2] = {
		{"", "[]"}, {"empty", "[]"}, {"missing", ""}, {"null", "null"},
		{"string", "\"none\""}, {"object", "{\"0\":{}}"}, {"nulls", "[null]"},
		{"no-message", "[{\"index\":0,\"finish_reason\":\"stop\"}]"},
		{"null-message", "[{\"index\":0,\"message\":null,\"finish_reason\":\"stop\"}]"},
		{"text", "[{\"index\":0,\"text\":\"<score>\\n50\\n</score>\",\"finish_reason\":\"stop\"}]"},
		{NULL, NULL}
	};

	if (strcmp(f->value, "short") == 0)
		s->drop = 1;
	else if (strcmp(f->value, "reversed") == 0)
		s->reversed = true;
	else
		s->choices = sim_fault_pick(choices, f->value);
}
