/*-------------------------------------------------------------------------
 *
 * prompt.c
 *		A query and a document become a prompt and a request body.
 *
 * The model was trained on exactly this prompt, so it is data: do not touch a
 * byte.  The regress test compares it with a copy of the reference.  A task may
 * have a template of its own, for another model.
 *
 * One thing is not literal.  Servers tokenize the text of a message with
 * special tokens enabled, so a document that contains <|im_end|> or </think>
 * would end the user's turn and could go on as the model itself, with a score
 * of its own choice.  Such tokens get a ZERO WIDTH SPACE after their "<": to
 * a reader (and to the model) the text says the same, but it is ordinary text
 * to the tokenizer.  Treated so are the forms <|name|> that nearly all model
 * families use, and Qwen's tokens without bars.  <s> and </s> are not: they
 * are no tokens of Qwen's, but HTML.  The task's strings are not touched:
 * they are written by whoever writes the SQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "model/prompt.h"
#include "model/template.h"

#define ZERO_WIDTH_SPACE	"\xE2\x80\x8B"

/* Of one pair: no model reads as much, and it must fit a StringInfo, escaped */
#define MAX_TEXT_LEN	(64 * 1024 * 1024)

/* Longest name in <|name|> */
#define MAX_TOKEN_NAME	64

/* Input bytes escaped per check for space, and bytes that one can become */
#define ESCAPE_CHUNK	512
#define ESCAPE_GROWTH	6

/*
 * Of a body besides what is inserted, and the space that the last chunk asks for:
 * a buffer of 8 kB, which memory contexts keep for the next one, is enough for
 * 2 kB then
 */
#define USUAL_REST		4096

#define LITERAL(string) {string, sizeof(string) - 1}

static const RstarPiece retro_star[] = {
	{LITERAL("Here is the **relevance definition** in a retrieval task: "), RSTAR_PLACE_RELEVANCE_DEFINITION},
	{LITERAL("\n\nNow given a **query** ("), RSTAR_PLACE_QUERY_TYPE},
	{LITERAL(") and a **document** ("), RSTAR_PLACE_DOC_TYPE},
	{LITERAL(") in this retrieval task, your mission is to perform the following steps.\n"
			 "\n1. Query Analysis: Think to reason and describe what information would be most helpful in answering the query.\n"
			 "2. Document Analysis: Discuss how the information provided by the document fulfills or fails to fulfill the requirements implied by the query.\n"
			 "3. Relevance Annotation: Based on the relevance definition and the insights from the previous two steps, clearly justify your final relevance annotation result and annotate an integer score from a scale of 0 to 100. Please use the following guide:\n"
			 "    - **80-100 (Highly Relevant):** The document directly and comprehensively addresses the query's intent. It is a core and authoritative answer.\n"
			 "    - **60-80 (Relevant):** The document substantially addresses the query's intent, providing most of the key information, but might miss some minor details.\n"
			 "    - **40-60 (Moderately Relevant):** The document is on-topic and addresses a part of the query's intent, but it is not a comprehensive answer.\n"
			 "    - **20-40 (Slightly Relevant):** The document mentions keywords from the query, but its main topic is different. It offers very limited value.\n"
			 "    - **0-20 (Irrelevant):** The document does not address the query's intent at all and is off-topic.\n"
			 "\nAfter providing your detailed analysis and justification for all the steps above, conclude your entire response with the final relevance score. The score must be placed strictly between the <score> tags. There should be no other text or explanation inside the tags:\n"
			 "<score>\n"
			 "[From a scale of 0 to 100, annotate the degree of relevance between the query and the document.]\n"
			 "</score>\n"
			 "\nQuery ("), RSTAR_PLACE_QUERY_TYPE},
	{LITERAL("):\n"
			 "[Begin of Query]\n"), RSTAR_PLACE_QUERY},
	{LITERAL("\n[End of Query]\n"
			 "\nDocument ("), RSTAR_PLACE_DOC_TYPE},
	{LITERAL("):\n"
			 "[Begin of Document]\n"), RSTAR_PLACE_DOCUMENT},
	{LITERAL("\n[End of Document]\n"), RSTAR_PLACE_NONE}
};

/* The pieces of a task's prompt, one after another */
typedef struct Reader
{
	bool		own;			/* the task has a template */
	RstarText	rest;			/* of that */
	size_t		next;			/* in Retro*'s */
} Reader;

static RstarSpan render(StringInfo buf, const RstarTask *task, RstarText query,
						RstarText doc, bool json);
static void begin(Reader *reader, const RstarTask *task);
static bool next_piece(Reader *reader, RstarPiece *piece);
static RstarText escaped_literal(const Reader *reader, RstarPiece piece);
static int64 inserted_len(const RstarTask *task, const RstarText *inserts);
static void append_plain(StringInfo buf, RstarText source, bool trusted);
static void append_json(StringInfo buf, RstarText source, bool trusted);
static char *escape_bytes(char *dst, const char *src, const char *chunk_end,
						  const char *end, bool trusted);
static bool is_control_token(const char *s, const char *end);
static inline bool is_name_char(char c);

void
rstar_prompt_append(StringInfo buf, const RstarTask *task, RstarText query, RstarText doc)
{
	(void) render(buf, task, query, doc, false);
}

RstarSpan
rstar_prompt_append_body(StringInfo buf, const RstarServer *server,
						 const RstarTask *task, RstarText query, RstarText doc)
{
	RstarSpan	doc_place;

	appendStringInfoChar(buf, '{');
	appendStringInfoString(buf, server->params);
	appendStringInfoString(buf, ",\"messages\":[{\"role\":\"user\",\"content\":\"");
	doc_place = render(buf, task, query, doc, true);
	appendStringInfoString(buf, "\"}]");
	return doc_place;
}

/* "json": as the inside of a string */
static RstarSpan
render(StringInfo buf, const RstarTask *task, RstarText query, RstarText doc, bool json)
{
	void		(*append) (StringInfo, RstarText, bool) = json ? append_json : append_plain;
	RstarText	inserts[RSTAR_PLACES];
	Reader		reader;
	RstarPiece	piece;
	RstarSpan	doc_place = {0};
	int64		len;

	inserts[RSTAR_PLACE_RELEVANCE_DEFINITION] = rstar_text(task->relevance_definition);
	inserts[RSTAR_PLACE_QUERY_TYPE] = rstar_text(task->query_type);
	inserts[RSTAR_PLACE_DOC_TYPE] = rstar_text(task->doc_type);
	inserts[RSTAR_PLACE_QUERY] = query;
	inserts[RSTAR_PLACE_DOCUMENT] = doc;
	inserts[RSTAR_PLACE_SCORE] = rstar_text("");
	len = inserted_len(task, inserts);

	/* room for most texts at once; more is made where it is needed */
	enlargeStringInfo(buf, (int) (len + len / 16 + USUAL_REST));
	begin(&reader, task);
	while (next_piece(&reader, &piece))
	{
		if (json && !reader.own)
		{
			RstarText	literal = escaped_literal(&reader, piece);

			appendBinaryStringInfo(buf, literal.data, (int) literal.len);
		}
		else
			append(buf, piece.literal, true);
		if (piece.place == RSTAR_PLACE_NONE)
			continue;
		if (piece.place == RSTAR_PLACE_DOCUMENT)
			doc_place.at = buf->len;
		append(buf, inserts[piece.place],
			   piece.place != RSTAR_PLACE_QUERY && piece.place != RSTAR_PLACE_DOCUMENT);
		if (piece.place == RSTAR_PLACE_DOCUMENT)
			doc_place.len = buf->len - doc_place.at;
	}
	return doc_place;
}

static void
begin(Reader *reader, const RstarTask *task)
{
	reader->own = task->template != NULL;
	reader->rest = rstar_text(reader->own ? task->template : "");
	reader->next = 0;
}

/* task.c lets no template through that has a wrong place */
static bool
next_piece(Reader *reader, RstarPiece *piece)
{
	if (reader->own)
		return rstar_template_next(&reader->rest, piece);
	if (reader->next == lengthof(retro_star))
		return false;
	*piece = retro_star[reader->next++];
	return true;
}

/* Of Retro*'s piece that was read last: escaped once, for it is the same in each prompt */
static RstarText
escaped_literal(const Reader *reader, RstarPiece piece)
{
	static RstarText escaped[lengthof(retro_star)];
	RstarText  *literal = &escaped[reader->next - 1];

	if (literal->data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		StringInfoData buf;

		initStringInfo(&buf);
		append_json(&buf, piece.literal, true);
		MemoryContextSwitchTo(old);
		literal->len = buf.len;
		literal->data = buf.data;
	}
	return *literal;
}

/* The length of what will be inserted; raises when that is too much */
static int64
inserted_len(const RstarTask *task, const RstarText *inserts)
{
	Reader		reader;
	RstarPiece	piece;
	int64		len = 0;

	begin(&reader, task);
	while (next_piece(&reader, &piece))
	{
		if (piece.place != RSTAR_PLACE_NONE)
			len += inserts[piece.place].len;
	}
	if (len > MAX_TEXT_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("text to be scored is too long"),
				 errdetail("Query, document and task have " INT64_FORMAT " bytes together, at most %d are accepted.",
						   len, MAX_TEXT_LEN),
				 errhint("Score passages of the document instead.")));
	return len;
}

static void
append_plain(StringInfo buf, RstarText source, bool trusted)
{
	const char *end = source.data + source.len;
	const char *run = source.data;	/* what is not appended yet */
	const char *s = source.data;

	while (!trusted && s < end && (s = memchr(s, '<', end - s)) != NULL)
	{
		bool		token = is_control_token(s, end);

		s++;
		if (!token)
			continue;
		appendBinaryStringInfo(buf, run, s - run);
		appendStringInfoString(buf, ZERO_WIDTH_SPACE);
		run = s;
	}
	appendBinaryStringInfo(buf, run, end - run);
}

/* The same as the inside of a JSON string, in the same pass */
static void
append_json(StringInfo buf, RstarText source, bool trusted)
{
	const char *end = source.data + source.len;

	for (const char *s = source.data; s < end;)
	{
		int			len = Min(end - s, ESCAPE_CHUNK);
		char	   *dst;

		enlargeStringInfo(buf, len * ESCAPE_GROWTH);
		dst = escape_bytes(buf->data + buf->len, s, s + len, end, trusted);
		buf->len = dst - buf->data;
		s += len;
	}
	buf->data[buf->len] = '\0';
}

/*
 * Writes src..chunk_end to dst, where there is room for the worst case, and
 * returns dst's new end.  "end" is where the whole text ends, for tokens that
 * straddle chunks.  A block at a time where nothing has to be escaped.
 */
static char *
escape_bytes(char *dst, const char *src, const char *chunk_end, const char *end,
			 bool trusted)
{
	static const char hex[] = "0123456789abcdef";
	int			slow = 0;		/* bytes to be looked at one by one */

	while (src < chunk_end)
	{
		unsigned char c;

		if (slow == 0 && chunk_end - src >= RSTAR_BLOCK)
		{
			if (rstar_text_is_plain(src, '<'))
			{
				memcpy(dst, src, RSTAR_BLOCK);
				src += RSTAR_BLOCK;
				dst += RSTAR_BLOCK;
				continue;
			}
			slow = RSTAR_BLOCK / 2;
		}
		if (slow > 0)
			slow--;

		c = (unsigned char) *src;
		if (c == '"' || c == '\\')
			*dst++ = '\\';
		if (c >= ' ')
			*dst++ = c;
		else if (c == '\n' || c == '\t' || c == '\r')
		{
			*dst++ = '\\';
			*dst++ = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
		}
		else
		{
			memcpy(dst, "\\u00", 4);
			dst[4] = hex[c >> 4];
			dst[5] = hex[c & 15];
			dst += 6;
		}
		if (c == '<' && !trusted && is_control_token(src, end))
		{
			memcpy(dst, ZERO_WIDTH_SPACE, 3);
			dst += 3;
		}
		src++;
	}
	return dst;
}

/* Does a control token begin at s, where there is a "<"? */
static bool
is_control_token(const char *s, const char *end)
{
	static const RstarText names[] = {
		LITERAL("think>"), LITERAL("/think>"),
		LITERAL("tool_call>"), LITERAL("/tool_call>"),
		LITERAL("tool_response>"), LITERAL("/tool_response>")
	};

	s++;
	if (s < end && *s == '|')
	{
		const char *name = ++s;

		while (s < end && s - name <= MAX_TOKEN_NAME && is_name_char(*s))
			s++;
		return s > name && s - name <= MAX_TOKEN_NAME && end - s >= 2 &&
			s[0] == '|' && s[1] == '>';
	}
	if (s < end && (*s == 't' || *s == '/'))
	{
		for (size_t i = 0; i < lengthof(names); i++)
		{
			if ((size_t) (end - s) >= names[i].len && memcmp(s, names[i].data, names[i].len) == 0)
				return true;
		}
	}
	return false;
}

/* isalnum() would ask the locale */
static inline bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_';
}
