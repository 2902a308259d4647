# retrostar: make, make install, make installcheck (as a user who is not root)

MODULE_big = retrostar
EXTENSION = retrostar
DATA = $(wildcard sql/retrostar--*.sql)
PGFILEDESC = "retrostar - rerank with a reasoning model"
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

REGRESS = install server_options prompt arguments cache privileges not_reachable explain
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
PG_CPPFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
SHLIB_LINK = -lcurl -ljson-c

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Figures, as ratios against floors measured in the same run
.PHONY: bench
bench:
	test/bench/run.sh $(BENCH_OPTIONS)
