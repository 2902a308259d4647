/*-------------------------------------------------------------------------
 *
 * models.c
 *		Whether an endpoint has the model, where it does not say so itself; and
 *		whether the dialect is its own.
 *
 * SGLang does not look at "model": a server whose option has a wrong name, or
 * whose URL leads to another model, would give scores, and they would be kept
 * under the wrong name for ever.  So before the first sample goes there, an
 * endpoint is asked for the models that it serves, once in a worker's life, and
 * again when it was out of use, for another may have come in its place.  One
 * that is SGLang by its own words and does not list the model gets no sample;
 * it is asked again after a while, for the model there may change.  So is smg,
 * whose words for a model that it does not have are those for one that is still
 * starting, for which one waits; its list is refused as long as it has none.
 *
 * Other servers refuse a name that they do not serve, or (llama-server) serve
 * what they have under any name.  Who cannot be asked is taken at his word, for
 * some time: the sample finds out what is wrong.
 *
 * The list also says what kind of server it is.  Where the option has another
 * dialect, samples are sent all the same, sessions tell it (notice.c), and so
 * does the log.  For the dialects of servers that look at "model" that is the
 * only use of the list, and there one question has to do.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/clock.h"
#include "model/dialect.h"
#include "model/hide.h"
#include "model/misfit.h"
#include "model/reply_models.h"
#include "worker/http.h"
#include "worker/models.h"

/* When an endpoint is asked again, in us: it did not serve the model, ... */
#define ASK_OTHER INT64CONST(2000000)
/* ... was not reached or not ready, ... */
#define ASK_FAILED INT64CONST(1000000)
/* ... or was too slow; also a question whose answer we were never told */
#define ASK_SLOW INT64CONST(30000000)

typedef struct Question
{
	uint32		number;
	Oid			serverid;
	RstarChannel *channel;
	char		url[FLEXIBLE_ARRAY_MEMBER]; /* endpoints may be renumbered */
} Question;

static uint32 questions = 0;	/* asked so far; 0 is the number of none */

static bool ask(RstarTarget *target, int endpoint, RstarChannel *channel);
static void asked(const RstarHttpReply *reply);
static void note(RstarTarget *target, int endpoint, const RstarHttpReply *reply);
static bool decides(RstarDialect dialect);

RstarServes
rstar_models_serves(RstarTarget *target, int endpoint, RstarChannel *channel, int64 now)
{
	RstarListed *listed = &target->listed[endpoint];

	if (listed->fits)
		return RSTAR_SERVES;
	if (now < listed->ask_at)
		return listed->asked ? RSTAR_SERVES_UNKNOWN :
			listed->other[0] ? RSTAR_SERVES_OTHER : RSTAR_SERVES;
	listed->ask_at = now + ASK_SLOW;
	listed->asked = ask(target, endpoint, channel);
	if (!listed->asked)
		listed->fits = !decides(target->config->dialect);
	return listed->asked ? RSTAR_SERVES_UNKNOWN : RSTAR_SERVES;
}

static bool
ask(RstarTarget *target, int endpoint, RstarChannel *channel)
{
	const RstarUrl *url = &target->config->urls[endpoint];
	Question   *question = MemoryContextAlloc(TopMemoryContext,
											  offsetof(Question, url) + strlen(url->text) + 1);
	RstarHttpRequest request;

	question->number = target->listed[endpoint].question = ++questions;
	question->serverid = target->serverid;
	question->channel = channel;
	strcpy(question->url, url->text);
	memset(&request, 0, sizeof(request));
	request.url = target->model_urls[endpoint];
	request.unix_socket = url->unix_socket;
	request.ca_file = target->config->ca_file;
	request.headers = channel->headers;
	request.timeout = request.connect_timeout = target->config->connect_timeout;
	request.done = asked;
	request.owner = question;
	if (rstar_http_start(&request) == NULL)
	{
		pfree(question);
		return false;
	}
	channel->users++;
	return true;
}

static void
asked(const RstarHttpReply *reply)
{
	Question   *question = reply->owner;
	RstarTarget *target = rstar_target_find(question->serverid);

	if (target != NULL && target->config != NULL)
	{
		for (int i = 0; i < target->config->nurls; i++)
		{
			if (target->listed[i].question == question->number &&
				strcmp(target->config->urls[i].text, question->url) == 0)
				note(target, i, reply);
		}
		target->wake = 0;
	}
	rstar_target_leave_channel(question->channel);
	pfree(question);
}

static void
note(RstarTarget *target, int endpoint, const RstarHttpReply *reply)
{
	RstarListed *listed = &target->listed[endpoint];
	int64		now = rstar_clock();
	RstarModels models;

	listed->asked = false;
	listed->other[0] = '\0';
	listed->fits = !decides(target->config->dialect);
	if (reply->result == RSTAR_HTTP_TIMEOUT)
		listed->ask_at = now + ASK_SLOW;
	else if (reply->result != RSTAR_HTTP_REPLY || reply->status == 429 || reply->status >= 500)
		listed->ask_at = now + ASK_FAILED;
	else if (reply->status == 401 || reply->status == 403)
	{
		listed->ask_at = now + ASK_OTHER;	/* who asks next may have a key */
		if (listed->misfit[0] != '\0')
		{
			listed->misfit[0] = '\0';
			rstar_target_publish(target, endpoint);
		}
	}
	else
	{
		for (char *const *secret = reply->secrets; *secret != NULL; secret++)
			(void) rstar_hide(reply->body, reply->body_len, *secret);
		rstar_reply_models(reply->body, reply->body_len, target->config->model, &models);
		listed->fits = reply->status > 299 || !rstar_reply_models_other(&models);
		listed->ask_at = now + ASK_OTHER;
		if (!listed->fits)
			strlcpy(listed->other, models.line, sizeof(listed->other));
		rstar_models_kind(target, endpoint, reply, &models);
	}
}

/* For sessions; and for the log, when it is new */
void
rstar_models_kind(RstarTarget *target, int endpoint, const RstarHttpReply *reply,
				  const RstarModels *models)
{
	char	   *noted = target->listed[endpoint].misfit;
	const RstarServer *config = target->config;
	RstarMisfit misfit;
	const char *owner = "";

	if (reply->status >= 200 && reply->status <= 299 && rstar_models_router(reply) == NULL &&
		rstar_misfit(config->dialect, models->owner, &misfit))
		owner = models->owner;
	if (strcmp(noted, owner) == 0)
		return;
	strlcpy(noted, owner, sizeof(target->listed[endpoint].misfit));
	rstar_target_publish(target, endpoint);
	if (owner[0] != '\0')
		ereport(LOG,
				(errmsg("option \"dialect\" of server \"%s\" does not fit endpoint \"%s\"",
						config->name, config->urls[endpoint].text),
				 errdetail("It is \"%s\", \"%s\" fits %s: %s.",
						   rstar_dialect_name(config->dialect), misfit.fits, misfit.server, misfit.harm)));
}

/* Whether what the list says decides on samples: the others look at "model" */
static bool
decides(RstarDialect dialect)
{
	return dialect == RSTAR_DIALECT_SGLANG || dialect == RSTAR_DIALECT_VLLM;
}

const char *
rstar_models_router(const RstarHttpReply *reply)
{
	if (rstar_http_header(reply, "x-litellm-call-id") != NULL)
		return "LiteLLM";
	return rstar_http_header(reply, "x-smg-routed-worker-id") != NULL ? "smg" : NULL;
}
