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
#                     candidates.tsv  query_id, doc_id, score, higher is better
#                                     (optional; else the 100 best of full-text
#                                     search by ts_rank)
#                     excluded.tsv    query_id, doc_id (optional): never candidates
#   --task NAME     task of the collection before it, a name in retrostar.task;
#                   else the name of the directory, if it is one; else the
#                   general definition of relevance
#   --candidates FILE   in the place of the candidates.tsv of the collection before
#                   it; its score may be called cosine, too
#   --queries N     the first N queries of each collection only
#   --escaped       the files are in COPY's text format: \n, \t and \\ in a text
#                   stand for a newline, a tab and a backslash
#   --url URL --model MODEL [--dialect DIALECT] [--in-flight N]
#                   a real model server; an API key comes from RETROSTAR_API_KEY
#   --passes P      100@1,30@16; may be repeated: each asks for its own samples
#   --weight W      0.2: the first ranking's share where it is fused with the scores
#   --plot FILE     an SVG of nDCG@10 against samples for each query
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

url='' model='' dialect=sglang in_flight='' queries=0 weight=0.2 plot='' jobs=8
copy_format="FORMAT csv, DELIMITER E'\\t', QUOTE E'\\b'" key=${RETROSTAR_API_KEY:-}
dirs=() tasks=() given=() passes=() simulator=''

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
		collection "${dirs[$i]}" "${tasks[$i]}" "${given[$i]}"
	done
	report
}

options()
{
	local i

	while [ $# -gt 0 ]; do
		case $1 in
			-h|--help) sed -n '3,37s/^# \{0,1\}//p' "$0"; exit ;;
			--escaped) copy_format='FORMAT text'; shift; continue ;;
		esac
		[ $# -ge 2 ] || setup_die "option $1 needs a value, or is unknown; see --help"
		case $1 in
			--dir) dirs+=("$(realpath "$2")"); tasks+=(''); given+=("$(realpath "$2")/candidates.tsv") ;;
			--task)
				[ ${#dirs[@]} -gt 0 ] || setup_die "--task belongs to the --dir before it"
				tasks[-1]=$2 ;;
			--candidates)
				[ ${#dirs[@]} -gt 0 ] || setup_die "--candidates belongs to the --dir before it"
				[ -r "$2" ] || setup_die "$2: cannot be read"
				given[-1]=$(realpath "$2") ;;
			--passes) passes+=("$2") ;;
			--weight)
				[[ $2 =~ ^0(\.[0-9]+)?$ ]] || setup_die "--weight $2: not a number from 0 to less than 1"
				weight=$2 ;;
			--plot) plot=$(realpath "$2") ;;
			--url|--model|--dialect) printf -v "${1#--}" %s "$2" ;;
			--queries|--jobs|--in-flight)
				[[ $2 =~ ^[1-9][0-9]*$ ]] || setup_die "$1 $2: not a number"
				i=${1#--}
				printf -v "${i/-/_}" %s "$2" ;;
			*) setup_die "unknown option \"$1\"; see --help" ;;
		esac
		shift 2
	done
	[ ${#dirs[@]} -gt 0 ] || setup_die "no --dir is given; see --help"
	[ ${#passes[@]} -gt 0 ] || passes=('100@1,30@16')
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
			model $(literal "$model"), dialect $(literal "$dialect"), max_tokens '4096', timeout '1h', cache_scope 'none'$limit);
		$mapping
		CREATE TABLE query (id text PRIMARY KEY, n bigint NOT NULL, body text NOT NULL);
		CREATE TABLE doc (id text PRIMARY KEY, body text NOT NULL, words tsvector);
		CREATE TABLE qrel (query text NOT NULL, doc text NOT NULL, relevance float8 NOT NULL,
			PRIMARY KEY (query, doc));
		CREATE TABLE ranking (query text NOT NULL, doc text NOT NULL, before bigint NOT NULL, prior float8 NOT NULL,
			after int, score float8, samples int, PRIMARY KEY (query, doc));
		CREATE TABLE result (n serial, task text, passes text, documents bigint, requests bigint, seconds float8);
		CREATE TABLE figure (n int, query text, before float8, after float8, fused float8, recall float8, samples bigint);

		CREATE FUNCTION any_word(body text) RETURNS tsquery LANGUAGE sql IMMUTABLE AS \$\$
			SELECT string_agg('''' || replace(replace(word, '\\', '\\\\'), '''', '''''') || '''', ' | ')::tsquery
			FROM unnest(tsvector_to_array(to_tsvector('english', left(body, 200000)))) word \$\$;

		-- Of each query: in the order of its candidates, of the rerank, and of both together
		CREATE VIEW measured AS
		SELECT q.id AS query, retrostar.ndcg(r.before, j.docs, j.grades, 10) AS before,
			retrostar.ndcg(r.after, j.docs, j.grades, 10) AS after, retrostar.ndcg(r.fused, j.docs, j.grades, 10) AS fused,
			retrostar.recall(r.before, j.docs, j.grades, 100) AS recall, coalesce(r.samples, 0) AS samples
		FROM query q,
			LATERAL (SELECT array_agg(doc) AS docs, array_agg(relevance) AS grades FROM qrel WHERE query = q.id) j,
			LATERAL (SELECT array_agg(doc ORDER BY before) AS before, array_agg(doc ORDER BY after) AS after,
					array_agg(doc ORDER BY fused DESC NULLS LAST, before) AS fused, sum(r.samples) AS samples
				FROM (SELECT *, (1 - $weight) * score + $weight * 100 * coalesce((prior - min(prior) OVER everything)
							/ nullif(max(prior) OVER everything - min(prior) OVER everything, 0), 0) AS fused
						FROM ranking WHERE query = q.id WINDOW everything AS ()) r) r;
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

# DIR TASK CANDIDATES
collection()
{
	local dir=$1 task=$2 name=${2:-${1##*/}} policy

	setup_say "$name: loading $dir ..."
	if [ -z "$task" ]; then
		task=$(sql -At -c "SELECT name FROM retrostar.task WHERE name = $(literal "$name")") || exit
	fi
	sql -c 'TRUNCATE query, doc, qrel, ranking'
	for file in queries docs qrels; do load "file_$file" "$dir/$file.tsv"; done
	if [ -e "$3" ]; then load file_candidates "$3"; fi
	if [ -e "$dir/excluded.tsv" ]; then load file_excluded "$dir/excluded.tsv"; fi
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
	candidates "$dir" "$3"
	for policy in "${passes[@]}"; do
		setup_say "$name: reranking with $policy under ${task:-the general definition of relevance} ..."
		measure "$name" "$task" "$policy"
	done
}

# NAME TASK PASSES: a rerank that shares no sample with the others
measure()
{
	local before after started ended

	sql -c "ALTER SERVER gpu OPTIONS (SET cache_scope $(literal "$3"))"
	before=$(sent) || exit
	started=$EPOCHREALTIME
	rerank "$2" "$3"
	ended=$EPOCHREALTIME
	after=$(sent) || exit
	sql <<-END
		WITH run AS (
			INSERT INTO result (task, passes, documents, requests, seconds)
			SELECT $(literal "$1"), $(literal "$3"), (SELECT count(*) FROM doc), $after - $before,
				$(awk "BEGIN { print $ended - $started }")
			RETURNING n)
		INSERT INTO figure SELECT n, query, before, after, fused, recall, samples FROM run, measured;
	END
}

# DIR FILE: the 100 best of each query
candidates()
{
	local excluded='' from

	if [ -e "$1/excluded.tsv" ]; then
		excluded='AND NOT EXISTS (SELECT FROM file_excluded e WHERE e.query_id = q.id AND e.doc_id = d.id)'
	fi
	if [ -e "$2" ]; then
		from="FROM query q JOIN file_candidates c ON c.query_id = q.id JOIN doc d ON d.id = c.doc_id
			CROSS JOIN LATERAL (SELECT coalesce(to_jsonb(c) ->> 'score', to_jsonb(c) ->> 'cosine')::float8) AS s (score)
			WHERE true"
	else
		from="FROM query q CROSS JOIN LATERAL (SELECT any_word(q.body)) AS w (words)
			JOIN doc d ON d.words @@ w.words
			CROSS JOIN LATERAL (SELECT ts_rank(d.words, w.words)) AS s (score) WHERE true"
	fi
	sql <<-END
		INSERT INTO ranking
		SELECT query, doc, n, prior FROM (
			SELECT q.id AS query, d.id AS doc, s.score AS prior,
				row_number() OVER (PARTITION BY q.id ORDER BY s.score DESC, d.id) AS n
			$from $excluded) c
		WHERE n <= 100;
		ANALYZE ranking;
	END
}

# Samples sent since the server started
sent()
{
	sql -At -c 'SELECT samples_sent FROM retrostar.stat_queue'
}

# TASK PASSES: each session takes every $jobs-th query, a statement each
rerank()
{
	local job failed=false sessions=()

	for ((job = 0; job < jobs; job++)); do
		sql >"$work/job.$job.log" 2>&1 <<-END &
			SET retrostar.on_error = 'null';
			SELECT format(\$\$
				UPDATE ranking r SET after = a.rank, score = a.score, samples = a.samples
				FROM query q,
					LATERAL (SELECT array_agg(c.doc ORDER BY c.before) AS ids, array_agg(d.body ORDER BY c.before) AS bodies
						FROM ranking c JOIN doc d ON d.id = c.doc WHERE c.query = q.id) c,
					LATERAL retro_star_rerank(q.body, c.ids, c.bodies, passes => %L, task => %L) a
				WHERE q.id = %L AND r.query = q.id AND r.doc = a.id \$\$,
				$(literal "$2"), nullif($(literal "$1"), ''), id)
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
	sql <<-'END'
		CREATE VIEW summary AS
		SELECT n, task, passes, documents, requests, seconds, count(*) AS queries, avg(samples) AS samples,
			100 * avg(recall) AS recall, 100 * avg(before) AS before,
			100 * avg(after) AS after, 100 * stddev_samp(after) / sqrt(count(*)) AS after_se,
			100 * avg(fused) AS fused, 100 * stddev_samp(fused) / sqrt(count(*)) AS fused_se,
			100 * avg(fused - after) AS gain, 100 * stddev_samp(fused - after) / sqrt(count(*)) AS gain_se
		FROM result JOIN figure USING (n) GROUP BY n, task, passes, documents, requests, seconds;
	END
	printf '\nnDCG@10 x 100 of the candidates in their order, after the rerank, and fused: %s of the first ranking.\n' "$weight"
	printf '+- is the standard error over the queries; that of the gain is of paired differences.\n\n'
	sql -P footer=off -P null=- -P pager=off <<-END
		SELECT task, passes, queries, documents, round(recall::numeric, 1) AS "recall@100",
			round(before::numeric, 1) AS before, format('%s +- %s', round(after::numeric, 1), round(after_se::numeric, 1)) AS after,
			format('%s +- %s', round(fused::numeric, 1), round(fused_se::numeric, 1)) AS fused,
			format('%s +- %s', round(gain::numeric, 2), round(gain_se::numeric, 2)) AS gain,
			round(samples) AS "samples/query", round((requests / seconds)::numeric) AS "requests/s",
			round((100 * requests / seconds / $ideal)::numeric, 1) AS "% of ideal"
		FROM summary ORDER BY n;
	END
	if [ -n "$plot" ]; then
		sql -At -F $'\t' -c 'SELECT task, passes, samples, before, after, after_se, fused, fused_se FROM summary ORDER BY n' |
			python3 "$here/plot.py" >"$plot" || setup_die "the plot failed"
	fi
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
