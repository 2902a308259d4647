# retrostar: make, make install, make installcheck (as a user who is not root)

# The sources may lie elsewhere than what is built of them, as when Debian builds
# for several versions of PostgreSQL
sources := $(dir $(firstword $(MAKEFILE_LIST)))

MODULE_big = retrostar
EXTENSION = retrostar
DATA = $(patsubst $(sources)%,%,$(wildcard $(sources)sql/retrostar--*.sql))
PGFILEDESC = "retrostar - rerank with a reasoning model"
OBJS = $(patsubst $(sources)%.c,%.o,$(sort $(wildcard $(sources)src/*.c $(sources)src/*/*.c)))

REGRESS = install server_options budget prompt templates arguments priors ranked cache privileges not_reachable explain reply evaluation
REGRESS_OPTS = --temp-instance=./tmp_check --temp-config=test/retrostar.conf --encoding=UTF8 --no-locale
ISOLATION = snapshots
ISOLATION_OPTS = --inputdir=test --outputdir=test --temp-instance=./tmp_check_iso --temp-config=test/retrostar.conf
TAP_TESTS = 1
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))
PROVE_FLAGS += -I test/t
EXTRA_CLEAN = tmp_check tmp_check_iso results output_iso test/results test/output_iso

PG_CONFIG ?= pg_config
# PostgreSQL's callbacks have parameters that not each uses, and its array
# macros compare signed with unsigned
PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
SHLIB_LINK = -lcurl -ljson-c $(libpq)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PostgreSQL is mostly built without tracking of headers, and structs lie in
# shared memory: what is left of an older build must not be linked
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(sources)src/*.h $(sources)src/*/*.h)
# No rule can make these: make finds those of the sources in their place
ifneq ($(sources),./)
$(shell mkdir -p $(sort $(dir $(OBJS))))
endif

# Afterwards it is too late to read how
uninstall: uninstall-order
.PHONY: uninstall-order
uninstall-order:
	@echo 'retrostar must be out of shared_preload_libraries before PostgreSQL starts the next time;' \
		'doc/operations.md, "Uninstall", has the order'

# Figures, as ratios against floors measured in the same run
.PHONY: bench
bench:
	test/bench/run.sh $(BENCH_OPTIONS)

# The distribution for PGXN, of the last commit
DIST ?= .
.PHONY: dist
dist: NAME = $(EXTENSION)-$(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)
dist:
	git archive --format=zip --prefix=$(NAME)/ -o $(DIST)/$(NAME).zip HEAD

# How each file is compiled, for clangd and the like
.PHONY: compile_commands.json
compile_commands.json:
	$(MAKE) -Bns with_llvm=no all | awk -v folder='$(CURDIR)' ' \
		BEGIN { printf "[" } \
		/ -c -o / { file = $$NF; if (file !~ /\.c$$/) for (i = 1; i <= NF; i++) if ($$i ~ /\.c$$/) file = $$i; \
			gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); \
			printf "%s\n{\"directory\": \"%s\", \"file\": \"%s\", \"command\": \"%s\"}", \
				n++ ? "," : "", folder, file, $$0 } \
		END { print "\n]" }' >$@
