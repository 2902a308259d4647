/*-------------------------------------------------------------------------
 *
 * inspect.c
 *		What retrostar.check() asks an endpoint.
 *
 * Two questions, with the headers and ids of samples: for the models that it
 * serves, and a chat request without messages.  That is refused by all servers,
 * for the key, for the model, or else for the missing messages, and costs no
 * GPU.  The list alone is not enough: routers show it to everybody, or do not
 * know what is behind them.
 *
 * "In doubt" is what may work all the same: a model that is not in the list,
 * though the chat request was not refused for it, and a server that takes no
 * requests just now.  So is a dialect that is not the server's, which check.c
 * says, with what models.c has put down.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "model/reply_models.h"
#include "worker/http.h"
#include "worker/inspect.h"
#include "worker/models.h"
#include "worker/outcome.h"
#include "worker/verdict.h"

/* What the answers have said so far; the sample's */
struct RstarInspection
{
	RstarJudgement list;		/* of the question for the models */
	RstarModels models;
	int64		elapsed_us;
	const char *front;			/* a proxy, as the headers show, or NULL */
};

static void ask(RstarSample *sample, bool chat);
static void list_done(const RstarHttpReply *reply);
static void chat_done(const RstarHttpReply *reply);
static void judge(RstarSample *sample, const RstarHttpReply *reply, bool chat, RstarJudgement *judged);
static const char *front(const RstarHttpReply *reply);
static void conclude(RstarSample *sample, const RstarJudgement *chat);
static void answer(RstarSample *sample, RstarStatus status, const char *said);
static void append_server(const RstarSample *sample, char *detail);
static void fail(RstarSample *sample, RstarStatus status, int http_status, const char *detail);

void
rstar_inspect_start(RstarSample *sample)
{
	sample->inspection = MemoryContextAllocZero(TopMemoryContext, sizeof(struct RstarInspection));
	ask(sample, false);
}

static void
ask(RstarSample *sample, bool chat)
{
	RstarTarget *target = sample->target;
	int			endpoint = sample->claim.endpoint;
	RstarChannel *channel;
	RstarHttpRequest request;
	RstarTransfer *transfer;
	char		request_id[RSTAR_SAMPLE_ID_LEN];

	if (target->config == NULL || endpoint >= target->config->nurls)
	{
		fail(sample, RSTAR_STATUS_SERVER_GONE, 0, NULL);
		return;
	}
	channel = rstar_target_channel(target, sample->claim.mapping);
	rstar_sample_number(sample);
	rstar_sample_id(sample, request_id);
	memset(&request, 0, sizeof(request));
	request.request_id = request_id;
	request.traceparent = sample->claim.traceparent;
	request.url = chat ? target->chat_urls[endpoint] : target->model_urls[endpoint];
	request.unix_socket = target->config->urls[endpoint].unix_socket;
	request.ca_file = target->config->ca_file;
	request.headers = channel->headers;
	request.timeout = request.connect_timeout = target->config->connect_timeout;
	if (chat)
	{
		request.body = target->question;
		request.body_len = strlen(target->question);
	}
	request.done = chat ? chat_done : list_done;
	request.owner = sample;
	transfer = channel->headers ? rstar_http_start(&request) : NULL;
	if (transfer == NULL)
	{
		char		error[RSTAR_DETAIL_LEN];

		strlcpy(error, channel->headers ? "out of memory" : channel->error, sizeof(error));
		rstar_target_leave_channel(channel);
		rstar_target_forget_channel(target, sample->claim.mapping);
		fail(sample, RSTAR_STATUS_SETUP, 0, error);
		return;
	}
	rstar_sample_fly(sample, transfer, channel, 0);
}

static void
list_done(const RstarHttpReply *reply)
{
	RstarSample *sample = reply->owner;
	struct RstarInspection *seen = sample->inspection;
	const RstarServer *config = sample->target->config;

	judge(sample, reply, false, &seen->list);
	seen->elapsed_us = reply->elapsed_us;
	if (reply->result != RSTAR_HTTP_REPLY || seen->list.status == RSTAR_STATUS_UNAUTHORIZED)
	{
		fail(sample, seen->list.status, seen->list.http_status, seen->list.detail);
		return;
	}
	seen->front = front(reply);
	if (config != NULL)
		rstar_reply_models(reply->body, reply->body_len, config->model, &seen->models);
	/* it may have fewer endpoints by now */
	if (rstar_target_endpoint(sample->target, sample->claim.endpoint) != NULL)
		rstar_models_kind(sample->target, sample->claim.endpoint, reply, &seen->models);
	ask(sample, true);
}

static void
chat_done(const RstarHttpReply *reply)
{
	RstarSample *sample = reply->owner;
	struct RstarInspection *seen = sample->inspection;
	RstarJudgement chat;

	judge(sample, reply, true, &chat);
	if (sample->target->config == NULL)
		fail(sample, RSTAR_STATUS_SERVER_GONE, 0, NULL);
	else if (reply->result != RSTAR_HTTP_REPLY)
		fail(sample, chat.status, chat.http_status, chat.detail);
	else
	{
		if (seen->front == NULL)
			seen->front = front(reply);
		conclude(sample, &chat);
	}
}

/* In this order, as in send.c; what is left of the body has no key in it */
static void
judge(RstarSample *sample, const RstarHttpReply *reply, bool chat, RstarJudgement *judged)
{
	static const RstarReading reading = {.form = &rstar_form_retro};
	const RstarTarget *target = sample->target;
	int			endpoint = sample->claim.endpoint;
	const char *url = NULL;
	RstarReply	parsed;

	rstar_outcome_judge(reply, &reading, &parsed, judged);
	if (rstar_target_endpoint(target, endpoint) != NULL)
		url = chat ? target->chat_urls[endpoint] : target->model_urls[endpoint];
	rstar_outcome_say_what(judged, chat ? "POST" : "GET", url, sample->channel->key_from);
	rstar_sample_land(sample);
	rstar_reply_free(&parsed);
	if (judged->status == RSTAR_STATUS_UNAUTHORIZED)
		rstar_target_forget_channel(sample->target, sample->claim.mapping);
}

/* A proxy, as the headers show, or NULL */
static const char *
front(const RstarHttpReply *reply)
{
	const char *router = rstar_models_router(reply);
	const char *server = rstar_http_header(reply, "Server");

	if (router != NULL)
		return router;
	return server != NULL && strncmp(server, "nginx", 5) == 0 ? "nginx" : NULL;
}

static void
conclude(RstarSample *sample, const RstarJudgement *chat)
{
	const struct RstarInspection *seen = sample->inspection;
	const RstarModels *models = &seen->models;
	int			list_status = seen->list.http_status;
	int			status = chat->http_status;
	bool		has_list = list_status >= 200 && list_status <= 299;
	bool		unlisted = has_list && !models->listed;
	char		said[RSTAR_DETAIL_LEN];

	/* A router may have no list, but who refuses to show it refuses us */
	if (chat->status == RSTAR_STATUS_UNAUTHORIZED || (has_list && chat->outcome.quota))
		fail(sample, chat->status, status, chat->detail);
	else if (!has_list && list_status != 404 && list_status != 405)
		fail(sample, seen->list.status, list_status, seen->list.detail);
	else if (chat->outcome.unknown_model)
		fail(sample, RSTAR_STATUS_UNKNOWN_MODEL, unlisted ? list_status : status,
			 unlisted ? models->line : chat->detail);
	else if (has_list && rstar_reply_models_other(models))
		fail(sample, RSTAR_STATUS_UNKNOWN_MODEL, list_status, models->line);
	else if (rstar_verdict_class(&chat->outcome) == RSTAR_CLASS_PUSHBACK)
	{
		snprintf(said, sizeof(said), "it takes no requests now: HTTP status %d: %s", status, chat->detail);
		answer(sample, RSTAR_STATUS_DOUBT, said);
	}
	else if ((status >= 300 && status <= 399) || status == 404 || status == 405 || status >= 500)
		fail(sample, chat->status, status, chat->detail);
	else if (!has_list)
		answer(sample, RSTAR_STATUS_OK, "it has no list of models");
	else if (models->listed || sample->target->config->dialect == RSTAR_DIALECT_LLAMACPP)
		answer(sample, RSTAR_STATUS_OK, models->line);
	else
	{
		snprintf(said, sizeof(said), "its list does not have the model: %s", models->line);
		answer(sample, RSTAR_STATUS_DOUBT, said);
	}
}

static void
answer(RstarSample *sample, RstarStatus status, const char *said)
{
	RstarAnswer answer;
	char		detail[RSTAR_DETAIL_LEN];

	strlcpy(detail, said, sizeof(detail));
	append_server(sample, detail);
	memset(&answer, 0, sizeof(answer));
	answer.unscored = status;
	answer.http_status = sample->inspection->list.http_status;
	answer.elapsed_us = sample->inspection->elapsed_us;
	answer.detail = detail;
	(void) rstar_dispatch_answered(sample->claim.request, &answer, false, &sample->claim.sample);
	rstar_sample_free(sample);
}

/* What it is by its own words */
static void
append_server(const RstarSample *sample, char *detail)
{
	const char *server = rstar_reply_models_server(sample->inspection->models.owner);
	const char *proxy = sample->inspection->front;
	size_t		len = strlen(detail);

	if (server != NULL && proxy != NULL && strcmp(server, proxy) == 0)
		proxy = NULL;
	if (server != NULL || proxy != NULL)
		snprintf(detail + len, RSTAR_DETAIL_LEN - len, " (%s%s%s)", server ? server : "",
				 server && proxy ? " behind " : "", proxy ? proxy : "");
	if ((sample->target->no_priority >> sample->claim.endpoint & 1) != 0)
		strlcat(detail, "; it refuses priorities, and gets none", RSTAR_DETAIL_LEN);
}

static void
fail(RstarSample *sample, RstarStatus status, int http_status, const char *detail)
{
	struct RstarRequest *request = sample->claim.request;
	char		said[RSTAR_DETAIL_LEN] = "";

	/* It may be the sample's own */
	if (detail != NULL)
		strlcpy(said, detail, sizeof(said));
	rstar_sample_free(sample);
	rstar_dispatch_failed(request, status, http_status, said);
}
