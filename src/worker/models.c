/*-------------------------------------------------------------------------
 *
 * models.c
 *		Whether an endpoint has the model, where it does not say so itself.
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
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/clock.h"
#include "model/hide.h"
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
	Oid			serverid;
	RstarChannel *channel;
	char		url[FLEXIBLE_ARRAY_MEMBER]; /* endpoints may be renumbered */
} Question;

static bool ask(RstarTarget *target, int endpoint, RstarChannel *channel);
static void asked(const RstarHttpReply *reply);
static void note(RstarListed *listed, const RstarServer *config, const RstarHttpReply *reply);

RstarServes
rstar_models_serves(RstarTarget *target, int endpoint, RstarChannel *channel, int64 now)
{
	RstarListed *listed = &target->listed[endpoint];
	RstarDialect dialect = target->config->dialect;

	if (listed->fits || (dialect != RSTAR_DIALECT_SGLANG && dialect != RSTAR_DIALECT_VLLM))
		return RSTAR_SERVES;
	if (now < listed->ask_at)
		return listed->asked ? RSTAR_SERVES_UNKNOWN :
			listed->other[0] ? RSTAR_SERVES_OTHER : RSTAR_SERVES;
	listed->ask_at = now + ASK_SLOW;
	listed->asked = ask(target, endpoint, channel);
	return listed->asked ? RSTAR_SERVES_UNKNOWN : RSTAR_SERVES;
}

static bool
ask(RstarTarget *target, int endpoint, RstarChannel *channel)
{
	const RstarUrl *url = &target->config->urls[endpoint];
	Question   *question = MemoryContextAlloc(TopMemoryContext,
											  offsetof(Question, url) + strlen(url->text) + 1);
	RstarHttpRequest request;

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
			if (strcmp(target->config->urls[i].text, question->url) == 0)
				note(&target->listed[i], target->config, reply);
		}
		target->wake = 0;
	}
	rstar_target_leave_channel(question->channel);
	pfree(question);
}

static void
note(RstarListed *listed, const RstarServer *config, const RstarHttpReply *reply)
{
	int64		now = rstar_clock();
	RstarModels models;

	listed->asked = false;
	listed->other[0] = '\0';
	if (reply->result == RSTAR_HTTP_TIMEOUT)
		listed->ask_at = now + ASK_SLOW;
	else if (reply->result != RSTAR_HTTP_REPLY || reply->status == 429 || reply->status >= 500)
		listed->ask_at = now + ASK_FAILED;
	else if (reply->status == 401 || reply->status == 403)
		listed->ask_at = now + ASK_OTHER;	/* who asks next may have a key */
	else
	{
		for (char *const *secret = reply->secrets; *secret != NULL; secret++)
			(void) rstar_hide(reply->body, reply->body_len, *secret);
		rstar_reply_models(reply->body, reply->body_len, config->model, &models);
		listed->fits = reply->status > 299 || !rstar_reply_models_other(&models);
		listed->ask_at = now + ASK_OTHER;
		if (!listed->fits)
			strlcpy(listed->other, models.line, sizeof(listed->other));
	}
}
