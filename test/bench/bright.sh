#!/bin/bash
#
# test/bench/bright.sh [OPTION...] --dir DIR [--task NAME] [--dir DIR [--task NAME]]...
#
# Reranks test collections in the format of the BRIGHT benchmark as its authors
# do with Retro*: 100 candidates of each query get one sample, the 30 best of
# them 16; and prints nDCG@10 before and after.  Runs in a private PostgreSQL,
# which goes with the script.
#
#   --dir DIR       a collection; may be repeated.  Its files:
#                     queries.tsv     id, text
#                     docs.tsv        id, text, and title if there is one
#                     qrels.tsv       query_id, doc_id, relevance
#                     candidates.tsv  query_id, doc_id, score (optional; else the
#                                     100 best of full-text search by ts_rank)
#                     excluded.tsv    query_id, doc_id (optional): never candidates
#   --task NAME     task of the collection before it, a name in retrostar.task;
#                   else the name of the directory, if it is one; else the
#                   general definition of relevance
#   --queries N     the first N queries of each collection only
#   --escaped       the files are in COPY's text format: \n, \t and \\ in a text
#                   stand for a newline, a tab and a backslash
#   --url URL --model MODEL [--dialect DIALECT] [--in-flight N]
#                   a real model server; an API key comes from RETROSTAR_API_KEY
#   --passes P      100@1,30@16
#   --jobs N        sessions, each with a query at a time; 8
#
# Without --url the simulator plays the model: then the figures say nothing about
# the model, only that everything works, and how fast requests are made.
#
# Files are UTF-8, fields are separated by tabs, the first line names the columns
# (others are ignored).  PG_CONFIG chooses the PostgreSQL.

set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$here/../setup.sh"
# shellcheck source=test/bench/server.sh
. "$here/server.sh"

# The simulated server: its ideal is SLOTS / DELAY_MS requests a millisecond
SLOTS=256
DELAY_MS=200

url='' model='' dialect=sglang in_flight='' queries=0 passes='100@1,30@16' jobs=8
copy_format="FORMAT csv, DELIMITER E'\\t', QUOTE E'\\b'" key=${RETROSTAR_API_KEY:-}
dirs=() tasks=() simulator=''

main()
{
	options "$@"
	setup_say 'Building ...'
	server_build bright
	server_start bright <<-END
		shared_buffers = 512MB
		max_wal_size = 4GB
		fsync = off
		client_min_messages = warning
		max_connections = $((jobs + 20))
	END
	if [ -z "$url" ]; then start_simulator; fi
	create_tables
	for i in "${!dirs[@]}"; do
		collection "${dirs[$i]}" "${tasks[$i]}"
	done
	report
}

options()
{
	local i

	while [ $# -gt 0 ]; do
		case $1 in
			-h|--help) sed -n '3,32s/^# \{0,1\}//p' "$0"; exit ;;
			--escaped) copy_format='FORMAT text'; shift; continue ;;
		esac
		[ $# -ge 2 ] || setup_die "option $1 needs a value, or is unknown; see --help"
		case $1 in
			--dir) dirs+=("$(realpath "$2")"); tasks+=('') ;;
			--task)
				[ ${#dirs[@]} -gt 0 ] || setup_die "--task belongs to the --dir before it"
				tasks[-1]=$2 ;;
			--url|--model|--dialect|--passes) printf -v "${1#--}" %s "$2" ;;
			--queries|--jobs|--in-flight)
				[[ $2 =~ ^[1-9][0-9]*$ ]] || setup_die "$1 $2: not a number"
				i=${1#--}
				printf -v "${i/-/_}" %s "$2" ;;
			*) setup_die "unknown option \"$1\"; see --help" ;;
		esac
		shift 2
	done
	[ ${#dirs[@]} -gt 0 ] || setup_die "no --dir is given; see --help"
	if [ -n "$url$model" ]; then
		if [ -z "$url" ] || [ -z "$model" ]; then setup_die "--url and --model belong together"; fi
	fi
	for i in "${dirs[@]}"; do
		for name in queries docs qrels; do
			[ -r "$i/$name.tsv" ] || setup_die "$i/$name.tsv: cannot be read"
		done
	done
}

#
# Start and end
#

start_simulator()
{
	local port

	model=simulated
	in_flight=$SLOTS
	"${run_as[@]}" setsid "$work/source/test/simulator/simulator" --port 0 --port-file "$work/port" \
		--model $model --delay-ms $DELAY_MS --max-running $SLOTS --die-with-parent \
		</dev/null >"$work/simulator.log" 2>&1 &
	simulator=$!
	children=("$simulator")
	until read -r port _ 2>/dev/null <"$work/port"; do
		kill -0 $simulator 2>/dev/null || setup_die "the simulator did not start"
		sleep 0.05
	done
	url=http://127.0.0.1:$port
}

#
# Work
#

sql()
{
	"${run_as[@]}" "${PG_CONFIG%/*}/psql" -X -q -v ON_ERROR_STOP=1 -h "$work" -U bright "$@" bright ||
		setup_die "a statement failed"
}

literal()
{
	printf "'%s'" "${1//\'/\'\'}"
}

create_tables()
{
	local mapping='' limit=''

	[ -z "$in_flight" ] || limit=", max_in_flight '$in_flight'"
	[ -z "$key" ] || mapping="CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key $(literal "$key"));"
	sql <<-END
		CREATE EXTENSION retrostar;
		CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url $(literal "$url"),
			model $(literal "$model"), dialect $(literal "$dialect"), max_tokens '4096', timeout '1h'$limit);
		$mapping
		CREATE TABLE query (id text PRIMARY KEY, n bigint NOT NULL, body text NOT NULL);
		CREATE TABLE doc (id text PRIMARY KEY, body text NOT NULL, words tsvector);
		CREATE TABLE qrel (query text NOT NULL, doc text NOT NULL, relevance float8 NOT NULL,
			PRIMARY KEY (query, doc));
		CREATE TABLE ranking (query text NOT NULL, doc text NOT NULL, before bigint NOT NULL, after int,
			PRIMARY KEY (query, doc));
		CREATE TABLE result (n serial, task text, queries bigint, documents bigint, recall float8,
			before float8, after float8, requests bigint, seconds float8);

		CREATE FUNCTION any_word(body text) RETURNS tsquery LANGUAGE sql IMMUTABLE AS \$\$
			SELECT string_agg('''' || replace(replace(word, '\\', '\\\\'), '''', '''''') || '''', ' | ')::tsquery
			FROM unnest(tsvector_to_array(to_tsvector('english', left(body, 200000)))) word \$\$;

		-- Gain relevance, discount log2(rank + 1), against the best order of all that was judged
		CREATE VIEW ndcg AS
		WITH ideal AS (
			SELECT query, sum(relevance / log(2, n + 1)) AS dcg
			FROM (SELECT query, relevance, row_number() OVER (PARTITION BY query ORDER BY relevance DESC) AS n
				FROM qrel WHERE relevance > 0) best
			WHERE n <= 10 GROUP BY query)
		SELECT q.id AS query,
			coalesce(sum(l.relevance / log(2, r.before + 1)) FILTER (WHERE r.before <= 10), 0) / i.dcg AS before,
			coalesce(sum(l.relevance / log(2, r.after + 1)) FILTER (WHERE r.after <= 10), 0) / i.dcg AS after,
			count(r.query)::float8 / (SELECT count(*) FROM qrel WHERE query = q.id AND relevance > 0) AS recall
		FROM query q JOIN ideal i ON i.query = q.id
			LEFT JOIN (ranking r JOIN qrel l ON l.query = r.query AND l.doc = r.doc AND l.relevance > 0)
				ON r.query = q.id
		GROUP BY q.id, i.dcg;
	END
}

# TABLE FILE: all columns of the file, as text, in a table of its own
load()
{
	local header columns column list=''

	IFS= read -r header <"$2"
	header=${header#$'\xef\xbb\xbf'}
	IFS=$'\t' read -ra columns <<<"${header%$'\r'}"
	for column in "${columns[@]}"; do list+="${list:+, }\"${column//\"/\"\"}\" text"; done
	sql -c "DROP TABLE IF EXISTS $1; CREATE TABLE $1 ($list)"
	sql -c "COPY $1 FROM STDIN WITH ($copy_format, HEADER true)" <"$2"
}

# DIR TASK
collection()
{
	local dir=$1 task=$2 name=${2:-${1##*/}} before after started ended

	setup_say "$name: loading $dir ..."
	if [ -z "$task" ]; then
		task=$(sql -At -c "SELECT name FROM retrostar.task WHERE name = $(literal "$name")") || exit
	fi
	sql -c 'TRUNCATE query, doc, qrel, ranking'
	for file in queries docs qrels; do load "file_$file" "$dir/$file.tsv"; done
	for file in candidates excluded; do
		if [ -e "$dir/$file.tsv" ]; then load "file_$file" "$dir/$file.tsv"
		fi
	done
	# A missing title is no column at all: to_jsonb() does not mind
	sql <<-END
		INSERT INTO qrel SELECT query_id, doc_id, max(relevance::float8) FROM file_qrels GROUP BY 1, 2;
		INSERT INTO query SELECT id, row_number() OVER (ORDER BY ctid), text FROM file_queries
			WHERE EXISTS (SELECT FROM qrel WHERE query = id AND relevance > 0)
			ORDER BY ctid LIMIT $((queries > 0 ? queries : 2000000000));
		INSERT INTO doc SELECT id, concat_ws(E'\n', nullif(to_jsonb(d) ->> 'title', ''), text),
			to_tsvector('english', left(concat_ws(' ', to_jsonb(d) ->> 'title', text), 200000))
			FROM file_docs d WHERE text <> '';
		CREATE INDEX IF NOT EXISTS doc_words ON doc USING gin (words);
		ANALYZE query, doc, qrel;
	END
	candidates "$dir"

	setup_say "$name: reranking under ${task:-the general definition of relevance} ..."
	before=$(sent) || exit
	started=$EPOCHREALTIME
	rerank "$task"
	ended=$EPOCHREALTIME
	after=$(sent) || exit
	sql <<-END
		INSERT INTO result (task, queries, documents, recall, before, after, requests, seconds)
		SELECT $(literal "$name"), count(*), (SELECT count(*) FROM doc), avg(recall), avg(before), avg(after),
			$after - $before, $(awk "BEGIN { print $ended - $started }")
		FROM ndcg;
	END
}

# The 100 best of each query
candidates()
{
	local excluded='' given

	if [ -e "$1/excluded.tsv" ]; then
		excluded='AND NOT EXISTS (SELECT FROM file_excluded e WHERE e.query_id = q.id AND e.doc_id = d.id)'
	fi
	if [ -e "$1/candidates.tsv" ]; then
		given="FROM query q JOIN file_candidates c ON c.query_id = q.id JOIN doc d ON d.id = c.doc_id
			CROSS JOIN LATERAL (SELECT c.score::float8) AS s (score) WHERE true"
	else
		given="FROM query q CROSS JOIN LATERAL (SELECT any_word(q.body)) AS w (words)
			JOIN doc d ON d.words @@ w.words
			CROSS JOIN LATERAL (SELECT ts_rank(d.words, w.words)) AS s (score) WHERE true"
	fi
	sql <<-END
		INSERT INTO ranking
		SELECT query, doc, n FROM (
			SELECT q.id AS query, d.id AS doc,
				row_number() OVER (PARTITION BY q.id ORDER BY s.score DESC, d.id) AS n
			$given $excluded) c
		WHERE n <= 100;
		ANALYZE ranking;
	END
}

# Samples sent since the server started
sent()
{
	sql -At -c 'SELECT samples_sent FROM retrostar.stat_queue'
}

# Each session takes every $jobs-th query, a statement each
rerank()
{
	local job failed=false sessions=()

	for ((job = 0; job < jobs; job++)); do
		sql >"$work/job.$job.log" 2>&1 <<-END &
			SET retrostar.on_error = 'null';
			SELECT format(\$\$
				UPDATE ranking r SET after = a.rank
				FROM query q,
					LATERAL (SELECT array_agg(c.doc ORDER BY c.before) AS ids, array_agg(d.body ORDER BY c.before) AS bodies
						FROM ranking c JOIN doc d ON d.id = c.doc WHERE c.query = q.id) c,
					LATERAL retro_star_rerank(q.body, c.ids, c.bodies, passes => %L, task => %L) a
				WHERE q.id = %L AND r.query = q.id AND r.doc = a.id \$\$,
				$(literal "$passes"), nullif($(literal "$1"), ''), id)
			FROM query WHERE n % $jobs = $job ORDER BY n \gexec
		END
		sessions+=($!)
		children+=($!)
	done
	for job in "${sessions[@]}"; do
		wait "$job" || failed=true
	done
	children=(${simulator:+"$simulator"})
	cat "$work"/job.*.log >&2
	! $failed || setup_die "reranking failed"
}

report()
{
	local ideal=NULL

	[ -z "$simulator" ] || ideal=$((SLOTS * 1000 / DELAY_MS))
	printf '\nnDCG@10 of 100 candidates in their order, and after retro_star_rerank(passes => %s)\n\n' "'$passes'"
	sql -P footer=off -P null=- -P pager=off <<-END
		SELECT task, queries, documents, round(100 * recall::numeric, 1) AS "recall@100",
			round(100 * before::numeric, 1) AS "nDCG@10 before", round(100 * after::numeric, 1) AS after,
			requests, round(seconds::numeric, 1) AS seconds, round((requests / seconds)::numeric) AS "requests/s",
			round((100 * requests / seconds / $ideal)::numeric, 1) AS "% of ideal"
		FROM result ORDER BY n;
	END
	sql -At <<-'END'
		SELECT format('Samples: %s with a score, %s replies without one; pairs that failed: %s.',
			samples_scored, samples_unscored, failed) FROM retrostar.stat_queue
	END
	if [ -n "$simulator" ]; then
		cat <<-END

			The model was simulated: it counts the words that query and document share, so nDCG@10
			after the rerank says nothing about Retro*.  The simulator's ideal is $ideal requests/s ($SLOTS at a
			time, $DELAY_MS ms each).
		END
	fi
}

main "$@"
