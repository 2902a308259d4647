/*-------------------------------------------------------------------------
 *
 * probe.c
 *		What servers say of themselves: health, models, limits, metrics.
 *
 * Called by: route.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deliver.h"
#include "error.h"
#include "http.h"
#include "probe.h"
#include "sched.h"
#include "stats.h"

/* What a server without --context says; Qwen3's own limit */
#define SIM_USUAL_CONTEXT 40960

static int
context(void)
{
	return sim_settings.context > 0 ? sim_settings.context : SIM_USUAL_CONTEXT;
}

static const char *
first_model(void)
{
	return sim_options.nmodels > 0 ? sim_options.models[0] : "default";
}

void
sim_probe_health(SimRequest *req)
{
	SimBuf		body = {0};

	if (sim_settings.health != 200)
	{
		SimError	e = {.status = sim_settings.health,.envelope = "empty"};

		sim_error(req, &e);
		return;
	}
	if (sim_settings.dialect == SIM_LLAMACPP)
		sim_buf_puts(&body, "{\"status\":\"ok\"}");
	sim_reply_json(req, 200, &body);
	if (sim_settings.dialect != SIM_LLAMACPP)
		req->reply.content_type = "";
}

static void
model_json(SimBuf *body, const char *name)
{
	/* Whoever serves any name is none of these: SGLang lists one */
	static const char *const owners[] = {
		"sglang", "vllm", "llamacpp", "system"
	};

	sim_buf_puts(body, "{\"id\":");
	sim_buf_json(body, name);
	sim_buf_printf(body, ",\"object\":\"model\",\"created\":1732320000,\"owned_by\":\"%s\"",
				   sim_options.nmodels > 0 ? owners[sim_settings.dialect] : "nobody");
	if (sim_settings.dialect == SIM_SGLANG || sim_settings.dialect == SIM_VLLM)
	{
		sim_buf_puts(body, ",\"root\":");
		sim_buf_json(body, name);
		sim_buf_printf(body, ",\"parent\":null,\"max_model_len\":%d", context());
	}
	else if (sim_settings.dialect == SIM_LLAMACPP)
	{
		sim_buf_puts(body, ",\"aliases\":[");
		sim_buf_json(body, name);
		sim_buf_printf(body, "],\"tags\":[],\"meta\":{\"vocab_type\":2,\"n_vocab\":151936,\"n_ctx\":%d,\"n_ctx_train\":%d,\"n_embd\":5120,\"n_params\":14768307200,\"size\":9001752960,\"ftype\":\"Q4_K - Medium\"}",
					   context(), SIM_USUAL_CONTEXT);
	}
	sim_buf_puts(body, "}");
}

void
sim_probe_models(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_puts(&body, "{\"object\":\"list\",\"data\":[");
	model_json(&body, first_model());
	for (int i = 1; i < sim_options.nmodels; i++)
	{
		sim_buf_puts(&body, ",");
		model_json(&body, sim_options.models[i]);
	}
	sim_buf_puts(&body, "]}");
	sim_reply_json(req, 200, &body);
}

void
sim_probe_model_info(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_puts(&body, "{\"model_path\":");
	sim_buf_json(&body, first_model());
	sim_buf_puts(&body, ",\"tokenizer_path\":");
	sim_buf_json(&body, first_model());
	sim_buf_puts(&body, ",\"is_generation\":true,\"preferred_sampling_params\":null,\"weight_version\":\"default\"}");
	sim_reply_json(req, 200, &body);
}

void
sim_probe_server_info(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_puts(&body, "{\"model_path\":");
	sim_buf_json(&body, first_model());
	sim_buf_puts(&body, ",\"served_model_name\":");
	sim_buf_json(&body, first_model());
	sim_buf_printf(&body, ",\"context_length\":%d,\"max_running_requests\":%d,\"max_queued_requests\":",
				   context(), sim_settings.max_running);
	if (sim_settings.max_queue >= 0)
		sim_buf_printf(&body, "%d", sim_settings.max_queue);
	else
		sim_buf_puts(&body, "null");
	sim_buf_printf(&body, ",\"max_total_num_tokens\":%d,\"schedule_policy\":\"fcfs\",\"status\":\"ready\",\"version\":\"0.5.18\",\"internal_states\":[{\"last_gen_throughput\":0.0}]}",
				   context() * 16);
	sim_reply_json(req, 200, &body);
}

void
sim_probe_version(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_puts(&body, "{\"version\":\"0.14.0\"}");
	sim_reply_json(req, 200, &body);
}

void
sim_probe_props(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_printf(&body, "{\"default_generation_settings\":{\"params\":{\"temperature\":0.8,\"top_k\":40},\"n_ctx\":%d},\"total_slots\":%d,\"model_alias\":",
				   context(),
				   sim_settings.max_running > 0 ? sim_settings.max_running : 1);
	sim_buf_json(&body, first_model());
	sim_buf_puts(&body, ",\"model_path\":");
	sim_buf_json(&body, first_model());
	sim_buf_puts(&body, ",\"chat_template\":\"\",\"bos_token\":\"\",\"eos_token\":\"<|im_end|>\",\"build_info\":\"b11669-sim\",\"is_sleeping\":false}");
	sim_reply_json(req, 200, &body);
}

static void
metric(SimBuf *body, const char *name, const char *type, double value)
{
	const char *model = first_model();

	sim_buf_printf(body, "# HELP %s %s\n# TYPE %s %s\n%s", name, name, name,
				   type, name);
	if (sim_settings.dialect == SIM_LLAMACPP)
		sim_buf_printf(body, " %.15g\n", value);
	else
		sim_buf_printf(body, "{%smodel_name=\"%s\"} %.15g\n",
					   sim_settings.dialect == SIM_VLLM ? "engine=\"0\"," : "",
					   model, value);
}

void
sim_probe_load(SimRequest *req)
{
	const char *format = sim_http_header(req, "endpoint-load-metrics-format");
	double		use = sim_settings.max_running > 0 ?
		(double) sim_sched_slots() / sim_settings.max_running : 0;
	char		value[128];

	if (format == NULL || sim_settings.dialect != SIM_VLLM)
		return;
	if (strcasecmp(format, "text") == 0)
		snprintf(value, sizeof(value),
				 "TEXT named_metrics.kv_cache_usage_perc=%.3f, named_metrics.num_requests_waiting=%.1f",
				 use, (double) sim_sched_queued());
	else if (strcasecmp(format, "json") == 0)
		snprintf(value, sizeof(value),
				 "JSON {\"named_metrics\": {\"kv_cache_usage_perc\": %.3f, \"num_requests_waiting\": %.1f}}",
				 use, (double) sim_sched_queued());
	else
		return;
	sim_reply_header(&req->reply, "endpoint-load-metrics", value);
}

void
sim_probe_metrics(SimRequest *req)
{
	SimBuf		body = {0};
	int			running = sim_sched_slots();
	int			queued = sim_sched_queued();
	double		use = sim_settings.max_running > 0 ?
		(double) running / sim_settings.max_running : 0;

	if (use > 1)
		use = 1;
	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
			metric(&body, "sglang:num_running_reqs", "gauge", running);
			metric(&body, "sglang:num_queue_reqs", "gauge", queued);
			metric(&body, "sglang:token_usage", "gauge", use);
			metric(&body, "sglang:cache_hit_rate", "gauge", 0);
			metric(&body, "sglang:gen_throughput", "gauge",
				   running * sim_settings.decode_tps);
			metric(&body, "sglang:prompt_tokens_total", "counter",
				   sim_stats.prompt_tokens);
			metric(&body, "sglang:generation_tokens_total", "counter",
				   sim_stats.completion_tokens);
			break;
		case SIM_VLLM:
			metric(&body, "vllm:num_requests_running", "gauge", running);
			metric(&body, "vllm:num_requests_waiting", "gauge", queued);
			metric(&body, "vllm:kv_cache_usage_perc", "gauge", use);
			metric(&body, "vllm:prefix_cache_queries_total", "counter",
				   sim_stats.prompt_tokens);
			metric(&body, "vllm:prefix_cache_hits_total", "counter", 0);
			metric(&body, "vllm:prompt_tokens_total", "counter",
				   sim_stats.prompt_tokens);
			metric(&body, "vllm:generation_tokens_total", "counter",
				   sim_stats.completion_tokens);
			metric(&body, "vllm:num_preemptions_total", "counter", 0);
			break;
		case SIM_LLAMACPP:
			metric(&body, "llamacpp:prompt_tokens_total", "counter",
				   sim_stats.prompt_tokens);
			metric(&body, "llamacpp:tokens_predicted_total", "counter",
				   sim_stats.completion_tokens);
			metric(&body, "llamacpp:predicted_tokens_seconds", "gauge",
				   sim_settings.decode_tps);
			metric(&body, "llamacpp:requests_processing", "gauge", running);
			metric(&body, "llamacpp:requests_deferred", "gauge", queued);
			break;
		case SIM_OPENAI:
			break;
	}
	sim_reply_json(req, 200, &body);
	req->reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
}
