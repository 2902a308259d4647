/*-------------------------------------------------------------------------
 *
 * reply_error.c
 *		What a server means when it refuses: the wording of an error, and
 *		Retry-After.
 *
 * Servers agree neither on codes nor on types, so the status sets the frame
 * and the words decide.  The words are untrusted and may quote a document;
 * the worst that a wrong guess does is one resend with a shorter document, or
 * a message that names the wrong reason.  The wordings are those of SGLang,
 * vLLM, llama.cpp, TGI, TensorRT-LLM, Ollama and the hosted APIs, each as seen
 * in a real body.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/reply_error.h"

/*
 * Numbers in the wordings of "too long"; # is the number.  The first line of
 * a table that fits is taken.
 */
static const char *const limit_wordings[] = {
	"context length is # token",	/* vLLM, OpenAI */
	"context length of # token",	/* SGLang */
	"context length (#",		/* SGLang */
	"available context size (#",	/* llama.cpp */
	"max_num_tokens (#",		/* TensorRT-LLM */
	"`max_new_tokens` must be <= #",	/* TGI */
	"`inputs` must have less than # token", /* TGI */
	"tokens > # maximum",
	NULL
};
static const char *const prompt_wordings[] = {
	"prompt contains at least # input token",	/* vLLM */
	"prompt contains # input token",	/* vLLM */
	"request has # input token",	/* vLLM */
	"# in the messages",		/* old vLLM, OpenAI */
	"# in the prompt",
	"# tokens from the input",	/* SGLang */
	"the input (# token",		/* SGLang */
	"input length (#",			/* SGLang */
	"messages resulted in # token", /* OpenAI */
	"request (# token",			/* llama.cpp */
	"sum of prompt length (#",	/* TensorRT-LLM */
	"given: # `inputs`",		/* TGI */
	"tokens. given: #",			/* TGI */
	"prompt is too long: # token",
	/* prompt and completion together, when nothing better is said */
	"requested a total of # token", /* SGLang */
	"you requested # token",	/* OpenAI */
	NULL
};

static const char *const quota_words[] = {
	"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit",
	"billing_not_active", "exceeded your current quota", "credit balance",
	"insufficient balance", "insufficient credits", NULL
};
static const char *const too_long_words[] = {
	"context length", "context_length", "context window", "exceed_context_size",
	"exceeds the available context", "longer than the model", "max_num_tokens",
	"prompt is too long", "input is too long", "maximum allowed input length",
	/* vLLM, of what a prompt just as long as the context leaves */
	"max_tokens must be at least 1, got 0", "max_completion_tokens must be at least 1, got 0",
	NULL
};
static const char *const model_words[] = {
	"does not exist", "not found", "is not served", "no such model",
	"invalid model", "unknown model", "not a valid model", NULL
};

/* Of an option "max_tokens" that leaves the prompt nothing */
static const char *const no_room_words[] = {
	"cannot be greater than max_model_len", /* vLLM */
	"upper bound for 0 input token",	/* vLLM, for a long prompt */
	"max_completion_tokens is too large",	/* SGLang */
	NULL
};
static const char *const completion_wordings[] = {
	"you requested # output token", /* vLLM */
	"# tokens for the completion",	/* SGLang */
	"# in the completion",		/* old vLLM, OpenAI */
	NULL
};

/* Of an engine that does not schedule by priority: vLLM's 400, SGLang's 503 */
static const char *const priority_words[] = {
	"priority scheduling is not enabled", "using priority is disabled", NULL
};

/* Of a server that goes, under 5xx */
static const char *const shutdown_words[] = {
	"after shutdown", "shutting down", "shutdown in progress", "is draining",
	"server is stopping", NULL
};

/* Of a router whose servers have not come yet, or are all ill */
static const char *const no_worker_words[] = {
	"no worker available", "no workers available", "no available worker",
	"no_available_workers", "no healthy worker", "workers are unavailable",
	"no models available", NULL
};

/* Of a gateway that has not come through to a server, under 500 */
static const char *const away_words[] = {
	"error sending request for url",	/* sglang-router, smg, vllm-router */
	"cannot connect to host", "connection reset by peer",	/* LiteLLM */
	NULL
};

static bool leaves_no_room(const char *text);
static bool has_any(const char *text, const char *const *words);
static int	first_number(const char *text, const char *const *wordings);
static int	number_in(const char *text, const char *wording);
static long long parse_seconds(const char *value);
static long long parse_http_date(const char *value);

void
rstar_wording_init(RstarWording *wording)
{
	wording->len = 0;
	wording->text[0] = '\0';
}

void
rstar_wording_add(RstarWording *wording, const char *src, size_t len)
{
	for (size_t i = 0; i < len && wording->len < RSTAR_WORDING_LEN - 2; i++)
	{
		char		c = src[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		wording->text[wording->len++] = c == '\0' ? ' ' : c;
	}
	if (wording->len < RSTAR_WORDING_LEN - 1)
		wording->text[wording->len++] = '\n';
	wording->text[wording->len] = '\0';
}

RstarReplyError
rstar_wording_classify(const RstarWording *wording, int status)
{
	const char *text = wording->text;
	bool		unknown = status == 0;
	bool		bad_request = unknown || status == 400 || status == 422;

	if ((bad_request || status >= 500) && has_any(text, priority_words))
		return RSTAR_ERROR_PRIORITY;
	if (status == 402)
		return RSTAR_ERROR_QUOTA;
	if ((bad_request || status == 403 || status == 429) &&
		has_any(text, quota_words))
		return RSTAR_ERROR_QUOTA;

	/* "max_tokens" alone: a shorter text does not help */
	if (bad_request && leaves_no_room(text))
		return RSTAR_ERROR_NO_ROOM;

	/*
	 * A proxy's 413 says no more than its number.  TGI alone speaks of
	 * `inputs`; "must be <=" is said of any parameter.
	 */
	if (status == 413)
		return RSTAR_ERROR_TOO_LONG;
	if (bad_request &&
		(has_any(text, too_long_words) ||
		 (strstr(text, "`inputs`") != NULL &&
		  (strstr(text, "must be <=") != NULL ||
		   strstr(text, "must have less than") != NULL))))
		return RSTAR_ERROR_TOO_LONG;

	if ((unknown || status == 404 || status >= 500) &&
		(has_any(text, no_worker_words) ||
		 (status != 404 && has_any(text, shutdown_words))))
		return RSTAR_ERROR_NOT_NOW;
	if (status >= 500 && has_any(text, away_words))
		return RSTAR_ERROR_AWAY;

	if ((bad_request || status == 403 || status == 404) &&
		(strstr(text, "model_not_found") != NULL ||
		 (strstr(text, "model") != NULL && has_any(text, model_words))))
		return RSTAR_ERROR_MODEL;
	return RSTAR_ERROR_OTHER;
}

void
rstar_wording_tokens(const RstarWording *wording,
					 int *limit_tokens, int *request_tokens)
{
	int			limit = first_number(wording->text, limit_wordings);
	int			request = first_number(wording->text, prompt_wordings);

	if (limit > 0)
		*limit_tokens = limit;
	if (request > 0)
		*request_tokens = request;
}

bool
rstar_wording_at_least(const RstarWording *wording)
{
	return strstr(wording->text, "prompt contains at least ") != NULL;
}

int
rstar_reply_retry_after(const char *value, size_t len, long long now, int max)
{
	char		buf[64];
	long long	seconds;

	while (len > 0 && (*value == ' ' || *value == '\t'))
	{
		value++;
		len--;
	}
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t' ||
					   value[len - 1] == '\r' || value[len - 1] == '\n'))
		len--;
	if (len == 0 || len >= sizeof(buf) || memchr(value, '\0', len) != NULL)
		return -1;
	memcpy(buf, value, len);
	buf[len] = '\0';

	seconds = parse_seconds(buf);
	if (seconds < 0)
	{
		long long	date = parse_http_date(buf);

		if (date < 0)
			return -1;
		/* a clock before 1970 is not set; and the difference may overflow */
		if (now < 0)
			now = 0;
		seconds = date > now ? date - now : 0;
	}
	if (max < 0)
		return 0;
	return seconds > max ? max : (int) seconds;
}

static bool
leaves_no_room(const char *text)
{
	int			limit = first_number(text, limit_wordings);

	return has_any(text, no_room_words) ||
		(limit > 0 && first_number(text, completion_wordings) >= limit);
}

static bool
has_any(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
	{
		if (strstr(text, *words) != NULL)
			return true;
	}
	return false;
}

/* The number of the first wording that is found, or 0 */
static int
first_number(const char *text, const char *const *wordings)
{
	int			number = 0;

	for (; *wordings != NULL && number == 0; wordings++)
		number = number_in(text, *wordings);
	return number;
}

/*
 * The number that stands at # of the wording, clamped to INT_MAX; 0 when the
 * wording is not in the text.
 */
static int
number_in(const char *text, const char *wording)
{
	const char *mark = strchr(wording, '#');
	size_t		before = (size_t) (mark - wording);
	const char *after = mark + 1;

	for (const char *p = text; *p != '\0'; p++)
	{
		size_t		digits;
		const char *end;
		long long	number;

		/* only where a number begins, and the words before it fit */
		digits = strspn(p, "0123456789");
		if (digits == 0)
			continue;
		end = p + digits;
		if (end[0] == '.' && end[1] == '0')
			end += 2;			/* TensorRT-LLM prints a count as 72417.0 */
		if ((size_t) (p - text) >= before &&
			memcmp(p - before, wording, before) == 0 &&
			strncmp(end, after, strlen(after)) == 0)
		{
			number = digits > 10 ? INT_MAX : strtoll(p, NULL, 10);
			return number > INT_MAX ? INT_MAX : (int) number;
		}
		p += digits - 1;
	}
	return 0;
}

/* Digits, perhaps with a fraction, which is rounded up; else -1 */
static long long
parse_seconds(const char *value)
{
	size_t		digits = strspn(value, "0123456789");
	const char *end = value + digits;
	long long	seconds = 0;

	if (digits == 0)
		return -1;
	for (const char *p = value; p < end; p++)
	{
		/* a number this big is clamped by the caller in any case */
		if (seconds <= INT_MAX)
			seconds = seconds * 10 + (*p - '0');
	}
	if (end[0] == '.' && strspn(end + 1, "0123456789") > 0)
	{
		end++;
		seconds += (strspn(end, "0") < strspn(end, "0123456789"));
		end += strspn(end, "0123456789");
	}
	return *end == '\0' ? seconds : -1;
}

/*
 * Unix seconds of "Sun, 06 Nov 1994 08:49:37 GMT", the one form of date that
 * HTTP lets a server send today; else -1.  No strptime(), whose names of days
 * and months depend on the locale.
 */
static long long
parse_http_date(const char *value)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char form[] = "AAA, 00 AAA 0000 00:00:00 GMT";
	const char *day;
	const char *month;
	struct tm	tm = {0};
	struct tm	check;
	time_t		date;

#define NUMBER2(at) ((value[at] - '0') * 10 + (value[(at) + 1] - '0'))
	if (strlen(value) != sizeof(form) - 1)
		return -1;
	for (int i = 0; form[i] != '\0'; i++)
	{
		if (form[i] == '0' ? (value[i] < '0' || value[i] > '9')
			: (form[i] != 'A' && value[i] != form[i]))
			return -1;
	}
	for (day = days; *day != '\0' && memcmp(day, value, 3) != 0; day += 3)
		;
	for (month = months; *month != '\0' && memcmp(month, value + 8, 3) != 0; month += 3)
		;
	if (*day == '\0' || *month == '\0')
		return -1;

	tm.tm_mday = NUMBER2(5);
	tm.tm_mon = (int) (month - months) / 3;
	tm.tm_year = NUMBER2(12) * 100 + NUMBER2(14) - 1900;
	tm.tm_hour = NUMBER2(17);
	tm.tm_min = NUMBER2(20);
	tm.tm_sec = NUMBER2(23);
#undef NUMBER2
	if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	if (tm.tm_sec == 60)
		tm.tm_sec = 59;			/* a leap second */
	check = tm;
	date = timegm(&check);
	/* timegm() takes 31 June for 1 July */
	if (check.tm_mday != tm.tm_mday)
		return -1;
	return (long long) date;
}
