# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile. Variants by directory: make V=release (default), V=asan, V=tsan; CC=clang works too.
#   make            build/$(V)/millrace
#   make check      unit tests, floors, style, stale generated files (< 30 s)
#   make unit-ROOM  the unit tests of one room, e.g. make V=asan unit-log
#   make tsan       the unit tests of the rooms with threads under ThreadSanitizer (a minute)
#   make conformance  other people's clients, tools and tests against our server (tests/conformance/README.md)
#   make soak       crash tests with ever new seeds and fuzz targets, each half for SOAK_SECONDS (600) on every processor
V ?= release
B := build/$(V)
DEPS := build/deps
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif

PKGS := libmicrohttpd jansson yaml-0.1 snappy liblz4 libzstd zlib sqlite3 rdkafka libpq libcurl libssl libcrypto libedit libpcre2-8
CPPFLAGS := -Isrc -isystem $(DEPS)/duckdb -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS))
WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wnull-dereference $(WERROR)
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -fno-plt -msse4.2
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE -msse4.2
CFLAGS_tsan := -O1 -g -fsanitize=thread -fPIE -msse4.2
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
LDFLAGS_asan := -pie -fsanitize=address,undefined
LDFLAGS_tsan := -pie -fsanitize=thread
CFLAGS := -std=c17 $(CFLAGS_$(V)) $(WARN) -MMD -MP
LDFLAGS := $(LDFLAGS_$(V)) -Wl,--as-needed
LIBS := $(shell pkg-config --libs $(PKGS)) -L$(DEPS)/duckdb -lduckdb -Wl,-rpath,'$$ORIGIN/../deps/duckdb:$$ORIGIN/../../deps/duckdb' -lpthread -lm

SRC := $(wildcard src/*/*.c)
LIBSRC := $(filter-out src/cli/main.c,$(SRC))
OBJ := $(LIBSRC:src/%.c=$(B)/obj/%.o)
UNIT_SRC := $(wildcard tests/unit/*_test*.c)
UNIT := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
CRASH_SRC := $(wildcard tests/crash/*_test*.c)
CRASH := $(CRASH_SRC:tests/crash/%.c=$(B)/crash/%)
BENCH_SRC := $(wildcard bench/*_bench.c)
BENCH := $(BENCH_SRC:bench/%.c=$(B)/bench/%)

.PHONY: all unit crash check check-style fuzz fuzz-short tsan soak bench clean
all: $(B)/millrace $(B)/tools/kafka_schema
$(B)/millrace: $(B)/obj/cli/main.o $(B)/libmillrace.a
	$(CC) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a $(LIBS)
$(B)/libmillrace.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $^
$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
$(B)/unit/%: tests/unit/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)
$(B)/unit/schema_test_oracle: LIBS += -lavro
$(B)/crash/%: tests/crash/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)
$(B)/bench/%: bench/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)

unit: $(UNIT)
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(UNIT)
crash: $(CRASH)
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(CRASH)
unit-%: FORCE
	@$(MAKE) --no-print-directory V=$(V) $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/$*_test*.c))
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/$*_test*.c))
crash-%: FORCE
	@$(MAKE) --no-print-directory V=$(V) $(patsubst tests/crash/%.c,$(B)/crash/%,$(wildcard tests/crash/$*_test*.c))
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(patsubst tests/crash/%.c,$(B)/crash/%,$(wildcard tests/crash/$*_test*.c))
# The message tables against the reference dump of Kafka's own definitions (skipped where there is none).
KAFKA_DUMP ?= ../shared/refdata/kafka_protocol
.PHONY: check-kafka
check-kafka: $(B)/tools/kafka_schema
	tools/gen-kafka --check $(KAFKA_DUMP) $<
$(B)/tools/%: tests/tools/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a $(LIBS)
# Includes against src/floors.txt; calls of the C library outside of sys.
check-floors:
	@tools/check-floors
check-sys: $(OBJ) $(B)/obj/cli/main.o
	@tools/check-sys $^
FORCE:

# Everything that is quick: rules of the house, what is generated, unit tests. Other files add their own check-*.
CHECKS := check-style check-floors check-sys check-docs check-kafka
check: all $(UNIT)
	@$(MAKE) --no-print-directory -j1 $(CHECKS) unit
# docs/CONFIG.md and docs/CLI.md come from the program's own tables.
docs: $(B)/millrace
	@mkdir -p docs
	@$(B)/millrace config --describe --output markdown >docs/CONFIG.md
	@$(B)/millrace help --markdown >docs/CLI.md
	@tools/gen-kafka-apis
check-docs: $(B)/millrace
	@$(B)/millrace config --describe --output markdown | cmp -s - docs/CONFIG.md || { echo "docs/CONFIG.md is stale: run make docs"; exit 1; }
	@$(B)/millrace help --markdown | cmp -s - docs/CLI.md || { echo "docs/CLI.md is stale: run make docs"; exit 1; }
	@tools/gen-kafka-apis --check
check-style:
	@tools/check-style

# Fuzz targets: the library once more, by clang, with libFuzzer. `make fuzz-short` is the deterministic run of the tests;
# `build/fuzz/NAME tests/fuzz/corpus/NAME` goes on for ever.
FUZZ_SRC := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ := $(FUZZ_SRC:tests/fuzz/%.c=build/fuzz/%)
FUZZ_FLAGS := -std=c17 -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -msse4.2 $(WARN) -MMD -MP
build/fuzz/obj/%.o: src/%.c
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(FUZZ_FLAGS) -c -o $@ $<
build/fuzz/libmillrace.a: $(LIBSRC:src/%.c=build/fuzz/obj/%.o)
	@rm -f $@
	ar rcs $@ $^
build/fuzz/%: tests/fuzz/%.c build/fuzz/libmillrace.a
	clang $(CPPFLAGS) -Itests $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -Wl,--as-needed -o $@ $< build/fuzz/libmillrace.a $(LIBS)
fuzz: $(FUZZ)
fuzz-short: $(FUZZ)
	@for f in $(FUZZ); do n=$${f##*/}; mkdir -p build/fuzz/out/$$n; c=tests/fuzz/corpus/$$n; [ -d $$c ] || c=; \
	  $$f -seed=1 -runs=20000 -max_total_time=30 -max_len=4096 -rss_limit_mb=1024 -timeout=10 -artifact_prefix=build/fuzz/$$n- build/fuzz/out/$$n $$c >build/fuzz/$$n.log 2>&1 \
	    || { tail -n 30 build/fuzz/$$n.log; echo "$$n: failed"; exit 1; }; done; echo "$(words $(FUZZ)) targets clean"

# Rooms whose tests run threads, without those that spend their time in libraries that are not instrumented.
TSAN_ROOMS := sys loop meta log broker kafka subjects lake flow httpd http
TSAN_UNIT := $(foreach r,$(TSAN_ROOMS),$(patsubst tests/unit/%.c,build/tsan/unit/%,$(wildcard tests/unit/$(r)_test*.c)))
tsan:
	@$(MAKE) --no-print-directory V=tsan $(TSAN_UNIT)
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp:halt_on_error=1 CMOCKA_MESSAGE_OUTPUT=TAP prove -j2 -e '' $(TSAN_UNIT)

# The long run: what is found is printed with the seed (crash tests) or kept as build/fuzz/NAME-crash-... (fuzz targets).
SOAK_SECONDS ?= 600
SOAK_KILLS ?= 500
SOAK_TESTS := $(shell grep -ho 'crash_unit_test.test' $(CRASH_SRC) | wc -l)
soak: all $(FUZZ)
	@$(MAKE) --no-print-directory V=asan $(CRASH_SRC:tests/crash/%.c=build/asan/crash/%)
	@CRASH_FIRST=$$(date +%s) CRASH_SECONDS=$$(($(SOAK_SECONDS) * $$(nproc) / $(SOAK_TESTS))) CMOCKA_MESSAGE_OUTPUT=TAP prove -j$$(nproc) -e '' $(CRASH_SRC:tests/crash/%.c=build/asan/crash/%)
	@each=$$(($(SOAK_SECONDS) * $$(nproc) / $(words $(FUZZ)))); printf '%s\n' $(FUZZ) | xargs -P $$(nproc) -I F sh -c 'f=F; n=$${f##*/}; mkdir -p build/fuzz/out/$$n; \
	  c=tests/fuzz/corpus/$$n; [ -d $$c ] || c=; $$f -max_total_time='$$each' -max_len=4096 -rss_limit_mb=1024 -timeout=10 -artifact_prefix=build/fuzz/$$n- build/fuzz/out/$$n $$c \
	  >build/fuzz/$$n.log 2>&1 || { tail -n 30 build/fuzz/$$n.log; echo "$$n: failed"; exit 1; }' && echo "$(words $(FUZZ)) targets clean"
	@.venv/bin/python tests/soak/history.py --kills $(SOAK_KILLS)

# Programs that no one here wrote, against our server; results in docs/KAFKA.md. The short one is a step of ./run test.
.PHONY: conformance conformance-short
conformance: all
	@NICE=5 tests/conformance/run
conformance-short: all
	@SHORT=1 tests/conformance/run

bench: all $(BENCH)
	@bench/run
clean:
	rm -rf build/release build/asan build/tsan

-include $(OBJ:.o=.d) $(B)/obj/cli/main.d $(UNIT:=.d) $(CRASH:=.d) $(BENCH:=.d) $(LIBSRC:src/%.c=build/fuzz/obj/%.d)
