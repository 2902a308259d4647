#!/bin/bash
#
# test/indent.sh [--check] [FILE]...
#
# Formats the C sources as PostgreSQL's are, with pgindent, which the headers of
# PostgreSQL 17 and later bring; --check prints what is formatted otherwise, and
# changes nothing.  Without files: all of src/.  Types are taken from the
# sources themselves, so a new one needs no entry anywhere.
set -u
cd "$(dirname "$0")/.." || exit 2

pg_config=${PG_CONFIG:-pg_config}
bin=$("$pg_config" --bindir)
types=$(mktemp)
trap 'rm -f "$types"' EXIT

if [ "${1:-}" = --available ]; then
	[ -x "$bin/pgindent" ] && [ -x "$bin/pg_bsd_indent" ]
	exit
fi
option=()
if [ "${1:-}" = --check ]; then
	option=(--check --diff)
	shift
fi
[ $# -gt 0 ] || set -- src/*.[ch] src/*/*.[ch]

{
	# but those that are names of variables here
	grep -vxE 'before|symbol|text' "$("$pg_config" --sharedir)/typedefs.list"
	cat src/*.[ch] src/*/*.[ch] | sed -nE '
		s/^\} ([A-Za-z]+);$/\1/p
		s/^typedef (struct|enum|union) [A-Za-z]+ ([A-Za-z]+);.*/\2/p
		s/^typedef .*\(\*([A-Za-z]+)\).*/\1/p'
	printf '%s\n' int64_t uint64_t uint32_t CURL CURLM CURLMsg CURLMcode CURLcode curl_socket_t json_object json_tokener
} | sort -u >"$types"
PATH=$bin:$PATH pgindent "${option[@]}" --typedefs="$types" "$@"
