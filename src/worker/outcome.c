/*-------------------------------------------------------------------------
 *
 * outcome.c
 *		What the end of an exchange means: for the endpoint, for the sample,
 *		for the session that waits.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "mb/pg_wchar.h"

#include "model/hide.h"
#include "model/reply_details.h"
#include "shared/recent.h"
#include "worker/outcome.h"
#include "worker/verdict.h"

/* Longest Retry-After that is honoured, in seconds */
#define MAX_RETRY_AFTER 60

static void read_reply(const RstarHttpReply *reply, const RstarReading *reading, RstarReply *parsed);
static void judge_status(const RstarHttpReply *reply, const RstarReply *parsed,
						 RstarJudgement *judged);
static RstarEnding ending(const RstarJudgement *judged);

void
rstar_outcome_judge(const RstarHttpReply *reply, const RstarReading *reading, RstarReply *parsed,
					RstarJudgement *judged)
{
	memset(parsed, 0, sizeof(RstarReply));
	memset(judged, 0, sizeof(RstarJudgement));
	judged->outcome.retry_after = -1;
	judged->http_status = reply->status;
	strlcpy(judged->detail, reply->error ? reply->error : "", sizeof(judged->detail));
	switch (reply->result)
	{
		case RSTAR_HTTP_TRANSPORT:
			judged->outcome.kind = RSTAR_OUTCOME_TRANSPORT;
			judged->outcome.refused = reply->refused;
			judged->outcome.nowhere = reply->nowhere;
			judged->status = RSTAR_STATUS_UNREACHABLE;
			return;
		case RSTAR_HTTP_UNTRUSTED:
			judged->outcome.kind = RSTAR_OUTCOME_UNTRUSTED;
			judged->status = RSTAR_STATUS_UNTRUSTED;
			return;
		case RSTAR_HTTP_TIMEOUT:
			judged->outcome.kind = RSTAR_OUTCOME_TIMEOUT;
			judged->status = RSTAR_STATUS_TIMEOUT;
			return;
		case RSTAR_HTTP_NO_SOCKET:
			/* Fewer at once, and later: as if the endpoint pushed back */
			judged->outcome.kind = RSTAR_OUTCOME_STATUS;
			judged->outcome.status = 503;
			judged->outcome.own = true;
			judged->status = RSTAR_STATUS_UNREACHABLE;
			return;
		case RSTAR_HTTP_NO_MEMORY:
			/* The same */
			judged->outcome.kind = RSTAR_OUTCOME_STATUS;
			judged->outcome.status = 503;
			judged->outcome.own = true;
			judged->status = RSTAR_STATUS_SETUP;
			return;
		case RSTAR_HTTP_SETUP:
			/* Our own fault: it says nothing of the endpoint, and fails */
			judged->outcome.kind = RSTAR_OUTCOME_CANCELLED;
			judged->status = RSTAR_STATUS_SETUP;
			return;
		case RSTAR_HTTP_TOO_LARGE:
			judged->outcome.kind = RSTAR_OUTCOME_BAD_REPLY;
			judged->status = RSTAR_STATUS_BAD_REPLY;
			return;
		case RSTAR_HTTP_REPLY:
			break;
	}
	read_reply(reply, reading, parsed);
	if (parsed->message[0])
		strlcpy(judged->detail, parsed->message, sizeof(judged->detail));
	if (reply->status < 200 || reply->status > 299)
		judge_status(reply, parsed, judged);
	else if (parsed->status == RSTAR_REPLY_SCORE || parsed->status == RSTAR_REPLY_NO_SCORE ||
			 parsed->status == RSTAR_REPLY_TRUNCATED)
		judged->outcome.kind = RSTAR_OUTCOME_ANSWER;
	else if (parsed->error == RSTAR_ERROR_NOT_NOW)
	{
		/* The server had said 200 before it was told to end */
		judged->outcome.kind = RSTAR_OUTCOME_STATUS;
		judged->outcome.status = 503;
		judged->status = RSTAR_STATUS_SERVER_ERROR;
	}
	else
	{
		judged->outcome.kind = RSTAR_OUTCOME_BAD_REPLY;
		judged->status = RSTAR_STATUS_BAD_REPLY;
		if (parsed->status == RSTAR_REPLY_ABORTED)
			snprintf(judged->detail, sizeof(judged->detail),
					 "the server aborted the request (finish_reason \"%s\")", parsed->finish_reason);
		else if (parsed->status == RSTAR_REPLY_MALFORMED)
			strlcpy(judged->detail, "not a chat completion", sizeof(judged->detail));
	}
}

/*
 * What counts is read from the reply as it came, and what people read from one
 * without the key.  A role chooses the key of its own mapping: if one that is a
 * piece of an answer were hidden in it first, the role would choose the score,
 * which others get from the cache.
 */
static void
read_reply(const RstarHttpReply *reply, const RstarReading *reading, RstarReply *parsed)
{
	RstarReply	shown;
	bool		hidden = false;

	rstar_reply_parse(parsed, reply->status, reply->body, reply->body_len, reading);
	for (char *const *secret = reply->secrets; *secret != NULL; secret++)
		hidden |= rstar_hide(reply->body, reply->body_len, *secret);
	if (!hidden)
		return;
	rstar_reply_parse(&shown, reply->status, reply->body, reply->body_len, reading);
	rstar_reply_free(parsed);
	parsed->text = shown.text;
	parsed->text_len = shown.text_len;
	memcpy(parsed->finish_reason, shown.finish_reason, sizeof(shown.finish_reason));
	memcpy(parsed->message, shown.message, sizeof(shown.message));
}

/* What the server said gives way to it, for it may be long */
void
rstar_outcome_say_what(RstarJudgement *judged, const char *method, const char *url,
					   const char *key_from)
{
	char		said[RSTAR_DETAIL_LEN];
	char		added[RSTAR_DETAIL_LEN];
	int			room;

	strlcpy(said, judged->detail, sizeof(said));
	if (judged->status == RSTAR_STATUS_UNAUTHORIZED)
		strlcpy(added, key_from, sizeof(added));
	else if (judged->status == RSTAR_STATUS_REFUSED && !judged->outcome.not_now && url != NULL &&
			 (judged->http_status == 404 || judged->http_status == 405))
		snprintf(added, sizeof(added), "%s %s", method, url);
	else
		return;
	room = (int) (sizeof(judged->detail) - strlen(added)) - 3;
	room = pg_encoding_mbcliplen(PG_UTF8, said, strlen(said), Max(room, 0));
	if (judged->status == RSTAR_STATUS_UNAUTHORIZED)
		snprintf(judged->detail, sizeof(judged->detail), "%.*s%s%s", room, said, room > 0 ? "; " : "", added);
	else
		snprintf(judged->detail, sizeof(judged->detail), "%s%s%.*s", added, room > 0 ? ": " : "", room, said);
}

void
rstar_outcome_attempt(const RstarJudgement *judged, const RstarReply *parsed,
					  int64 elapsed_us, RstarAttemptEnd *end)
{
	memset(end, 0, sizeof(RstarAttemptEnd));
	end->ending = ending(judged);
	end->unscored = parsed->status != RSTAR_REPLY_SCORE;
	end->prompt_tokens = parsed->prompt_tokens;
	end->completion_tokens = parsed->completion_tokens;
	end->cached_tokens = parsed->cached_tokens;
	end->elapsed_us = elapsed_us;
	end->status = judged->status;
	end->http_status = judged->http_status;
	end->detail = judged->detail;
}

static RstarEnding
ending(const RstarJudgement *judged)
{
	if (judged->status == RSTAR_STATUS_SETUP)
		return RSTAR_ENDING_NOT_SENT;
	if (judged->status == RSTAR_STATUS_UNTRUSTED)
		return RSTAR_ENDING_UNREACHABLE;
	switch (rstar_verdict_class(&judged->outcome))
	{
		case RSTAR_CLASS_ANSWER:
			return RSTAR_ENDING_ANSWERED;
		case RSTAR_CLASS_TRANSPORT:
		case RSTAR_CLASS_LOST:
			return RSTAR_ENDING_UNREACHABLE;
		case RSTAR_CLASS_TIMEOUT:
			return RSTAR_ENDING_TIMED_OUT;
		case RSTAR_CLASS_PUSHBACK:
			return RSTAR_ENDING_PUSHED_BACK;
		case RSTAR_CLASS_SERVER_ERROR:
			return RSTAR_ENDING_SERVER_ERROR;
		case RSTAR_CLASS_SHORTENED:
			/* a reply that the context cut is one, with its tokens */
			if (judged->outcome.status == 0)
				return RSTAR_ENDING_ANSWERED;
			return RSTAR_ENDING_REFUSED;
		case RSTAR_CLASS_REJECTED:
		case RSTAR_CLASS_QUOTA:
		case RSTAR_CLASS_REFUSAL:
			return RSTAR_ENDING_REFUSED;
		case RSTAR_CLASS_NONSENSE:
		case RSTAR_CLASS_CANCELLED:
			break;
	}
	return RSTAR_ENDING_BAD_REPLY;
}

static void
judge_status(const RstarHttpReply *reply, const RstarReply *parsed, RstarJudgement *judged)
{
	RstarOutcome *outcome = &judged->outcome;

	outcome->kind = RSTAR_OUTCOME_STATUS;
	outcome->status = reply->status;
	outcome->unknown_model = parsed->error == RSTAR_ERROR_MODEL;
	outcome->quota = parsed->error == RSTAR_ERROR_QUOTA;
	outcome->not_now = parsed->error == RSTAR_ERROR_NOT_NOW;
	outcome->away = parsed->error == RSTAR_ERROR_AWAY;
	if (reply->retry_after != NULL)
		outcome->retry_after = rstar_reply_retry_after(reply->retry_after,
													   strlen(reply->retry_after),
													   (long long) time(NULL), MAX_RETRY_AFTER);
	/* There is no telling: smg says it of any name, before and for ever */
	if (outcome->not_now && reply->status == 404)
		strlcat(judged->detail, " (so far, or the server does not know the model)",
				sizeof(judged->detail));
	if (reply->status == 401 || reply->status == 403)
		judged->status = RSTAR_STATUS_UNAUTHORIZED;
	else if (outcome->unknown_model)
		judged->status = RSTAR_STATUS_UNKNOWN_MODEL;
	else if (parsed->error == RSTAR_ERROR_TOO_LONG || parsed->error == RSTAR_ERROR_NO_ROOM)
		judged->status = RSTAR_STATUS_TOO_LONG;
	else if (reply->status >= 500)
		judged->status = RSTAR_STATUS_SERVER_ERROR;
	else
		judged->status = RSTAR_STATUS_REFUSED;
}

/* As much of it as a table would have */
void
rstar_outcome_keep(const RstarKey *key, const RstarHttpReply *reply, const RstarReply *parsed,
				   const char *endpoint)
{
	RstarRecent recent = {
		.key = *key,
		.score = parsed->score,
		.prompt_tokens = parsed->prompt_tokens,
		.completion_tokens = parsed->completion_tokens,
		.endpoint_len = endpoint != NULL ? strlen(endpoint) : 0,
		.text_len = rstar_reply_details_text(parsed),
		.elapsed_us = reply->elapsed_us
	};

	strlcpy(recent.finish_reason, parsed->finish_reason, sizeof(recent.finish_reason));
	rstar_recent_add(&recent, endpoint != NULL ? endpoint : "", parsed->text);
}
