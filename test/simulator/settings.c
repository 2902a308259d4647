/*-------------------------------------------------------------------------
 *
 * settings.c
 *		Changing the settings while the simulator runs.
 *
 * Called by: options.c, control.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "http.h"
#include "listen.h"
#include "log.h"
#include "sched.h"
#include "settings.h"

SimSettings sim_settings;

static SimSettings kept;

typedef enum SettingKind
{
	KIND_INT, KIND_DOUBLE, KIND_BOOL, KIND_DIALECT, KIND_ROUTER, KIND_WORKERS
} SettingKind;

static const char *const dialects[] = {
	"sglang", "vllm", "llamacpp", "openai", NULL
};
static const char *const routers[] = {
	"none", "sglang-router", "smg", "vllm-router", "litellm", NULL
};
static const char *const worker_states[] = {"up", "none", "down", NULL};

/* The words that the other kinds take, in the order of their enums */
static const char *const *const words[] = {
	[KIND_DIALECT] = dialects,[KIND_ROUTER] = routers,
	[KIND_WORKERS] = worker_states
};

static const struct
{
	const char *name;
	SettingKind kind;
	size_t		offset;
	double		min;
	double		max;
}			table[] = {
	{"dialect", KIND_DIALECT, offsetof(SimSettings, dialect), 0, 0},
	{"router", KIND_ROUTER, offsetof(SimSettings, router), 0, 0},
	{"workers", KIND_WORKERS, offsetof(SimSettings, workers), 0, 0},
	{"router-attempts", KIND_INT, offsetof(SimSettings, router_attempts), -1, 100},
	{"router-breaker", KIND_INT, offsetof(SimSettings, router_breaker), -1, INT_MAX},
	{"router-breaker-ms", KIND_INT, offsetof(SimSettings, router_breaker_ms), 0, INT_MAX},
	{"proxy-timeout-ms", KIND_INT, offsetof(SimSettings, proxy_timeout_ms), 0, INT_MAX},
	{"proxy-timeout-status", KIND_INT, offsetof(SimSettings, proxy_timeout_status), 400, 599},
	{"proxy-max-body", KIND_INT, offsetof(SimSettings, proxy_max_body), 0, INT_MAX},
	{"step-ms", KIND_INT, offsetof(SimSettings, step_ms), 0, INT_MAX},
	{"char-bound", KIND_INT, offsetof(SimSettings, char_bound), 0, 100000},
	{"clamp", KIND_BOOL, offsetof(SimSettings, clamp), 0, 0},
	{"count-bound", KIND_BOOL, offsetof(SimSettings, count_bound), 0, 0},
	{"uuid-ids", KIND_BOOL, offsetof(SimSettings, uuid_ids), 0, 0},
	{"any-model", KIND_BOOL, offsetof(SimSettings, any_model), 0, 0},
	{"refuse-priority", KIND_BOOL, offsetof(SimSettings, refuse_priority), 0, 0},
	{"delay-ms", KIND_DOUBLE, offsetof(SimSettings, delay_ms), 0, 1e9},
	{"jitter", KIND_DOUBLE, offsetof(SimSettings, jitter), 0, 100},
	{"prefill-tps", KIND_DOUBLE, offsetof(SimSettings, prefill_tps), 0, 1e12},
	{"decode-tps", KIND_DOUBLE, offsetof(SimSettings, decode_tps), 0, 1e12},
	{"max-running", KIND_INT, offsetof(SimSettings, max_running), 0, INT_MAX},
	{"max-queue", KIND_INT, offsetof(SimSettings, max_queue), -1, INT_MAX},
	{"context", KIND_INT, offsetof(SimSettings, context), 0, INT_MAX},
	{"fixed", KIND_INT, offsetof(SimSettings, fixed), -1, 100},
	{"log", KIND_INT, offsetof(SimSettings, log_size), 0, 1000000},
	{"close-after", KIND_INT, offsetof(SimSettings, close_after), -1, INT_MAX},
	{"idle-close-ms", KIND_INT, offsetof(SimSettings, idle_close_ms), -1, INT_MAX},
	{"max-connections", KIND_INT, offsetof(SimSettings, max_connections), 0, INT_MAX},
	{"disconnect-ms", KIND_INT, offsetof(SimSettings, disconnect_ms), -1, INT_MAX},
	{"health", KIND_INT, offsetof(SimSettings, health), 200, 599},
	{"hold", KIND_BOOL, offsetof(SimSettings, hold), 0, 0},
	{"loading", KIND_BOOL, offsetof(SimSettings, loading), 0, 0},
	{"term-hold", KIND_BOOL, offsetof(SimSettings, term_hold), 0, 0},
};

#define NSETTINGS ((int) (sizeof(table) / sizeof(table[0])))

const char *
sim_dialect_name(SimDialect dialect)
{
	return dialects[dialect];
}

/* llama-server's HTTP library has limits of its own, and announces them */
int
sim_settings_close_after(void)
{
	if (sim_settings.close_after >= 0)
		return sim_settings.close_after;
	return sim_settings.dialect == SIM_LLAMACPP ? 100 : 0;
}

int
sim_settings_idle_close_ms(void)
{
	if (sim_settings.idle_close_ms >= 0)
		return sim_settings.idle_close_ms;
	return sim_settings.dialect == SIM_LLAMACPP ? 5000 : 0;
}

static bool
set_number(char *field, int i, const char *value)
{
	char	   *end;
	double		number = strtod(value, &end);

	if (end == value || *end != '\0' || !(number >= table[i].min) ||
		!(number <= table[i].max))
		return false;
	if (table[i].kind == KIND_DOUBLE)
		*(double *) field = number;
	else
		*(int *) field = (int) number;
	return true;
}

static bool
set_bool(bool *field, const char *value)
{
	*field = strcmp(value, "true") == 0 || strcmp(value, "1") == 0 ||
		strcmp(value, "on") == 0;
	return *field || strcmp(value, "false") == 0 || strcmp(value, "0") == 0 ||
		strcmp(value, "off") == 0;
}

/* The enums of settings have the size of an int, as gcc makes them */
static bool
set_word(int *field, const char *const *known, const char *value)
{
	for (int n = 0; known[n] != NULL; n++)
	{
		if (strcmp(value, known[n]) == 0)
		{
			*field = n;
			return true;
		}
	}
	return false;
}

bool
sim_setting_set(SimSettings *settings, const char *name, const char *value)
{
	char		key[32];
	size_t		n;

	for (n = 0; name[n] != '\0' && n < sizeof(key) - 1; n++)
		key[n] = name[n] == '_' ? '-' : name[n];
	key[n] = '\0';
	for (int i = 0; i < NSETTINGS; i++)
	{
		char	   *field = (char *) settings + table[i].offset;

		if (strcmp(table[i].name, key) != 0)
			continue;
		switch (table[i].kind)
		{
			case KIND_INT:
			case KIND_DOUBLE:
				return set_number(field, i, value);
			case KIND_BOOL:
				return set_bool((bool *) field, value);
			case KIND_DIALECT:
			case KIND_ROUTER:
			case KIND_WORKERS:
				return set_word((int *) field, words[table[i].kind], value);
		}
	}
	return false;
}

void
sim_settings_apply(const SimSettings *settings)
{
	bool		was_held = sim_settings.hold;
	SimDialect	old_dialect = sim_settings.dialect;
	int			old_fixed = sim_settings.fixed;

	sim_settings = *settings;
	sim_log_resize(sim_settings.log_size);
	if (sim_settings.fixed != old_fixed || sim_settings.dialect != old_dialect)
		sim_deliver_prepare_fixed();
	sim_http_settings_changed();
	sim_listen_update();
	if (was_held && !sim_settings.hold)
		sim_sched_release(-1);
	sim_sched_pump();
}

void
sim_settings_keep(void)
{
	kept = sim_settings;
}

void
sim_settings_reset(void)
{
	sim_settings_apply(&kept);
}

void
sim_settings_json(SimBuf *buf)
{
	sim_buf_puts(buf, "{");
	for (int i = 0; i < NSETTINGS; i++)
	{
		const char *field = (const char *) &sim_settings + table[i].offset;

		sim_buf_puts(buf, i > 0 ? ",\"" : "\"");
		for (const char *p = table[i].name; *p != '\0'; p++)
			sim_buf_append(buf, *p == '-' ? "_" : p, 1);
		sim_buf_puts(buf, "\":");
		switch (table[i].kind)
		{
			case KIND_INT:
				sim_buf_printf(buf, "%d", *(const int *) field);
				break;
			case KIND_DOUBLE:
				sim_buf_printf(buf, "%.10g", *(const double *) field);
				break;
			case KIND_BOOL:
				sim_buf_puts(buf, *(const bool *) field ? "true" : "false");
				break;
			case KIND_DIALECT:
			case KIND_ROUTER:
			case KIND_WORKERS:
				sim_buf_json(buf, words[table[i].kind][*(const int *) field]);
				break;
		}
	}
}
