--
-- What is made of a reply; test/unit/reply_test.c has all cases
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;

CREATE FUNCTION completion(message text, finish_reason text) RETURNS text LANGUAGE sql
RETURN format('{"choices": [{"message": %s, "finish_reason": "%s"}]}', message, finish_reason);

-- an answer under any success
SELECT status, outcome, score, left(message, 20) AS message
  FROM unnest(ARRAY[199, 200, 201, 204, 206, 299, 300, 500]) AS status,
    retrostar.parse_reply(completion('{"content": "<score>87</score>"}', 'stop'), status)
  ORDER BY status;
SELECT status, outcome FROM unnest(ARRAY[200, 204]) AS status, retrostar.parse_reply('', status);

-- how it ended
SELECT reason, outcome, score, finish_reason
  FROM unnest(ARRAY['stop', 'length', 'max_tokens', 'MAX_TOKENS', 'abort', 'error', 'content_filter', 'SAFETY', 'whatever'])
    WITH ORDINALITY AS r(reason, n),
    retrostar.parse_reply(completion('{"content": "<think>perhaps <score>87</score>"}', reason), 200)
  ORDER BY n;

-- parts of a content
SELECT type, outcome, score
  FROM unnest(ARRAY['text', 'output_text', 'reasoning', 'thinking']) WITH ORDINALITY AS t(type, n),
    retrostar.parse_reply(completion(format('{"content": [{"type": "%s", "text": "<score>87</score>"}]}', type), 'stop'), 200)
  ORDER BY n;

-- an error in which nothing is said
SELECT error, outcome, score, left(message, 20) AS message
  FROM unnest(ARRAY['null', '{}', '{"message": "", "code": null}', '{"message": "", "code": 500}', '{"message": "no"}', '"no"'])
    WITH ORDINALITY AS e(error, n),
    retrostar.parse_reply(format('{"error": %s, "choices": [{"message": {"content": "<score>87</score>"}}]}', error), 200)
  ORDER BY n;

DROP FUNCTION completion;
