#!/bin/bash
# check_source.sh: the rules of the source that a program can see.
# Prints each violation, and as last line "source: N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 2

passed=0 failed=0

# ok WHAT OUTPUT: passes when there is no output
ok() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok - %s\n%s\n' "$1" "$2"
	fi
}

# only PATTERN FILES...: lines of src/ with the pattern outside of these files
only() {
	local pattern=$1 file
	shift
	for file in src/*.[ch] src/*/*.[ch]; do
		case " $* " in *" $(basename "$file") "*) continue ;; esac
		grep -nHE "$pattern" "$file"
	done
}

ok 'curl is included in http*.c only' "$(only '#include (<curl/|"worker/http_(socket|transfer)\.h")' \
	http.c http_headers.c http_socket.c http_socket.h http_transfer.c http_transfer.h)"
ok 'libpq is included in peer*.c only' "$(only '#include "libpq-fe\.h"' peer.c peer_calls.c peer_options.c)"
ok 'json-c is included where replies are read only' \
	"$(only '#include <json-c/' reply.c reply_error.c reply_models.c reply_details.c)"
# store.c and account.c write in the worker, budget_sql.c reads a trigger's row, cache.c prunes, report.c reads what its caller may; refresh.c commits and is run by sessions
ok 'SPI is used in cache.c, merge.c, store.c, account.c, replicated.c, refresh.c, report.c and budget_sql.c only' \
	"$(only '#include "executor/spi.h"' cache.c merge.c store.c account.c replicated.c refresh.c report.c budget_sql.c)"
ok 'version conditions stand in compat.h only' "$(only 'PG_VERSION_NUM' compat.h)"
ok 'the lock is taken where shared memory is known only' \
	"$(only 'rstar_shared->lock' shmem.c shmem.h request.c request.h layout.c owner.c queue.c lease.c lookup.c hubs.c evict.c evict.h dispatch.c unstored.c details.c kept.c state.c launch.c progress.c usage.c budget.c)"
# What each room may include besides its own headers; src/*.c may include all
declare -A may=(
	[base]=''
	[model]='base'
	[shared]='base'
	[worker]='base model shared'
	[session]='base model shared'
	[functions]='base model shared session'
	[prefetch]='base model session functions'
)
# Headers that no other room includes
inner='shared/shmem.h shared/layout.h shared/request.h shared/owner.h shared/details.h shared/changecount.h
	shared/histogram.h
	worker/*.h functions/args.h prefetch/*.h'

# own FILE: each header of ours that it includes, as "ROOM/HEADER.h"
own() {
	local header
	sed -nE 's@^#include "(([a-z_]+/)?[a-z_]+\.h)"$@\1@p' "$1" | while read -r header; do
		[ ! -e "src/$header" ] || echo "$header"
	done
}

# foreign FILE: those of other rooms
foreign() {
	own "$1" | grep -v "^$(basename "$(dirname "$1")")/"
}

ok 'rooms include what is below them' "$(for file in src/*/*.[ch]; do
	room=$(basename "$(dirname "$file")")
	for header in $(foreign "$file"); do
		[[ " ${may[$room]} " == *" ${header%/*} "* ]] || echo "$file: $header"
	done
done)"
ok 'what is inside a room stays there' "$(for file in src/*/*.[ch]; do
	for header in $(foreign "$file"); do
		set -f
		# shellcheck disable=SC2053 # a pattern
		for pattern in $inner; do [[ $header != $pattern ]] || echo "$file: $header"; done
		set +f
	done
done)"
ok 'no circles of files' "$(for file in src/*.[ch] src/*/*.[ch]; do
	for header in $(own "$file"); do
		echo "$(basename "${file%.?}") $(basename "$header" .h)"
	done
done | tsort 2>&1 >/dev/null)"
ok 'a header declares what its own file defines' "$(for header in src/*.h src/*/*.h; do
	source=${header%.h}.c
	[ -e "$source" ] || continue
	sed -E 's@/\*.*\*/@@' "$header" | tr '\n' ' ' | grep -oE 'extern [^;]*;' |
		grep -oE '\brstar_[a-z0-9_]+ ?\(' | tr -d ' (' | while read -r name; do
			grep -qE "^$name\(" "$source" || echo "$header: $name is not in $(basename "$source")"
		done
done)"
ok 'file names are unique' "$(printf '%s\n' src/*.[ch] src/*/*.[ch] | xargs -n1 basename | sort | uniq -d)"
ok 'only shared/ knows shared memory' "$(grep -nHE 'rstar_shared\b' src/*.[ch] src/[!s]*/*.[ch] src/session/*.[ch])"
# Who says so in a header is held to it, so is the .c file of a .h file, and they
# include none but pure ones
ok 'pure files know nothing of PostgreSQL' "$(grep -lE '^ \* (.* )?Pure\b' src/*/*.[ch] | sed 's/\.[ch]$//' | sort -u |
	while read -r unit; do
		for file in "$unit".[ch]; do
			sed -nE 's@^#include "([^"]*)"$@\1@p' "$file" | while read -r header; do
				grep -qsE '^ \* (.* )?Pure\b' "src/$header" || echo "$file: $header"
			done
		done
	done)"

ok 'every error has a code' "$(for file in src/*.c src/*/*.c; do
	awk -v file="$file" '
		/ereport\((ERROR|FATAL|elevel)/ { start = NR; text = ""; depth = 1 }
		depth { text = text $0; if ($0 ~ /;[ \t]*$/) {
			if (text !~ /errcode/) print file ":" start ": no errcode"; depth = 0 } }
	' "$file"
done)"
# 600 is the aim
ok 'no file is longer than 650 lines' "$(wc -l src/*.c src/*/*.c | awk '$2 != "total" && $1 > 650 {print $2 ": " $1 " lines"}')"
ok 'no file of the tests either' "$(find test -name '*.[ch]' -o -name '*.pl' -o -name '*.pm' -o -name '*.py' -o -name '*.sh' |
	xargs wc -l | awk '$2 != "total" && $1 > 650 {print $2 ": " $1 " lines"}')"
ok 'no function is longer than 80 lines' "$(for file in src/*.c src/*/*.c; do
	awk -v file="$file" '/^{/ { start = NR } /^}/ && start {
		if (NR - start > 80) print file ":" start ": " NR - start " lines"; start = 0 }' "$file"
done)"
# for a user in a hurry: what is longer belongs into a page of doc/
ok 'README.md is not longer than 14 KB' "$(find README.md -size +14336c -printf '%s bytes\n')"
ok 'no C++ comments, no leftovers' "$(grep -nHE '(^|[\t;{}] *)//|TO''DO|FIX''ME|X''XX' src/*.[ch] src/*/*.[ch])"

# A comment that names a symbol of ours must name one that exists
ok 'symbols named in comments exist' "$(grep -ohE 'rstar_[a-z_]+(\(\))?' src/*.[ch] src/*/*.[ch] src/README.md |
	sed 's/()$//' | sort -u | while read -r symbol; do
	grep -qE "(^|[^a-z_])$symbol[^a-z_]" <(sed -E 's@/\*.*\*/@@; s@^ \*.*@@' src/*.[ch] src/*/*.[ch]) ||
		case $symbol in *_) ;; *) echo "$symbol" ;; esac
done)"

# src/README.md has a table for each room: every file is in it, with types of its own
ok 'src/README.md has each file in the table of its room' "$(for room in src/*/; do
	room=$(basename "$room")
	table=$(awk -v room="### $room" '/^#/ { here = $0 == room } here && /^\| `/' src/README.md)
	for file in src/"$room"/*.[ch]; do
		name=$(basename "${file%.?}")
		cut -d'|' -f2 <<<"$table" | grep -qF "\`$name\`" || echo "$room: $name is not there"
	done
	while IFS='|' read -r _ names _ types _; do
		files=()
		for name in $(grep -oE '[a-z_]+' <<<"$names"); do
			found=(src/"$room/$name".[ch])
			if [ -e "${found[0]}" ]; then files+=("${found[@]}"); else echo "$room: there is no $name"; fi
		done
		for type in $(grep -oE 'Rstar[A-Za-z]+' <<<"$types"); do
			grep -qE "^(} $type;|struct $type\$)" "${files[@]}" || echo "$room: $type is not defined in $names"
		done
	done < <(grep . <<<"$table")
done)"
ok 'files named in src/README.md exist' "$(grep -oE '`([a-z]+/)?[a-z_]+\.[ch]`' src/README.md | tr -d '`' | sort -u |
	while read -r file; do [ -e "src/$file" ] || echo "$file"; done)"

ok 'the bench judges as test/bench/judge_test.py says' "$(
	said=$(python3 -B test/bench/judge_test.py 2>&1) || printf '%s\n' "$said")"

# Every header compiles alone
if command -v "${PG_CONFIG:-pg_config}" >/dev/null; then
	include=$("${PG_CONFIG:-pg_config}" --includedir-server)
	for header in src/*.h src/*/*.h; do
		ok "$header compiles alone" "$(gcc -fsyntax-only -x c -std=gnu11 -I"$include" -Isrc -include "$header" /dev/null 2>&1)"
	done
fi

ok 'every SQL object has a comment' "$(awk '
	/^CREATE (FUNCTION|TABLE|TYPE|VIEW|SCHEMA|PROCEDURE|AGGREGATE|FOREIGN DATA WRAPPER)/ {
		name = $0; sub(/^CREATE (FOREIGN DATA WRAPPER|[A-Z]+) /, "", name); sub(/[ (;].*/, "", name); made[name] = 1 }
	/^COMMENT ON (FUNCTION|TABLE|TYPE|VIEW|SCHEMA|PROCEDURE|AGGREGATE|FOREIGN DATA WRAPPER)/ {
		name = $0; sub(/^COMMENT ON (FOREIGN DATA WRAPPER|[A-Z]+) /, "", name); sub(/[ (;].*/, "", name); said[name] = 1 }
	END { for (name in made) if (!(name in said)) print name }' sql/retrostar--*.sql)"

# PostgreSQL 17 and later bring pgindent
if test/indent.sh --available; then
	ok 'sources are formatted as by test/indent.sh' "$(test/indent.sh --check 2>&1)"
fi

echo "source: $passed passed, $failed failed"
[ "$failed" = 0 ]
