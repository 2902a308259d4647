/*-------------------------------------------------------------------------
 *
 * fault.c
 *		Failures: what they are called, and which request gets one.
 *
 * Called by: chat.c, fault_apply.c, control.c.  What the modes do is in
 * fault_apply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fault.h"
#include "http.h"
#include "stats.h"

#define SIM_MAX_MODES 128
#define SIM_MARKER "[[sim:"

typedef struct Rule
{
	STAILQ_ENTRY(Rule) next;
	SimFault	fault;
} Rule;

static STAILQ_HEAD(, Rule) rules = STAILQ_HEAD_INITIALIZER(rules);
static uint64_t counts[SIM_MAX_MODES];

static const SimFaultMode *
find_mode(const char *name)
{
	for (const SimFaultMode *m = sim_fault_modes; m->name != NULL; m++)
	{
		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

static bool
set_number(long *field, const char *value)
{
	char	   *end;

	errno = 0;
	*field = strtol(value, &end, 10);
	return errno == 0 && end != value && *end == '\0' && *field >= 0;
}

static bool
set_text(char *field, size_t size, const char *value)
{
	return (size_t) snprintf(field, size, "%s", value) < size;
}

/* One parameter; "_" and "-" are the same in its name */
static bool
set_parameter(SimFault *f, const char *name, const char *value)
{
	char		key[32];
	char	   *end;
	long		number;
	size_t		i;

	for (i = 0; name[i] != '\0' && i < sizeof(key) - 1; i++)
		key[i] = name[i] == '_' ? '-' : name[i];
	key[i] = '\0';
	if (strcmp(key, "value") == 0)
		return set_text(f->value, sizeof(f->value), value);
	if (strcmp(key, "status") == 0)
	{
		if (!set_number(&number, value) || number < 200 || number > 599)
			return false;
		f->status = number;
		return true;
	}
	if (strcmp(key, "message") == 0)
		return set_text(f->message, sizeof(f->message), value);
	if (strcmp(key, "type") == 0)
		return set_text(f->type, sizeof(f->type), value);
	if (strcmp(key, "code") == 0)
		return set_text(f->code, sizeof(f->code), value);
	if (strcmp(key, "param") == 0)
		return set_text(f->param, sizeof(f->param), value);
	if (strcmp(key, "envelope") == 0)
		return set_text(f->envelope, sizeof(f->envelope), value) &&
			sim_error_envelope_valid(value);
	if (strcmp(key, "retry-after") == 0)
		return set_text(f->retry_after, sizeof(f->retry_after), value);
	if (strcmp(key, "match") == 0)
		return set_text(f->match, sizeof(f->match), value);
	if (strcmp(key, "path") == 0)
		return set_text(f->path, sizeof(f->path), value);
	if (strcmp(key, "ms") == 0)
		return set_number(&f->ms, value);
	if (strcmp(key, "bytes") == 0)
		return set_number(&f->bytes, value);
	if (strcmp(key, "tokens") == 0)
		return set_number(&f->tokens, value);
	if (strcmp(key, "delay") == 0 || strcmp(key, "delay-ms") == 0)
	{
		f->late = true;
		return set_number(&f->delay_ms, value);
	}
	if (strcmp(key, "times") == 0)
		return set_number(&f->times, value);
	if (strcmp(key, "after") == 0)
		return set_number(&f->after, value);
	if (strcmp(key, "late") == 0)
		return f->late = strcmp(value, "0") != 0 && strcmp(value, "false") != 0,
			true;
	if (strcmp(key, "early") == 0)
		return f->early = strcmp(value, "0") != 0 && strcmp(value, "false") != 0,
			true;
	if (strcmp(key, "p") == 0)
	{
		f->p = strtod(value, &end);
		return end != value && *end == '\0' && f->p >= 0 && f->p <= 1;
	}
	return false;
}

static void
init(SimFault *f)
{
	memset(f, 0, sizeof(*f));
	f->ms = f->bytes = f->tokens = f->delay_ms = f->times = -1;
	f->p = 1;
}

static bool
set_mode(SimFault *f, const char *name, char *error, size_t error_size)
{
	char		key[32];
	size_t		i;

	for (i = 0; name[i] != '\0' && i < sizeof(key) - 1; i++)
		key[i] = name[i] == '_' ? '-' : name[i];
	key[i] = '\0';
	f->mode = find_mode(key);
	if (f->mode == NULL)
		snprintf(error, error_size, "unknown failure \"%.60s\"; GET /sim/modes lists them",
				 name);
	return f->mode != NULL;
}

/* The modes that take a number say it as their value */
static bool
finish(SimFault *f, char *error, size_t error_size)
{
	if (strcmp(f->mode->name, "status") == 0 && f->value[0] != '\0' &&
		!set_parameter(f, "status", f->value))
	{
		snprintf(error, error_size, "bad status \"%.60s\"", f->value);
		return false;
	}
	return true;
}

/* "KEY", "KEY=VALUE" or "KEY='VALUE'"; returns what follows the comma */
static const char *
next_item(const char *p, const char *end, char *key, size_t key_size,
		  char *value, size_t value_size)
{
	size_t		n = 0;
	char		quote = 0;

	while (p < end && *p == ' ')
		p++;
	while (p < end && *p != '=' && *p != ',')
	{
		if (n + 1 < key_size)
			key[n++] = *p;
		p++;
	}
	key[n] = '\0';
	n = 0;
	if (p < end && *p == '=')
	{
		p++;
		if (p < end && *p == '\'')
			quote = *p++;
		while (p < end && *p != (quote ? quote : ','))
		{
			if (n + 1 < value_size)
				value[n++] = *p;
			p++;
		}
		if (quote)
			while (p < end && *p != ',')
				p++;
	}
	value[n] = '\0';
	return p < end ? p + 1 : end;
}

bool
sim_fault_parse(SimFault *f, const char *text, size_t len, char *error,
				size_t error_size)
{
	const char *end = text + len;
	const char *p = text;
	bool		first = true;

	init(f);
	do
	{
		char		key[32];
		char		value[512];

		p = next_item(p, end, key, sizeof(key), value, sizeof(value));
		if (first)
		{
			if (!set_mode(f, key, error, error_size))
				return false;
			strcpy(f->value, value);
			first = false;
		}
		else if (!set_parameter(f, key, value))
		{
			snprintf(error, error_size, "bad parameter \"%s=%.60s\"", key, value);
			return false;
		}
	} while (p < end);
	return finish(f, error, error_size);
}

bool
sim_fault_from_json(SimFault *f, struct json_object *object, char *error,
					size_t error_size)
{
	struct json_object *mode;

	init(f);
	if (!json_object_is_type(object, json_type_object) ||
		!json_object_object_get_ex(object, "mode", &mode))
	{
		snprintf(error, error_size, "a failure is an object with \"mode\"");
		return false;
	}
	if (!set_mode(f, json_object_get_string(mode), error, error_size))
		return false;
	json_object_object_foreach(object, name, value)
	{
		if (strcmp(name, "mode") == 0)
			continue;
		if (!set_parameter(f, name, json_object_get_string(value)))
		{
			snprintf(error, error_size, "bad parameter \"%.30s\": %.60s", name,
					 json_object_get_string(value));
			return false;
		}
	}
	return finish(f, error, error_size);
}

static void
take(SimRequest *req, const SimFault *fault)
{
	req->fault = sim_realloc(NULL, sizeof(*fault));
	*req->fault = *fault;
	counts[fault->mode - sim_fault_modes]++;
	sim_stats.faults++;
}

/* A header's or marker's failure, if it is this request's turn */
static bool
take_text(SimRequest *req, const char *text, size_t len, unsigned seen,
		  bool early)
{
	SimFault	fault;
	char		error[256];

	if (!sim_fault_parse(&fault, text, len, error, sizeof(error)))
	{
		sim_error_simple(req, 400, "SimulatorError", "simulator: %s", error);
		return false;
	}
	if (fault.early != early)
		return true;
	if (seen > 0 &&
		(seen <= fault.after ||
		 (fault.times >= 0 && seen > fault.after + fault.times)))
		return true;
	if (fault.p >= 1 || sim_random() < fault.p)
		take(req, &fault);
	return true;
}

static void
take_rule(SimRequest *req, const char *prompt, size_t prompt_len,
		  const char *path, bool early)
{
	Rule	   *rule;

	STAILQ_FOREACH(rule, &rules, next)
	{
		SimFault   *f = &rule->fault;

		if (f->early != early)
			continue;
		if (strcmp(f->path, "all") != 0 &&
			strcmp(f->path[0] ? f->path : "/v1/chat/completions", path) != 0)
			continue;
		if (f->match[0] != '\0' &&
			(prompt == NULL || memmem(prompt, prompt_len, f->match,
									  strlen(f->match)) == NULL))
			continue;
		f->seen++;
		if (f->seen <= (uint64_t) f->after ||
			(f->times >= 0 && f->done >= (uint64_t) f->times) ||
			(f->p < 1 && sim_random() >= f->p))
			continue;
		f->done++;
		take(req, f);
		return;
	}
}

bool
sim_fault_choose(SimRequest *req, const char *prompt, size_t prompt_len,
				 unsigned seen)
{
	const char *header = sim_http_header(req, "X-Sim");

	if (header != NULL)
	{
		if (!take_text(req, header, strlen(header), seen, false))
			return false;
	}
	else if (prompt != NULL)
	{
		const char *end = prompt + prompt_len;
		const char *mark = memmem(prompt, prompt_len, SIM_MARKER,
								  strlen(SIM_MARKER));
		const char *close;

		if (mark != NULL)
		{
			mark += strlen(SIM_MARKER);
			close = memmem(mark, end - mark, "]]", 2);
			if (!take_text(req, mark, (close ? close : end) - mark, seen, false))
				return false;
		}
	}
	if (req->fault == NULL && !STAILQ_EMPTY(&rules))
		take_rule(req, prompt, prompt_len, "/v1/chat/completions", false);
	return true;
}

bool
sim_fault_choose_early(SimRequest *req)
{
	const char *header = sim_http_header(req, "X-Sim");

	/* What is wrong in the header is told when the body is there */
	if (header != NULL && strstr(header, "early") != NULL)
		return take_text(req, header, strlen(header), 0, true) &&
			req->fault != NULL;
	if (!STAILQ_EMPTY(&rules))
		take_rule(req, NULL, 0, "/v1/chat/completions", true);
	return req->fault != NULL;
}

bool
sim_fault_choose_probe(SimRequest *req)
{
	const char *header = sim_http_header(req, "X-Sim");

	if (header != NULL)
		return !take_text(req, header, strlen(header), 0, false) ||
			req->fault != NULL;
	if (!STAILQ_EMPTY(&rules))
		take_rule(req, NULL, 0, req->endpoint->path, false);
	return req->fault != NULL;
}

void
sim_fault_add_rule(const SimFault *fault)
{
	Rule	   *rule = sim_alloc(sizeof(*rule));

	rule->fault = *fault;
	STAILQ_INSERT_TAIL(&rules, rule, next);
}

void
sim_fault_clear_rules(void)
{
	Rule	   *rule;

	while ((rule = STAILQ_FIRST(&rules)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&rules, next);
		free(rule);
	}
}

bool
sim_fault_has_rules(void)
{
	return !STAILQ_EMPTY(&rules);
}

void
sim_fault_rules_json(SimBuf *buf)
{
	Rule	   *rule;

	sim_buf_puts(buf, "[");
	STAILQ_FOREACH(rule, &rules, next)
	{
		const SimFault *f = &rule->fault;

		if (rule != STAILQ_FIRST(&rules))
			sim_buf_puts(buf, ",");
		sim_buf_printf(buf, "{\"mode\":\"%s\",\"value\":", f->mode->name);
		sim_buf_json(buf, f->value);
		sim_buf_printf(buf, ",\"p\":%g,\"times\":%ld,\"after\":%ld,\"seen\":%llu,\"done\":%llu}",
					   f->p, f->times, f->after,
					   (unsigned long long) f->seen,
					   (unsigned long long) f->done);
	}
	sim_buf_puts(buf, "]");
}

void
sim_fault_counts_json(SimBuf *buf)
{
	const char *comma = "";

	sim_buf_puts(buf, "{");
	for (const SimFaultMode *m = sim_fault_modes; m->name != NULL; m++)
	{
		if (counts[m - sim_fault_modes] == 0)
			continue;
		sim_buf_printf(buf, "%s\"%s\":%llu", comma, m->name,
					   (unsigned long long) counts[m - sim_fault_modes]);
		comma = ",";
	}
	sim_buf_puts(buf, "}");
}

void
sim_fault_counts_reset(void)
{
	memset(counts, 0, sizeof(counts));
}

void
sim_fault_modes_json(SimBuf *buf)
{
	sim_buf_puts(buf, "{");
	for (const SimFaultMode *m = sim_fault_modes; m->name != NULL; m++)
	{
		sim_buf_puts(buf, m == sim_fault_modes ? "\n" : ",\n");
		sim_buf_json(buf, m->name);
		sim_buf_puts(buf, ": ");
		sim_buf_json(buf, m->help);
	}
	sim_buf_puts(buf, "\n}\n");
}
