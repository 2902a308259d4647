/*-------------------------------------------------------------------------
 *
 * reply.c
 *		A reply's body becomes a score, or the reason why there is none.
 *
 * Calls json-c, and reply_error.c for what an error's text means.
 *
 * A body is untrusted: up to 8 MB of whatever the other side cares to send.
 * Three things keep it cheap to refuse.  Nesting is bounded by the tokener.
 * The tree that json-c builds can be 260 times as big as its text ("{},{},"
 * costs 800 bytes an object), so a big body is measured before it is parsed
 * (tree_fits).  And the text of an error is only looked at up to a fixed
 * length.  Strings are pointed to, not copied, except for a text that the
 * caller wants to keep.
 *
 * Where the answer is: "content", or when that is blank, "reasoning_content",
 * then "reasoning" (a server with a reasoning parser may put a whole answer
 * there).  A score in the reasoning does not count when there is a content:
 * the model was still thinking.  For the same reason it does not count when
 * the reply was cut off inside the reasoning, nor in a part of the content that
 * has a type of its own ("reasoning", "thinking").
 *
 * Any 2xx may carry an answer: there are gateways that say 201.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <json-c/json.h>
#include <json-c/printbuf.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/reply.h"
#include "model/reply_error.h"
#include "model/reply_scan.h"
#include "model/reply_text.h"

/* Deepest nesting; a reply with log probabilities needs 10 */
#define MAX_DEPTH 32

/* Bodies up to this size are parsed unmeasured: their tree is below 20 MB */
#define SMALL_BODY (64 * 1024)

/* Biggest tree that a body may become, and what its parts cost (measured) */
#define MAX_TREE (64 * 1024 * 1024)
#define OBJECT_COST 900			/* with one member */
#define ARRAY_COST 256			/* with one element */
#define ELEMENT_COST 256		/* each further member or element */

/* How deep an error's message may be wrapped: error.message, detail[0].msg */
#define MESSAGE_DEPTH 4

/* What the first choice of a completion holds, whoever read it */
typedef struct Choice
{
	RstarText	texts[RSTAR_SCAN_PARTS];
	RstarText	finish_reason;
} Choice;

static bool tree_fits(const char *body, size_t len);
static json_object *parse_event(const char *body, size_t len);
static bool has_error(json_object *root);
static bool says_something(json_object *value);
static int	status_within(json_object *root);
static void set_cached(RstarReply *reply, int cached_tokens, int cache_hit_tokens, int cache_n);
static bool read_usual(RstarReply *reply, const char *body, size_t len, const RstarReading *reading);
static void read_completion(RstarReply *reply, json_object *root, const RstarReading *reading);
static void read_choice(RstarReply *reply, json_object *object, const RstarReading *reading);
static void judge_choice(RstarReply *reply, const Choice *choice, const RstarReading *reading);
static RstarText get_text(json_object *object, const char *key, struct printbuf **joined);
static void join_parts(json_object *parts, bool any, struct printbuf **joined);
static bool is_answer_part(json_object *part);
static void keep_text(RstarReply *reply, RstarText reasoning, RstarText content);
static void read_error(RstarReply *reply, int status, json_object *root,
					   const char *body, size_t len);
static json_object *find_message(json_object *value, int depth);
static void add_member(RstarWording *wording, json_object *object, const char *key);
static int	get_count(json_object *object, const char *key);
static json_object *get_member(json_object *object, const char *key);

void
rstar_reply_parse(RstarReply *reply, int http_status,
				  const char *body, size_t len, const RstarReading *reading)
{
	json_object *root;
	bool		success = http_status >= 200 && http_status <= 299;

	memset(reply, 0, sizeof(*reply));
	reply->score = -1;
	if (success && read_usual(reply, body, len, reading))
		return;

	root = rstar_reply_json(body, len);
	if (success && root == NULL)
		root = parse_event(body, len);

	if (!success)
		read_error(reply, http_status, root, body, len);
	else if (has_error(root))
		read_error(reply, status_within(root), root, body, len);
	else
		read_completion(reply, root, reading);

	json_object_put(root);
}

void
rstar_reply_free(RstarReply *reply)
{
	free(reply->text);
	reply->text = NULL;
	reply->text_len = 0;
}

int
rstar_reply_score(const char *text, size_t len)
{
	RstarText	whole = {text, len};
	bool		thinking;

	return rstar_text_score(whole, &rstar_form_retro, false, &thinking);
}

/*
 * The whole body as JSON, or NULL when it is not that (or too big a tree, or
 * memory is short).  Duplicate keys: the last counts.  Lone surrogates become
 * U+FFFD.  Invalid UTF-8 passes through and is replaced where text leaves
 * this file.
 *
 * Not JSON_TOKENER_STRICT, which may refuse more with each version: json-c
 * 0.18 began with numbers out of range, control characters in a text, and by
 * accident all bytes outside ASCII (its issue 892).
 */
json_object *
rstar_reply_json(const char *body, size_t len)
{
	struct json_tokener *tokener;
	json_object *root;

	if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
	{
		body += 3;
		len -= 3;
	}
	if (len == 0 || len > INT_MAX || !tree_fits(body, len))
		return NULL;

	tokener = json_tokener_new_ex(MAX_DEPTH);
	if (tokener == NULL)
		return NULL;
	root = json_tokener_parse_ex(tokener, body, (int) len);
	/* a NUL after the value ends the parse without an error */
	if (json_tokener_get_parse_end(tokener) != len)
	{
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tokener);
	return root;
}

/*
 * Whether json-c's tree of the body stays within MAX_TREE.  Brackets and
 * commas inside strings are counted as well: that errs on the safe side,
 * whatever json-c takes for a string.
 */
static bool
tree_fits(const char *body, size_t len)
{
	size_t		objects = 0;
	size_t		arrays = 0;
	size_t		elements = 0;

	if (len <= SMALL_BODY)
		return true;
	for (size_t i = 0; i < len; i++)
	{
		objects += (body[i] == '{');
		arrays += (body[i] == '[');
		elements += (body[i] == ',');
	}
	return (uint64_t) objects * OBJECT_COST + (uint64_t) arrays * ARRAY_COST +
		(uint64_t) elements * ELEMENT_COST <= MAX_TREE;
}

/*
 * The first event of a stream, or NULL.  We never ask for a stream, but some
 * servers report an error that way, under status 200.
 */
static json_object *
parse_event(const char *body, size_t len)
{
	const char *end;

	if (len < 5 || memcmp(body, "data:", 5) != 0)
		return NULL;
	body += 5;
	len -= 5;
	end = memchr(body, '\n', len);
	return rstar_reply_json(body, end != NULL ? (size_t) (end - body) : len);
}

/* Whether the body of a success is an error object after all */
static bool
has_error(json_object *root)
{
	json_object *error = get_member(root, "error");
	json_object *object = get_member(root, "object");

	return says_something(error) ||
		(json_object_is_type(object, json_type_string) &&
		 strcmp(json_object_get_string(object), "error") == 0);
}

/*
 * Whether there is anything in it: some servers have an "error" in each reply,
 * and mean {"message": "", "code": null} as null.
 */
static bool
says_something(json_object *value)
{
	switch (json_object_get_type(value))
	{
		case json_type_null:
			return false;
		case json_type_string:
			return json_object_get_string_len(value) > 0;
		case json_type_object:
			{
				json_object_object_foreach(value, key, member)
				{
					(void) key;
					if (says_something(member))
						return true;
				}
				return false;
			}
		case json_type_array:
			for (size_t i = 0; i < json_object_array_length(value); i++)
			{
				if (says_something(json_object_array_get_idx(value, i)))
					return true;
			}
			return false;
		default:
			/* false and 0 */
			return json_object_get_boolean(value);
	}
}

/* The HTTP status that an error under 200 names, or 0 */
static int
status_within(json_object *root)
{
	json_object *error = get_member(root, "error");
	int			status = get_count(error, "code");

	if (status == 0)
		status = get_count(root, "code");
	return status >= 400 && status <= 599 ? status : 0;
}

static void
read_completion(RstarReply *reply, json_object *root, const RstarReading *reading)
{
	json_object *choices = get_member(root, "choices");
	json_object *usage = get_member(root, "usage");

	reply->prompt_tokens = get_count(usage, "prompt_tokens");
	reply->completion_tokens = get_count(usage, "completion_tokens");
	set_cached(reply, get_count(get_member(usage, "prompt_tokens_details"), "cached_tokens"),
			   get_count(usage, "prompt_cache_hit_tokens"),
			   get_count(get_member(root, "timings"), "cache_n"));
	if (json_object_is_type(choices, json_type_array) &&
		json_object_array_length(choices) > 0)
		read_choice(reply, json_object_array_get_idx(choices, 0), reading);
	else
		reply->status = RSTAR_REPLY_MALFORMED;
}

/*
 * The first that is there: usage.prompt_tokens_details.cached_tokens (OpenAI,
 * vLLM, SGLang, llama-server), what DeepSeek calls it, and older llama-servers
 */
static void
set_cached(RstarReply *reply, int cached_tokens, int cache_hit_tokens, int cache_n)
{
	int			cached = cached_tokens > 0 ? cached_tokens :
		cache_hit_tokens > 0 ? cache_hit_tokens : cache_n;

	reply->cached_tokens = cached < reply->prompt_tokens ? cached : reply->prompt_tokens;
}

/* False: not done, json-c has to read it */
static bool
read_usual(RstarReply *reply, const char *body, size_t len, const RstarReading *reading)
{
	RstarReplyScan scan;
	Choice		choice;
	bool		usual = rstar_reply_scan(&scan, body, len);

	if (usual)
	{
		reply->prompt_tokens = scan.prompt_tokens;
		reply->completion_tokens = scan.completion_tokens;
		set_cached(reply, scan.cached_tokens, scan.cache_hit_tokens, scan.cache_n);
		memcpy(choice.texts, scan.texts, sizeof(choice.texts));
		choice.finish_reason = scan.finish_reason;
		judge_choice(reply, &choice, reading);
	}
	rstar_reply_scan_free(&scan);
	return usual;
}

static void
read_choice(RstarReply *reply, json_object *object, const RstarReading *reading)
{
	static const char *const keys[RSTAR_SCAN_PARTS] = {
		[RSTAR_SCAN_CONTENT] = "content",
		[RSTAR_SCAN_REASONING_CONTENT] = "reasoning_content",
		[RSTAR_SCAN_REASONING] = "reasoning"
	};
	json_object *message = get_member(object, "message");
	struct printbuf *joined[RSTAR_SCAN_PARTS] = {NULL, NULL, NULL};
	Choice		choice;

	if (!json_object_is_type(message, json_type_object))
	{
		reply->status = RSTAR_REPLY_MALFORMED;
		return;
	}
	for (int i = 0; i < RSTAR_SCAN_PARTS; i++)
		choice.texts[i] = get_text(message, keys[i], &joined[i]);
	choice.finish_reason = get_text(object, "finish_reason", NULL);
	judge_choice(reply, &choice, reading);
	for (int i = 0; i < RSTAR_SCAN_PARTS; i++)
	{
		if (joined[i] != NULL)
			printbuf_free(joined[i]);
	}
}

/* Which of the texts is the answer, and what it says */
static void
judge_choice(RstarReply *reply, const Choice *choice, const RstarReading *reading)
{
	const RstarText *texts = choice->texts;
	RstarFinish finish = rstar_text_finish(choice->finish_reason);
	bool		thinking = false;
	int			answer = -1;	/* the text that the score is in */

	rstar_text_line(reply->finish_reason, sizeof(reply->finish_reason),
					choice->finish_reason.data, choice->finish_reason.len);

	for (int i = 0; i < RSTAR_SCAN_PARTS; i++)
	{
		if (reply->score >= 0 || (i > 0 && !rstar_text_blank(texts[RSTAR_SCAN_CONTENT])))
			break;
		reply->score = rstar_text_score(texts[i], reading->form, finish == RSTAR_FINISH_CUT,
										&thinking);
		if (finish == RSTAR_FINISH_CUT && (i > 0 || thinking))
			reply->score = -1;
		if (reply->score >= 0)
			answer = i;
	}

	if (finish == RSTAR_FINISH_BROKEN)
	{
		reply->status = RSTAR_REPLY_ABORTED;
		reply->score = -1;
	}
	else if (reply->score >= 0)
		reply->status = RSTAR_REPLY_SCORE;
	else
		reply->status = finish == RSTAR_FINISH_CUT ? RSTAR_REPLY_TRUNCATED : RSTAR_REPLY_NO_SCORE;

	if (reading->text)
	{
		bool		other = answer == RSTAR_SCAN_REASONING ||
			rstar_text_blank(texts[RSTAR_SCAN_REASONING_CONTENT]);

		keep_text(reply, texts[other ? RSTAR_SCAN_REASONING : RSTAR_SCAN_REASONING_CONTENT],
				  texts[RSTAR_SCAN_CONTENT]);
	}
}

/*
 * The text under this key, which belongs to the object, or to *joined when
 * that is set; empty when it is null or no text.
 */
static RstarText
get_text(json_object *object, const char *key, struct printbuf **joined)
{
	json_object *value = get_member(object, key);
	RstarText	text = {"", 0};

	if (json_object_is_type(value, json_type_string))
	{
		text.data = json_object_get_string(value);
		text.len = (size_t) json_object_get_string_len(value);
	}
	else if (joined != NULL && json_object_is_type(value, json_type_array))
	{
		join_parts(value, strcmp(key, "content") != 0, joined);
		if (*joined != NULL)
		{
			text.data = (*joined)->buf;
			text.len = (size_t) printbuf_length(*joined);
		}
	}
	return text;
}

/*
 * Joins a text that comes as an array of {"type": "text", "text": ...}; with
 * "any" whatever their types.  NULL without memory, for half a text might hold
 * another score.
 */
static void
join_parts(json_object *parts, bool any, struct printbuf **joined)
{
	size_t		n = json_object_array_length(parts);

	*joined = printbuf_new();
	for (size_t i = 0; i < n && *joined != NULL; i++)
	{
		json_object *part = json_object_array_get_idx(parts, i);
		json_object *text = get_member(part, "text");

		if (json_object_is_type(text, json_type_string) && (any || is_answer_part(part)) &&
			printbuf_memappend(*joined, json_object_get_string(text),
							   json_object_get_string_len(text)) < 0)
		{
			printbuf_free(*joined);
			*joined = NULL;
		}
	}
}

/* Not one of type "reasoning", "thinking", "refusal", ... */
static bool
is_answer_part(json_object *part)
{
	json_object *type = get_member(part, "type");
	const char *name;

	if (type == NULL)
		return true;
	if (!json_object_is_type(type, json_type_string))
		return false;
	name = json_object_get_string(type);
	return strcmp(name, "text") == 0 || strcmp(name, "output_text") == 0;
}

/*
 * Keeps the text, as the model wrote it before a server split the reasoning
 * off, so that rstar_text_score() finds the same in it.  Without memory there is no
 * text; the score counts all the same.
 */
static void
keep_text(RstarReply *reply, RstarText reasoning, RstarText content)
{
	static const char open[] = "<think>\n";
	static const char close[] = "\n</think>\n\n";
	bool		split = !rstar_text_blank(reasoning) && !rstar_text_blank(content);
	char	   *p;

	reply->text = p = malloc(reasoning.len + content.len +
							 sizeof(open) + sizeof(close) + 1);
	if (p == NULL)
		return;
	if (split)
	{
		p += rstar_text_copy(p, open, sizeof(open) - 1);
		p += rstar_text_copy(p, reasoning.data, reasoning.len);
		p += rstar_text_copy(p, close, sizeof(close) - 1);
	}
	else if (rstar_text_blank(content))
		content = reasoning;
	p += rstar_text_copy(p, content.data, content.len);
	*p = '\0';
	reply->text_len = (size_t) (p - reply->text);
	if (reply->text_len == 0)
		rstar_reply_free(reply);
}

/*
 * Fills in what an error says.  The status is 0 when it is not known (an
 * error under 200); root is NULL when the body is not JSON.
 */
static void
read_error(RstarReply *reply, int status, json_object *root,
		   const char *body, size_t len)
{
	json_object *object;
	json_object *message;
	RstarWording wording;

	reply->status = RSTAR_REPLY_ERROR;
	if (json_object_is_type(root, json_type_array))
		root = json_object_array_get_idx(root, 0);
	object = get_member(root, "error");
	if (!json_object_is_type(object, json_type_object))
		object = root;

	message = find_message(root, MESSAGE_DEPTH);
	if (message != NULL)
	{
		body = json_object_get_string(message);
		len = (size_t) json_object_get_string_len(message);
	}
	rstar_text_line(reply->message, sizeof(reply->message), body, len);

	rstar_wording_init(&wording);
	add_member(&wording, object, "type");
	add_member(&wording, object, "code");
	rstar_wording_add(&wording, body, len);
	reply->error = rstar_wording_classify(&wording, status);
	if (reply->error == RSTAR_ERROR_TOO_LONG)
	{
		reply->limit_tokens = get_count(object, "n_ctx");
		reply->request_tokens = get_count(object, "n_prompt_tokens");
		if (reply->limit_tokens == 0 || reply->request_tokens == 0)
			rstar_wording_tokens(&wording, &reply->limit_tokens,
								 &reply->request_tokens);
		reply->at_least = rstar_wording_at_least(&wording);
	}
}

/*
 * The text that explains an error, in any of the envelopes that are in use:
 * {"error": {"message"}}, {"error": "..."}, {"message"}, {"detail": "..."},
 * {"detail": [{"msg"}]}, or a plain string.  NULL when there is none.
 */
static json_object *
find_message(json_object *value, int depth)
{
	static const char *const keys[] = {"error", "message", "detail", "msg"};

	if (json_object_is_type(value, json_type_string))
		return json_object_get_string_len(value) > 0 ? value : NULL;
	if (depth == 0)
		return NULL;
	if (json_object_is_type(value, json_type_array) &&
		json_object_array_length(value) > 0)
		return find_message(json_object_array_get_idx(value, 0), depth - 1);
	for (int i = 0; i < 4; i++)
	{
		json_object *message = find_message(get_member(value, keys[i]), depth - 1);

		if (message != NULL)
			return message;
	}
	return NULL;
}

static void
add_member(RstarWording *wording, json_object *object, const char *key)
{
	json_object *value = get_member(object, key);

	if (json_object_is_type(value, json_type_string))
		rstar_wording_add(wording, json_object_get_string(value),
						  (size_t) json_object_get_string_len(value));
}

/* A whole number, clamped to 0..INT_MAX; 0 when there is none */
static int
get_count(json_object *object, const char *key)
{
	json_object *value = get_member(object, key);
	int64_t		count;

	if (!json_object_is_type(value, json_type_int))
		return 0;
	count = json_object_get_int64(value);
	return count < 0 ? 0 : count > INT_MAX ? INT_MAX : (int) count;
}

/* NULL when it is not an object, has no such member, or the member is null */
static json_object *
get_member(json_object *object, const char *key)
{
	json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}
