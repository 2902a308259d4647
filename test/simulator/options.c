/*-------------------------------------------------------------------------
 *
 * options.c
 *		The command line.
 *
 * Called by: main.c.  The names of settings are known to settings.c, here are
 * only those that cannot change later.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "settings.h"
#include "sim.h"

SimOptions	sim_options;

static const char usage[] =
"usage: simulator [OPTION]...\n"
"An inference server for tests: OpenAI-compatible, no GPU, fails on demand.\n"
"\n"
"  --port P             listen on 127.0.0.1; 0 for any free port (default)\n"
"  --unix PATH          listen on a Unix socket instead\n"
"  --control-port P     /sim/ also there, without TLS and never refused\n"
"  --port-file FILE     written when ready: port (or \"ready\"), control port\n"
"  --dialect NAME       sglang (default), vllm, llamacpp, openai\n"
"  --model NAME         may be repeated; without it any name is served\n"
"  --api-key KEY        required in Authorization: Bearer\n"
"  --context N          longest prompt and answer, in tokens\n"
"  --delay-ms D         service time of a request\n"
"  --jitter PCT         of the service time, to both sides\n"
"  --prefill-tps N      service time from tokens: prompt tokens a second\n"
"  --decode-tps N       ... and completion tokens a second\n"
"  --max-running N      samples served at once, more wait in a queue\n"
"  --max-queue N        requests in the queue, more get 503\n"
"  --step-ms MS         the queue is looked at so often, not at once\n"
"  --clamp              an answer ends where the context does (vLLM 0.32)\n"
"  --count-bound        vLLM's \"at least N input tokens\"\n"
"  --char-bound N       ... and its limit of N characters for each token\n"
"  --uuid-ids           X-Request-Id must be a UUID\n"
"  --any-model          answer for any model, list those of --model\n"
"  --refuse-priority    requests with a priority are errors\n"
"  --router NAME        sglang-router, smg, vllm-router, litellm before it\n"
"  --workers STATE      of the router: up, none (yet), down\n"
"  --router-attempts N, --router-breaker N, --router-breaker-ms MS\n"
"  --proxy-timeout-ms MS, --proxy-timeout-status CODE, --proxy-max-body BYTES\n"
"  --fixed SCORE        one prebuilt reply for all, bodies are not read\n"
"  --hold               requests run until POST /sim/release\n"
"  --loading            503 on every path until it is switched off\n"
"  --term-hold          SIGTERM holds what is in flight; a second one ends\n"
"  --health STATUS      of GET /health\n"
"  --close-after N      requests on a connection (llamacpp: 100)\n"
"  --idle-close-ms MS   idle connections are closed (llamacpp: 5000)\n"
"  --max-connections N  accepted at once, more wait in the backlog\n"
"  --disconnect-ms MS   until a client that goes is noticed; -1: never\n"
"  --log N              requests kept for GET /sim/log (1000; 0 with --fixed)\n"
"  --max-body BYTES     larger requests get 413 (100 MiB)\n"
"  --tls-cert FILE --tls-key FILE\n"
"  --seed N             of jitter and failure probabilities\n"
"  --die-with-parent    exit when the process that started this one does\n";

static void
fail(const char *option, const char *why)
{
	fprintf(stderr, "simulator: %s: %s\nTry --help.\n", option, why);
	exit(2);
}

static int
port_number(const char *option, const char *value)
{
	char	   *end;
	long		port = strtol(value, &end, 10);

	if (end == value || *end != '\0' || port < 0 || port > 65535)
		fail(option, "not a port");
	return port;
}

/* Options without a value; false when it is none of these */
static bool
read_switch(const char *name)
{
	if (strcmp(name, "help") == 0)
	{
		fputs(usage, stdout);
		exit(0);
	}
	if (strcmp(name, "die-with-parent") == 0)
		sim_options.die_with_parent = true;
	else if (strcmp(name, "hold") == 0 || strcmp(name, "loading") == 0 ||
			 strcmp(name, "term-hold") == 0 || strcmp(name, "clamp") == 0 ||
			 strcmp(name, "count-bound") == 0 || strcmp(name, "uuid-ids") == 0 ||
			 strcmp(name, "any-model") == 0 ||
			 strcmp(name, "refuse-priority") == 0)
		sim_setting_set(&sim_settings, name, "true");
	else
		return false;
	return true;
}

static void
read_option(const char *arg, const char *value)
{
	const char *name = arg + 2;

	if (strcmp(name, "port") == 0)
		sim_options.port = port_number(arg, value);
	else if (strcmp(name, "control-port") == 0)
		sim_options.control_port = port_number(arg, value);
	else if (strcmp(name, "unix") == 0)
		sim_options.unix_path = value;
	else if (strcmp(name, "port-file") == 0)
		sim_options.port_file = value;
	else if (strcmp(name, "api-key") == 0)
		sim_options.api_key = value;
	else if (strcmp(name, "tls-cert") == 0)
		sim_options.tls_cert = value;
	else if (strcmp(name, "tls-key") == 0)
		sim_options.tls_key = value;
	else if (strcmp(name, "max-body") == 0)
		sim_options.max_body = strtoull(value, NULL, 10);
	else if (strcmp(name, "seed") == 0)
		sim_options.seed = strtoull(value, NULL, 10);
	else if (strcmp(name, "model") == 0)
	{
		if (sim_options.nmodels == SIM_MAX_MODELS)
			fail(arg, "too many models");
		sim_options.models[sim_options.nmodels++] = value;
	}
	else if (!sim_setting_set(&sim_settings, name, value))
		fail(arg, "no such option, or not with this value");
}

void
sim_options_read(int argc, char **argv)
{
	sim_options.control_port = -1;
	sim_options.max_body = 100 * 1024 * 1024;
	sim_settings.max_queue = -1;
	sim_settings.fixed = -1;
	sim_settings.log_size = -1;
	sim_settings.health = 200;
	sim_settings.close_after = -1;
	sim_settings.idle_close_ms = -1;
	sim_settings.router_attempts = -1;
	sim_settings.router_breaker = -1;
	sim_settings.router_breaker_ms = 60000;
	sim_settings.proxy_timeout_status = 504;
	for (int i = 1; i < argc; i++)
	{
		if (strncmp(argv[i], "--", 2) != 0)
			fail(argv[i], "not an option");
		if (read_switch(argv[i] + 2))
			continue;
		if (i + 1 == argc)
			fail(argv[i], "no such option, or its value is missing");
		read_option(argv[i], argv[i + 1]);
		i++;
	}
	if (sim_settings.log_size < 0)
		sim_settings.log_size = sim_settings.fixed >= 0 ? 0 : 1000;
	if ((sim_options.tls_cert == NULL) != (sim_options.tls_key == NULL))
		fail("--tls-cert", "needs --tls-key, and the other way round");
	sim_settings_keep();
}
