--
-- retrostar.ndcg(), retrostar.recall(), and the arguments of retro_star_passages()
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

-- The outcome of a call on one line
CREATE FUNCTION outcome(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text; value text;
BEGIN
	EXECUTE 'SELECT ' || expression INTO value;
	RETURN value;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

--
-- The figures of trec_eval: ndcg_cut and recall at 1, 3, 10 and 20, and ndcg.
-- Computed by pytrec-eval-terrier 0.5.11, with test/bench/trec_eval.py
--
\set QUIET on
CREATE TABLE figure (n int, ranking text[], judged text[], grades float8[], expected float8[]);
INSERT INTO figure VALUES
(1, '{d27,d25,d24,d18}', '{d28}', '{2}',
	'{0,0,0,0,0,0,0,0,0}'),
(2, '{d02,d22,d00,d03,d27,d11,d20,d19,d08,d07,d01,d17,d29,d28,d24,d23,d18,d16,d14,d12,d26,d21,d09,d25,d15,d05,d13,d10,d06,d04}', '{d08,d03,d25,d19,d05,d11,d09,d02}', '{1,1,1,1,1,1,1,1}',
	'{1,0.46927872602275644,0.60791708331761241,0.60791708331761241,0.125,0.125,0.625,0.625,0.7707495777681691}'),
(3, '{d09,d13,d12,d24,d16,d07,d06,d29,d22,d28,d23,d10,d08,d03,d00}', '{d06,d18,d21,d28}', '{0,2,-2,2}',
	'{0,0,0.17723928678404774,0.17723928678404774,0,0,0.5,0.5,0.17723928678404774}'),
(4, '{d05,d10,d19,d15,d00,d27,d16,d12,d09}', '{d16,d26,d08,d11,d10,d25,d03,d09,d07,d19,d15,d04,d17,d23,d24,d00,d06,d01,d13,d02}', '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}',
	'{0,0.53072127397724345,0.56845795458751547,0.36686420286310722,0,0.10000000000000001,0.29999999999999999,0.29999999999999999,0.36686420286310722}'),
(5, '{d06}', '{d03,d14,d05,d21,d07,d27}', '{1,1,1,1,1,1}',
	'{0,0,0,0,0,0,0,0,0}'),
(6, '{d06}', '{d25}', '{2}',
	'{0,0,0,0,0,0,0,0,0}'),
(7, '{d22}', '{d04,d29,d08,d26,d27,d12,d18,d24,d05,d19,d02,d07,d15,d00,d21,d25,d17,d14,d10}', '{0,0,1,2,2,0,2,1,1,0,-2,-2,1,0,0,1,1,1,1}',
	'{0,0,0,0,0,0,0,0,0}'),
(8, '{d19,d23,d22,d14}', '{d12,d16,d27,d05,d17,d23,d01,d28,d02,d08,d03,d20}', '{0,0,1,0,1,1,1,0,1,1,0,1}',
	'{0,0.29608191096586522,0.17342765698823945,0.17342765698823945,0,0.14285714285714285,0.14285714285714285,0.14285714285714285,0.17342765698823945}'),
(9, '{d13,d19,d03,d17}', '{d06,d05,d09,d04,d17,d29,d08,d27,d18}', '{3,1,2,3,3,0,1,3,1}',
	'{0,0,0.13652724527808757,0.13652724527808757,0,0,0.125,0.125,0.13652724527808757}'),
(10, '{d23,d28,d26,d03,d29,d18,d17,d25,d00}', '{d20,d19,d23,d27,d26,d16,d06,d14,d28}', '{1,0,2,0,1,-2,2,2,2}',
	'{1,0.88268031849431083,0.64126912476516829,0.64126912476516829,0.16666666666666666,0.5,0.5,0.5,0.64126912476516829}'),
(11, '{d22,d26,d19,d18,d15,d27,d07,d02,d23}', '{d13,d02,d11,d28,d21,d14,d00,d05,d16,d22,d26,d12,d08,d09,d06,d17,d03,d29,d20}', '{0,0,2,3,0,1,2,2,2,1,3,3,1,3,2,2,1,2,1}',
	'{0.33333333333333331,0.45250815297345076,0.24833526963154454,0.21443782704277586,0.0625,0.125,0.125,0.125,0.21443782704277586}'),
(12, '{d27}', '{d25,d08,d06,d02,d20,d23,d05,d18}', '{0,1,2,0,0,0,2,1}',
	'{0,0,0,0,0,0,0,0,0}'),
(13, '{d06,d25,d12,d09,d22,d24,d21,d07,d03}', '{d15,d14,d12,d24,d05,d07,d26,d09}', '{2,0,2,1,1,2,-2,0}',
	'{0,0.23463936301137822,0.39121575263849973,0.39121575263849973,0,0.20000000000000001,0.59999999999999998,0.59999999999999998,0.39121575263849973}'),
(14, '{d01}', '{d28,d12,d27,d18,d09,d06,d29,d05,d20,d04,d00}', '{1,0,0,1,1,0,0,1,1,0,0}',
	'{0,0,0,0,0,0,0,0,0}'),
(15, '{d15,d27,d26,d16,d01,d13,d19,d17,d22,d21,d11,d24,d28,d05,d10,d23,d09,d00,d25,d18,d12,d07,d14,d08,d06,d29,d20,d04,d03,d02}', '{d16,d00,d29,d03,d04,d10,d23,d24,d22,d18,d02,d14,d08,d15,d20,d27,d05}', '{-2,-2,0,-2,2,1,0,1,1,1,2,1,2,1,0,-2,0}',
	'{0.5,0.23463936301137822,0.20374996892932629,0.32087740980802959,0.1111111111111111,0.1111111111111111,0.22222222222222221,0.55555555555555558,0.55017661175629551}'),
(16, '{d05,d21,d19,d07,d13,d03,d01,d18,d04}', '{d23,d02,d26,d27,d08,d13,d06,d00,d17,d12,d16,d15,d28,d20,d24,d22}', '{3,0,1,2,0,0,2,2,2,3,3,2,3,2,1,3}',
	'{0,0,0,0,0,0,0,0,0}'),
(17, '{d25,d28,d21,d18,d00,d03,d08,d13,d23,d20,d05,d26,d06,d27,d02,d22,d14,d29,d24,d17,d16,d09,d04,d07,d19,d15,d12,d11,d10,d01}', '{d24}', '{2}',
	'{0,0,0,0.23137821315975915,0,0,0,1,0.23137821315975915}'),
(18, '{d17}', '{d16,d08,d28,d22,d07,d13,d04,d23}', '{1,3,0,1,3,2,2,3}',
	'{0,0,0,0,0,0,0,0,0}'),
(19, '{d11,d06,d26,d19,d15,d28,d10,d08,d07}', '{d18,d06,d16,d29,d21,d09,d13,d10}', '{0,1,0,0,0,1,1,1}',
	'{0,0.29608191096586522,0.3764290720714305,0.3764290720714305,0,0.25,0.5,0.5,0.3764290720714305}'),
(20, '{d23,d02,d03,d22,d14,d27,d05,d24,d09,d29,d21,d17,d15,d10,d08,d07,d01,d19,d18,d13,d11,d00,d28,d25,d16,d26,d20,d12,d06,d04}', '{d16,d24,d11,d17,d08,d18,d20,d27,d15,d07,d19,d23,d03,d22,d05,d01,d12}', '{1,1,1,1,0,1,1,1,1,1,1,1,0,0,0,1,0}',
	'{1,0.46927872602275644,0.36792125721353269,0.6196683154947904,0.083333333333333329,0.083333333333333329,0.25,0.75,0.74632006287495478}'),
(21, '{d09,d02,d10,d21,d14,d23,d15,d04,d27,d25,d18,d17,d16,d13,d08,d05,d01,d00,d26,d24,d19,d06,d03,d29,d28,d22,d20,d07,d12,d11}', '{d08,d29,d11,d12,d28,d18,d14,d00,d04}', '{1,1,1,1,1,1,1,1,1}',
	'{0,0,0.16507664590405338,0.34473414855286788,0,0,0.22222222222222221,0.55555555555555558,0.54069831396807244}'),
(22, '{d00,d21,d04,d17,d27,d06,d12,d02,d22,d20,d13,d26,d25,d24,d01}', '{d21,d16,d04,d26,d22,d18,d08,d00,d03,d06,d24,d12,d15}', '{1,1,1,1,1,1,1,1,1,1,1,1,1}',
	'{1,1,0.68701650785309931,0.68112620503182686,0.076923076923076927,0.23076923076923078,0.46153846153846156,0.61538461538461542,0.68112620503182686}'),
(23, '{d04,d27,d07,d10,d17,d25,d15,d11,d26,d09,d20,d14,d22,d01,d19,d18,d03,d29,d28,d23,d13,d12,d06,d21,d08,d24,d16,d05,d02,d00}', '{d23,d16}', '{1,0}',
	'{0,0,0,0.22767024869695299,0,0,0,1,0.22767024869695299}'),
(24, '{d17,d28,d13,d10,d03,d26,d22,d11,d08,d14,d06,d27,d02,d15,d21,d12,d25,d24,d20,d19,d18,d05,d29,d16,d01,d00,d23,d09,d07,d04}', '{d28,d25,d26,d01,d06,d22,d02,d10,d03,d20,d23,d04,d09,d13,d24,d21,d00,d15,d11}', '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}',
	'{0,0.53072127397724345,0.65003322204857916,0.69101604448661946,0,0.10526315789473684,0.36842105263157893,0.73684210526315785,0.84349333256607684}');
\set QUIET off

SELECT n, k, retrostar.ndcg(ranking, judged, grades, k), expected[i]
FROM figure, unnest(ARRAY[1, 3, 10, 20, NULL]) WITH ORDINALITY AS cut (k, i)
WHERE abs(retrostar.ndcg(ranking, judged, grades, k) - expected[CASE i WHEN 5 THEN 9 ELSE i END]) < 1e-12 IS NOT TRUE;
SELECT n, k, retrostar.recall(ranking, judged, grades, k), expected[4 + i]
FROM figure, unnest(ARRAY[1, 3, 10, 20]) WITH ORDINALITY AS cut (k, i)
WHERE abs(retrostar.recall(ranking, judged, grades, k) - expected[4 + i]) < 1e-12 IS NOT TRUE;
SELECT count(*), round(avg(expected[9])::numeric, 4) FROM figure;

--
-- By hand
--
SELECT abs(retrostar.ndcg('{1,2,3}'::int[], '{2,4}', '{1,1}', 10) - 1 / log(2, 3) / (1 + 1 / log(2, 3))) < 1e-12;
SELECT retrostar.recall('{1,2,3}'::int[], '{2,4}', 10), retrostar.recall('{1,2,3}'::int[], '{2,4}', 1);
-- without grades all that are judged are relevant
SELECT retrostar.recall('{1,2,3}'::int[], '{1,2}', '{0,1}', 2), retrostar.recall('{1,2,3}'::int[], '{1,2}', 2);
-- the first place counts
SELECT round(retrostar.ndcg('{1,1,2}'::int[], '{1,2}', '{1,1}', 3)::numeric, 10), retrostar.recall('{1,1,2}'::int[], '{1,2}', 2);
-- and the highest grade
SELECT retrostar.ndcg('{1,2}'::int[], '{1,2,1}', '{1,2,3}', 10), retrostar.recall('{1}'::int[], '{1,1}', 10);
-- ids of other types
SELECT retrostar.recall('{b,a}'::text[], '{a}', 1), retrostar.recall('{b,a}'::text[], '{a}', 2);
SELECT retrostar.recall(ARRAY[(1, 'a'::text), (1, 'b'::text)], ARRAY[(1, 'b'::text)], 2);
SELECT retrostar.recall('{00000000-0000-0000-0000-000000000001}'::uuid[], '{00000000-0000-0000-0000-000000000001}', 1);
SELECT outcome($$retrostar.recall('{1}'::xid[], '{1}', 1)$$);

--
-- Nothing there
--
-- a ranking without documents has found nothing
SELECT retrostar.ndcg('{}'::int[], '{1}', '{1}', 10), retrostar.recall(NULL::int[], '{1}', 10);
-- a query without relevant documents has no figure
SELECT retrostar.ndcg('{1}'::int[], '{}', '{}', 10), retrostar.recall('{1}'::int[], '{}', 10);
SELECT retrostar.ndcg('{1}'::int[], NULL, '{1}', 10), retrostar.ndcg('{1}'::int[], '{1}', NULL, 10);
SELECT retrostar.ndcg('{1}'::int[], '{1}', '{0}', 10), retrostar.recall('{1}'::int[], '{1}', '{-1}', 10);
SELECT retrostar.recall('{1}'::int[], NULL, 10), retrostar.recall('{1}'::int[], '{1}', NULL::float8[], 10);
-- NULL is no document, and no grade
SELECT round(retrostar.ndcg('{NULL,1}'::int[], '{NULL,1}', '{3,1}', 10)::numeric, 10), retrostar.recall('{NULL,1}'::int[], '{NULL,1}', 1);
SELECT retrostar.ndcg('{1,2}'::int[], '{1,2}', '{1,NULL}', 10), retrostar.recall('{1}'::int[], '{1,2}', '{1,NULL}', 1);

--
-- Bad input
--
SELECT outcome($$retrostar.ndcg('{1}'::int[], '{1,2}', '{1}', 10)$$);
SELECT outcome($$retrostar.ndcg('{1}'::int[], '{1}', '{NaN}', 10)$$);
SELECT outcome($$retrostar.recall('{1}'::int[], '{1}', '{Infinity}', 10)$$);
SELECT outcome($$retrostar.ndcg('{1}'::int[], '{1}', '{1}', 0)$$);
SELECT outcome($$retrostar.recall('{1}'::int[], '{1}', -1)$$);

--
-- Passages
--
SELECT * FROM retro_star_passages(E'One.\n\nTwo three. Four five.\n\nSix.', size => 20, overlap => 8);
SELECT count(*) FROM retro_star_passages('');
SELECT count(*) FROM retro_star_passages(NULL);
SELECT no, passage, start FROM retro_star_passages('  short ');
-- sizes are characters
SELECT no, passage, start FROM retro_star_passages('äöü ßÄÖÜ', 5, 0);
SELECT no, passage FROM retro_star_passages('我们是学生。他们也是学生。', 8, 0);
-- what they say of themselves is so, and together they are the document
CREATE TABLE body AS SELECT n, string_agg(md5(n || ' ' || i) || CASE WHEN i % 37 = 0 THEN E'\n\n' WHEN i % 7 = 0 THEN '. Ü' ELSE ' ' END, '' ORDER BY i) AS body
FROM generate_series(1, 5) n, generate_series(1, 200 * n) i GROUP BY n;
SELECT count(*) FILTER (WHERE substr(body, start, length(passage)) = passage) = count(*),
	max(length(passage)) <= 1000, min(no), max(start + length(passage)) - 1 = length(body),
	bool_and(start <= before)
FROM (SELECT n, body, p.*, lag(start + length(passage), 1, 1) OVER (PARTITION BY n ORDER BY no) AS before
	FROM body, retro_star_passages(body, 1000, 100) p) x
GROUP BY n, body ORDER BY n;
-- no more than at_most, the first ones
SELECT count(*), max(no) FROM retro_star_passages((SELECT body FROM body WHERE n = 5), 1000, 100, 3);
SELECT (SELECT array_agg(p) FROM retro_star_passages(body, 1000, 100, 3) p)
	= (SELECT array_agg(p ORDER BY no) FROM retro_star_passages(body, 1000, 100) p WHERE no <= 3) FROM body WHERE n = 5;
SELECT outcome($$retro_star_passages('d', size => 0)$$);
SELECT outcome($$retro_star_passages('d', size => -1)$$);
SELECT outcome($$retro_star_passages('d', size => 1000001)$$);
SELECT outcome($$retro_star_passages('d', overlap => -1)$$);
SELECT outcome($$retro_star_passages('d', size => 400)$$);
SELECT outcome($$retro_star_passages('d', size => 10, overlap => 11)$$);
SELECT outcome($$retro_star_passages('d', at_most => 0)$$);
SELECT outcome($$retro_star_passages('d', size => NULL)$$);
SELECT outcome($$retro_star_passages('d', overlap => NULL)$$);
SELECT outcome($$retro_star_passages('d', at_most => NULL)$$);

DROP TABLE figure, body;
DROP FUNCTION outcome;
